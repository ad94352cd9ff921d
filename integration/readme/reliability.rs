//! `docs/reliability.md`: every test that it names exists, and each promise has one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::REPOSITORY;
use super::page::codes;

const PAGE: &str = include_str!("../../docs/reliability.md");

/// The rows of its tables: a promise, and the tests that hold it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let rows = PAGE.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|line| !line.starts_with("| Promise |") && !line.starts_with("|---"));
    rows.map(|row| row.trim_matches('|').split_once(" | ").unwrap_or_else(|| panic!("torn: {row}"))).collect()
}

/// The tests of this target that are not left out.
fn integration_tests() -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let tests: Vec<_> =
        listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    assert!(tests.len() > 100, "{listed}");
    tests
}

/// Whether the library has this unit test: `ledger::tests::name` is in `src/ledger.rs` or in
/// `src/ledger/tests.rs`.
fn is_unit_test(name: &str) -> bool {
    let Some((module, function)) = name.split_once("::tests::") else { return false };
    let module = module.replace("::", "/");
    let files =
        [format!("src/{module}.rs"), format!("src/{module}/tests.rs"), format!("src/{module}/mod.rs")];
    files.iter().filter_map(|file| fs::read_to_string(Path::new(REPOSITORY).join(file)).ok()).any(|source| {
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let head = format!("fn {function}(");
        lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&head))
    })
}

#[test]
fn every_promise_names_tests_that_exist() {
    let known = integration_tests();
    let rows = rows();
    assert!(rows.len() > 20, "{rows:?}");
    for (promise, tests) in rows {
        let mut named = codes(tests).peekable();
        assert!(named.peek().is_some(), "no test holds: {promise}");
        for test in named {
            assert!(known.iter().any(|known| known == test) || is_unit_test(test), "there is no test {test}");
        }
    }
}
