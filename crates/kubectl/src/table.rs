//! A table as kubectl prints one: columns with three spaces between them.

/// The table; a sentence if it has no rows.
pub(crate) fn text(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "No resources found.\n".to_owned();
    }
    let head: Vec<String> = head.iter().map(|&word| word.to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |at: usize| {
        lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..head.len()).map(|at| width(at).unwrap_or_default()).collect();
    let line = |cells: &&Vec<String>| {
        let cells = cells.iter().zip(&widths);
        let padded = cells.map(|(cell, width)| {
            let cell = if cell.is_empty() { "-" } else { cell };
            format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count())))
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("   ").trim_end())
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["web".to_owned(), "net1".to_owned()], vec!["a".to_owned(), String::new()]];
        let expected = "POD   INTERFACE\nweb   net1\na     -\n";
        assert_eq!(text(&["POD", "INTERFACE"], &rows), expected);
        assert_eq!(text(&["POD"], &[]), "No resources found.\n");
    }
}
