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
    assert_eq!(of("kubectl-braid"), BTreeSet::new(), "it knows kubectl alone");
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
        if ["main", "lib", "bin"].contains(&own.as_str()) || file.ends_with("tests.rs") {
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

/// The longest file of the program, of the tests, and the longest function, in lines.
const FILE: usize = 400;
const TEST_FILE: usize = 500;
const FUNCTION: usize = 40;

/// Files below a directory of the repository, with their names in it.
fn sources(directory: &str) -> Vec<(String, String)> {
    let root = Path::new(REPOSITORY);
    let mut files = Vec::new();
    rust_files(&root.join(directory), &mut files);
    let name = |file: &Path| file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    files.iter().map(|file| (name(file), fs::read_to_string(file).unwrap())).collect()
}

/// Tests stand in `tests.rs`, in `tests/`, or behind this line.
fn without_tests(name: &str, text: &str) -> String {
    let is_tests = name.ends_with("tests.rs") || name.contains("/tests/");
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    if is_tests { String::new() } else { code.to_owned() }
}

/// The name and the length of each function that is longer than `limit`.
fn long_functions(text: &str, limit: usize) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let declaration = line.trim_start();
        let indent = line.len() - declaration.len();
        let words: Vec<&str> = declaration.split([' ', '(']).take(5).collect();
        let Some(at) = words.iter().position(|word| *word == "fn") else { continue };
        if declaration.starts_with("//") {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[start..].iter().position(|line| *line == end) else { continue };
        if length + 1 > limit {
            long.push((words[at + 1].to_owned(), length + 1));
        }
    }
    long
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut long = Vec::new();
    let program = [sources("src"), sources("crates")].concat();
    assert!(program.len() > 200, "the files are not read: {}", program.len());
    for (name, text) in &program {
        let code = without_tests(name, text);
        if code.lines().count() > FILE {
            long.push(format!("{name}: {} lines", code.lines().count()));
        }
        let functions = long_functions(&code, FUNCTION);
        long.extend(
            functions.iter().map(|(function, lines)| format!("{name}, {function}: {lines}")),
        );
    }
    let tests = sources("integration");
    let too_long = tests.iter().filter(|(_, text)| text.lines().count() > TEST_FILE);
    long.extend(too_long.map(|(name, text)| format!("{name}: {} lines", text.lines().count())));
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

#[test]
fn a_long_function_is_found() {
    let text =
        "impl A {\n    pub(crate) const fn b(\n        c: u8,\n    ) {\n    }\n}\nfn d() {}\n";
    assert_eq!(long_functions(text, 3), [("b".to_owned(), 4)]);
    assert_eq!(long_functions(text, 4), []);
}

/// The rooms of CONTRIBUTING.md are those of `src`.
#[test]
fn the_house_of_contributing_is_that_of_src() {
    let page = include_str!("../CONTRIBUTING.md");
    let table = page.split("| Room of `src/` | Holds |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let listed: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let files = sources("src").into_iter().map(|(name, _)| noun(&Path::new(REPOSITORY).join(name)));
    let rooms = files.filter(|room| !["main", "lib", "bin"].contains(&room.as_str()));
    assert_eq!(listed, rooms.collect());
}
