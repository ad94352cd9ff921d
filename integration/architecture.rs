//! The direction of the house: which crate may know which, and no cycle between the folders of
//! `src`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// Each noun of `src` with those that its files import, and a file that does.
type Imports = BTreeMap<String, BTreeMap<String, PathBuf>>;

/// The crates of the workspace that a crate depends on.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    let ours =
        all.filter(|dependency| dependency["path"].is_string() && dependency["kind"].is_null());
    ours.map(|dependency| dependency["name"].as_str().unwrap()).collect()
}

#[test]
fn a_crate_knows_only_those_below_it() {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(REPOSITORY);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let of =
        |name: &str| dependencies(packages.iter().find(|package| package["name"] == name).unwrap());
    assert_eq!(of("braid-cni"), BTreeSet::new());
    assert_eq!(of("braid-linux"), BTreeSet::new());
    assert!(of("braid-plugins").is_subset(&BTreeSet::from(["braid-cni", "braid-linux"])));
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The noun that a file of `src` belongs to.
fn noun(file: &Path) -> String {
    let first =
        file.strip_prefix(Path::new(REPOSITORY).join("src")).unwrap().iter().next().unwrap();
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// What stands behind `crate::` in a file, without its tests and comments.
fn imported(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let names = code.split("crate::").skip(1);
    names.map(|rest| rest.split(ends).next().unwrap_or_default().to_owned()).collect()
}

fn imports() -> Imports {
    let mut files = Vec::new();
    rust_files(&Path::new(REPOSITORY).join("src"), &mut files);
    let nouns: BTreeSet<String> = files.iter().map(|file| noun(file)).collect();
    let mut imports = Imports::new();
    for file in files {
        let own = noun(&file);
        // The roots name all modules; tests may reach anywhere.
        if ["main", "lib"].contains(&own.as_str()) || file.ends_with("tests.rs") {
            continue;
        }
        let names = imported(&fs::read_to_string(&file).unwrap());
        for name in names.into_iter().filter(|name| *name != own && nouns.contains(name)) {
            imports.entry(own.clone()).or_default().entry(name).or_insert(file.clone());
        }
    }
    imports
}

/// A way from `from` back to itself, if there is one.
fn cycle(imports: &Imports, from: &str) -> Option<Vec<String>> {
    let mut paths = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop() {
        let last = path.last()?.clone();
        for next in imports.get(&last).into_iter().flat_map(BTreeMap::keys) {
            if next == from {
                return Some(path);
            }
            if seen.insert(next.clone()) {
                paths.push([path.clone(), vec![next.clone()]].concat());
            }
        }
    }
    None
}

#[test]
fn the_folders_of_src_have_no_cycle() {
    let imports = imports();
    assert!(
        imports.len() > 12 && imports["verb"].contains_key("plan"),
        "the imports are not read: {imports:?}"
    );
    for from in imports.keys() {
        if let Some(path) = cycle(&imports, from) {
            let hops = path.iter().zip(path.iter().skip(1).chain([from]));
            let hops: Vec<_> = hops
                .map(|(a, b)| format!("{a} imports {b} in {}", imports[a][b].display()))
                .collect();
            panic!("{}", hops.join("\n"));
        }
    }
}

#[test]
fn a_cycle_is_found() {
    let file = PathBuf::new;
    let imports = Imports::from([
        ("a".to_owned(), BTreeMap::from([("b".to_owned(), file())])),
        ("b".to_owned(), BTreeMap::from([("c".to_owned(), file()), ("a".to_owned(), file())])),
    ]);
    assert_eq!(cycle(&imports, "a").unwrap(), ["a", "b"]);
    assert_eq!(cycle(&imports, "c"), None);
}
