//! `docs/reliability.md`: every test that it names exists, and each promise has one.

use crate::source::has_unit_test;
use std::process::Command;

use super::page::codes;

const PAGE: &str = include_str!("../../docs/reliability.md");

/// The rows of its tables: a promise, and the tests that hold it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let rows = PAGE.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|line| !line.starts_with("| Promise |") && !line.starts_with("|---"));
    rows.map(|row| row.trim_matches('|').split_once(" | ").unwrap_or_else(|| panic!("torn: {row}")))
        .collect()
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

#[test]
fn every_promise_names_tests_that_exist() {
    let known = integration_tests();
    let rows = rows();
    assert!(rows.len() > 20, "{rows:?}");
    for (promise, tests) in rows {
        let mut named = codes(tests).peekable();
        assert!(named.peek().is_some(), "no test holds: {promise}");
        for test in named {
            assert!(
                known.iter().any(|known| known == test) || has_unit_test(test),
                "there is no test {test}"
            );
        }
    }
}
