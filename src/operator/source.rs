//! A JSON or YAML text with the place of each value in it. JSON is read as YAML, whose subset it
//! is.

mod inside;
mod text;

use std::collections::HashSet;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

pub(super) use inside::inside;
pub(super) use text::Text;

/// A place in a text, both counted from 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Spot {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) tree: Tree,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    /// A text, number, boolean or nothing.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// An object: key, where it stands, value.
    Map(Vec<(String, Spot, Node)>),
}

impl Node {
    fn new(spanned: Spanned<Tree>) -> Self {
        Self { spot: spot(&spanned), tree: spanned.value }
    }

    /// The value of a key, however it is written.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A key's own place, and its value.
    pub(super) fn entry(&self, key: &str) -> Option<(Spot, &Self)> {
        let Tree::Map(entries) = &self.tree else { return None };
        // Of a key that is given twice the last one counts, as it does to ADD.
        let exact = entries.iter().rfind(|(name, _, _)| name == key);
        let found =
            exact.or_else(|| entries.iter().find(|(name, _, _)| name.eq_ignore_ascii_case(key)));
        found.map(|(_, spot, value)| (*spot, value))
    }

    /// The value of a key that is written exactly so, as Kubernetes reads it.
    pub(super) fn get_exact(&self, key: &str) -> Option<(Spot, &Self)> {
        let Tree::Map(entries) = &self.tree else { return None };
        let found = entries.iter().rfind(|(name, _, _)| name == key);
        found.map(|(_, spot, value)| (*spot, value))
    }

    /// Keys that are given twice in an object, at any depth, each where it stands again.
    pub(super) fn repeated_keys(&self) -> Vec<(Spot, &str)> {
        let mut repeated = Vec::new();
        match &self.tree {
            Tree::Scalar(_) => {}
            Tree::List(elements) => repeated.extend(elements.iter().flat_map(Self::repeated_keys)),
            Tree::Map(entries) => {
                let mut seen = HashSet::new();
                for (key, spot, value) in entries {
                    repeated.extend((!seen.insert(key)).then_some((*spot, key.as_str())));
                    repeated.extend(value.repeated_keys());
                }
            }
        }
        repeated
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> &[Self] {
        match &self.tree {
            Tree::List(elements) => elements,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// The value without places.
    pub(super) fn to_value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(elements) => elements.iter().map(Self::to_value).collect(),
            Tree::Map(entries) => {
                let pairs = entries.iter().map(|(key, _, value)| (key.clone(), value.to_value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

/// The methods of a [`Visitor`] of any value that make a scalar of a [`Tree`].
macro_rules! visit_scalars {
    () => {
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("any value")
        }

        fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
            Ok(Tree::Scalar(value.into()))
        }

        fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
            Ok(Tree::Scalar(value.into()))
        }

        fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
            Ok(Tree::Scalar(value.into()))
        }

        fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
            Ok(Tree::Scalar(value.into()))
        }

        fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
            Ok(Tree::Scalar(value.into()))
        }

        fn visit_unit<E>(self) -> Result<Tree, E> {
            Ok(Tree::Scalar(Value::Null))
        }
    };
}
pub(super) use visit_scalars;

fn spot<T>(spanned: &Spanned<T>) -> Spot {
    Spot { line: spanned.referenced.line(), column: spanned.referenced.column() }
}

/// The documents of a text.
///
/// # Errors
/// What is wrong, and if it is known.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, (Option<Spot>, String)> {
    // A text has no more nodes than bytes, but for what it unfolds to.
    let most = text.len().saturating_mul(2).max(200_000);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: most, max_events: most, max_documents: most, max_total_scalar_bytes: most,
            max_total_comment_bytes: most,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 4_096 },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
    };
    serde_saphyr::from_multiple_with_options::<Spanned<Tree>>(text, options)
        .map(|documents| documents.into_iter().map(Node::new).collect())
        .map_err(|error| {
            let place = error.location().map(|it| Spot { line: it.line(), column: it.column() });
            (
                place,
                cni::error::one_line(
                    &format!("not valid YAML: {}", crate::yaml::problem(&error)),
                    300,
                ),
            )
        })
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    visit_scalars!();

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element::<Spanned<Tree>>()? {
            elements.push(Node::new(element));
        }
        Ok(Tree::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let at = spot(&key);
            entries.push((key.value, at, Node::new(map.next_value()?)));
        }
        Ok(Tree::Map(entries))
    }
}
