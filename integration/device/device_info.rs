//! Device-info files: a device plugin's becomes the attachment's, and goes with it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use braid::internals::device::{DeviceInfoError, DeviceInfoStore};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::RESOURCE;

/// A store in a directory of its own, with an attachment's file.
struct Files {
    _directory: TempDir,
    base: PathBuf,
    store: DeviceInfoStore,
    file: PathBuf,
}

const DEVICE: &str = "0000:03:02.1";

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("run/devinfo");
        let store = DeviceInfoStore::new(&base);
        let file =
            store.path_for("shop/blue", &"c0ffee".parse().unwrap(), &"net1".parse().unwrap());
        Self { _directory: directory, base, store, file }
    }

    /// Writes what a device plugin writes, in a directory as the NPWG's library makes it.
    fn of_plugin(&self, content: &str) -> PathBuf {
        let path = self.base.join("dp/nic.example.com-vf-0000:03:02.1-device.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn prepare(&self) -> Result<bool, DeviceInfoError> {
        self.store.prepare(&self.file, RESOURCE, DEVICE)
    }
}

fn info(address: &str) -> Value {
    json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": address}})
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Device-info 1.1.0, sections 4.1, 4.2.1 and 6.1.1.
#[test]
fn a_device_plugins_file_becomes_the_attachments_and_goes_with_it() {
    let files = Files::new();
    // As it was written, spaces and all.
    let content = format!(" {}\n", serde_json::to_string_pretty(&info(DEVICE)).unwrap());
    let source = files.of_plugin(&content);
    assert!(files.prepare().unwrap());
    assert_eq!(files.file, files.base.join("cni/shop-blue-c0ffee_net1"));
    assert_eq!(fs::read_to_string(&files.file).unwrap(), content);
    assert_eq!((mode(&files.file), mode(files.file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(files.store.read(&files.file).unwrap(), Some(info(DEVICE)));

    files.store.remove(&files.file).unwrap();
    assert_eq!(fs::read_dir(files.base.join("cni")).unwrap().count(), 0);
    assert!(source.exists(), "the device plugin's own file is not ours to remove");
    files.store.remove(&files.file).expect("removing again");
}

/// Device-info 1.1.0, section 5.1.2: a plugin can update the file, or be the first to write it.
#[test]
fn what_a_plugin_writes_is_what_is_read() {
    let files = Files::new();
    assert!(!files.prepare().unwrap(), "no device plugin has said anything");
    assert_eq!(files.store.read(&files.file).unwrap(), None);
    fs::create_dir_all(files.file.parent().unwrap()).unwrap();
    fs::write(&files.file, info("0000:00:00.7").to_string()).unwrap();
    assert_eq!(files.store.read(&files.file).unwrap(), Some(info("0000:00:00.7")));
}

#[test]
fn what_an_earlier_attempt_has_left_is_not_shown_to_the_next() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    files.prepare().unwrap();
    fs::write(&files.file, "stale").unwrap();
    files.prepare().unwrap();
    assert_eq!(files.store.read(&files.file).unwrap(), Some(info(DEVICE)));
    fs::remove_dir_all(files.base.join("dp")).unwrap();
    assert!(!files.prepare().unwrap());
    assert_eq!(files.store.read(&files.file).unwrap(), None);
}

#[test]
fn each_attachment_has_a_file_of_its_own() {
    let store = DeviceInfoStore::new("/base");
    let path = |network: &str, container: &str, interface: &str| {
        store.path_for(network, &container.parse().unwrap(), &interface.parse().unwrap())
    };
    let (label, container) = (format!("{}/{}", "n".repeat(63), "d".repeat(253)), "c".repeat(200));
    let interface = "exactly15bytes_";
    let long = path(&label, &container, interface);
    assert_eq!(long.file_name().unwrap().len(), 254);
    assert!(long.to_str().unwrap().ends_with(&format!("-{container}_{interface}")));
    assert_ne!(long, path(&label, &container, "exactly15bytes-"));
    assert_eq!(path("../../etc/p w\n", "c", "net1"), Path::new("/base/cni/..-..-etc-p-w--c_net1"));
    assert_eq!(path("..", "c", "net1"), Path::new("/base/cni/..-c_net1"));
}

#[test]
fn content_that_is_wrong_is_refused_on_both_ways() {
    let files = Files::new();
    let deep = "[".repeat(10_000);
    let long = format!("{}{}", info(DEVICE), " ".repeat(20_000));
    let cases = [
        ("", "is not valid JSON"),
        ("\0\0\0\0", "is not valid JSON"),
        (deep.as_str(), "is not valid JSON"),
        ("[]", "the whole must be a JSON object"),
        ("{\"type\": \"pci\", \"version\": \"1.1.0\"}", "\"pci\" is missing"),
        (long.as_str(), "is larger than 16 KiB"),
    ];
    for (content, problem) in cases {
        let source = files.of_plugin(content);
        let error = files.prepare().unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(source.to_str().unwrap()), "{error}");
        assert!(!files.file.exists());

        fs::create_dir_all(files.file.parent().unwrap()).unwrap();
        fs::write(&files.file, content).unwrap();
        let error = files.store.read(&files.file).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(files.file.to_str().unwrap()), "{error}");
    }
}

#[test]
fn links_pipes_and_directories_are_not_read() {
    let files = Files::new();
    let elsewhere = files.base.parent().unwrap().join("elsewhere");
    let source = files.of_plugin("");
    fs::remove_file(&source).unwrap();
    fs::write(&elsewhere, info(DEVICE).to_string()).unwrap();
    symlink(&elsewhere, &source).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is a symbolic link"), "{error}");

    fs::remove_file(&source).unwrap();
    nix::unistd::mkfifo(&source, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is no regular file"), "{error}");

    fs::remove_file(&source).unwrap();
    fs::create_dir(&source).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is no regular file"), "{error}");
}

#[test]
fn a_link_in_place_of_the_attachments_file_is_neither_followed_nor_kept() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    let elsewhere = files.base.parent().unwrap().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    fs::create_dir_all(files.file.parent().unwrap()).unwrap();
    symlink(&elsewhere, &files.file).unwrap();
    assert!(files.store.read(&files.file).unwrap_err().to_string().contains("is a symbolic link"));
    assert!(files.prepare().unwrap());
    assert!(!files.file.is_symlink());
    symlink(&elsewhere, files.file.with_file_name("other-c_net1")).unwrap();
    files.store.remove(&files.file.with_file_name("other-c_net1")).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
}

#[test]
fn a_directory_that_others_can_write_is_not_written() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    let directory = files.base.join("cni");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("can be written by others"), "{error}");

    fs::remove_dir(&directory).unwrap();
    symlink(files.base.join("dp"), &directory).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is a symbolic link"), "{error}");
    assert!(!files.file.exists());
}

/// The NPWG's library makes directories that root alone can enter.
#[test]
fn a_directory_of_the_npwgs_library_is_as_good() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    let directory = files.base.join("cni");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o000)).unwrap();
    assert!(files.prepare().unwrap());
}

#[test]
fn names_from_outside_are_no_paths() {
    let files = Files::new();
    let secret = files.base.join("secret-device.json");
    files.of_plugin("");
    fs::write(&secret, info(DEVICE).to_string()).unwrap();
    assert!(!files.store.prepare(&files.file, "a/b", "../../secret").unwrap());
    for resource in ["../secret", "..", "/etc", "a/../b"] {
        let error = files.store.prepare(&files.file, resource, DEVICE).unwrap_err();
        assert!(matches!(error, DeviceInfoError::Name(_)), "{error}");
    }
    let inside = files.base.join("cni");
    for path in [
        &secret,
        &files.base.join("dp/x"),
        &inside,
        &inside.join("a/b"),
        &inside.join(".."),
        &inside.join("../secret-device.json"),
        Path::new("x"),
    ] {
        for error in [
            files.store.remove(path).unwrap_err(),
            files.store.read(path).unwrap_err(),
            files.store.prepare(path, RESOURCE, DEVICE).unwrap_err(),
        ] {
            assert!(
                matches!(error, DeviceInfoError::Foreign { .. }),
                "{}: {error}",
                path.display()
            );
        }
    }
    assert!(secret.exists());
}
