//! What has to change for a pod to have what its annotation asks for. Pure.

use crate::selection::Selection;

/// A network that the annotation has brought, or that an administrator has taken away since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Had<'r> {
    /// `namespace/name` of the definition.
    pub(super) label: &'r str,
    /// Its interface.
    pub(super) interface: &'r str,
    /// The element of the annotation, if it was recorded.
    pub(super) element: Option<&'r str>,
}

impl Had<'_> {
    /// Whether an element is this one, on this interface if it names one.
    pub(super) fn may_be(&self, selection: &Selection) -> bool {
        let name = selection.interface.as_ref();
        name.is_none_or(|name| name.as_str() == self.interface) && self.is_of(selection)
    }

    fn is_of(&self, selection: &Selection) -> bool {
        match self.element {
            Some(element) => element == selection.canonical(),
            None => self.label == format!("{}/{}", selection.namespace, selection.name),
        }
    }
}

/// The difference of an annotation and what a pod has.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Positions of those that the annotation does not ask for any more.
    pub(super) gone: Vec<usize>,
    /// Elements that are new.
    pub(super) new: Vec<Selection>,
    /// Elements among the new ones that the pod has under another interface: without an
    /// `interface`, the order says which is which, and it has changed.
    pub(super) reordered: Vec<String>,
}

/// Compares the elements of an annotation with what the pod has of it. An element with `interface`
/// is the one on that interface. Those without keep theirs as long as they stay in order.
pub(super) fn difference(had: &[Had<'_>], wanted: Vec<Selection>) -> Difference {
    let mut kept = vec![false; had.len()];
    let mut unnamed = Vec::new();
    let mut difference = Difference::default();
    for selection in wanted {
        let Some(name) = &selection.interface else {
            unnamed.push(selection);
            continue;
        };
        let is_it = |had: &Had<'_>| had.interface == name.as_str() && had.is_of(&selection);
        match had.iter().position(is_it).and_then(|at| kept.get_mut(at)) {
            Some(place) => *place = true,
            None => difference.new.push(selection),
        }
    }
    for selection in keep_in_order(had, &mut kept, unnamed) {
        difference.new.push(selection);
    }
    difference.new.sort_by_key(|selection| selection.position);
    let left = |at: &usize| kept.get(*at) == Some(&false);
    difference.gone = (0..had.len()).filter(left).collect();
    let is_gone = |selection: &&Selection| {
        let mut gone = difference.gone.iter().filter_map(|at| had.get(*at));
        selection.interface.is_none() && gone.any(|had| had.is_of(selection))
    };
    let reordered = difference.new.iter().filter(is_gone);
    let reordered = reordered.map(|selection| selection.element().to_string()).collect();
    Difference { reordered, ..difference }
}

/// Marks what the elements without an interface keep: as many as can be, in order. Returns those
/// that find nothing.
fn keep_in_order(had: &[Had<'_>], kept: &mut [bool], elements: Vec<Selection>) -> Vec<Selection> {
    let free: Vec<usize> = (0..had.len()).filter(|at| kept.get(*at) == Some(&false)).collect();
    let matches = |element: &Selection, at: usize| had.get(at).is_some_and(|it| it.is_of(element));
    let lengths = common_lengths(&elements, &free, matches);
    let length = |row: usize, column: usize| {
        lengths.get(row).and_then(|row| row.get(column)).copied().unwrap_or_default()
    };
    let mut column = 0;
    let mut new = Vec::new();
    for (row, element) in elements.into_iter().enumerate() {
        // What is passed over of the old costs none that could be kept.
        while free.get(column).is_some_and(|at| !matches(&element, *at))
            && length(row, column + 1) == length(row, column)
        {
            column += 1;
        }
        match free.get(column) {
            Some(at) if matches(&element, *at) => {
                if let Some(place) = kept.get_mut(*at) {
                    *place = true;
                }
                column += 1;
            }
            _ => new.push(element),
        }
    }
    new
}

/// How many of the elements from a row on can keep one of the old from a column on.
fn common_lengths(
    elements: &[Selection],
    free: &[usize],
    matches: impl Fn(&Selection, usize) -> bool,
) -> Vec<Vec<usize>> {
    let mut below = vec![0; free.len() + 1];
    let mut rows = vec![below.clone()];
    for element in elements.iter().rev() {
        let mut row = vec![0; free.len() + 1];
        for (column, at) in free.iter().enumerate().rev() {
            let cell = |row: &[usize], column: usize| row.get(column).copied().unwrap_or_default();
            let longest = match matches(element, *at) {
                true => cell(&below, column + 1) + 1,
                false => cell(&below, column).max(cell(&row, column + 1)),
            };
            if let Some(place) = row.get_mut(column) {
                *place = longest;
            }
        }
        below.clone_from(&row);
        rows.push(row);
    }
    rows.reverse();
    rows
}

#[cfg(test)]
mod tests;
