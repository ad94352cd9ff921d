//! JSON patches (RFC 6902) of whereabouts' objects, and what the server checks before it applies
//! one: a patch is applied whole or not at all.

use serde_json::{Value, json};

/// A JSON patch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(Vec<Value>);

impl Patch {
    /// A patch without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value at `path` must be this. `null` also stands for one that is missing: the API server
    /// sees no difference.
    #[must_use]
    pub fn test(self, path: &[&str], value: impl Into<Value>) -> Self {
        self.step(json!({"op": "test", "path": pointer(path), "value": value.into()}))
    }

    /// Adds a value, in place of one that is there.
    #[must_use]
    pub fn add(self, path: &[&str], value: impl Into<Value>) -> Self {
        self.step(json!({"op": "add", "path": pointer(path), "value": value.into()}))
    }

    /// Removes a value, which must be there.
    #[must_use]
    pub fn remove(self, path: &[&str]) -> Self {
        self.step(json!({"op": "remove", "path": pointer(path)}))
    }

    fn step(mut self, step: Value) -> Self {
        self.0.push(step);
        self
    }

    /// The patch as the API takes it.
    pub fn to_value(&self) -> Value {
        Value::Array(self.0.clone())
    }

    /// Whether it changes nothing and checks nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A JSON pointer (RFC 6901).
fn pointer(path: &[&str]) -> String {
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_a_list_of_steps_with_pointers() {
        let patch = Patch::new()
            .test(&["spec", "allocations", "7"], Value::Null)
            .add(&["metadata", "annotations", "a.io/b~c"], "x")
            .remove(&["spec", "allocations", "8"]);
        let expected = json!([
            {"op": "test", "path": "/spec/allocations/7", "value": null},
            {"op": "add", "path": "/metadata/annotations/a.io~1b~0c", "value": "x"},
            {"op": "remove", "path": "/spec/allocations/8"},
        ]);
        assert_eq!(patch.to_value(), expected);
        assert!(!patch.is_empty() && Patch::new().is_empty());
    }
}
