//! The difference between two texts, as `diff -u` prints it.
//!
//! By Myers' algorithm alone: the library's own `TextDiff` links every algorithm that it knows.

use std::fmt::Write;

use similar::algorithms::{Capture, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{DiffOp, DiffTag, group_diff_ops};

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;

/// The changes from one text to another; empty if they are the same.
pub(super) fn unified(before: &str, after: &str) -> String {
    let (old, new) = (lines(before), lines(after));
    let mut found = Replace::new(Capture::new());
    // What captures the changes has no errors.
    let _ = myers::diff_deadline_raw(
        &mut found,
        old.as_slice(),
        0..old.len(),
        new.as_slice(),
        0..new.len(),
        None,
    );
    let hunks = group_diff_ops(found.into_inner().into_ops(), CONTEXT);
    let hunks = hunks.iter().filter(|hunk| hunk.iter().any(|op| op.tag() != DiffTag::Equal));
    hunks.map(|hunk| shown(hunk, &old, &new)).collect()
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn shown(hunk: &[DiffOp], old: &[&str], new: &[&str]) -> String {
    let mut text = format!("{}\n", UnifiedHunkHeader::new(hunk));
    for op in hunk {
        let removed = old.get(op.old_range()).unwrap_or_default();
        let added = new.get(op.new_range()).unwrap_or_default();
        match op.tag() {
            DiffTag::Equal => mark(&mut text, ' ', removed),
            DiffTag::Delete => mark(&mut text, '-', removed),
            DiffTag::Insert => mark(&mut text, '+', added),
            DiffTag::Replace => {
                mark(&mut text, '-', removed);
                mark(&mut text, '+', added);
            }
        }
    }
    text
}

fn mark(text: &mut String, sign: char, lines: &[&str]) {
    for line in lines {
        let end = if line.ends_with('\n') { "" } else { "\n\\ No newline at end of file\n" };
        // A text takes all that is written to it.
        let _ = write!(text, "{sign}{line}{end}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_three_lines_around_them() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let after = "1\n2\n3\n4\n5x\n6\n7\n8\n9";
        let expected = "@@ -2,8 +2,8 @@\n 2\n 3\n 4\n-5\n+5x\n 6\n 7\n 8\n-9\n+9\n\\ No newline at \
                        end of file\n";
        assert_eq!(unified(before, after), expected);
        assert_eq!(unified("", "a\n"), "@@ -0,0 +1 @@\n+a\n");
        assert_eq!(unified("a\n", ""), "@@ -1 +0,0 @@\n-a\n");
        assert_eq!(unified("a\n", "a\n"), "");
    }
}
