//! The scripts that the pages name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::REPOSITORY;
use crate::readme::page::blocks;

/// The scripts themselves are run by `.ci/run` and by people who measure; here they are programs
/// that their interpreter can read.
#[test]
fn the_scripts_are_there() {
    for block in blocks("scripts") {
        for line in block.text.lines() {
            let script = Path::new(REPOSITORY).join(line.split_whitespace().next().unwrap());
            let metadata = fs::metadata(&script)
                .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
            assert_eq!(
                metadata.permissions().mode() & 0o111,
                0o111,
                "{} cannot be started",
                script.display()
            );
            let read = reader(&fs::read_to_string(&script).unwrap()).arg(&script).status().unwrap();
            assert!(read.success(), "{} has a syntax error", script.display());
        }
    }
}

/// `--help` shows what stands at a script's head, and what it does not know is refused: neither
/// starts what the script is for.
#[test]
fn every_script_teaches_and_refuses() {
    let scripts = fs::read_dir(Path::new(REPOSITORY).join("scripts")).unwrap().flatten();
    let mut seen = 0;
    for script in scripts.map(|entry| entry.path()) {
        let run = |argument: &str| Command::new(&script).arg(argument).output().unwrap();
        let text = fs::read_to_string(&script).unwrap();
        let head = text.lines().nth(1).unwrap().trim_start_matches(['#', '"', ' ']);
        let (help, refusal) = (run("--help"), run("--no-such-option"));
        assert!(help.status.success() && help.stderr.is_empty(), "{}: {help:?}", script.display());
        assert!(
            String::from_utf8_lossy(&help.stdout).starts_with(head),
            "{}: {help:?}",
            script.display()
        );
        let said = String::from_utf8_lossy(&refusal.stderr).into_owned();
        let names_it = said
            .lines()
            .next()
            .is_some_and(|line| line.ends_with(" does not know: --no-such-option"));
        assert!(names_it && said.contains(head), "{}: {said}", script.display());
        assert_eq!(
            (refusal.status.code(), refusal.stdout.len()),
            (Some(2), 0),
            "{}",
            script.display()
        );
        seen += 1;
    }
    assert!(seen > 8, "{seen}");
}

/// The interpreter of a script, told to read and not to run.
fn reader(script: &str) -> Command {
    match script.lines().next().unwrap_or_default() {
        "#!/usr/bin/env bash" => {
            let mut bash = Command::new("bash");
            bash.arg("-n");
            bash
        }
        "#!/usr/bin/env python3" => {
            let mut python = Command::new("python3");
            python.args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"]);
            python
        }
        other => panic!("no reader for {other}"),
    }
}
