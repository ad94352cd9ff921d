//! What `scripts/release` makes, of the executable that is there already: cheap enough for every
//! change. The Debian package and the SBOM are made by tools that only a release installs; here
//! their configuration is held against the repository.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::chroot::{Chroot, executable};
use crate::node::{Node, succeed};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const ARCHITECTURES: [&str; 7] = ["amd64", "arm64", "386", "arm", "ppc64le", "s390x", "riscv64"];

/// The script, with a target directory on the node.
fn release(node: &Node, target: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(Path::new(REPOSITORY).join("scripts/release"));
    command.args(arguments).env("CARGO_TARGET_DIR", node.path(target));
    command.output().unwrap()
}

/// Parts of a release, in a target directory of that name.
fn make(node: &Node, target: &str, parts: &str) -> PathBuf {
    let executable = format!("amd64={}", executable().display());
    let output = release(node, target, &["--executable", &executable, "--parts", parts]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    node.path(target).join("dist/release")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_architecture_is_listed_with_what_it_lacks() {
    let node = Node::new();
    let output = release(&node, "target", &["--list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<(&str, &str)> = text
        .lines()
        .map(|line| line.split_once(' ').map(|(name, rest)| (name, rest.trim())).unwrap())
        .collect();
    assert_eq!(lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ARCHITECTURES);
    let installed = succeed("rustc", &["--print", "sysroot"]);
    let installed = names(&Path::new(installed.trim()).join("lib/rustlib"));
    for (name, said) in lines {
        let says_how = said.contains("rustup target add ") || said.contains("apt-get install ");
        assert!(installed.contains(said) || says_how, "{name}: {said}");
    }
    let native = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    assert!(text.contains(&format!(" {native}\n")), "what scripts/build builds is there: {text}");
    assert!(!node.path("target").exists(), "nothing was made");
}

/// What can be built here is built, by the tools that build Braid: static, and able to run.
/// musl-gcc as the linker makes an executable that asks for an interpreter, and crashes.
#[test]
fn what_can_be_built_is_static_and_runs() {
    let node = Node::new();
    let listed = String::from_utf8(release(&node, "target", &["--list"]).stdout).unwrap();
    let buildable =
        listed.lines().filter(|line| !line.contains(" add ") && !line.contains("apt-get"));
    let buildable: Vec<&str> =
        buildable.filter_map(|line| line.split_whitespace().next()).collect();
    let output = release(&node, "target", &["--try"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let tried: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(tried, buildable, "{said}");
    assert!(!tried.is_empty() && said.contains(" is static, and runs"), "{said}");
}

/// An executable that does not run is said to be none, and nothing is made of it.
#[test]
fn an_executable_that_does_not_run_ends_the_release() {
    let node = Node::new();
    node.write("braid", "no program");
    let executable = format!("amd64={}", node.path_text("braid"));
    let output = release(&node, "target", &["--executable", &executable, "--parts", "archive"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("none of amd64 runs here"), "{said}");
}

#[test]
fn an_architecture_that_is_none_is_named() {
    let node = Node::new();
    let output = release(&node, "target", &["amd64", "mips"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("mips is no architecture: amd64 arm64"),
        "{said}"
    );
}

#[test]
fn the_archive_holds_what_a_node_needs_and_runs() {
    let node = Node::new();
    let made = make(&node, "target", "archive image");
    let archive = format!("braid-{VERSION}-linux-amd64");
    let expected = [
        "SHA256SUMS".to_owned(),
        format!("braid-{VERSION}-image.tar"),
        format!("{archive}.tar.gz"),
    ];
    assert_eq!(names(&made), BTreeSet::from(expected));
    let sums = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(&made)
        .output();
    assert_eq!(String::from_utf8(sums.unwrap().stdout).unwrap().matches(": OK").count(), 2);

    let root = Chroot::new(&node, "root");
    let file = made.join(format!("{archive}.tar.gz"));
    succeed("tar", &["-xzf", file.to_str().unwrap(), "-C", root.path("/").to_str().unwrap()]);
    let inside = root.path(&archive);
    for program in ["braid", "braid-cluster"] {
        let built = executable().with_file_name(program);
        assert_eq!(fs::read(inside.join(program)).unwrap(), fs::read(built).unwrap(), "{program}");
    }
    let output = root
        .command(&format!("/{archive}/braid"))
        .args(["version", "-o", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // The manual is the program's own.
    let manual =
        succeed(executable().to_str().unwrap(), &["man", node.path("man").to_str().unwrap()]);
    assert!(manual.contains("braid-install.1"));
    let pages = names(&node.path("man")).into_iter().map(|page| format!("{page}.gz")).collect();
    assert_eq!(names(&inside.join("man")), pages);
    assert_eq!(names(&inside.join("completions")).len(), 3);
    for directory in ["conf", "conf/kubernetes", "conf/definitions", "conf/pods", "docs"] {
        assert_eq!(names(&inside.join(directory)), names(&Path::new(REPOSITORY).join(directory)));
    }
}

/// An object whose lists of named objects are sorted: a merge may change their order, which means
/// nothing to Kubernetes.
fn by_name(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(by_name).collect();
            list.sort_by_key(|item| item["name"].as_str().unwrap_or_default().to_owned());
            list.into()
        }
        Value::Object(object) => {
            object.into_iter().map(|(key, value)| (key, by_name(value))).collect()
        }
        other => other,
    }
}

/// kubectl and the renderer of the tests agree on what an overlay is. Debian has no kubectl that
/// knows components, so a machine of the tests alone may lack it.
#[test]
#[ignore = "needs kubectl 1.21 or later, as scripts/release does"]
fn each_overlay_is_one_manifest() {
    let node = Node::new();
    let made = make(&node, "target", "manifests");
    let overlays = Path::new(REPOSITORY).join("conf/kubernetes/overlays");
    let mut expected = BTreeSet::from(["SHA256SUMS".to_owned(), "crd.yaml".to_owned()]);
    let crd = Path::new(REPOSITORY).join("conf/kubernetes/crd.yaml");
    assert_eq!(fs::read(made.join("crd.yaml")).unwrap(), fs::read(crd).unwrap());
    for overlay in names(&overlays) {
        let file = format!("install-{overlay}.yaml");
        let sorted = |mut objects: Vec<serde_json::Value>| {
            objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]));
            objects
        };
        let rendered = sorted(crate::kustomize::render(&overlays.join(&overlay)));
        let written = sorted(crate::kustomize::documents(&made.join(&file)));
        assert_eq!(written.len(), rendered.len(), "{file}");
        for (written, rendered) in written.into_iter().zip(rendered) {
            assert_eq!(by_name(written), by_name(rendered), "{file}");
        }
        expected.insert(file);
    }
    assert_eq!(names(&made), expected);
}

#[test]
fn the_same_commit_makes_the_same_release() {
    let node = Node::new();
    let sums = ["one", "two"].map(|target| {
        fs::read_to_string(make(&node, target, "archive").join("SHA256SUMS")).unwrap()
    });
    assert_eq!(sums[0], sums[1]);
}

fn package() -> toml::Table {
    let text = fs::read_to_string(Path::new(REPOSITORY).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

/// Every file of the Debian package is one of the repository, or one that the script has put there.
#[test]
fn the_debian_package_finds_what_it_holds() {
    let node = Node::new();
    make(&node, "target", "archive");
    let assets = package()["assets"].as_array().unwrap().clone();
    let mut places = BTreeSet::new();
    for asset in &assets {
        let [source, place, mode] = [0, 1, 2].map(|at| asset[at].as_str().unwrap());
        assert!(
            ["755", "644", "777"].contains(&mode) && places.insert((source, place)),
            "{asset:?}"
        );
        let pattern = match source.strip_prefix("target/") {
            // cargo-deb looks for it where cargo has built it.
            Some("release/braid" | "release/braid-cluster") => continue,
            Some(made) => node.path("target").join(made),
            None => Path::new(REPOSITORY).join(source),
        };
        let found = glob::glob(pattern.to_str().unwrap()).unwrap().flatten();
        let found = found.filter(|path| path.symlink_metadata().is_ok()).count();
        let is_link = pattern.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        assert!(found > 0 || is_link, "{source} is nothing");
    }
    let link = fs::read_link(node.path("target/dist/package/plugin/braid")).unwrap();
    assert_eq!(Path::new("/usr/lib/cni").join(link), Path::new("/usr/lib/cni/../../bin/braid"));
}

/// The page about installation says what the Debian package holds, all of it.
#[test]
fn the_debian_package_holds_what_its_page_says() {
    let rows = crate::readme::page::table("Packages");
    let shown: Vec<&str> =
        rows.iter().flat_map(|row| crate::readme::page::codes(&row[0])).collect();
    let assets = package()["assets"].as_array().unwrap().clone();
    let places: Vec<String> = assets
        .iter()
        .map(|asset| {
            let [source, place] = [0, 1].map(|at| asset[at].as_str().unwrap());
            let name = if place.ends_with('/') { source.rsplit('/').next().unwrap() } else { "" };
            format!("/{place}{name}")
        })
        .collect();
    for shown in &shown {
        assert!(
            places.iter().any(|place| place.contains(shown)),
            "{shown} is not in the package: {places:?}"
        );
    }
    for place in &places {
        assert!(shown.iter().any(|shown| place.contains(shown)), "{place} is not on the page");
    }
}

/// The package does not go while a runtime's configuration names its plugin.
#[test]
fn the_package_leaves_the_node_first() {
    let node = Node::new();
    let scripts = Path::new(REPOSITORY).join(package()["maintainer-scripts"].as_str().unwrap());
    assert_eq!(names(&scripts), BTreeSet::from(["prerm".to_owned()]));
    let run = |braid_ends_with: u8, argument: &str| {
        let braid = node.path("shims/braid");
        node.write(
            "shims/braid",
            &format!("#!/bin/sh\necho \"braid $*\"\nexit {braid_ends_with}\n"),
        );
        fs::set_permissions(&braid, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", node.path_text("shims"));
        let output =
            Command::new(scripts.join("prerm")).arg(argument).env("PATH", path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(0, "remove"), (Some(0), "braid uninstall\n".to_owned()));
    assert_eq!(run(3, "remove"), (Some(1), "braid uninstall\n".to_owned()));
    assert_eq!(run(3, "upgrade"), (Some(0), String::new()));
}
