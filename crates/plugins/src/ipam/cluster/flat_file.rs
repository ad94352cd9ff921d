//! What stands beside the definition on the node: whereabouts' flat file, whose values count if the
//! definition sets none, and the node's name.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use cni::error::{Code, Error};
use cni::request::Environment;
use linux::file::{FileError, is_missing, read_regular};

/// Where whereabouts' installer and its image put it.
const PLACES: [&str; 4] = [
    "/etc/kubernetes/cni/net.d/whereabouts.d/whereabouts.conf",
    "/etc/cni/net.d/whereabouts.d/whereabouts.conf",
    "/host/etc/kubernetes/cni/net.d/whereabouts.d/whereabouts.conf",
    "/host/etc/cni/net.d/whereabouts.d/whereabouts.conf",
];
/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// A node's name is shorter.
const MAX_NAME: u64 = 4096;

/// The values of the file at `path`, or else of the first that is there; none if there is none.
///
/// # Errors
/// Code 5 for a file that cannot be read, 6 for one that holds no JSON object.
pub(crate) fn read(path: Option<&str>) -> Result<Map<String, Value>, Error> {
    let places = path.map_or_else(
        || PLACES.iter().map(PathBuf::from).collect(),
        |path| vec![PathBuf::from(path)],
    );
    for place in places {
        match read_regular(&place, MAX_BYTES) {
            Ok(bytes) => return parse(&place, &bytes),
            Err(error) if is_missing(&error) && path.is_none() => {}
            Err(error) => return Err(Error::new(Code::IO, FileError::of("read", &place)(error))),
        }
    }
    Ok(Map::new())
}

fn parse(place: &Path, bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => {
            let problem = format!("{} holds no JSON object", place.display());
            Err(Error::new(Code::DECODE, problem))
        }
        Err(error) => {
            let problem = format!("{} is not valid JSON: {error}", place.display());
            Err(Error::new(Code::DECODE, problem))
        }
    }
}

/// The node's name: `NODENAME` of the environment, else the file `nodename` below `path`, else
/// `/etc/hostname`; empty if none of them says.
pub(crate) fn node_name(path: Option<&str>) -> String {
    let variable =
        Environment::of_process().get("NODENAME").and_then(|it| it.to_str().map(str::to_owned));
    let files = path.map(|path| Path::new(path).join("nodename"));
    let files = files.into_iter().chain([PathBuf::from("/etc/hostname")]);
    let read = |path: PathBuf| {
        let bytes = read_regular(&path, MAX_NAME).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|name| !name.is_empty())
    };
    let variable = variable.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    variable.or_else(|| files.into_iter().find_map(read)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_named_must_be_there_and_be_an_object() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("whereabouts.conf");
        let text = path.to_str().unwrap();
        assert_eq!(read(Some(text)).unwrap_err().code, Code::IO);
        std::fs::write(&path, "[1]").unwrap();
        assert!(read(Some(text)).unwrap_err().msg.ends_with("holds no JSON object"));
        std::fs::write(&path, r#"{"range": "10.0.0.0/24"}"#).unwrap();
        assert_eq!(read(Some(text)).unwrap().len(), 1);
    }

    #[test]
    fn the_file_beside_the_configuration_names_the_node() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("nodename"), "worker-7\n").unwrap();
        assert_eq!(node_name(dir.path().to_str()), "worker-7");
        assert_ne!(node_name(None), "worker-7");
    }
}
