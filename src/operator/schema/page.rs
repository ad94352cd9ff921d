//! The tables of the pages, which describe keys.

/// The pages, as they are in the repository.
pub(super) const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");
pub(super) const POLICY: &str = include_str!("../../../docs/policy.md");
pub(super) const PLUGINS: &str = include_str!("../../../docs/schema.md");

/// The rows of the first table of a page whose head begins with this cell.
pub(super) fn rows<'p>(page: &'p str, head: &str) -> impl Iterator<Item = Vec<&'p str>> {
    let start = format!("| {head} |");
    let lines = page.lines().skip_while(move |line| !line.starts_with(&start));
    // The head, and the line below it.
    lines.skip(2).take_while(|line| line.starts_with('|')).map(cells)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// What stands between the marks of code.
pub(super) fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// A cell without the marks of Markdown: links lead nowhere in a schema.
pub(super) fn plain(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((label, after)) = link.split_once("](") else { break };
        text.push_str(before);
        text.push_str(label);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.replace('`', "")
}
