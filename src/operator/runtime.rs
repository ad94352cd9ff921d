//! The container runtime of a node: which one it is, and where it looks for configurations and
//! plugins. Read from its configuration files; nothing is started, and only [`cri`] asks it.

mod cri;
mod kind;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use toml::{Table, Value};

use crate::conf_file::{self, ConfFileError};

pub(super) use cri::Sandbox;
pub(super) use kind::Kind;

/// Where runtimes look unless their configuration says otherwise.
const CONF_DIR: &str = "/etc/cni/net.d";
const BIN_DIR: &str = "/opt/cni/bin";
/// What MicroK8s writes for its own directory.
const SNAP_DATA: &str = "/var/snap/microk8s/current";
/// The tables in which containerd's versions keep their CNI keys, the newest first.
const CRI_PLUGINS: [&str; 3] = ["io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"];

/// A node's runtime. Paths are the node's own, as it sees them itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Runtime {
    /// What runs the pods; `None` if no configuration of a known runtime is there.
    pub(super) kind: Option<Kind>,
    /// The file that said so.
    pub(super) file: Option<PathBuf>,
    /// Where it looks for configurations.
    #[serde(rename = "confDir")]
    pub(super) conf_dir: PathBuf,
    /// Where it looks for plugins, in order.
    #[serde(rename = "binDirs")]
    pub(super) bin_dirs: Vec<PathBuf>,
    /// How many of the configurations it attaches to each pod, 0 for all: containerd's
    /// `max_conf_num`. One if nothing is said.
    #[serde(rename = "maxConfNum", skip_serializing_if = "Option::is_none")]
    pub(super) max_conf_num: Option<usize>,
    /// The only network that it takes, by its name: CRI-O's `cni_default_network`. Without one it
    /// takes that of the first file.
    #[serde(rename = "defaultNetwork", skip_serializing_if = "Option::is_none")]
    pub(super) default_network: Option<String>,
    /// The socket on which it answers the kubelet.
    #[serde(skip)]
    pub(super) socket: Option<PathBuf>,
}

/// Why a runtime's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    /// A file of it cannot be read.
    #[error(
        "the runtime's configuration cannot be read: {0}; name its directories with --conf-dir and \
         --bin-dir"
    )]
    File(#[from] ConfFileError),
    /// A file of it is no TOML.
    #[error("the runtime's configuration {} is not valid TOML: {problem}; name its directories \
             with --conf-dir and --bin-dir", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        problem: String,
    },
}

impl Runtime {
    /// The runtime of the node whose files are below `root`; `kind` if it is known already.
    ///
    /// # Errors
    /// [`RuntimeError`] if there is a configuration and it cannot be read.
    pub(super) fn detect(root: &Path, kind: Option<Kind>) -> Result<Self, RuntimeError> {
        let Some(kind) = kind.or_else(|| present(root)) else { return Ok(Self::unknown(None)) };
        let file = kind.files().iter().map(PathBuf::from).find(|file| below(root, file).exists());
        let said = match kind {
            Kind::Crio => crio(root)?,
            _ => match &file {
                Some(file) => containerd(root, file)?,
                None => Said::default(),
            },
        };
        let (conf_dir, bin_dir) = kind.defaults();
        let bin_dirs = if said.bin_dirs.is_empty() { vec![bin_dir.into()] } else { said.bin_dirs };
        Ok(Self {
            kind: Some(kind),
            file,
            conf_dir: said.conf_dir.unwrap_or_else(|| conf_dir.into()),
            bin_dirs,
            max_conf_num: said.max_conf_num,
            default_network: said.default_network,
            socket: Some(said.socket.unwrap_or_else(|| kind.socket().into())),
        })
    }

    /// Those of `files`, a directory's in order, that it attaches to each pod beside the first.
    pub(super) fn attached_beside_first<'f>(&self, files: &'f [PathBuf]) -> &'f [PathBuf] {
        let attached = match self.max_conf_num {
            Some(0) => files.len(),
            limit => limit.unwrap_or(1),
        };
        files.get(1..attached.min(files.len())).unwrap_or_default()
    }

    /// Whether it appends the files of a network's sub-directory to the chain, as libcni does from
    /// 1.3 on: the key that switches it off is in the executable then. None if there is no
    /// executable to look into.
    pub(super) fn reads_sub_directories(&self, root: &Path) -> Option<bool> {
        let mut executables =
            self.kind?.executables().iter().map(|path| below(root, Path::new(path)));
        contains(&executables.find(|path| path.is_file())?, b"loadOnlyInlinedPlugins").ok()
    }

    /// A runtime of which no configuration is known, with the usual directories.
    pub(super) fn unknown(kind: Option<Kind>) -> Self {
        let (conf_dir, bin_dir) = kind.map_or((CONF_DIR, BIN_DIR), Kind::defaults);
        Self {
            kind,
            file: None,
            conf_dir: conf_dir.into(),
            bin_dirs: vec![bin_dir.into()],
            max_conf_num: None,
            default_network: None,
            socket: kind.map(|kind| kind.socket().into()),
        }
    }
}

/// A path of the node, seen from where its root is. Links on the way lead where they lead on the
/// node: K3s has an absolute one to its plugins, which would lead out of a mounted root.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    let plain = || root.join(path.strip_prefix("/").unwrap_or(path));
    if root == Path::new("/") { plain() } else { resolved(root, path).unwrap_or_else(plain) }
}

/// The path with every link followed below `root`; none if they go round in a circle.
fn resolved(root: &Path, path: &Path) -> Option<PathBuf> {
    const MAX_STEPS: usize = 256;
    let parts =
        |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut pending: Vec<OsString> = parts(path);
    let mut here = PathBuf::new();
    for _ in 0..MAX_STEPS {
        let Some(part) = pending.pop() else { return Some(root.join(here)) };
        match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => {
                match std::fs::read_link(root.join(&here).join(name)) {
                    Ok(target) => pending.extend(parts(&target)),
                    Err(_) => here.push(name),
                }
            }
            Some(Component::RootDir) => here = PathBuf::new(),
            Some(Component::ParentDir) => {
                here.pop();
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    None
}

/// The first runtime that has a configuration. Docker brings a containerd along, so that its socket
/// and not its file decides between it and CRI-O.
fn present(root: &Path) -> Option<Kind> {
    let has_file =
        |kind: &Kind| kind.files().iter().any(|file| below(root, Path::new(file)).exists());
    let found: Vec<Kind> = Kind::ALL.into_iter().filter(has_file).collect();
    let runs = |kind: &&Kind| below(root, Path::new(kind.socket())).exists();
    match found.as_slice() {
        [Kind::Crio, Kind::Containerd] => found.iter().find(runs).or(found.first()).copied(),
        found => found.first().copied(),
    }
}

/// What a configuration says of the directories.
#[derive(Debug, Default)]
struct Said {
    conf_dir: Option<PathBuf>,
    bin_dirs: Vec<PathBuf>,
    max_conf_num: Option<usize>,
    default_network: Option<String>,
    socket: Option<PathBuf>,
}

impl Said {
    /// A later file counts if it says something.
    fn and(mut self, later: Self) -> Self {
        self.conf_dir = later.conf_dir.or(self.conf_dir);
        self.max_conf_num = later.max_conf_num.or(self.max_conf_num);
        self.default_network = later.default_network.or(self.default_network);
        self.socket = later.socket.or(self.socket);
        if !later.bin_dirs.is_empty() {
            self.bin_dirs = later.bin_dirs;
        }
        self
    }
}

/// Whether a file has the bytes in it.
fn contains(file: &Path, wanted: &[u8]) -> std::io::Result<bool> {
    const CHUNK: u64 = 1 << 20;
    let mut file = std::fs::File::open(file)?;
    let mut chunk = Vec::new();
    // What ends a chunk may begin the bytes.
    while file.by_ref().take(CHUNK).read_to_end(&mut chunk)? > 0 {
        if memchr::memmem::find(&chunk, wanted).is_some() {
            return Ok(true);
        }
        chunk.drain(..chunk.len().saturating_sub(wanted.len()));
    }
    Ok(false)
}

fn containerd(root: &Path, file: &Path) -> Result<Said, RuntimeError> {
    with_imports(root, file, &mut HashSet::new())
}

/// What a file says, and then what the files say that it imports, which may import others.
fn with_imports(
    root: &Path,
    file: &Path,
    seen: &mut HashSet<PathBuf>,
) -> Result<Said, RuntimeError> {
    let table = read(root, file)?;
    seen.insert(file.to_owned());
    let directory = file.parent().unwrap_or(Path::new("/"));
    let patterns = table.get("imports").and_then(Value::as_array).into_iter().flatten();
    // A relative path counts from the file that has it.
    let patterns = patterns.filter_map(Value::as_str).map(|pattern| directory.join(pattern));
    let mut said = said_by_containerd(&table);
    for imported in patterns.flat_map(|pattern| matching(root, &pattern)) {
        if !seen.contains(&imported) {
            said = said.and(with_imports(root, &imported, seen)?);
        }
    }
    Ok(said)
}

fn said_by_containerd(table: &Table) -> Said {
    let plugins = table.get("plugins").and_then(Value::as_table);
    let cni = |plugins: &Table| {
        let of = |name: &&str| plugins.get(*name)?.get("cni")?.as_table().cloned();
        CRI_PLUGINS.iter().find_map(of)
    };
    let socket = path(table.get("grpc").and_then(|grpc| grpc.get("address")));
    let Some(cni) = plugins.and_then(cni) else { return Said { socket, ..Said::default() } };
    let several = paths(cni.get("bin_dirs"));
    let bin_dirs =
        if several.is_empty() { path(cni.get("bin_dir")).into_iter().collect() } else { several };
    // Of a number below 0 containerd takes all, too.
    let number =
        |value: &Value| value.as_integer().map(|number| usize::try_from(number).unwrap_or(0));
    let max_conf_num = cni.get("max_conf_num").and_then(number);
    let conf_dir = path(cni.get("conf_dir"));
    Said { conf_dir, bin_dirs, max_conf_num, socket, ..Said::default() }
}

fn crio(root: &Path) -> Result<Said, RuntimeError> {
    let mut files: Vec<PathBuf> = vec!["/etc/crio/crio.conf".into()];
    files.retain(|file| below(root, file).exists());
    files.extend(matching(root, Path::new("/etc/crio/crio.conf.d/*")));
    files.iter().try_fold(Said::default(), |said, file| {
        let table = read(root, file)?;
        let of = |name: &str| {
            table.get("crio").and_then(|crio| crio.get(name)).and_then(Value::as_table)
        };
        let (network, api) = (of("network"), of("api"));
        let later = Said {
            conf_dir: path(network.and_then(|network| network.get("network_dir"))),
            bin_dirs: paths(network.and_then(|network| network.get("plugin_dirs"))),
            max_conf_num: None,
            default_network: network.and_then(default_network),
            socket: path(api.and_then(|api| api.get("listen"))),
        };
        Ok(said.and(later))
    })
}

/// The network that CRI-O waits for; an empty text is its default, none.
fn default_network(network: &Table) -> Option<String> {
    let name = network.get("cni_default_network")?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn read(root: &Path, file: &Path) -> Result<Table, RuntimeError> {
    let text = conf_file::read(&below(root, file))?;
    text.parse().map_err(|error: toml::de::Error| RuntimeError::Toml {
        path: file.to_owned(),
        problem: cni::error::one_line(&error.to_string(), 300),
    })
}

/// The files that a pattern of the shell's names, by their names.
fn matching(root: &Path, pattern: &Path) -> Vec<PathBuf> {
    let directory = below(root, pattern.parent().unwrap_or(Path::new("/")));
    let (directory, name) = (directory.to_string_lossy(), pattern.file_name().unwrap_or_default());
    // Patterns in the directories' names are as rare as they are possible.
    let escaped = if directory.contains(['*', '?', '[']) && root == Path::new("/") {
        directory.into_owned()
    } else {
        glob::Pattern::escape(&directory)
    };
    let files = glob::glob(&format!("{escaped}/{}", name.to_string_lossy()))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter(|file| file.is_file())
        .map(|file| {
            file.strip_prefix(root).map_or_else(|_| file.clone(), |rest| Path::new("/").join(rest))
        })
        .collect()
}

fn path(value: Option<&Value>) -> Option<PathBuf> {
    value?.as_str().and_then(absolute)
}

fn paths(value: Option<&Value>) -> Vec<PathBuf> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).filter_map(absolute).collect()
}

/// Nothing that is relative, or empty: CRI-O writes an empty text for its default.
fn absolute(text: &str) -> Option<PathBuf> {
    let text = text.replace("${SNAP_DATA}", SNAP_DATA);
    let trimmed = if text.len() > 1 { text.trim_end_matches('/') } else { &text };
    trimmed.starts_with('/').then(|| PathBuf::from(trimmed))
}

#[cfg(test)]
mod tests;
