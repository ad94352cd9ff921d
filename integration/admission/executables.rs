//! The two executables: `braid` starts `braid-cluster` for the commands that it does not have.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::node::BRAID;

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_command_of_the_cluster_is_started_beside_the_executable_that_a_link_leads_to() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("braid");
    symlink(BRAID, &link).unwrap();
    let output = run(&link, &["admission", "--certificates", "/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("/nowhere/tls.crt"), "{output:?}");
}

#[test]
fn without_the_other_executable_the_error_says_where_it_is_to_be_had() {
    let directory = tempfile::tempdir().unwrap();
    let alone = directory.path().join("braid");
    fs::copy(BRAID, &alone).unwrap();
    let output = run(&alone, &["admission"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "braid: admission is a command of braid-cluster, and {} is missing: the image, the archive",
        directory.path().join("braid-cluster").display()
    );
    assert!(error(&output).starts_with(&expected), "{output:?}");
    let help = run(&alone, &["admission", "--help"]);
    assert!(
        help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--self-signed")
    );
}

#[test]
fn the_executable_of_the_cluster_names_the_one_of_the_node_for_its_commands() {
    let cluster = Path::new(BRAID).with_file_name("braid-cluster");
    let output = run(&cluster, &["list"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(error(&output), "braid: list is a command of a node: run braid list\n");
    assert!(run(&cluster, &["version"]).status.success());
}
