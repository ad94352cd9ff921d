//! Definitions in the node's directories: manifests by namespace and name, network files by their
//! network's name. A file that cannot be read is a warning and breaks nothing else.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Annotations, Definition, DefinitionError, DefinitionKind, Lack, Source, field};
use crate::conf_file::{self, ConfFileError};
use crate::pod::name::{DefinitionName, Namespace};
use cni::error::one_line;
use cni::netconf::{Missing, NetworkConfig};
use cni::version::Version;

/// The most files of one directory that are read.
const MAX_FILES: usize = 4096;

/// The most nodes that a YAML file may unfold to: some thousand manifests, and no more work than a
/// call can spare.
const MAX_YAML_NODES: usize = 50_000;

/// The most of them that may come from aliases. Manifests that share a block or two have some
/// hundred; what has more is a text of a few lines that unfolds without end.
const MAX_ALIASED_NODES: usize = 4_096;

/// What stands for a network on the node.
#[derive(Debug)]
struct Manifest {
    namespace: Namespace,
    name: DefinitionName,
    config: Option<String>,
    annotations: Annotations,
    path: PathBuf,
}

/// The definitions of the node's directories, read once.
#[derive(Debug, Default)]
pub struct NodeDefinitions {
    directories: Vec<PathBuf>,
    manifests: Vec<Manifest>,
    /// Network name and file; conflists before confs.
    files: Vec<(String, PathBuf)>,
    /// Files that could not be read, a sentence each.
    pub warnings: Vec<String>,
}

impl NodeDefinitions {
    /// Reads every manifest, conf and conflist of `directories`, in order. A directory that is
    /// missing is empty.
    pub fn read(directories: &[PathBuf]) -> Self {
        let mut found = Self { directories: directories.to_vec(), ..Self::default() };
        let (mut lists, mut singles) = (Vec::new(), Vec::new());
        for directory in directories.iter().filter(|directory| directory.is_dir()) {
            let files = conf_file::list(directory, &["yaml", "yml", "json", "conf", "conflist"]);
            for path in
                files.unwrap_or_else(|error| found.warned(&error)).into_iter().take(MAX_FILES)
            {
                match read_file(&path) {
                    Ok(Contents::Manifests(manifests)) => found.add_manifests(manifests),
                    Ok(Contents::Network { name, is_list: true }) => lists.push((name, path)),
                    Ok(Contents::Network { name, is_list: false }) => singles.push((name, path)),
                    Err(problem) => {
                        found.warnings.push(format!("{} is ignored: {problem}", path.display()))
                    }
                }
            }
        }
        found.files = lists.into_iter().chain(singles).collect();
        found
    }

    /// Every network that can be used, manifests first; `version` fills in if one has none.
    pub fn networks(&self, version: Version) -> Vec<NetworkConfig> {
        self.annotated_networks(version).into_iter().map(|(network, _)| network).collect()
    }

    /// As [`NodeDefinitions::networks`], with its owner's annotations. A file has those of a
    /// manifest that stands for it.
    pub fn annotated_networks(&self, version: Version) -> Vec<(NetworkConfig, Annotations)> {
        let manifests = self.manifests.iter().filter_map(|manifest| {
            let missing = Missing { name: Some(manifest.name.as_str()), version };
            let network = NetworkConfig::parse(manifest.config.as_ref()?, &missing).ok()?;
            Some((network, manifest.annotations.clone()))
        });
        let files = self.files.iter().filter_map(|(name, path)| {
            let network = conf_file::load(path, &Missing { name: None, version }).ok()?;
            let stands_for =
                |manifest: &&Manifest| manifest.config.is_none() && manifest.name.as_str() == name;
            let manifest = self.manifests.iter().find(stands_for);
            Some((
                network,
                manifest.map(|manifest| manifest.annotations.clone()).unwrap_or_default(),
            ))
        });
        manifests.chain(files).collect()
    }

    fn warned(&mut self, error: &ConfFileError) -> Vec<PathBuf> {
        self.warnings.push(error.to_string());
        Vec::new()
    }

    fn add_manifests(&mut self, manifests: Vec<Manifest>) {
        for manifest in manifests {
            match self.manifest(&manifest.namespace, manifest.name.as_str()) {
                Some(first) => self.warnings.push(format!(
                    "{} is ignored where it defines {}/{}: {} already does",
                    manifest.path.display(),
                    manifest.namespace,
                    manifest.name,
                    first.path.display()
                )),
                None => self.manifests.push(manifest),
            }
        }
    }

    fn manifest(&self, namespace: &Namespace, name: &str) -> Option<&Manifest> {
        self.manifests
            .iter()
            .find(|manifest| manifest.namespace == *namespace && manifest.name.as_str() == name)
    }

    /// The network that `namespace/name` stands for (NPWG 1.3, section 3.4.1). `version` fills in
    /// if a configuration has none.
    ///
    /// # Errors
    /// [`DefinitionError`].
    pub fn find(
        &self,
        namespace: &Namespace,
        name: &str,
        version: Version,
    ) -> Result<Definition, DefinitionError> {
        self.find_manifest(namespace, name, version)
            .or_else(|| self.find_file_for(namespace, name, version))
            .unwrap_or_else(|| Err(self.unknown(namespace, name)))
    }

    /// The file that `namespace/name` stands for. If a manifest stands for it, the way to the
    /// file leads through the manifest's namespace, and not past it.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] inside, if the file has one.
    pub fn find_file_for(
        &self,
        namespace: &Namespace,
        name: &str,
        version: Version,
    ) -> Option<Result<Definition, DefinitionError>> {
        let of_name =
            |manifest: &&Manifest| manifest.config.is_none() && manifest.name.as_str() == name;
        let mut claims = self.manifests.iter().filter(of_name).peekable();
        if claims.peek().is_some() && !claims.any(|manifest| manifest.namespace == *namespace) {
            return None;
        }
        self.find_file(name, version)
    }

    /// The manifest `namespace/name`, if there is one that has a configuration.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] inside, if its configuration is not valid.
    pub fn find_manifest(
        &self,
        namespace: &Namespace,
        name: &str,
        version: Version,
    ) -> Option<Result<Definition, DefinitionError>> {
        let manifest = self.manifest(namespace, name)?;
        let config = manifest.config.as_ref()?;
        let network = NetworkConfig::parse(config, &Missing { name: Some(name), version })
            .map_err(ConfFileError::from);
        let definition = definition(network, &format!("{namespace}/{name}"), &manifest.path);
        Some(definition.map(|definition| Definition {
            kind: DefinitionKind::Manifest,
            annotations: manifest.annotations.clone(),
            bytes: config.len(),
            ..definition
        }))
    }

    /// The annotations of the manifest `namespace/name`, if there is one.
    pub fn annotations(&self, namespace: &Namespace, name: &str) -> Option<&Annotations> {
        Some(&self.manifest(namespace, name)?.annotations)
    }

    /// The conf or conflist file whose network has `name`, if there is one.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] inside, if the file has one.
    pub fn find_file(
        &self,
        name: &str,
        version: Version,
    ) -> Option<Result<Definition, DefinitionError>> {
        let (_, path) = self.files.iter().find(|(network, _)| network == name)?;
        Some(definition(conf_file::load(path, &Missing { name: None, version }), name, path))
    }

    /// The names that manifests of the node define in `namespace`.
    pub(super) fn names(&self, namespace: &Namespace) -> impl Iterator<Item = String> {
        let own = self.manifests.iter().filter(move |manifest| manifest.namespace == *namespace);
        own.map(|manifest| manifest.name.to_string())
    }

    /// The error for a name that nothing on the node stands for.
    pub(super) fn unknown(&self, namespace: &Namespace, name: &str) -> DefinitionError {
        if self.manifest(namespace, name).is_some() {
            return self.without_config(namespace, name);
        }
        // Only names that a pod of this namespace could have written itself: others are not its
        // business.
        let own = self.manifests.iter().filter(|manifest| manifest.namespace == *namespace);
        let near = crate::spelling::nearest(name, own.map(|manifest| manifest.name.as_str()));
        DefinitionError::Unknown {
            namespace: namespace.clone(),
            name: one_line(name, 64),
            lack: Lack::OnNode,
            hint: near.map_or_else(
                || format!(": put its definition in {}", self.places()),
                |near| format!(": did you mean \"{near}\"?"),
            ),
        }
    }

    /// The error for a definition that stands for a network file which is not there, or not for
    /// this pod.
    pub(super) fn without_config(&self, namespace: &Namespace, name: &str) -> DefinitionError {
        DefinitionError::Unknown {
            namespace: namespace.clone(),
            name: one_line(name, 64),
            lack: Lack::Config,
            hint: format!(
                ": add spec.config to the definition, or put a conflist of that name in {}",
                self.places()
            ),
        }
    }

    /// The directories, in words.
    fn places(&self) -> String {
        let directories: Vec<_> =
            self.directories.iter().map(|path| path.display().to_string()).collect();
        directories.join(" or ")
    }
}

fn definition(
    network: Result<NetworkConfig, ConfFileError>,
    name: &str,
    path: &Path,
) -> Result<Definition, DefinitionError> {
    match network {
        Ok(network) => Ok(Definition {
            source: Source::File(path.to_owned()),
            kind: DefinitionKind::NodeNetwork,
            annotations: Annotations::new(),
            bytes: 0,
            network,
        }),
        Err(source) => Err(DefinitionError::Invalid {
            network: name.to_owned(),
            origin: Source::File(path.to_owned()),
            source,
        }),
    }
}

/// What a file of the directory holds.
enum Contents {
    Manifests(Vec<Manifest>),
    Network { name: String, is_list: bool },
}

fn read_file(path: &Path) -> Result<Contents, String> {
    let text = conf_file::read(path).map_err(|error| error.to_string())?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if matches!(extension, "yaml" | "yml") {
        return read_yaml(&text, path).map(Contents::Manifests);
    }
    let value: Value =
        serde_json::from_str(&text).map_err(|error| format!("not valid JSON: {error}"))?;
    if value.get("kind").is_some() {
        return read_manifests(vec![value], path).map(Contents::Manifests);
    }
    // Read as it would be on use, so that a network that cannot work is not offered by its name.
    let network =
        NetworkConfig::read(&value, &Missing::default()).map_err(|error| error.to_string())?;
    Ok(Contents::Network {
        name: network.name.to_string(),
        is_list: value.get("plugins").is_some(),
    })
}

fn read_yaml(text: &str, path: &Path) -> Result<Vec<Manifest>, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_YAML_NODES, max_events: MAX_YAML_NODES * 4, max_documents: 1024,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED_NODES },
    };
    let documents = crate::yaml::documents(text, options)
        .map_err(|error| one_line(&crate::yaml::problem_at_place(&error), 500))?;
    read_manifests(documents, path)
}

/// The definitions among `documents`; other kinds of object are none of our business.
fn read_manifests(documents: Vec<Value>, path: &Path) -> Result<Vec<Manifest>, String> {
    let mut manifests = Vec::new();
    for document in documents.iter().filter(|document| !document.is_null()) {
        match kind(document)?.ok_or("an object in it has no \"kind\"")? {
            "List" | "NetworkAttachmentDefinitionList" => {
                for item in document.get("items").and_then(Value::as_array).into_iter().flatten() {
                    if kind(item)? == Some(DEFINITION_KIND) {
                        manifests.push(read_manifest(item, path)?);
                    }
                }
            }
            DEFINITION_KIND => manifests.push(read_manifest(document, path)?),
            _ => {}
        }
    }
    Ok(manifests)
}

const DEFINITION_KIND: &str = "NetworkAttachmentDefinition";

fn kind(document: &Value) -> Result<Option<&str>, String> {
    field::text(document, "kind").map_err(|wrong| wrong.to_string())
}

fn read_manifest(document: &Value, path: &Path) -> Result<Manifest, String> {
    let text = |path| field::text(document, path).map_err(|wrong| wrong.to_string());
    let namespace = text("metadata.namespace")?.filter(|namespace| !namespace.is_empty());
    let name = text("metadata.name")?.ok_or("metadata.name is missing")?;
    Ok(Manifest {
        namespace: namespace
            .unwrap_or("default")
            .parse()
            .map_err(|error| format!("metadata.namespace: {error}"))?,
        name: name.parse().map_err(|error| format!("metadata.name: {error}"))?,
        config: text("spec.config")?.filter(|config| !config.trim().is_empty()).map(str::to_owned),
        annotations: field::annotations(document).map_err(|wrong| wrong.to_string())?,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests;
