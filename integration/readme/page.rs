//! README.md and the pages of `docs/` as data: their blocks, each with the comment in front that
//! says how it is tested, their tables, and their headings. What is asked for by its heading has
//! that heading alone.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

use super::REPOSITORY;

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// The page that is generated from the commands; `operator::pages` compares the two.
pub(crate) const GENERATED: &str = "docs/cli.md";

/// README.md, then every page of `docs/` that people write, by name.
pub(crate) static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    let files = fs::read_dir(Path::new(REPOSITORY).join("docs")).unwrap().flatten();
    // The pages of a directory have their tests in the module of its name.
    let files = files.filter(|file| file.path().extension().is_some_and(|it| it == "md"));
    let mut files: Vec<String> =
        files.map(|file| format!("docs/{}", file.file_name().to_string_lossy())).collect();
    files.retain(|file| file != GENERATED);
    files.sort();
    files.insert(0, "README.md".to_owned());
    files.into_iter().map(Page::read).collect()
});

impl Page {
    #[track_caller]
    pub(crate) fn read(file: impl Into<String>) -> Self {
        let file = file.into();
        let text = super::conf::read(&file);
        Self { file, text }
    }

    /// Its lines outside blocks, each with its number.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut inside = false;
        let numbered = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(move |(_, line)| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }

    /// The titles of its headings.
    pub(crate) fn headings(&self) -> impl Iterator<Item = &str> {
        self.prose().filter_map(|(_, line)| title(line))
    }

    /// The targets of its links, each with its line.
    pub(crate) fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose().flat_map(|(at, line)| {
            line.split("](").skip(1).filter_map(move |rest| Some((at, rest.split(')').next()?)))
        })
    }
}

/// Whether a page has this sentence.
pub(crate) fn says(sentence: &str) -> bool {
    PAGES.iter().any(|page| page.text.contains(sentence))
}

/// Where something is on a page, for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) file: &'static str,
    /// From 1.
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)
    }
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its first line.
    pub(crate) place: Place,
    /// What the comment in front says after `test:`, its first word apart.
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
    /// What is written behind the fence.
    pub(crate) language: &'static str,
    pub(crate) text: String,
}

impl Block {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.place))
    }

    /// Every YAML document of the block.
    #[track_caller]
    pub(crate) fn yaml(&self) -> Vec<Value> {
        documents(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.place))
    }
}

pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    serde_saphyr::from_multiple(text).map_err(|error| error.to_string())
}

/// Every block, in order.
pub(crate) static BLOCKS: LazyLock<Vec<Block>> =
    LazyLock::new(|| PAGES.iter().flat_map(blocks_of).collect());

fn blocks_of(page: &'static Page) -> Vec<Block> {
    let lines: Vec<&'static str> = page.text.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if let Some(language) = lines[at].trim_start().strip_prefix("```") {
            let place = Place { file: &page.file, line: at + 1 };
            let (kind, about) = convention(&lines, place);
            let indent = lines[at].len() - lines[at].trim_start().len();
            let body = lines[at + 1..].iter().take_while(|line| line.trim() != "```");
            let body: Vec<&str> = body.map(|line| line.get(indent..).unwrap_or_default()).collect();
            blocks.push(Block { place, kind, about, language, text: body.join("\n") + "\n" });
            at += body.len() + 1;
        }
        at += 1;
    }
    blocks
}

/// The comment in front of the block that starts there.
fn convention(lines: &[&'static str], place: Place) -> (&'static str, &'static str) {
    let before = place.line.checked_sub(2).map_or("", |before| lines[before].trim());
    let words = before.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
    let words = words.unwrap_or_else(|| {
        panic!("{place}: no comment in front of the block says how it is tested")
    });
    words.split_once(' ').unwrap_or((words, ""))
}

/// The blocks of a kind.
pub(crate) fn blocks(kind: &str) -> Vec<&'static Block> {
    let found: Vec<_> = BLOCKS.iter().filter(|block| block.kind == kind).collect();
    assert!(!found.is_empty(), "no page has a block of kind {kind}");
    found
}

/// The one block of a kind that is about something.
#[track_caller]
pub(crate) fn block(kind: &str, about: &str) -> &'static Block {
    let found: Vec<_> = blocks(kind).into_iter().filter(|block| block.about == about).collect();
    assert_eq!(found.len(), 1, "blocks of kind {kind} about {about}");
    found[0]
}

/// A table: its rows below the head, each cell as written.
pub(crate) type Table = Vec<Vec<String>>;

/// The tables below a heading, to the next heading.
#[track_caller]
pub(crate) fn tables(heading: &str) -> Vec<Table> {
    let lines = section(heading);
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in lines {
        let is_row = line.starts_with('|');
        if is_row && !inside {
            tables.push(Table::new());
        }
        inside = is_row;
        if is_row {
            tables.last_mut().unwrap().push(cells(line));
        }
    }
    for table in &mut tables {
        assert!(table.len() > 2, "an empty table below {heading}");
        assert!(
            table.iter().all(|row| row.len() == table[0].len()),
            "a torn table below {heading}"
        );
        table.drain(..2);
    }
    assert!(!tables.is_empty(), "no table below {heading}");
    tables
}

/// The one table below a heading.
#[track_caller]
pub(crate) fn table(heading: &str) -> Table {
    let mut tables = tables(heading);
    assert_eq!(tables.len(), 1, "tables below {heading}");
    tables.remove(0)
}

/// The lines below the one heading of that title, to the next heading.
#[track_caller]
pub(crate) fn section(heading: &str) -> Vec<&'static str> {
    let pages: Vec<&'static Page> =
        PAGES.iter().filter(|page| page.headings().any(|title| title == heading)).collect();
    assert_eq!(
        pages.len(),
        1,
        "pages with a heading {heading}: {:?}",
        pages.iter().map(|page| &page.file)
    );
    let mut lines =
        pages[0].prose().map(|(_, line)| line).skip_while(|line| title(line) != Some(heading));
    lines.next();
    lines.take_while(|line| title(line).is_none()).collect()
}

fn title(line: &str) -> Option<&str> {
    line.starts_with('#').then(|| line.trim_start_matches('#').trim())
}

/// The cells of a row. A `|` inside backticks is text.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for character in line.trim().trim_matches('|').chars() {
        quoted ^= character == '`';
        match character {
            '|' if !quoted => cells.push(String::new()),
            other => cells.last_mut().unwrap().push(other),
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The text between the first pair of backticks.
#[track_caller]
pub(crate) fn code(cell: &str) -> &str {
    codes(cell).next().unwrap_or_else(|| panic!("no `code` in the cell {cell}"))
}

/// Every text between backticks.
pub(crate) fn codes(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}
