//! The sandbox image: one static busybox that sleeps, as an OCI image in a tar file. Nothing is
//! pulled.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::node::succeed;

/// What containerd calls it.
pub(super) const NAME: &str = "braid.test/pause:1";
const BUSYBOX: &str = "/usr/bin/busybox";
const MEDIA: &str = "application/vnd.oci.image";

/// Builds the image in `directory` and returns the path of its tar file.
pub(super) fn build(directory: &Path) -> String {
    let path = |relative: &str| directory.join(relative).to_str().unwrap().to_owned();
    fs::create_dir_all(path("rootfs/bin")).unwrap();
    fs::create_dir_all(path("layout/blobs/sha256")).unwrap();
    let copied = fs::copy(BUSYBOX, path("rootfs/bin/busybox"));
    copied.unwrap_or_else(|error| panic!("{BUSYBOX}: {error}: install busybox-static"));
    symlink("busybox", path("rootfs/bin/sleep")).unwrap();
    succeed("tar", &["-C", &path("rootfs"), "-cf", &path("layer.tar"), "."]);
    let layer = add_blob(directory, &fs::read(path("layer.tar")).unwrap(), "layer.v1.tar");
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": {"Entrypoint": ["/bin/sleep", "86400"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = add_blob(directory, config.to_string().as_bytes(), "config.v1+json");
    let kind = format!("{MEDIA}.manifest.v1+json");
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    let mut manifest = add_blob(directory, manifest.to_string().as_bytes(), "manifest.v1+json");
    manifest["annotations"] = json!({"io.containerd.image.name": NAME});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(path("layout/index.json"), index.to_string()).unwrap();
    fs::write(path("layout/oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    succeed("tar", &["-C", &path("layout"), "-cf", &path("image.tar"), "."]);
    path("image.tar")
}

/// Go's names for the architectures that Debian's containerd is built for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Stores a blob under its checksum and returns its descriptor.
fn add_blob(directory: &Path, bytes: &[u8], kind: &str) -> Value {
    let file = directory.join("blob");
    fs::write(&file, bytes).unwrap();
    let sum = succeed("sha256sum", &[file.to_str().unwrap()]);
    let sum = sum.split_whitespace().next().unwrap();
    fs::rename(&file, directory.join("layout/blobs/sha256").join(sum)).unwrap();
    json!({"mediaType": format!("{MEDIA}.{kind}"), "digest": format!("sha256:{sum}"), "size": bytes.len()})
}
