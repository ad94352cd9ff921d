//! Who publishes Braid stands in Cargo.toml alone: what names a registry, a maintainer, the
//! repository or the domain of the nodes' label is held against it here, and `scripts/publisher`
//! changes all of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::kustomize;
use crate::node::{Node, succeed, text};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The four names.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Publisher {
    registry: String,
    maintainer: String,
    repository: String,
    domain: String,
}

impl Publisher {
    /// What Cargo.toml of a copy of the repository says.
    fn of(root: &Path) -> Self {
        let manifest: toml::Table =
            fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
        let workspace = &manifest["workspace"];
        let package = &workspace["package"];
        let names = &workspace["metadata"]["publisher"];
        let owned = |value: &toml::Value| value.as_str().unwrap().to_owned();
        Self {
            registry: owned(&names["registry"]),
            maintainer: owned(&package["authors"][0]),
            repository: owned(&package["repository"]),
            domain: owned(&names["domain"]),
        }
    }

    /// By what each of them is known in a file.
    fn texts(&self) -> [String; 4] {
        [
            format!("{}/braid", self.registry),
            self.maintainer.clone(),
            self.repository.clone(),
            format!("{}/network", self.domain),
        ]
    }
}

/// Every file below `directory` that kubectl applies.
fn manifests(directory: &Path) -> Vec<Value> {
    let found = succeed("find", &[directory.to_str().unwrap(), "-name", "*.yaml"]);
    found.lines().flat_map(|file| kustomize::documents(Path::new(file))).collect()
}

/// Every text that stands under one of `keys`, at any depth.
fn under<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| under(value, key, found)),
        Value::Object(members) => {
            for (name, value) in members {
                if name == key
                    && let Some(text) = value.as_str()
                {
                    found.push(text);
                }
                under(value, key, found);
            }
        }
        _ => {}
    }
}

/// What the files of a copy of the repository have, held against its Cargo.toml.
fn check(root: &Path) {
    let publisher = Publisher::of(root);
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let image = format!("{}/braid", publisher.registry);
    let documents = manifests(&root.join("conf/kubernetes"));
    let mut images = Vec::new();
    let (mut of_overlays, mut arguments) = (0, Vec::new());
    for document in &documents {
        under(document, "image", &mut images);
        under(document, "value", &mut arguments);
        for entry in document["images"].as_array().into_iter().flatten() {
            assert_eq!(text(&entry["name"]), image);
            of_overlays += 1;
        }
    }
    assert!(images.len() >= 4 && of_overlays >= 5, "{images:?}");
    for found in images {
        assert_eq!(found.rsplit_once(':').unwrap().0, image);
    }
    let labels: Vec<&str> =
        arguments.iter().filter_map(|it| it.strip_prefix("--node-label=")).collect();
    assert_eq!(labels, [&*publisher.texts()[3]; 2]);

    let dockerfile = read("Dockerfile");
    for (label, value) in [("authors", &publisher.maintainer), ("source", &publisher.repository)] {
        let line = format!("org.opencontainers.image.{label}=\"{value}\"");
        assert!(dockerfile.contains(&line), "{line}");
    }
    let [.., label] = publisher.texts();
    assert!(read("docs/fleet.md").contains(&label) && read("docs/upgrading.md").contains(&image));
    let package: toml::Table = read("Cargo.toml").parse().unwrap();
    let deb = &package["package"]["metadata"]["deb"];
    assert!(deb.get("maintainer").is_none(), "cargo-deb takes the first author");
}

#[test]
fn every_name_is_that_of_the_publisher() {
    check(Path::new(REPOSITORY));
    assert_eq!(
        crate::image::NAME.split(':').next(),
        Some(&*Publisher::of(Path::new(REPOSITORY)).texts()[0])
    );
}

/// The repository without what was built and without its history, as an archive of it is.
fn copy(node: &Node) -> std::path::PathBuf {
    let root = node.path("fork");
    fs::create_dir(&root).unwrap();
    let list = "cd \"$1\" && tar --exclude=./target --exclude=./.git -cf - . | tar -xf - -C \"$2\"";
    succeed("sh", &["-c", list, "sh", REPOSITORY, root.to_str().unwrap()]);
    root
}

fn script(root: &Path, arguments: &[&str]) -> Output {
    Command::new(root.join("scripts/publisher")).args(arguments).output().unwrap()
}

#[test]
fn a_fork_sets_its_names_in_one_place() {
    let node = Node::new();
    let root = copy(&node);
    let before = Publisher::of(&root);
    // Not written out here, where the script would find them on the way back.
    let name = |text: &str| text.replace('~', "fork");
    let fork = Publisher {
        registry: name("registry.~.example:5000/team"),
        maintainer: name("The ~ <team@~.example>"),
        repository: name("https://git.~.example/team/braid"),
        domain: name("net.~.example"),
    };
    let arguments = [
        "--registry",
        &fork.registry,
        "--maintainer",
        &fork.maintainer,
        "--repository",
        &fork.repository,
        "--domain",
        &fork.domain,
    ];
    let output = script(&root, &arguments);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(Publisher::of(&root), fork);
    check(&root);
    for old in before.texts() {
        let left = Command::new("grep").args(["-rlIF", &old]).arg(&root).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&left.stdout), "", "{old}");
    }
    let shown = String::from_utf8(script(&root, &[]).stdout).unwrap();
    let values: Vec<&str> =
        shown.lines().map(|line| line.split_once(' ').unwrap().1.trim()).collect();
    assert_eq!(values, [&*fork.registry, &fork.maintainer, &fork.repository, &fork.domain]);
    // And back: nothing but the names has changed.
    let [registry, maintainer, repository, domain] =
        [&before.registry, &before.maintainer, &before.repository, &before.domain];
    let arguments = [
        "--domain",
        domain,
        "--repository",
        repository,
        "--maintainer",
        maintainer,
        "--registry",
        registry,
    ];
    assert!(script(&root, &arguments).status.success());
    let output = Command::new("diff")
        .args(["-r", "-x", "target", "-x", ".git", REPOSITORY])
        .arg(&root)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn a_name_that_is_none_changes_nothing() {
    let node = Node::new();
    let root = copy(&node);
    let before = Publisher::of(&root);
    for (name, value) in [
        ("registry", "Registry.Example/Team"),
        ("maintainer", "somebody"),
        ("repository", "git@example.org:team/braid"),
        ("domain", "example.org/network"),
    ] {
        let output = script(&root, &[&format!("--{name}"), value]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(&format!("is no {name}")), "{said}");
    }
    assert_eq!(Publisher::of(&root), before);
}
