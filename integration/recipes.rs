//! `docs/recipes/`: each page of a platform is walked on a root of that layout, and each page of a
//! use is attached; every file of `conf/recipes/` belongs to one of them.
//!
//! What a page says is what its test does: the command of its block installs Braid, the table names
//! the primary's file, the mode and the directories, and what the primary's plugin needs. A stub of
//! the plugin fails without that.

mod page;
mod platforms;
mod uses;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::recipes::page::Recipe;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The files below a directory of the repository, by their paths in it.
fn files_below(directory: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![Path::new(REPOSITORY).join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path => files.push(path.strip_prefix(REPOSITORY).unwrap().to_owned()),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_page_has_a_test_and_fits_a_screen() {
    let tested: BTreeSet<&str> = platforms::TESTED.iter().chain(uses::TESTED).copied().collect();
    let names: Vec<String> = Recipe::all().into_iter().map(|recipe| recipe.name).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), tested);
    for name in names {
        let recipe = Recipe::read(&name);
        let lines = recipe.text.lines().count();
        assert!(lines <= 60, "docs/recipes/{name}.md has {lines} lines: more than a screen");
    }
}

/// A page names its test, and says where it was not tried.
#[test]
fn every_page_says_how_it_was_tried() {
    for recipe in Recipe::all() {
        let tried = recipe.cell("Tried");
        assert!(tried.contains("Not tried on"), "{}: {tried}", recipe.name);
        let test = recipe.codes("Tried").first().cloned().unwrap_or_default();
        let modules = ["platforms", "uses"].map(|module| format!("recipes::{module}::"));
        assert!(modules.iter().any(|module| test.starts_with(module)), "{}: {test}", recipe.name);
        assert!(crate::readme::reliability::has_test(&test), "{}: no test {test}", recipe.name);
    }
}

#[test]
fn every_file_belongs_to_a_page_and_is_valid() {
    let pages: BTreeSet<String> = Recipe::all().into_iter().map(|recipe| recipe.name).collect();
    for file in files_below("conf/recipes") {
        let name = file.iter().nth(2).unwrap().to_str().unwrap();
        assert!(pages.contains(name), "{} has no page", file.display());
        let text = fs::read_to_string(Path::new(REPOSITORY).join(&file)).unwrap();
        let extension = file.extension().map(|it| it.to_string_lossy().into_owned());
        match extension.as_deref() {
            Some("yaml") => {
                let documents = crate::readme::page::documents(&text);
                let documents = documents.unwrap_or_else(|error| panic!("{file:?}: {error}"));
                assert!(!documents.is_empty(), "{file:?}");
            }
            Some("json" | "conf" | "conflist")
                if !file.iter().any(|part| part == "crio.conf.d") =>
            {
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
                parsed.unwrap_or_else(|error| panic!("{file:?}: {error}"));
            }
            Some("toml") => drop(text.parse::<toml::Table>().unwrap()),
            _ => {}
        }
    }
}

/// What is not part of a root is named by the page, and blocks that show a file are the file.
#[test]
fn every_file_is_named_by_its_page() {
    for file in files_below("conf/recipes") {
        let recipe = Recipe::read(file.iter().nth(2).unwrap().to_str().unwrap());
        let is_of_root = file.iter().nth(3).is_some_and(|part| part == "root");
        let link = format!("../../{}", file.display());
        assert!(is_of_root || recipe.text.contains(&link), "{} names no {link}", recipe.name);
    }
    for recipe in Recipe::all() {
        for (file, block) in recipe.files() {
            let text = fs::read_to_string(Path::new(REPOSITORY).join(&file)).unwrap();
            assert_eq!(block, text, "{} and {file}", recipe.name);
        }
    }
}

/// The list has every page, with the file and the mode of its table.
#[test]
fn the_list_is_that_of_the_pages() {
    let list = fs::read_to_string(Path::new(REPOSITORY).join("docs/recipes.md")).unwrap();
    for recipe in Recipe::all() {
        let link = format!("](recipes/{}.md)", recipe.name);
        let row = list.lines().find(|line| line.contains(&link));
        let row = row.unwrap_or_else(|| panic!("docs/recipes.md has no {link}"));
        if platforms::TESTED.contains(&recipe.name.as_str()) {
            let file = recipe.codes("Primary's file").remove(0);
            assert!(row.contains(&format!("`{}`", file.rsplit('/').next().unwrap())), "{row}");
            let is_delegating = recipe.codes("Mode")[0] == "delegating";
            assert_eq!(row.ends_with("| delegating |"), is_delegating, "{row}");
        }
    }
}

/// Links of the pages lead to files that are there.
#[test]
fn every_link_leads_to_a_file() {
    for recipe in Recipe::all() {
        let links = recipe.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let path =
                Path::new(REPOSITORY).join("docs/recipes").join(link.split('#').next().unwrap());
            assert!(path.exists(), "{}: {link}", recipe.name);
        }
    }
}
