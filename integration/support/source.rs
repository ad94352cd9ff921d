//! The sources of the program: where a module's file is, and what stands in all of them.

use std::fs;
use std::path::{Path, PathBuf};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The directories that the program is built from.
pub(crate) fn directories() -> Vec<PathBuf> {
    let crates = fs::read_dir(Path::new(REPOSITORY).join("crates")).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path().join("src")).filter(|path| path.is_dir());
    crates.chain([Path::new(REPOSITORY).join("src")]).collect()
}

/// The files that a module may be in: `ledger` is in `src`, `cni::error` in the crate `cni`.
pub(crate) fn files_of(module: &str) -> Vec<PathBuf> {
    let mut parts: Vec<&str> = module.split("::").collect();
    let in_crate = Path::new(REPOSITORY).join("crates").join(parts[0]).join("src");
    let directory = if in_crate.is_dir() {
        parts.remove(0);
        in_crate
    } else {
        Path::new(REPOSITORY).join("src")
    };
    let path = directory.join(parts.join("/"));
    let beside = |extension: &str| PathBuf::from(format!("{}{extension}", path.display()));
    vec![beside(".rs"), path.join("tests.rs"), path.join("mod.rs"), path.join("lib.rs")]
}

/// Whether the library has this unit test: `ledger::tests::name`, `ledger::tests::part::name`, or
/// `cni::error::tests::name`.
pub(crate) fn has_unit_test(name: &str) -> bool {
    let Some((module, function)) = name.split_once("::tests::") else { return false };
    match function.rsplit_once("::") {
        Some((part, function)) => files_of(&format!("{module}::tests::{part}"))
            .iter()
            .any(|file| has_test(file, function)),
        None => files_of(module).iter().any(|file| has_test(file, function)),
    }
}

/// Whether there is a test of this name, as `cargo nextest` writes it, in this target or in the
/// library.
pub(crate) fn test_exists(test: &str) -> bool {
    let (module, function) = test.rsplit_once("::").expect("a module in front");
    let path = module.replace("::", "/");
    let outer = path.rsplit_once('/').map_or("", |(outer, _)| outer);
    let here = [path.as_str(), outer].map(|module| format!("integration/{module}.rs"));
    let mut files = here.iter().map(|file| Path::new(REPOSITORY).join(file));
    files.any(|file| has_test(&file, function)) || has_unit_test(test)
}

/// Whether a test of this name is in the file.
pub(crate) fn has_test(file: &Path, function: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    has_function(&text, function) || runs_on_both_kinds_of_plugins(&text, function)
}

/// Whether a macro makes a test of it for each kind of plugins.
fn runs_on_both_kinds_of_plugins(text: &str, function: &str) -> bool {
    let lists = text.split("on_both_kinds_of_plugins!(").skip(1);
    let mut listed = lists.filter_map(|rest| rest.split(");").next()).flat_map(str::lines);
    let name = |line: &'_ str| line.trim().split([',', ':']).next().map(str::to_owned);
    listed.any(|line| name(line).as_deref() == Some(function))
}

fn has_function(text: &str, function: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    let mut is_test = false;
    lines.any(|line| {
        let found = is_test && line.starts_with(&format!("fn {function}("));
        is_test =
            line == "#[test]" || (is_test && (line.starts_with("#[") || line.starts_with("//")));
        found
    })
}

/// The text of every file of the program, without the tests that stand in them.
pub(crate) fn text() -> String {
    let mut text = String::new();
    directories().iter().for_each(|directory| read(directory, &mut text));
    text
}

fn read(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            read(&entry.path(), text);
        } else if entry.file_name() != "tests.rs" {
            let file = fs::read_to_string(entry.path()).unwrap();
            text.push_str(file.split("#[cfg(test)]").next().unwrap());
        }
    }
}
