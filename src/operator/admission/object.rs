//! An object of the API as a tree that the checks read, each value with its number in the place of
//! a line, by which its path is found again.
//!
//! What a pod is made of beside its annotations can be large, and is passed over. What is left is
//! bounded: a review must not take more memory than the server has.

use std::cell::Cell;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::operator::source::{Node, Spot, Tree, visit_scalars};

/// The most values that an object may have, but for what is passed over.
const MAX_VALUES: u64 = 50_000;
/// Keys whose values are not looked into, wherever they are: they ask for no network.
const PASSED_OVER: [&str; 7] = [
    "managedFields",
    "status",
    "containers",
    "initContainers",
    "ephemeralContainers",
    "volumes",
    "domain",
];
/// How serde_json with `arbitrary_precision` hands over some numbers: as an object with this key.
const NUMBER: &str = "$serde_json::private::Number";

/// Reads an object.
///
/// # Errors
/// What is wrong with the text, or that it has too many values.
pub(super) fn read(json: &str) -> Result<Node, serde_json::Error> {
    let count = Cell::new(0);
    let mut decoder = serde_json::Deserializer::from_str(json);
    let node = Numbered(&count).deserialize(&mut decoder)?;
    decoder.end().map(|()| node)
}

/// Gives an object a key with a text, if it has none.
pub(super) fn supply(object: &mut Node, key: &str, text: &str) {
    let spot = object.spot;
    if object.get_exact(key).and_then(|(_, value)| value.text()).is_some_and(|it| !it.is_empty()) {
        return;
    }
    if let Tree::Map(entries) = &mut object.tree {
        let value = Node { spot, tree: Tree::Scalar(text.into()) };
        entries.retain(|(name, _, _)| name != key);
        entries.push((key.to_owned(), spot, value));
    }
}

/// A key's value, to be changed.
pub(super) fn entry<'n>(object: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let Tree::Map(entries) = &mut object.tree else { return None };
    entries.iter_mut().rfind(|(name, _, _)| name == key).map(|(_, _, value)| value)
}

/// The path of the value at a place, as `kubectl explain` writes paths:
/// `spec.template.metadata.annotations[k8s.v1.cni.cncf.io/networks]`; empty for the object itself.
pub(super) fn path(object: &Node, place: Spot) -> String {
    let mut path = String::new();
    let mut node = object;
    while node.spot.line < place.line {
        let Some((step, next)) = step(node, place) else { break };
        path.push_str(&step);
        node = next;
    }
    path.trim_start_matches('.').to_owned()
}

/// The part of a value that holds the place: the last one that does not begin behind it.
fn step(node: &Node, place: Spot) -> Option<(String, &Node)> {
    match &node.tree {
        Tree::Map(entries) => {
            let before = entries.iter().filter(|(_, _, value)| value.spot.line <= place.line);
            let (key, _, value) = before.max_by_key(|(_, _, value)| value.spot.line)?;
            let is_plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            Some((if is_plain { format!(".{key}") } else { format!("[{key}]") }, value))
        }
        Tree::List(elements) => {
            let before = elements.iter().enumerate();
            let (at, element) = before.take_while(|(_, it)| it.spot.line <= place.line).last()?;
            Some((format!("[{at}]"), element))
        }
        Tree::Scalar(_) => None,
    }
}

/// Reads a value and numbers it.
#[derive(Clone, Copy)]
struct Numbered<'c>(&'c Cell<u64>);

impl Numbered<'_> {
    fn next<E: Error>(self) -> Result<Spot, E> {
        let number = self.0.get() + 1;
        if number > MAX_VALUES {
            return Err(E::custom(format_args!("it has more than {MAX_VALUES} values")));
        }
        self.0.set(number);
        Ok(Spot { line: number, column: 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Numbered<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<Node, D::Error> {
        let spot = self.next()?;
        Ok(Node { spot, tree: decoder.deserialize_any(self)? })
    }
}

impl<'de> Visitor<'de> for Numbered<'_> {
    type Value = Tree;

    visit_scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(self)? {
            elements.push(element);
        }
        Ok(Tree::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == NUMBER {
                let digits: String = map.next_value()?;
                return Ok(Tree::Scalar(serde_json::from_str(&digits).map_err(A::Error::custom)?));
            }
            let value = if PASSED_OVER.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
                Node { spot: self.next()?, tree: Tree::Scalar(Value::Null) }
            } else {
                map.next_value_seed(self)?
            };
            entries.push((key, value.spot, value));
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_found_again_by_its_place() {
        let object = json!({
            "kind": "Pod", "metadata": {
                "annotations": {"a.b/c": "text", "short": "x"}, "managedFields": [{"f:a": {}}], "name": "web",
            },
            "spec": {"containers": [{"name": "a"}], "list": [1, {"deep": 1.5}, []], "last": null},
        });
        let read = read(&object.to_string()).unwrap();
        let paths: Vec<String> =
            (1..=16).map(|line| path(&read, Spot { line, column: 7 })).collect();
        let expected = [
            "",
            "kind",
            "metadata",
            "metadata.annotations",
            "metadata.annotations[a.b/c]",
            "metadata.annotations.short",
            "metadata.managedFields",
            "metadata.name",
            "spec",
            "spec.containers",
            "spec.list",
            "spec.list[0]",
            "spec.list[1]",
            "spec.list[1].deep",
            "spec.list[2]",
            "spec.last",
        ];
        assert_eq!(paths, expected);
        let list = read.get("spec").unwrap().get("list").unwrap();
        assert_eq!(list.to_value().to_string(), r#"[1,{"deep":1.5},[]]"#);
        assert_eq!(read.get("metadata").unwrap().get("managedFields").unwrap().text(), None);
    }

    #[test]
    fn every_number_is_read() {
        let text = r#"[0,-7,30,1.5,1e300,18446744073709551616,0.10]"#;
        let values = read(text).unwrap().to_value();
        let numbers = values.as_array().unwrap().iter().filter(|value| value.is_number());
        assert_eq!(numbers.count(), 7, "{values}");
    }

    #[test]
    fn what_is_missing_is_supplied_and_what_is_there_stays() {
        let mut object = read(r#"{"metadata": {"name": "", "namespace": "own"}}"#).unwrap();
        let metadata = entry(&mut object, "metadata").unwrap();
        supply(metadata, "namespace", "other");
        supply(metadata, "name", "web");
        assert_eq!(object.to_value(), json!({"metadata": {"namespace": "own", "name": "web"}}));
    }

    #[test]
    fn an_object_is_bounded() {
        let list = format!("[{}0]", "0,".repeat(60_000));
        assert!(read(&list).unwrap_err().to_string().contains("more than 50000 values"));
        assert!(read(&format!(r#"{{"managedFields": {list}}}"#)).is_ok());
        assert!(read(&"[".repeat(10_000)).is_err());
        assert!(read("{} {}").is_err());
    }
}
