//! What the new configuration would do for a pod, before it is written: it is read as the runtime
//! would send it, and makes the plan of a pod that asks for nothing. A node on which that fails
//! would start no pod.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::MigrateError;
use crate::config::{Config, PrimarySource};
use crate::definition::{Api, Copies, DefinitionError, Finder, NodeDefinitions, OnOutage};
use crate::kube::Cluster;
use crate::operator::fault::{Fault, below_root};
use crate::operator::installation::Installation;
use crate::operator::runtime::{Runtime, below};
use crate::operator::{credential, explain};
use crate::pod::Pod;
use crate::prepare::primary::{self, PrimaryError};
use crate::prepare::{self, PodRequest};
use cni::error::Error;

/// The namespaces of which the pod may be; the first that gets the default networks counts.
const NAMESPACES: [&str; 2] = ["default", "rehearsal"];

/// The node that the configuration is for.
pub(super) struct Rehearsal<'a> {
    pub(super) root: &'a Path,
    pub(super) runtime: &'a Runtime,
    /// Multus's file, which messages name.
    pub(super) multus: &'a Path,
}

impl Rehearsal<'_> {
    /// Rehearses the configuration of `place`; what could not be, in sentences.
    ///
    /// # Errors
    /// [`MigrateError::Untranslated`] with the first thing for which no pod would start.
    pub(super) fn run(&self, place: &Installation) -> Result<Vec<String>, MigrateError> {
        // Files that sort first are refused before; the rules for tenants hold up no pod that asks
        // for nothing.
        let stops = |fault: &Fault| !matches!(fault, Fault::NotFirst { .. } | Fault::Policy { .. });
        if let Some(fault) = Fault::all(place, self.runtime, self.root).into_iter().find(stops) {
            return Err(self.untranslated(without_file(&fault)));
        }
        let config = place.config().map_err(|error| self.untranslated(error.to_string()))?;
        let mut config = below_root(config, self.root);
        let mut cluster =
            if self.root == Path::new("/") { credential::cluster(&config) } else { None };
        let mut notes = Vec::new();
        self.plan(&mut config, cluster.as_mut(), &mut notes)
            .map_err(|problem| self.untranslated(problem))?;
        Ok(notes)
    }

    fn plan(
        &self,
        config: &mut Config,
        cluster: Option<&mut Cluster>,
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        let api = cluster.map_or(Api::Absent, Api::Asked);
        let node = NodeDefinitions::read(&config.conf_dirs);
        let mut definitions = prepare::finder(config, node, api, OnOutage::Refuse);
        // Nothing is kept of what the API says: this is no ADD.
        definitions.copies = Copies::new(Path::new("/dev/null"), Duration::ZERO, SystemTime::now);
        let primary = config.primary.clone();
        if let Some(problem) =
            primary.and_then(|source| unplanned(&source, config, &mut definitions).transpose())
        {
            notes.push(problem?);
            return Ok(());
        }
        let mut planned = Vec::new();
        for source in std::mem::take(&mut config.default_networks) {
            match unplanned(&source, config, &mut definitions)? {
                Some(note) => notes.push(note),
                None => planned.push(source),
            }
        }
        config.default_networks = planned;
        let plugins = self.runtime.bin_dirs.iter().map(|directory| below(self.root, directory));
        let plugin_path = config.plugin_path(&plugins.collect::<Vec<PathBuf>>());
        let namespace =
            NAMESPACES.iter().find(|name| config.system_namespaces.iter().all(|it| it != *name));
        let sandbox = explain::sandbox(namespace.unwrap_or(&"default"), "rehearsed", "rehearsed");
        let pod = Pod::from_args(&sandbox.args).map_err(|error| Error::from(error).to_string())?;
        let pod_request = PodRequest::default();
        prepare::plan(config, &plugin_path, &sandbox, None, &pod, pod_request, &mut definitions)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    fn untranslated(&self, problem: String) -> MigrateError {
        MigrateError::Untranslated { file: self.multus.to_owned(), problem }
    }
}

/// Why a network that the configuration names has no part in the rehearsal, if it has none: only
/// the cluster knows it, and does not say, or it needs a device of a pod.
///
/// # Errors
/// Why no pod could be attached to it.
fn unplanned(
    source: &PrimarySource,
    config: &Config,
    definitions: &mut Finder<'_>,
) -> Result<Option<String>, String> {
    let is_asked = matches!(definitions.api, Api::Asked(_));
    match primary::resolve(source, config, definitions) {
        Ok(resolved) => Ok(resolved.resource.map(|resource| {
            let name = resolved.network.name;
            format!("network \"{name}\" needs a device of resource {resource}, which was not tried")
        })),
        Err(error @ PrimaryError::Unknown(..)) if !is_asked && config.kubeconfig.is_some() => {
            Ok(Some(format!("not tried, since the API was not asked: {error}")))
        }
        Err(PrimaryError::Definition(error @ DefinitionError::Cluster { .. })) => {
            Ok(Some(format!("not tried: {error}")))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The fault without the name of the file that is not there yet.
fn without_file(fault: &Fault) -> String {
    match fault {
        Fault::Config { source, .. } => source.to_string(),
        Fault::Entry { source, .. } => source.to_string(),
        fault => fault.to_string(),
    }
}
