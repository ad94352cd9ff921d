//! The pages are plain, lead to one another, and name files and modules that are there.

use crate::source::files_of;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::REPOSITORY;
use crate::readme::page::{GENERATED, PAGES, Page, block, blocks};

#[test]
fn the_pages_are_plain() {
    for page in PAGES.iter() {
        for (at, line) in page.text.lines().enumerate() {
            assert!(
                !line.contains(['\u{2014}', '\u{2013}']),
                "{} line {}: a dash",
                page.file,
                at + 1
            );
            assert!(!line.ends_with(' '), "{} line {}: ends with a space", page.file, at + 1);
        }
    }
}

/// The README is read from its first line to its last; what is looked up is in `docs/`.
#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    let readme = &PAGES[0];
    assert!(readme.text.lines().count() <= 450, "{} lines", readme.text.lines().count());
    let linked: BTreeSet<&str> = readme.links().map(|(_, target)| target).collect();
    for page in PAGES.iter().skip(1).map(|page| page.file.as_str()).chain([GENERATED]) {
        assert!(linked.contains(page), "README.md has no link to {page}");
    }
}

/// Links of every page, of those beside the README too, to headings and files.
#[test]
fn every_link_leads_somewhere() {
    let beside = ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", GENERATED].map(Page::read);
    let mut links = 0;
    for page in PAGES.iter().chain(&beside) {
        for (line, target) in page.links().filter(|(_, target)| !target.starts_with("https://")) {
            let to = led_to(page, target)
                .unwrap_or_else(|why| panic!("{} line {line}: {why}", page.file));
            assert!(
                to.starts_with(REPOSITORY),
                "{} line {line}: {target} leads outside",
                page.file
            );
            links += 1;
        }
    }
    assert!(links > 60, "{links}");
}

/// The pages that people write, of every directory, are reached from the README in three clicks, and
/// their links lead somewhere, too.
#[test]
fn every_page_is_three_clicks_away() {
    let mut clicks = BTreeMap::from([("README.md".to_owned(), 0)]);
    let mut next = VecDeque::from(["README.md".to_owned()]);
    while let Some(file) = next.pop_front() {
        let page = Page::read(&file);
        for (line, target) in page.links().filter(|(_, target)| !target.starts_with("https://")) {
            let to =
                led_to(&page, target).unwrap_or_else(|why| panic!("{file} line {line}: {why}"));
            let to = to.strip_prefix(REPOSITORY).unwrap().to_string_lossy().into_owned();
            if to.ends_with(".md") && !clicks.contains_key(&to) {
                clicks.insert(to.clone(), clicks[&file] + 1);
                next.push_back(to);
            }
        }
    }
    let found = crate::node::succeed("find", &[&format!("{REPOSITORY}/docs"), "-name", "*.md"]);
    assert!(found.lines().count() > 40, "{found}");
    for page in found.lines() {
        let page = page.strip_prefix(&format!("{REPOSITORY}/")).unwrap();
        let count = clicks.get(page).unwrap_or_else(|| panic!("nothing leads to {page}"));
        assert!(*count <= 3, "{page} is {count} clicks away");
    }
}

/// The file that a link leads to, if it is there and has the heading.
fn led_to(page: &Page, target: &str) -> Result<PathBuf, String> {
    let (file, wanted) =
        target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let from = Path::new(REPOSITORY).join(&page.file);
    let path = if file.is_empty() { from } else { from.parent().unwrap_or(&from).join(file) };
    let path = fs::canonicalize(path).map_err(|error| format!("{target}: {error}"))?;
    let Some(wanted) = wanted else { return Ok(path) };
    let relative = path.strip_prefix(REPOSITORY).map_err(|_| format!("{target} leads outside"))?;
    let other = Page::read(relative.to_string_lossy());
    let found = other.headings().any(|heading| anchor(heading) == wanted);
    if found { Ok(path) } else { Err(format!("{target}: {} has no such heading", other.file)) }
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The modules and files that prose and pictures name are there.
#[test]
fn the_flow_is_that_of_the_program() {
    let flow = block("flow", "");
    let line = flow.text.lines().find(|line| line.contains(" > ")).expect("the flow");
    let steps: Vec<&str> = line.trim_matches(['|', ' ']).split(" > ").map(str::trim).collect();
    assert_eq!(steps.len(), 8, "{steps:?}");
    for module in steps.into_iter().chain(["ledger"]) {
        let found = [files_of(module), files_of(&format!("cni::{module}"))].concat();
        assert!(found.iter().any(|file| file.exists()), "no module {module}");
    }
    for plugin in ["bridge", "macvlan", "ptp", "vlan", "host-local", "static", "portmap"] {
        assert!(
            flow.text.contains(plugin) && Path::new(crate::node::PLUGIN_DIR).join(plugin).exists(),
            "{plugin}"
        );
    }
    for verb in ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"] {
        assert!(flow.text.contains(verb), "{verb}");
    }
}

#[test]
fn a_block_that_shows_a_file_is_the_file() {
    for block in blocks("file") {
        assert_eq!(
            block.text,
            super::conf::read(block.about),
            "{} and {}",
            block.place,
            block.about
        );
    }
    for block in blocks("entry") {
        let file: Value = serde_json::from_str(&super::conf::read(block.about)).unwrap();
        let entry = file["plugins"].as_array().unwrap().last();
        assert_eq!(Some(&block.json()), entry, "{} and {}", block.place, block.about);
    }
}
