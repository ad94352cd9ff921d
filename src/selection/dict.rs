//! One JSON object of the annotation, read key by key; each refusal names the key's whole path.

use std::cell::RefCell;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::{Refusal, Rule};
use cni::keys;
use cni::quoted::Quoted;

/// An object and where it stands: `""` for an element, `"portMappings[0]."` inside one.
pub(super) struct Dict<'a> {
    path: String,
    object: &'a Map<String, Value>,
    /// Where unknown keys are taken down; without it they are refused.
    ignored: Option<&'a RefCell<Vec<Refusal>>>,
}

/// The most unknown keys of an element that are taken down: each becomes a line of the log.
const MAX_IGNORED: usize = 8;

impl<'a> Dict<'a> {
    /// An element of the annotation; unknown keys go to `ignored`, if it is there.
    pub(super) fn new(
        object: &'a Map<String, Value>,
        ignored: Option<&'a RefCell<Vec<Refusal>>>,
    ) -> Self {
        Self { path: String::new(), object, ignored }
    }

    /// An object inside this one, at `path`.
    pub(super) fn inner(&self, path: &str, object: &'a Map<String, Value>) -> Self {
        Self { path: format!("{path}."), object, ignored: self.ignored }
    }

    /// Refuses keys that are not `known`, and known keys spelt in two ways.
    ///
    /// `foreign` keys, those with a period, belong to others (section 4.1.2.1).
    pub(super) fn check_keys(&self, known: &[&'static str], foreign: bool) -> Result<(), Refusal> {
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for word in self.object.keys() {
            let Some(key) = known.iter().copied().find(|key| key.eq_ignore_ascii_case(word)) else {
                if foreign && word.contains('.') {
                    continue;
                }
                self.unknown_key(word, known)?;
                continue;
            };
            if let Some((_, other)) = seen.iter().find(|(first, _)| *first == key) {
                return Err(self.key_refusal(word, Rule::SameKey { other: Quoted::text(other) }));
            }
            seen.push((key, word));
        }
        Ok(())
    }

    /// Refuses a key that is not known, or takes it down as passed over.
    fn unknown_key(&self, word: &str, known: &[&'static str]) -> Result<(), Refusal> {
        let rule = match nearest(word, known) {
            None if self.path.is_empty() && word.eq_ignore_ascii_case("gateway") => Rule::Gateway,
            nearest => Rule::UnknownKey { nearest },
        };
        let refusal = self.key_refusal(word, rule);
        let Some(ignored) = self.ignored else { return Err(refusal) };
        if ignored.borrow().len() < MAX_IGNORED {
            ignored.borrow_mut().push(refusal);
        }
        Ok(())
    }

    /// The value of `key`, if it is there and not `null`.
    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        keys::get(self.object, key)
    }

    /// A refusal of `value`, which `key` has.
    pub(super) fn refusal(&self, key: &str, value: &Value, rule: impl Into<Rule>) -> Refusal {
        Refusal::value(&self.path_of(key), Quoted::value(value), rule)
    }

    /// A refusal of `key` itself.
    pub(super) fn key_refusal(&self, key: &str, rule: Rule) -> Refusal {
        Refusal::key(&self.path_of(key), rule)
    }

    /// The path of `key` from the element down.
    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// A string.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        self.typed(key, Value::as_str, "a string")
    }

    /// An object.
    pub(super) fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, Refusal> {
        self.typed(key, Value::as_object, "an object")
    }

    /// A string that `read` accepts.
    pub(super) fn read<T, E: Into<Rule>>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refusal> {
        let parsed = self.text(key)?.map(|text| {
            read(text).map_err(|rule| Refusal::value(&self.path_of(key), Quoted::text(text), rule))
        });
        parsed.transpose()
    }

    /// A string that reads as a `T`.
    pub(super) fn parsed<T: FromStr<Err: Into<Rule>>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, Refusal> {
        self.read(key, T::from_str)
    }

    /// The same for a key that can be left out. Multus passes over an empty text, which the
    /// standard does not allow: it is what a template leaves of a value that was not set.
    pub(super) fn optional<T, E: Into<Rule>>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refusal> {
        if self.text(key)? == Some("") {
            return Err(self.key_refusal(key, Rule::Empty));
        }
        self.read(key, read)
    }

    /// A list of `least` to `most` entries.
    pub(super) fn list(
        &self,
        key: &str,
        least: usize,
        most: usize,
    ) -> Result<Option<&'a [Value]>, Refusal> {
        let Some(list) = self.typed(key, Value::as_array, "a list")? else { return Ok(None) };
        match list.len() {
            0 if least > 0 => Err(self.key_refusal(key, Rule::Empty)),
            length if (least..=most).contains(&length) => Ok(Some(list)),
            _ => Err(self.key_refusal(key, Rule::Entries { least, most })),
        }
    }

    /// A list of strings that `read` accepts, all different in what `same` gives.
    pub(super) fn distinct<T, K: PartialEq>(
        &self,
        key: &str,
        (least, most): (usize, usize),
        read: impl Fn(&str) -> Result<T, Rule>,
        same: impl Fn(&T) -> K,
    ) -> Result<Option<Vec<T>>, Refusal> {
        let Some(list) = self.list(key, least, most)? else { return Ok(None) };
        let mut entries: Vec<T> = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let refuse = |rule| self.refusal(&entry(key, index), value, rule);
            let read = read(value.as_str().ok_or_else(|| refuse(Rule::Type("a string")))?)
                .map_err(refuse)?;
            if let Some(first) = entries.iter().position(|other| same(other) == same(&read)) {
                let other = Quoted::text(&self.path_of(&entry(key, first)));
                return Err(refuse(Rule::Repeats { other }));
            }
            entries.push(read);
        }
        Ok(Some(entries))
    }

    fn typed<T>(
        &self,
        key: &str,
        cast: impl Fn(&'a Value) -> Option<T>,
        kind: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.value(key) else { return Ok(None) };
        cast(value).map(Some).ok_or_else(|| self.refusal(key, value, Rule::Type(kind)))
    }
}

/// The path of one entry: `ips[0]`.
pub(super) fn entry(key: &str, index: usize) -> String {
    format!("{key}[{index}]")
}

fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = crate::spelling::nearest(word, known.iter().copied())?;
    known.iter().copied().find(|key| *key == near)
}
