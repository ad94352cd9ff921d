//! What one attachment writes into a pool, and how it takes that back: JSON patches that a server
//! applies only if the entry is what the writer has seen.

use serde_json::{Value, json};

use super::object::{Entry, Pool};
use super::patch::Patch;

/// What names of the annotations begin with that say of an entry what its schema has no field for.
const CLAIM: &str = "braid.io/claim-";
const EXPIRES: &str = "braid.io/expires-";

/// The annotation of a pool that says for which `IPAMClaim` (`namespace/name`) the entry at an
/// offset is kept.
pub fn claim_annotation(offset: u128) -> String {
    format!("{CLAIM}{offset}")
}

/// The annotation of a pool that says until when the entry at an offset is kept for a pod of the
/// same name, in seconds since 1970.
pub fn expiry_annotation(offset: u128) -> String {
    format!("{EXPIRES}{offset}")
}

/// The offset whose entry a pool keeps for a claim.
pub(crate) fn offset_of_claim(pool: &Pool, claim: &str) -> Option<u128> {
    let mut annotations = pool.metadata.annotations.iter();
    annotations.find_map(|(name, value)| {
        (value == claim).then_some(())?;
        name.strip_prefix(CLAIM)?.parse().ok()
    })
}

/// Whose an entry is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    /// The container's ID.
    pub(crate) container: String,
    /// The pod, as `namespace/name`.
    pub(crate) podref: String,
    /// The interface.
    pub(crate) interface: String,
}

impl Owner {
    /// Whether an entry is this attachment's.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        entry.id == self.container && entry.ifname == self.interface
    }

    /// Whether an entry is of a pod of this name and the same interface: it may be taken over.
    pub(crate) fn may_take_over(&self, entry: &Entry) -> bool {
        entry.podref == self.podref && entry.ifname == self.interface
    }

    fn entry(&self) -> Value {
        json!({"id": self.container, "podref": self.podref, "ifname": self.interface})
    }
}

/// Puts the owner into a free place of a pool, or in place of an entry that it takes over.
pub(crate) fn write(pool: &Pool, offset: u128, owner: &Owner, claim: Option<&str>) -> Patch {
    let mut patch = Patch::new();
    let found = pool.entries.get(&offset);
    let key = found.map_or_else(|| offset.to_string(), |entry| entry.key.clone());
    let place = ["spec", "allocations", key.as_str()];
    patch = match found {
        None if !pool.has_allocations => patch
            .test(&["spec", "allocations"], Value::Null)
            .add(&["spec", "allocations"], json!({})),
        None => patch.test(&place, Value::Null),
        Some(entry) => patch
            .test(&["spec", "allocations", &key, "id"], entry.id.clone())
            .test(&["spec", "allocations", &key, "podref"], entry.podref.clone()),
    };
    patch = patch.add(&place, owner.entry());
    patch = without_annotation(patch, pool, &expiry_annotation(offset));
    match claim {
        Some(claim) => annotated(patch, pool, &claim_annotation(offset), claim),
        None => without_annotation(patch, pool, &claim_annotation(offset)),
    }
}

/// Takes the owner's entry out of a pool that was not read: it fails if the entry is another's.
pub(crate) fn remove(offset: u128, owner: &Owner) -> Patch {
    let key = offset.to_string();
    is_ours(Patch::new(), &key, owner).remove(&["spec", "allocations", &key])
}

/// Takes an entry and what is noted of it out of a pool that was read.
pub(crate) fn remove_from(pool: &Pool, offset: u128, entry: &Entry) -> Patch {
    let place = ["spec", "allocations", entry.key.as_str()];
    let patch = Patch::new()
        .test(&["spec", "allocations", &entry.key, "id"], entry.id.clone())
        .remove(&place);
    let patch = without_annotation(patch, pool, &expiry_annotation(offset));
    without_annotation(patch, pool, &claim_annotation(offset))
}

/// Notes until when the owner's entry is kept, in seconds since 1970.
pub(crate) fn keep_until(pool: &Pool, offset: u128, owner: &Owner, until: u64) -> Patch {
    let key = pool.entries.get(&offset).map_or_else(|| offset.to_string(), |it| it.key.clone());
    let patch = is_ours(Patch::new(), &key, owner);
    annotated(patch, pool, &expiry_annotation(offset), &until.to_string())
}

fn is_ours(patch: Patch, key: &str, owner: &Owner) -> Patch {
    patch
        .test(&["spec", "allocations", key, "id"], owner.container.clone())
        .test(&["spec", "allocations", key, "ifname"], owner.interface.clone())
}

fn annotated(patch: Patch, pool: &Pool, name: &str, value: &str) -> Patch {
    let all = ["metadata", "annotations"];
    let patch = if pool.metadata.annotations.is_empty() {
        patch.test(&all, Value::Null).add(&all, json!({}))
    } else {
        patch
    };
    patch.add(&["metadata", "annotations", name], value)
}

fn without_annotation(patch: Patch, pool: &Pool, name: &str) -> Patch {
    match pool.metadata.annotations.get(name) {
        None => patch,
        Some(value) => {
            let place = ["metadata", "annotations", name];
            patch.test(&place, value.clone()).remove(&place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::cluster::object::Object;

    fn owner() -> Owner {
        Owner { container: "c1".into(), podref: "a/b".into(), interface: "net1".into() }
    }

    fn pool(annotations: &Value, allocations: &Value) -> Pool {
        let object = json!({"metadata": {"name": "p", "annotations": annotations},
            "spec": {"range": "10.0.0.0/24", "allocations": allocations}});
        Pool::decode(object.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_free_place_must_be_free_when_it_is_written() {
        let patch = write(&pool(&json!({}), &json!({})), 5, &owner(), None);
        let expected = json!([
            {"op": "test", "path": "/spec/allocations/5", "value": null},
            {"op": "add", "path": "/spec/allocations/5",
             "value": {"id": "c1", "podref": "a/b", "ifname": "net1"}},
        ]);
        assert_eq!(patch.to_value(), expected);
        let patch = write(&pool(&json!({}), &Value::Null), 5, &owner(), None);
        let first = json!({"op": "test", "path": "/spec/allocations", "value": null});
        assert_eq!(patch.to_value()[0], first);
    }

    #[test]
    fn an_entry_that_is_taken_over_keeps_its_key_and_loses_its_expiry() {
        let annotations = json!({"braid.io/expires-5": "17", "other": "x"});
        let entries = json!({"05": {"id": "c0", "podref": "a/b", "ifname": "net1"}});
        let patch = write(&pool(&annotations, &entries), 5, &owner(), Some("a/vm"));
        let steps: Vec<String> = patch
            .to_value()
            .as_array()
            .unwrap()
            .iter()
            .map(|step| {
                format!("{} {}", step["op"].as_str().unwrap(), step["path"].as_str().unwrap())
            })
            .collect();
        let expected = [
            "test /spec/allocations/05/id",
            "test /spec/allocations/05/podref",
            "add /spec/allocations/05",
            "test /metadata/annotations/braid.io~1expires-5",
            "remove /metadata/annotations/braid.io~1expires-5",
            "add /metadata/annotations/braid.io~1claim-5",
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_claim_is_found_by_its_annotation() {
        let found =
            pool(&json!({"braid.io/claim-7": "a/vm", "braid.io/claim-x": "a/x"}), &json!({}));
        assert_eq!(offset_of_claim(&found, "a/vm"), Some(7));
        assert_eq!(offset_of_claim(&found, "a/x"), None);
        assert_eq!(offset_of_claim(&found, "a/other"), None);
    }
}
