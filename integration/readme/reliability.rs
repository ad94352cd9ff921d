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

const SUPPORT: &str = include_str!("../../docs/support.md");

/// Every row of what is supported names the tests that say so.
#[test]
fn every_row_of_support_names_tests_that_exist() {
    let rows = SUPPORT.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let rows: Vec<&str> = rows.filter(|line| !line.ends_with("| Tests |")).collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let tests = row.trim_matches('|').rsplit(" | ").next().unwrap();
        let mut named = codes(tests).peekable();
        assert!(named.peek().is_some(), "no test holds: {row}");
        for test in named {
            assert!(has_test(test), "there is no test {test}");
        }
    }
}

/// The figures of the comparison are those of the page that says how they were measured.
#[test]
fn the_comparison_has_the_measured_figures() {
    let measured = include_str!("../../docs/performance.md");
    let comparison = include_str!("../../docs/comparison.md");
    let costs = comparison.split("## What it costs").nth(1).unwrap();
    let costs = costs.split("## ").next().unwrap();
    let rows = costs.lines().filter(|line| line.starts_with("| ADD") || line.starts_with("| DEL"));
    let prose = costs.lines().filter(|line| line.starts_with("whereabouts"));
    let others = costs.lines().filter(|line| line.contains("requests") || line.contains("memory"));
    let mut figures = 0;
    for line in rows.chain(prose).chain(others) {
        let is_figure = |c: char| c.is_ascii_digit() || c == '.';
        for figure in line.split(|c| !is_figure(c)).map(|word| word.trim_matches('.')) {
            if figure.parse::<f64>().is_ok() {
                assert!(measured.contains(figure), "{figure} of {line} was not measured");
                figures += 1;
            }
        }
    }
    assert!(figures > 30, "{figures}");
}

/// Whether there is a test of this name, of this target or of the crates.
pub(crate) fn has_test(name: &str) -> bool {
    integration_tests().iter().any(|known| known == name) || has_unit_test(name)
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
