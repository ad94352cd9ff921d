//! The environment that a call comes with.

use std::path::Path;

use braid::internals::pod::Pod;
use cni::request::{Environment, Request, Sandbox, Verb};

use super::{assert_file_name, assert_told_well};

const VARIABLES: [&str; 6] =
    ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH"];

/// Container and interface can be parts of a path, directories of plugins are absolute, and
/// arguments that are added to `CNI_ARGS` leave the others as they were. The input is the
/// variables, with zeros between them.
pub fn request(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut values = text.split('\0');
    let pairs = VARIABLES.map(|name| (name, values.next().unwrap_or_default()));
    let request = match Request::read(Environment::from(pairs)).unwrap() {
        Ok(request) => request,
        Err(error) => return assert_told_well(&error),
    };
    assert!(request.path.iter().all(|directory| Path::is_absolute(directory)));
    match &request.verb {
        Verb::Add(sandbox) | Verb::Del(sandbox) | Verb::Check(sandbox) => check(sandbox),
        Verb::Status | Verb::Gc | Verb::Version => {}
    }
}

fn check(sandbox: &Sandbox) {
    assert_file_name(&format!("{}@{}", sandbox.container, sandbox.interface));
    assert!(
        !sandbox.container.as_str().contains('@') && !sandbox.container.as_str().starts_with('.')
    );
    let more = sandbox
        .args
        .with(&[("IP", "10.0.0.2".to_owned()), ("MAC", "02:00:00:00:00:01".to_owned())]);
    assert_eq!((more.get("IP"), more.get("MAC")), (Some("10.0.0.2"), Some("02:00:00:00:00:01")));
    for key in ["IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID"] {
        assert_eq!(more.get(key), sandbox.args.get(key), "{key}");
    }
    match Pod::from_args(&sandbox.args) {
        Ok(pod) => assert_file_name(pod.namespace.as_str()),
        Err(error) => assert_told_well(&error),
    }
}
