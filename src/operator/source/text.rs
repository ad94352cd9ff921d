//! A text with the beginning of each of its lines.

/// A text whose lines are found without reading those before them: each place of each problem in a
/// large cluster's pods is.
pub(in crate::operator) struct Text<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Text<'t> {
    pub(in crate::operator) fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect() }
    }

    /// The lines from that of this index, counted from 0.
    pub(super) fn lines_from(&self, index: usize) -> std::str::Lines<'t> {
        let rest = self.starts.get(index).and_then(|start| self.text.get(*start..));
        rest.unwrap_or_default().lines()
    }

    pub(super) fn line(&self, index: usize) -> Option<&'t str> {
        self.lines_from(index).next()
    }
}
