//! Where a place inside a text stands in the file, if the text is a scalar of YAML or JSON there:
//! in quotes over several lines, with escapes, folded, or as a block. The text itself guides the
//! walk through the file, so that no rule of YAML is applied twice; what does not fit leads to the
//! scalar's beginning.

use super::{Spot, Text};

/// The place `inner` of `value`, which stands in `source` at `outer`.
pub(in crate::operator) fn inside(
    source: &Text<'_>,
    outer: Spot,
    value: &str,
    inner: Spot,
) -> Spot {
    let value: Vec<char> = value.chars().collect();
    let target = index_of(&value, inner);
    let mut cursor = Cursor::new(source, outer);
    if let Some((mark, header)) = block_header(source, outer) {
        let header = Cursor::new(source, Spot { line: header, column: 1 });
        let found = if mark == '|' {
            literal(header, &value, target)
        } else {
            folded(header, &value, target)
        };
        return found.unwrap_or(outer);
    }
    cursor.skip_properties();
    let found = match cursor.peek() {
        Some(quote @ ('"' | '\'')) => {
            cursor.at += 1;
            flow(cursor, &value, target, Some(quote))
        }
        _ => flow(cursor, &value, target, None),
    };
    found.unwrap_or(outer)
}

/// The mark of the block whose content begins at `content`, and the line that it stands in. A block
/// is known by where its content begins, which is behind a line that ends with the mark.
fn block_header(source: &Text<'_>, content: Spot) -> Option<(char, u64)> {
    let index = usize::try_from(content.line.checked_sub(1)?).ok()?;
    let column = usize::try_from(content.column.checked_sub(1)?).ok()?;
    let is_first = source.line(index)?.chars().take(column).all(is_blank);
    let is_content =
        |index: &usize| source.line(*index).is_some_and(|line| !line.trim().is_empty());
    let header = (0..index).rev().find(is_content).filter(|_| is_first)?;
    let line = source.line(header)?;
    let line = line.split_once(" #").map_or(line, |(line, _)| line);
    let word = line.split_whitespace().last()?;
    let mark = word.chars().next().filter(|mark| matches!(mark, '|' | '>'))?;
    let is_mark = word.chars().skip(1).all(|c| c.is_ascii_digit() || matches!(c, '+' | '-'));
    is_mark.then_some((mark, u64::try_from(header + 1).ok()?))
}

/// How many characters of `value` are in front of the place.
fn index_of(value: &[char], place: Spot) -> usize {
    let line = usize::try_from(place.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let column = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let breaks = value.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(at, _)| at + 1);
    let start = std::iter::once(0).chain(breaks).nth(line).unwrap_or(value.len());
    start.saturating_add(column).min(value.len())
}

/// A place in the lines of a file.
struct Cursor<'a> {
    rest: std::str::Lines<'a>,
    line: Vec<char>,
    /// Number of the line, from 1.
    number: u64,
    /// Characters of the line that are behind.
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(source: &Text<'a>, spot: Spot) -> Self {
        let before = usize::try_from(spot.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut rest = source.lines_from(before);
        let line = rest.next().unwrap_or_default().chars().collect();
        let at = usize::try_from(spot.column.saturating_sub(1)).unwrap_or(usize::MAX);
        Self { rest, line, number: spot.line, at }
    }

    fn peek(&self) -> Option<char> {
        self.line.get(self.at).copied()
    }

    fn spot(&self) -> Spot {
        let column = u64::try_from(self.at).unwrap_or(u64::MAX).saturating_add(1);
        Spot { line: self.number, column }
    }

    fn next_line(&mut self) -> Option<()> {
        self.line = self.rest.next()?.chars().collect();
        self.number += 1;
        self.at = 0;
        Some(())
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// Whether nothing but blanks is left of the line.
    fn is_at_end(&self) -> bool {
        self.line.iter().skip(self.at).all(|c| is_blank(*c))
    }

    /// Passes over the anchor and the tag in front of a scalar.
    fn skip_properties(&mut self) {
        while matches!(self.peek(), Some('&' | '!')) {
            while self.peek().is_some_and(|c| !is_blank(c)) {
                self.at += 1;
            }
            self.skip_blanks();
            if self.peek().is_none() && self.next_line().is_some() {
                self.skip_blanks();
            }
        }
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// A literal block: its lines are the text's, behind the indentation.
fn literal(mut cursor: Cursor<'_>, value: &[char], target: usize) -> Option<Spot> {
    let before = value.get(..target)?;
    let start = before.iter().rposition(|c| *c == '\n').map_or(0, |at| at + 1);
    for _ in 0..=before.iter().filter(|c| **c == '\n').count() {
        cursor.next_line()?;
    }
    let line: Vec<char> = value.iter().skip(start).take_while(|c| **c != '\n').copied().collect();
    cursor.at = cursor.line.len().checked_sub(line.len())? + (target - start);
    cursor.line.ends_with(&line).then(|| cursor.spot())
}

/// A folded block: a break between two lines is a space of the text, or some breaks.
fn folded(mut cursor: Cursor<'_>, value: &[char], target: usize) -> Option<Spot> {
    let spaces = |line: &[char]| line.iter().take_while(|c| **c == ' ').count();
    let text_indent = value.split(|c| *c == '\n').find(|line| !line.is_empty()).map_or(0, spaces);
    let mut indent = None;
    let mut passed = value.iter().take_while(|c| **c == '\n').count();
    while cursor.next_line().is_some() {
        if cursor.is_at_end() {
            continue;
        }
        let indent = *indent.get_or_insert(spaces(&cursor.line).saturating_sub(text_indent));
        let length = cursor.line.len().checked_sub(indent)?;
        if target <= passed + length {
            cursor.at = indent + target.checked_sub(passed)?;
            return Some(cursor.spot());
        }
        passed += length;
        let breaks = value.iter().skip(passed).take_while(|c| **c == '\n').count();
        passed += breaks.max(1);
    }
    None
}

/// A text in quotes, or without them, over any number of lines.
fn flow(
    mut cursor: Cursor<'_>,
    value: &[char],
    target: usize,
    quote: Option<char>,
) -> Option<Spot> {
    let mut passed = 0;
    while passed < target {
        if cursor.is_at_end() {
            passed += fold(&mut cursor)?;
        } else if quote == Some('"') && cursor.peek() == Some('\\') {
            passed += escape(&mut cursor)?;
        } else {
            let is_doubled = quote == Some('\'') && cursor.peek() == Some('\'');
            if cursor.peek() != value.get(passed).copied() {
                return None;
            }
            cursor.at += if is_doubled { 2 } else { 1 };
            passed += 1;
        }
    }
    Some(cursor.spot())
}

/// Goes to the next line that has something; returns how many characters of the text the breaks
/// are.
fn fold(cursor: &mut Cursor<'_>) -> Option<usize> {
    let mut breaks = 0_usize;
    loop {
        cursor.next_line()?;
        cursor.skip_blanks();
        breaks += 1;
        if cursor.peek().is_some() {
            return Some(breaks.saturating_sub(1).max(1));
        }
    }
}

/// Passes over an escape; returns how many characters of the text it is.
fn escape(cursor: &mut Cursor<'_>) -> Option<usize> {
    cursor.at += 1;
    let digits = match cursor.peek() {
        None => {
            cursor.next_line()?;
            cursor.skip_blanks();
            return Some(0);
        }
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        Some(_) => 0,
    };
    let is_first_half = digits == 4
        && matches!(
            cursor.line.get(cursor.at + 1..cursor.at + 3),
            Some(['d' | 'D', '8' | '9' | 'a' | 'b' | 'A' | 'B'])
        );
    cursor.at += 1 + digits;
    // JSON writes characters beyond the basic plane as two halves.
    if is_first_half && cursor.peek() == Some('\\') {
        cursor.at += 6;
    }
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::source::documents;

    /// The place of `needle` in the value of `a`, as found in the file, must be where `needle`
    /// stands.
    #[track_caller]
    fn assert_found(source: &str, needle: &str) {
        let document = documents(source).unwrap().remove(0);
        let node = document.get("a").unwrap();
        let value = node.text().unwrap();
        let (before, _) = value.split_once(needle).unwrap();
        let line = before.matches('\n').count() as u64 + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() as u64 + 1;
        let found = inside(&Text::new(source), node.spot, value, Spot { line, column });
        let line = source.lines().nth(usize::try_from(found.line).unwrap() - 1).unwrap();
        let rest: String = line.chars().skip(usize::try_from(found.column).unwrap() - 1).collect();
        assert!(rest.starts_with(needle), "{source:?}: {found:?}: {rest:?}");
    }

    #[test]
    fn a_text_in_any_style_leads_back_to_the_file() {
        let sources = [
            "a: 'one XX'",
            "a: 'it''s XX'",
            "a: '{\n    \"b\": 1,\n    XX\n  }'\n",
            "a: '{\n\n\n    \"b\": 1,   \n\tXX\n  }'\n",
            "a: \"{\n    \\\"b\\\": 1,\n    XX\n  }\"\n",
            "a: \"{\\n \\\"b\\\": 1,\\t\\x41\\u00e4 XX}\"\n",
            "a: \"one \\\n    two XX\"\n",
            "{\"a\": \"{\\n\\\"b\\\": \\\"\\ud83d\\ude00\\\", XX\"}",
            "a: one\n  two\n\n  XX\n",
            "a: ä ö XX",
            "a: &anchor 'one XX'",
            "a: !!str 'one XX'",
            "a: !!str\n  'one XX'",
            "a: |\n  one\n    two\n\n  XX three\n",
            "a: |2\n    one\n  XX\n",
            "a: |-\n\n  one\n  XX",
            "a: >\n  one\n  two\n\n  three\n    four\n  XX five\n",
            "a: >-\n  {\"b\": 1,\n  \"c\": 2,\n  XX}\n",
            "a: |\r\n  one\r\n  XX\r\n",
        ];
        for source in sources {
            assert_found(source, "XX");
        }
    }

    #[test]
    fn what_does_not_fit_leads_to_the_beginning() {
        let outer = Spot { line: 1, column: 4 };
        let inner = Spot { line: 1, column: 3 };
        assert_eq!(inside(&Text::new("a: 'xyz'"), outer, "other", inner), outer);
        assert_eq!(inside(&Text::new("a: |"), outer, "other", inner), outer);
        assert_eq!(inside(&Text::new(""), outer, "other", inner), outer);
    }
}
