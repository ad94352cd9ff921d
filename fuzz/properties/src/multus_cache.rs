//! What Multus remembers of a pod that it has started, and libcni below it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use braid::internals::multus::cache::{self, Remembered};
use braid::internals::plan::Role;
use cni::request::Sandbox;
use cni::version::Version;
use serde_json::{Map, Value};

use super::definition::check_network;
use super::{assert_file_name, assert_told_well};

/// Every network of a record is on a valid interface and can be torn down, whatever libcni has kept
/// beside it. The input is the record, and after a zero byte what libcni has for each network. An
/// entry's `Conf` becomes its `Bytes`, which no mutation would encode.
pub fn multus_cache(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (record, result) = (parts.next().unwrap_or_default(), parts.next());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c1");
    std::fs::write(&file, encoded(record).unwrap_or_else(|| record.to_vec())).unwrap();
    let first = read(directory.path());
    let Some(result) = result else { return };
    std::fs::create_dir(directory.path().join("results")).unwrap();
    for Remembered { attachment, .. } in &first {
        let name = format!("{}-c1-{}", attachment.network.name, attachment.interface);
        assert_file_name(&name);
        std::fs::write(directory.path().join("results").join(name), result).unwrap();
    }
    let second = read(directory.path());
    let networks = |found: &[Remembered]| {
        let attachments = found.iter().map(|found| found.attachment.clone());
        attachments.map(|attachment| (attachment.network, attachment.interface)).collect::<Vec<_>>()
    };
    assert_eq!(
        networks(&first),
        networks(&second),
        "what libcni has kept changes what is torn down"
    );
}

fn encoded(record: &[u8]) -> Option<Vec<u8>> {
    let mut entries: Vec<Map<String, Value>> = serde_json::from_slice(record).ok()?;
    for entry in &mut entries {
        if let Some(conf) = entry.remove("Conf") {
            entry.insert("Bytes".to_owned(), STANDARD.encode(conf.to_string()).into());
        }
    }
    serde_json::to_vec(&entries).ok()
}

fn read(directory: &Path) -> Vec<Remembered> {
    let sandbox = Sandbox {
        container: "c1".parse().unwrap(),
        netns: String::new(),
        interface: "eth0".parse().unwrap(),
        args: "K8S_POD_NAME=web".into(),
    };
    let cache = cache::find(directory, &sandbox.container).unwrap();
    match cache.attachments(&sandbox, Version::V0_3_1) {
        Ok(found) => {
            found.iter().for_each(check);
            found
        }
        Err(problem) => {
            assert_told_well(&problem);
            Vec::new()
        }
    }
}

fn check(found: &Remembered) {
    let Remembered { attachment, result } = found;
    assert_eq!(attachment.role == Role::Primary, attachment.interface.as_str() == "eth0");
    assert_eq!(attachment.label, attachment.network.name.as_str());
    assert_file_name(attachment.interface.as_str());
    check_network(&attachment.network);
    if let Some(result) = result {
        assert_eq!(result["cniVersion"], attachment.network.version.as_str());
    }
}
