//! The container image, as `scripts/image` makes it if there is no builder: an OCI layout
//! (image-spec 1.1), unpacked and run here, and by containerd in `containerd`. The Dockerfile says
//! the same, and [`builder`] builds it.

mod builder;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::chroot::{Chroot, executable};
use crate::node::{Node, succeed, text};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
/// What the image is called, in `conf/kubernetes` too.
pub(crate) const NAME: &str = concat!("localhost/braid:", env!("CARGO_PKG_VERSION"));

/// Makes the layout `name` of the node for these architectures.
fn make(node: &Node, name: &str, architectures: &[&str]) -> Layout {
    let layout = node.path(name);
    let mut command = Command::new(Path::new(REPOSITORY).join("scripts/image"));
    command.arg("--layout").arg(&layout);
    for architecture in architectures {
        command.arg("--executable").arg(format!("{architecture}={}", executable().display()));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Layout(layout)
}

/// The layout of this machine's image; its path with `.tar` is the archive.
pub(crate) fn archive(node: &Node) -> PathBuf {
    make(node, "image", &[architecture()]).0.with_extension("tar")
}

/// Go's names, which images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A directory with an OCI layout.
struct Layout(PathBuf);

impl Layout {
    fn index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.0.join("index.json")).unwrap()).unwrap()
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        self.0.join("blobs").join(text(&descriptor["digest"]).replace(':', "/"))
    }

    fn read(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&fs::read(self.blob(descriptor)).unwrap()).unwrap()
    }

    /// Every descriptor that leads from the index on, each held against its blob.
    fn descriptors(&self) -> Vec<Value> {
        let mut found: Vec<Value> = self.index()["manifests"].as_array().unwrap().clone();
        let mut at = 0;
        while let Some(descriptor) = found.get(at).cloned() {
            self.must_hold(&descriptor);
            let kind = text(&descriptor["mediaType"]).to_owned();
            if kind.ends_with("index.v1+json") || kind.ends_with("manifest.v1+json") {
                let document = self.read(&descriptor);
                assert_eq!(
                    (&document["schemaVersion"], text(&document["mediaType"])),
                    (&json!(2), &*kind)
                );
                for key in ["manifests", "layers"] {
                    found.extend(document[key].as_array().cloned().unwrap_or_default());
                }
                found.extend(document.get("config").cloned());
            }
            at += 1;
        }
        found
    }

    fn must_hold(&self, descriptor: &Value) {
        let blob = self.blob(descriptor);
        let size =
            fs::metadata(&blob).unwrap_or_else(|error| panic!("{}: {error}", blob.display())).len();
        assert_eq!(
            (&json!(size), text(&descriptor["digest"])),
            (&descriptor["size"], &*digest(&blob))
        );
    }

    fn of_kind(&self, end: &str) -> Vec<Value> {
        let all = self.descriptors().into_iter();
        all.filter(|descriptor| text(&descriptor["mediaType"]).ends_with(end)).collect()
    }
}

fn digest(file: &Path) -> String {
    let sum = succeed("sha256sum", &[file.to_str().unwrap()]);
    format!("sha256:{}", sum.split_whitespace().next().unwrap())
}

#[test]
fn the_layout_is_sound_and_what_it_holds_runs() {
    let node = Node::new();
    let layout = make(&node, "image", &[architecture()]);
    let version: Value =
        serde_json::from_slice(&fs::read(layout.0.join("oci-layout")).unwrap()).unwrap();
    assert_eq!(version, json!({"imageLayoutVersion": "1.0.0"}));
    let index = layout.index();
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], NAME);

    let blobs = fs::read_dir(layout.0.join("blobs/sha256")).unwrap().count();
    let named: BTreeSet<String> =
        layout.descriptors().iter().map(|each| text(&each["digest"]).to_owned()).collect();
    assert_eq!(named.len(), blobs, "blobs that nothing names");

    let config = layout.read(&layout.of_kind("config.v1+json")[0]);
    assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!(architecture())));
    assert_eq!(
        config["config"]["Labels"]["org.opencontainers.image.version"],
        env!("CARGO_PKG_VERSION")
    );

    let layer = layout.blob(&layout.of_kind("layer.v1.tar+gzip")[0]);
    let root = Chroot::new(&node, "root");
    succeed("tar", &["-xzf", layer.to_str().unwrap(), "-C", root.path("/").to_str().unwrap()]);
    succeed(
        "sh",
        &["-c", &format!("gunzip -c {} >{}", layer.display(), node.path_text("layer.tar"))],
    );
    assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&node.path("layer.tar"))]));
    let entry = text(&config["config"]["Entrypoint"][0]).to_owned();
    let output = root.command(&entry).args(["version", "-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut files: Vec<_> =
        fs::read_dir(root.path("/")).unwrap().flatten().map(|it| it.file_name()).collect();
    files.sort();
    assert_eq!(files, ["LICENSE", "braid", "braid-cluster"]);
}

#[test]
fn the_same_executable_makes_the_same_image() {
    let node = Node::new();
    let archives = ["one", "two"].map(|name| {
        let layout = make(&node, name, &[architecture()]);
        digest(&layout.0.with_extension("tar"))
    });
    assert_eq!(archives[0], archives[1]);
}

#[test]
fn several_architectures_are_one_image() {
    let node = Node::new();
    let layout = make(&node, "image", &["amd64", "arm64", "arm"]);
    let manifests = layout.of_kind("manifest.v1+json");
    let platforms: Vec<String> = manifests
        .iter()
        .map(|each| {
            format!(
                "{} {}",
                text(&each["platform"]["architecture"]),
                text(&each["platform"]["variant"])
            )
        })
        .collect();
    assert_eq!(platforms, ["amd64 ", "arm64 v8", "arm v7"]);
    for manifest in &manifests {
        let config = layout.read(&layout.read(manifest)["config"]);
        assert_eq!(config["architecture"], manifest["platform"]["architecture"]);
    }
    assert_eq!(layout.index()["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn an_executable_that_is_missing_leaves_no_layout() {
    let node = Node::new();
    let mut command = Command::new(Path::new(REPOSITORY).join("scripts/image"));
    command.arg("--layout").arg(node.path("image")).args(["--executable", "amd64=/nowhere/braid"]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/nowhere/braid is no file"),
        "{output:?}"
    );
    assert!(!node.path("image").exists() && !node.path("image.tar").exists());
}

/// Where in the repository the files are that the program includes: the first part of each path.
fn included() -> BTreeSet<String> {
    let found = succeed(
        "grep",
        &["-rhoE", "include_(str|bytes)!\\(\"[^\"]*\"", &format!("{REPOSITORY}/src")],
    );
    let paths = found.lines().filter_map(|line| line.split('"').nth(1));
    let up = |path: &str| path.trim_start_matches("../").split('/').next().unwrap().to_owned();
    let found: BTreeSet<String> = paths.map(up).collect();
    assert!(found.contains("docs"), "{found:?}");
    found
}

/// Its first stage wants a registry, so that it is held against what is tested above.
#[test]
fn the_dockerfile_makes_the_same_image() {
    let node = Node::new();
    let layout = make(&node, "image", &[architecture()]);
    let config = layout.read(&layout.of_kind("config.v1+json")[0])["config"].clone();
    let page =
        fs::read_to_string(Path::new(REPOSITORY).join("Dockerfile")).unwrap().replace("\\\n", " ");
    let lines: Vec<&str> =
        page.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let of = |word: &str| -> Vec<String> {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix(word))
            .map(|rest| rest.trim().to_owned())
            .collect()
    };
    assert_eq!(of("FROM ").last().unwrap(), "scratch");
    assert_eq!(of("ENTRYPOINT "), [config["Entrypoint"].to_string()]);
    assert_eq!(of("WORKDIR ").last().unwrap(), text(&config["WorkingDir"]));
    let manifest: toml::Table =
        fs::read_to_string(Path::new(REPOSITORY).join("Cargo.toml")).unwrap().parse().unwrap();
    let rust = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert_eq!(of("ARG RUST="), [rust]);
    assert!(
        crate::readme::page::says(&format!("Debian machine with Rust {rust} ")),
        "the README's Rust"
    );
    let copied: Vec<String> = of("COPY --from=build ");
    let expected = [
        "/braid/target/dist/braid /braid",
        "/braid/target/dist/braid-cluster /braid-cluster",
        "/braid/LICENSE /LICENSE",
    ];
    assert_eq!(copied, expected);
    let run = of("RUN ");
    assert!(run[0].ends_with("&& scripts/build"), "what is copied is what scripts/build leaves");
    // What scripts/build would install first is there: the builder's stage has neither a server for
    // packages that was not asked for, nor reason to ask twice.
    let script = fs::read_to_string(Path::new(REPOSITORY).join("scripts/build")).unwrap();
    let wanted =
        script.split("scripts/packages ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert!(
        run[0].contains(&format!("--no-install-recommends {wanted} ")),
        "{run:?} without {wanted}"
    );
    let ignored = fs::read_to_string(Path::new(REPOSITORY).join(".dockerignore")).unwrap();
    let is_ignored = |name: &str| ignored.lines().any(|line| line.trim_matches('/') == name);
    assert!(is_ignored("target"), "the builder would copy what was built before");
    for needed in ["LICENSE", "Cargo.toml", "Cargo.lock", "src", "crates", "integration", "scripts"]
    {
        assert!(!is_ignored(needed), "{needed} is not copied");
    }
    for included in included() {
        assert!(!is_ignored(&included), "{included} is a part of the executable and not copied");
    }

    let labels: BTreeMap<String, String> = of("LABEL ")[0]
        .split("org.opencontainers")
        .filter_map(|label| label.trim().split_once('='))
        .map(|(name, value)| {
            (format!("org.opencontainers{name}"), value.trim_matches('"').to_owned())
        })
        .collect();
    let ours = config["Labels"].as_object().unwrap();
    assert!(labels.keys().eq(ours.keys().collect::<BTreeSet<_>>()), "{labels:?} {ours:?}");
    for (name, value) in labels.iter().filter(|(_, value)| !value.starts_with('$')) {
        assert_eq!(ours[name], **value);
    }
}
