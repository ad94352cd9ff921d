//! The definitions of a cluster, as far as they are known, within limits: what an API server checks
//! must not depend on how much its tenants store.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::kube::ClusterDefinition;
use crate::pod::name::{DefinitionName, Namespace};

/// The most definitions that are held, and their bytes altogether.
const MAX_DEFINITIONS: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;

/// What is known of a name.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// Nothing: the cluster has not said yet, or has more than is held.
    Unknown,
    /// There is none.
    Absent,
    /// There is this one.
    Defined(Arc<ClusterDefinition>),
}

/// The definitions, which change while others read them.
#[derive(Debug, Default)]
pub(in crate::operator) struct Catalogue {
    /// Those that are read; `None` as long as they are not known to be all.
    known: RwLock<Option<Definitions>>,
}

/// Definitions by their names.
#[derive(Debug, Default)]
pub(in crate::operator) struct Definitions {
    definitions: HashMap<(Namespace, DefinitionName), Arc<ClusterDefinition>>,
    bytes: usize,
}

/// More definitions than are held.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the cluster has more than {MAX_DEFINITIONS} definitions, or more than {} MiB of them: pods \
     are not held against them",
    MAX_BYTES >> 20
)]
pub(in crate::operator) struct TooMany;

impl Definitions {
    /// Adds a definition, or replaces the one of its name.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(in crate::operator) fn put(
        &mut self,
        definition: ClusterDefinition,
    ) -> Result<(), TooMany> {
        self.remove(&definition.namespace, &definition.name);
        self.bytes += bytes(&definition);
        let name = (definition.namespace.clone(), definition.name.clone());
        self.definitions.insert(name, Arc::new(definition));
        let fits = self.definitions.len() <= MAX_DEFINITIONS && self.bytes <= MAX_BYTES;
        fits.then_some(()).ok_or(TooMany)
    }

    fn remove(&mut self, namespace: &Namespace, name: &DefinitionName) {
        let name = (namespace.clone(), name.clone());
        let old = self.definitions.remove(&name);
        self.bytes -= old.map_or(0, |old| bytes(&old));
    }
}

impl Catalogue {
    /// Takes these for all that there are.
    pub(in crate::operator) fn replace(&self, held: Definitions) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }

    /// Knows nothing, until all are listed again.
    pub(in crate::operator) fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Adds a definition, or replaces the one of its name.
    ///
    /// # Errors
    /// [`TooMany`]; nothing is known then.
    pub(in crate::operator) fn put(&self, definition: ClusterDefinition) -> Result<(), TooMany> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let put = known.as_mut().map_or(Ok(()), |held| held.put(definition));
        put.inspect_err(|_| *known = None)
    }

    /// Takes a definition out.
    pub(in crate::operator) fn remove(&self, namespace: &Namespace, name: &DefinitionName) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = known.as_mut() {
            held.remove(namespace, name);
        }
    }

    /// How many are held; `None` if they are not known.
    pub(in crate::operator) fn len(&self) -> Option<usize> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|held| held.definitions.len())
    }

    pub(super) fn find(&self, namespace: &Namespace, name: &DefinitionName) -> Entry {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = known.as_ref() else { return Entry::Unknown };
        let found = held.definitions.get(&(namespace.clone(), name.clone()));
        found.map_or(Entry::Absent, |definition| Entry::Defined(definition.clone()))
    }
}

/// What a definition occupies, roughly.
fn bytes(definition: &ClusterDefinition) -> usize {
    let annotations = definition.annotations.iter();
    let annotations: usize = annotations.map(|(key, value)| key.len() + value.len() + 48).sum();
    512 + annotations + definition.config.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(number: usize, config: usize) -> ClusterDefinition {
        ClusterDefinition {
            namespace: "team-a".parse().unwrap(),
            name: format!("blue-{number}").parse().unwrap(),
            config: Some("x".repeat(config)),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            resource_version: String::new(),
        }
    }

    fn find(catalogue: &Catalogue, number: usize) -> Entry {
        let wanted = definition(number, 0);
        catalogue.find(&wanted.namespace, &wanted.name)
    }

    #[test]
    fn nothing_is_absent_before_all_are_known() {
        let catalogue = Catalogue::default();
        catalogue.put(definition(1, 0)).unwrap();
        assert!(matches!(find(&catalogue, 1), Entry::Unknown));
        let mut held = Definitions::default();
        held.put(definition(1, 0)).unwrap();
        catalogue.replace(held);
        assert!(matches!(find(&catalogue, 1), Entry::Defined(_)));
        assert!(matches!(find(&catalogue, 2), Entry::Absent));
        let gone = definition(1, 0);
        catalogue.remove(&gone.namespace, &gone.name);
        assert!(matches!(find(&catalogue, 1), Entry::Absent));
        catalogue.forget();
        assert!(matches!(find(&catalogue, 1), Entry::Unknown));
    }

    #[test]
    fn more_than_is_held_is_unknown_and_what_is_replaced_does_not_count() {
        let catalogue = Catalogue::default();
        catalogue.replace(Definitions::default());
        for _ in 0..20 {
            catalogue.put(definition(1, 1 << 20)).unwrap();
        }
        let full = (2..20).find(|number| catalogue.put(definition(*number, 1 << 20)).is_err());
        assert_eq!(full, Some(8));
        assert!(matches!(find(&catalogue, 1), Entry::Unknown));
        let mut held = Definitions::default();
        let full = (0..20_000).find(|number| held.put(definition(*number, 0)).is_err());
        assert_eq!(full, Some(MAX_DEFINITIONS));
    }
}
