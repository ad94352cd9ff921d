//! Whom a rule is for: lists of namespaces, and things allowed in some namespaces only.

use crate::pod::name::Namespace;

/// A list of namespaces, or all of them (`*`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Namespaces {
    all: bool,
    names: Vec<Namespace>,
}

impl Namespaces {
    /// Every namespace.
    pub fn all() -> Self {
        Self { all: true, names: Vec::new() }
    }

    /// The namespaces that `words` name; `None` if one is neither a namespace nor `*`.
    pub fn from_words<'w>(words: impl IntoIterator<Item = &'w str>) -> Option<Self> {
        let mut list = Self::default();
        for word in words {
            match word {
                "*" => list.all = true,
                name => list.names.push(name.parse().ok()?),
            }
        }
        Some(list)
    }

    /// Whether the list names `namespace`.
    pub fn contains(&self, namespace: &Namespace) -> bool {
        self.all || self.names.contains(namespace)
    }
}

/// Things, each allowed in some namespaces.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scoped<T>(Vec<(T, Namespaces)>);

impl<T> Default for Scoped<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Scoped<T> {
    /// These things, each with where it is allowed.
    pub(crate) fn new(entries: Vec<(T, Namespaces)>) -> Self {
        Self(entries)
    }

    /// What is allowed in `namespace`.
    pub(crate) fn of<'s>(&'s self, namespace: &'s Namespace) -> impl Iterator<Item = &'s T> {
        let allowed = self.0.iter().filter(move |(_, namespaces)| namespaces.contains(namespace));
        allowed.map(|(thing, _)| thing)
    }
}

/// The words of an annotation: separated by commas, white space, or both.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_namespaces_or_all() {
        let contains = |list: &str, namespace: &str| {
            Namespaces::from_words(words(list))
                .map(|list| list.contains(&namespace.parse().unwrap()))
        };
        assert_eq!(contains("team-a, team-b", "team-b"), Some(true));
        assert_eq!(contains("team-a\nteam-b", "team-c"), Some(false));
        assert_eq!(contains("*", "team-c"), Some(true));
        assert_eq!(contains("", "team-c"), Some(false));
        assert_eq!(contains("team-*", "team-a"), None, "no patterns");
    }

    #[test]
    fn a_thing_is_allowed_where_its_list_says() {
        let scoped = Scoped::new(vec![
            ("everywhere", Namespaces::all()),
            ("here", Namespaces::from_words(["team-a"]).unwrap()),
        ]);
        let of =
            |namespace: &str| scoped.of(&namespace.parse().unwrap()).copied().collect::<Vec<_>>();
        assert_eq!((of("team-a"), of("team-b")), (vec!["everywhere", "here"], vec!["everywhere"]));
    }
}
