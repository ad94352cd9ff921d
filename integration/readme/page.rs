//! README.md as data: its blocks, each with the comment in front that says how it is tested, its tables,
//! and its headings.

use std::sync::LazyLock;

use serde_json::Value;

/// The page.
pub(crate) const PAGE: &str = include_str!("../../README.md");

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its first line on the page, from 1.
    pub(crate) line: usize,
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
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("README.md line {}: {error}", self.line))
    }

    /// Every YAML document of the block.
    #[track_caller]
    pub(crate) fn yaml(&self) -> Vec<Value> {
        documents(&self.text).unwrap_or_else(|error| panic!("README.md line {}: {error}", self.line))
    }
}

pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    serde_saphyr::from_multiple(text).map_err(|error| error.to_string())
}

/// Every block, in order.
pub(crate) static BLOCKS: LazyLock<Vec<Block>> = LazyLock::new(|| {
    let lines: Vec<&'static str> = PAGE.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if let Some(language) = lines[at].trim_start().strip_prefix("```") {
            let (kind, about) = convention(&lines, at);
            let indent = lines[at].len() - lines[at].trim_start().len();
            let body = lines[at + 1..].iter().take_while(|line| line.trim() != "```");
            let body: Vec<&str> = body.map(|line| line.get(indent..).unwrap_or_default()).collect();
            blocks.push(Block { line: at + 1, kind, about, language, text: body.join("\n") + "\n" });
            at += body.len() + 1;
        }
        at += 1;
    }
    blocks
});

/// The comment in front of the block that starts at a line.
fn convention(lines: &[&'static str], at: usize) -> (&'static str, &'static str) {
    let before = at.checked_sub(1).map_or("", |before| lines[before].trim());
    let words = before.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
    let words = words.unwrap_or_else(|| {
        panic!("README.md line {}: no comment in front of the block says how it is tested", at + 1)
    });
    words.split_once(' ').unwrap_or((words, ""))
}

/// The blocks of a kind.
pub(crate) fn blocks(kind: &str) -> Vec<&'static Block> {
    let found: Vec<_> = BLOCKS.iter().filter(|block| block.kind == kind).collect();
    assert!(!found.is_empty(), "README.md has no block of kind {kind}");
    found
}

/// The one block of a kind that is about something.
#[track_caller]
pub(crate) fn block(kind: &str, about: &str) -> &'static Block {
    let found: Vec<_> = blocks(kind).into_iter().filter(|block| block.about == about).collect();
    assert_eq!(found.len(), 1, "blocks of kind {kind} about {about} in README.md");
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
        assert!(table.iter().all(|row| row.len() == table[0].len()), "a torn table below {heading}");
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

/// The lines below a heading, to the next heading.
#[track_caller]
pub(crate) fn section(heading: &str) -> Vec<&'static str> {
    let mut lines = outside_blocks().skip_while(|line| title(line) != Some(heading));
    assert!(lines.next().is_some(), "README.md has no heading {heading}");
    lines.take_while(|line| title(line).is_none()).collect()
}

/// The titles of all headings.
pub(crate) fn headings() -> Vec<&'static str> {
    outside_blocks().filter_map(title).collect()
}

fn outside_blocks() -> impl Iterator<Item = &'static str> {
    let mut inside = false;
    PAGE.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

fn title(line: &'static str) -> Option<&'static str> {
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
