//! The Dockerfile by a builder, buildah: its last stage with what is built already in the place of
//! the first one, so that no registry is asked. The result is what `scripts/image --layout` makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Layout, NAME, REPOSITORY, executable, make};
use crate::chroot::Chroot;
use crate::node::{Node, text};

/// Buildah with a storage of the test's own, on any file system and in any container.
struct Buildah<'n> {
    node: &'n Node,
    storage: PathBuf,
}

impl<'n> Buildah<'n> {
    fn new(node: &'n Node) -> Self {
        let [graph, run] = ["storage", "run"].map(|name| node.path_text(name));
        let settings =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{graph}\"\nrunroot = \"{run}\"\n");
        node.write("storage.conf", &settings);
        Self { node, storage: node.path("storage.conf") }
    }

    #[track_caller]
    fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("CONTAINERS_STORAGE_CONF", &self.storage);
        command.env("BUILDAH_ISOLATION", "chroot");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let missing = "(buildah is a package of Debian's: scripts/packages buildah)";
        assert!(output.status.success(), "{arguments:?} {missing}: {said}");
        said
    }

    /// The image of these architectures, as a layout `name` of the node.
    fn make(&self, name: &str, architectures: &[&str]) -> Layout {
        let executables: Vec<String> =
            architectures.iter().map(|it| format!("{it}={}", executable().display())).collect();
        let mut arguments = vec!["--with", "buildah"];
        arguments.extend(executables.iter().flat_map(|it| ["--executable", it]));
        self.run(&Path::new(REPOSITORY).join("scripts/image"), &arguments);
        let to = format!("oci:{}", self.node.path_text(name));
        self.run(Path::new("buildah"), &["manifest", "push", "--quiet", "--all", NAME, &to]);
        Layout(self.node.path(name))
    }
}

/// What a manifest's layers hold, unpacked below `name`: each file with its mode and bytes.
fn files(node: &Node, layout: &Layout, manifest: &Value, name: &str) -> BTreeMap<String, Vec<u8>> {
    let root = Chroot::new(node, name);
    for layer in layout.read(manifest)["layers"].as_array().unwrap() {
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(layout.blob(layer)).arg("-C").arg(root.path("/"));
        assert!(tar.status().unwrap().success());
    }
    let listing = crate::node::succeed("find", &[&node.path_text(name), "-type", "f"]);
    let file = |path: &str| {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let inside = path.strip_prefix(&node.path_text(name)).unwrap();
        (format!("{inside} {mode:o}"), fs::read(path).unwrap())
    };
    listing.lines().map(file).collect()
}

/// The configuration without what a builder says of itself.
fn configuration(layout: &Layout, manifest: &Value) -> Value {
    let mut config = layout.read(&layout.read(manifest)["config"]);
    let labels = config["config"]["Labels"].as_object_mut().unwrap();
    labels.retain(|name, _| !name.starts_with("io.buildah."));
    // What comes without an environment gets the usual path.
    config["config"].as_object_mut().unwrap().retain(|key, _| key != "Env");
    let keys = ["architecture", "os", "variant", "created", "config"];
    keys.into_iter().map(|key| (key.to_owned(), config[key].clone())).collect()
}

#[test]
fn a_builder_makes_of_the_dockerfile_what_the_script_makes_without_one() {
    let node = Node::new();
    let architectures = ["amd64", "arm64", "arm"];
    let by_builder = Buildah::new(&node).make("built", &architectures);
    let by_script = make(&node, "image", &architectures);
    let [built, made] = [&by_builder, &by_script].map(|layout| layout.of_kind("manifest.v1+json"));
    assert_eq!((built.len(), made.len()), (3, 3));
    for (at, (built, made)) in built.iter().zip(&made).enumerate() {
        assert_eq!(built["platform"], made["platform"]);
        assert_eq!(configuration(&by_builder, built), configuration(&by_script, made));
        let found = files(&node, &by_builder, built, &format!("built-{at}"));
        assert_eq!(found.len(), 3, "{:?}", found.keys());
        let expected = files(&node, &by_script, made, &format!("made-{at}"));
        assert!(found == expected, "{:?} and {:?}", found.keys(), expected.keys());
    }
    let native =
        built.iter().position(|it| it["platform"]["architecture"] == super::architecture());
    let root = Chroot::new(&node, &format!("built-{}", native.unwrap()));
    let entry = configuration(&by_builder, &built[native.unwrap()]);
    let entry = text(&entry["config"]["Entrypoint"][0]).to_owned();
    let output = root.command(&entry).arg("version").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_builder_makes_the_same_image_again() {
    let node = Node::new();
    let buildah = Buildah::new(&node);
    let images = ["one", "two"].map(|name| {
        let layout = buildah.make(name, &["amd64"]);
        layout.of_kind("manifest.v1+json")[0]["digest"].clone()
    });
    assert_eq!(images[0], images[1]);
}
