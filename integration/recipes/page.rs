//! A page of `docs/recipes/` as data: its table, its commands, and the files that it shows.

use std::fs;
use std::path::Path;

use super::REPOSITORY;

/// A page.
pub(super) struct Recipe {
    /// Its file's name without the ending; its files are in `conf/recipes/<name>`.
    pub(super) name: String,
    pub(super) text: String,
}

impl Recipe {
    #[track_caller]
    pub(super) fn read(name: &str) -> Self {
        let path = Path::new(REPOSITORY).join(format!("docs/recipes/{name}.md"));
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// Every page, by name.
    pub(super) fn all() -> Vec<Self> {
        let entries = fs::read_dir(Path::new(REPOSITORY).join("docs/recipes")).unwrap().flatten();
        let files = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> =
            files.map(|file| file.strip_suffix(".md").expect("a page").to_owned()).collect();
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// A file of the recipe, in the repository.
    pub(super) fn file(&self, relative: &str) -> std::path::PathBuf {
        Path::new(REPOSITORY).join("conf/recipes").join(&self.name).join(relative)
    }

    /// The second cell of the row that begins so.
    #[track_caller]
    pub(super) fn cell(&self, row: &str) -> &str {
        let start = format!("| {row} | ");
        let line = self.text.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("{}: no row {row}", self.name));
        line.trim_end_matches('|').trim()
    }

    /// What stands between backticks in a row.
    #[track_caller]
    pub(super) fn codes(&self, row: &str) -> Vec<String> {
        self.cell(row).split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// What a stub insists on: the pointers and variables of a row.
    #[track_caller]
    pub(super) fn needs(&self, row: &str) -> Vec<String> {
        let is_variable = |code: &String| {
            code.starts_with("/prevResult")
                || code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        self.codes(row).into_iter().filter(is_variable).collect()
    }

    /// The words behind `braid install` in the page's block.
    #[track_caller]
    pub(super) fn installation(&self) -> Vec<String> {
        let line = self.text.lines().find_map(|line| line.strip_prefix("braid install"));
        let line = line.unwrap_or_else(|| panic!("{}: no command that installs", self.name));
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// Every block that shows a file: the file, and the text.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let shown = self.text.split("<!-- file: ").skip(1).map(|rest| {
            let (file, rest) = rest.split_once(" -->\n```").unwrap();
            let body = rest.split_once('\n').unwrap().1.split("```").next().unwrap();
            (file.to_owned(), body.to_owned())
        });
        shown.collect()
    }
}
