//! docs/releases.md: its commands, run on what `scripts/release` has made of the executable that is
//! there, with doubles of cosign and skopeo. The double of cosign signs and verifies with openssl
//! what the real one does with a key of that kind: ECDSA on P-256 over SHA-256.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::REPOSITORY;
use super::page::{block, blocks, codes, table};
use crate::chroot::executable;
use crate::node::{Node, succeed};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const BLOCKS: [&str; 5] = ["verify", "import", "registry", "names", "sign"];

/// Takes the flags that cosign 2.4 and 3 have, and no other.
const COSIGN: &str = r#"#!/bin/bash
set -eu
verb=$1 key= bundle= && shift
while [ $# -gt 1 ]; do
    case $1 in
        --key) key=$2 && shift ;;
        --bundle) bundle=$2 && shift ;;
        --yes) [ "$verb" != verify-blob ] ;;
        --recursive) [ "$verb" = sign ] ;;
        *) echo "unknown flag: $1" >&2 && exit 1 ;;
    esac
    shift
done
case $verb in
    sign-blob) openssl dgst -sha256 -sign "$key" -out "$bundle" "$1" ;;
    verify-blob) openssl dgst -sha256 -verify "$key" -signature "$bundle" "$1" ;;
    sign) [ -s "$key" ] && echo "$1" >signed ;;
    *) exit 1 ;;
esac
"#;

/// Writes down what it is asked, and leaves a digest.
const SKOPEO: &str = r#"#!/bin/bash
set -eu
echo "$*" >>skopeo.calls
[ "$1" = copy ] && shift
while [[ "$1" = --* ]]; do
    case $1 in
        --all) ;;
        --digestfile) printf sha256:0123 >"$2" && shift ;;
        *) exit 1 ;;
    esac
    shift
done
archive=${1#oci-archive:} && [ -s "$archive" ]
case $2 in docker://* | containers-storage:*) ;; *) exit 1 ;; esac
"#;

/// The repository as it is to whom has it, with a release in it and a pair of keys.
struct Publisher<'n> {
    node: &'n Node,
    release: PathBuf,
}

impl<'n> Publisher<'n> {
    fn new(node: &'n Node) -> Self {
        for (name, text) in [("cosign", COSIGN), ("skopeo", SKOPEO), ("ctr", SKOPEO)] {
            node.write(&format!("shims/{name}"), text);
            let shim = node.path(&format!("shims/{name}"));
            fs::set_permissions(shim, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let executable = format!("amd64={}", executable().display());
        let mut command = Command::new(Path::new(REPOSITORY).join("scripts/release"));
        command.args(["--executable", &executable, "--parts", "archive image"]);
        let output = command.env("CARGO_TARGET_DIR", node.path("repo/target")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let release = node.path("repo/target/dist/release");
        // It is made already.
        node.write("repo/scripts/release", "#!/bin/sh\n[ $# -eq 0 ]\n");
        let script = node.path("repo/scripts/release");
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        let [private, public] = ["cosign.key", "cosign.pub"]
            .map(|name| release.join(name).to_str().unwrap().to_owned());
        let curve = "ec_paramgen_curve:prime256v1";
        succeed("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", &private]);
        succeed("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public]);
        Self { node, release }
    }

    fn sh(&self, text: &str, directory: &Path) -> Output {
        let path = format!("{}:{}", self.node.path_text("shims"), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-euc", text]).current_dir(directory).env("PATH", path);
        command.output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn a_release_is_signed_and_verified_as_the_page_says() {
    let about: Vec<&str> = blocks("release").into_iter().map(|block| block.about).collect();
    assert_eq!(about, BLOCKS);
    let node = Node::new();
    let publisher = Publisher::new(&node);
    let signed = publisher.sh(&block("release", "sign").text, &node.path("repo"));
    assert!(signed.status.success(), "{}", said(&signed));
    let image = fs::read_to_string(publisher.release.join("signed")).unwrap();
    assert_eq!(image, "registry.example.com/team/braid@sha256:0123\n");
    let verify = || publisher.sh(&block("release", "verify").text, &publisher.release);
    let verified = verify();
    assert!(verified.status.success(), "{}", said(&verified));
    assert_eq!(said(&verified).matches(": OK").count(), 2, "{}", said(&verified));
    // A changed file needs a changed list, and that another signature.
    let archive = publisher.release.join(format!("braid-{VERSION}-image.tar"));
    let whole = fs::read(&archive).unwrap();
    fs::write(&archive, &whole[1..]).unwrap();
    assert!(!verify().status.success());
    fs::write(&archive, &whole).unwrap();
    let sums = publisher.release.join("SHA256SUMS");
    let list = fs::read_to_string(&sums).unwrap();
    fs::write(&sums, list.replacen('0', "1", 1)).unwrap();
    assert!(!verify().status.success());
}

#[test]
fn the_image_goes_where_the_page_says() {
    let node = Node::new();
    let publisher = Publisher::new(&node);
    for line in
        block("release", "import").text.lines().chain(block("release", "registry").text.lines())
    {
        // ctr has its own words, and containerd's tests import the archive for real.
        let line =
            line.replace("ctr --namespace k8s.io images import ", "skopeo copy oci-archive:");
        let line = if line.contains("//") || line.contains("storage:") {
            line
        } else {
            format!("{line} docker://local")
        };
        let output = publisher.sh(&line, &publisher.release);
        assert!(output.status.success(), "{line}: {}", said(&output));
    }
}

/// The page names every file of a release, and no other.
#[test]
fn the_page_names_what_a_release_holds() {
    let shown: BTreeSet<String> = table("What a release holds")
        .iter()
        .flat_map(|row| codes(&row[0]).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let script = fs::read_to_string(Path::new(REPOSITORY).join("scripts/release")).unwrap();
    let head: Vec<&str> = script.lines().take_while(|line| line.starts_with('#')).collect();
    let listed =
        head.iter().filter_map(|line| line.strip_prefix("#   ")?.split_whitespace().next());
    for pattern in listed.filter(|word| word.contains('.') || *word == "SHA256SUMS") {
        let name = pattern.replace("VERSION", VERSION).replace("ARCH", "amd64");
        let found = shown.iter().any(|it| *it == name.replace("OVERLAY", "containerd"));
        assert!(found, "{name} is not on the page: {shown:?}");
    }
    let node = Node::new();
    let publisher = Publisher::new(&node);
    for made in fs::read_dir(&publisher.release).unwrap().flatten() {
        let name = made.file_name().into_string().unwrap();
        assert!(name.starts_with("cosign.") || shown.contains(&name), "{name}");
    }
}

/// Each word of the command is one that the script takes; `publisher` tests what it does.
#[test]
fn the_names_are_set_as_the_page_says() {
    let script = fs::read_to_string(Path::new(REPOSITORY).join("scripts/publisher")).unwrap();
    let text = &block("release", "names").text;
    for line in text.lines() {
        assert!(line.starts_with("scripts/publisher --"), "{line}");
        for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(script.contains(&format!("{option} ")), "{option}");
        }
    }
    let set = text.matches("--").count();
    assert_eq!(set, 4, "each of the four");
}
