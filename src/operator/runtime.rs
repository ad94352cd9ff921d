//! The container runtime of a node: which one it is, and where it looks for configurations and plugins.
//! Read from its configuration files; nothing is started or asked.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::cni::netconf::{self, NetconfError};

/// Where runtimes look unless their configuration says otherwise.
const CONF_DIR: &str = "/etc/cni/net.d";
const BIN_DIR: &str = "/opt/cni/bin";
/// What MicroK8s writes for its own directory.
const SNAP_DATA: &str = "/var/snap/microk8s/current";
/// The tables in which containerd's versions keep their CNI keys, the newest first.
const CRI_PLUGINS: [&str; 3] = ["io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"];

/// A kind of node, by what runs its pods.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// containerd, as kubeadm and kind have it.
    Containerd,
    /// CRI-O.
    Crio,
    /// K3s and its containerd.
    K3s,
    /// RKE2 and its containerd.
    Rke2,
    /// MicroK8s and its containerd.
    Microk8s,
}

impl Kind {
    const ALL: [Self; 5] = [Self::K3s, Self::Rke2, Self::Microk8s, Self::Crio, Self::Containerd];

    /// Files of which the first that is there is the runtime's configuration.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Containerd => &["/etc/containerd/config.toml", "/etc/cri/containerd.toml"],
            Self::Crio => &["/etc/crio/crio.conf", "/etc/crio/crio.conf.d"],
            Self::K3s => &["/var/lib/rancher/k3s/agent/etc/containerd/config.toml"],
            Self::Rke2 => &["/var/lib/rancher/rke2/agent/etc/containerd/config.toml"],
            Self::Microk8s => &[
                "/var/snap/microk8s/current/args/containerd.toml",
                "/var/snap/microk8s/current/args/containerd-template.toml",
            ],
        }
    }

    fn socket(self) -> Option<&'static str> {
        match self {
            Self::Containerd => Some("/run/containerd/containerd.sock"),
            Self::Crio => Some("/run/crio/crio.sock"),
            _ => None,
        }
    }

    /// Where the runtime's own executable is; it has libcni in it.
    fn executables(self) -> &'static [&'static str] {
        match self {
            Self::Containerd => &["/usr/bin/containerd", "/usr/local/bin/containerd"],
            Self::Crio => &["/usr/bin/crio", "/usr/local/bin/crio"],
            Self::K3s => &["/var/lib/rancher/k3s/data/current/bin/containerd"],
            Self::Rke2 => &["/var/lib/rancher/rke2/bin/containerd"],
            Self::Microk8s => &["/snap/microk8s/current/bin/containerd"],
        }
    }

    /// The directories where the configuration does not name them.
    fn defaults(self) -> (&'static str, &'static str) {
        match self {
            Self::K3s => {
                ("/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/lib/rancher/k3s/data/current/bin")
            }
            Self::Microk8s => {
                ("/var/snap/microk8s/current/args/cni-network", "/var/snap/microk8s/current/opt/cni/bin")
            }
            _ => (CONF_DIR, BIN_DIR),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::Crio => "CRI-O",
            Self::K3s => "K3s",
            Self::Rke2 => "RKE2",
            Self::Microk8s => "MicroK8s",
        })
    }
}

/// A node's runtime. Paths are the node's own, as it sees them itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Runtime {
    /// What runs the pods; `None` where no configuration of a known runtime is there.
    pub(super) kind: Option<Kind>,
    /// The file that said so.
    pub(super) file: Option<PathBuf>,
    /// Where it looks for configurations.
    #[serde(rename = "confDir")]
    pub(super) conf_dir: PathBuf,
    /// Where it looks for plugins, in order.
    #[serde(rename = "binDirs")]
    pub(super) bin_dirs: Vec<PathBuf>,
}

/// Why a runtime's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    /// A file of it cannot be read.
    #[error(
        "the runtime's configuration cannot be read: {0}; name its directories with --conf-dir and --bin-dir"
    )]
    File(#[from] NetconfError),
    /// A file of it is no TOML.
    #[error("the runtime's configuration {} is not valid TOML: {problem}; name its directories with --conf-dir and --bin-dir", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        problem: String,
    },
}

impl Runtime {
    /// The runtime of the node whose files are below `root`; `kind` where it is known already.
    ///
    /// # Errors
    /// [`RuntimeError`] where there is a configuration and it cannot be read.
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
        })
    }

    /// Whether it appends the files of a network's sub-directory to the chain, as libcni does from 1.3 on: the
    /// key that switches it off is in the executable then. None where there is no executable to look into.
    pub(super) fn reads_sub_directories(&self, root: &Path) -> Option<bool> {
        let mut executables = self.kind?.executables().iter().map(|path| below(root, Path::new(path)));
        contains(&executables.find(|path| path.is_file())?, b"loadOnlyInlinedPlugins").ok()
    }

    /// A runtime of which no configuration is known, with the usual directories.
    pub(super) fn unknown(kind: Option<Kind>) -> Self {
        let (conf_dir, bin_dir) = kind.map_or((CONF_DIR, BIN_DIR), Kind::defaults);
        Self { kind, file: None, conf_dir: conf_dir.into(), bin_dirs: vec![bin_dir.into()] }
    }
}

/// A path of the node, seen from where its root is. Links on the way lead where they lead on the node: K3s has
/// an absolute one to its plugins, which would lead out of a mounted root.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    let plain = || root.join(path.strip_prefix("/").unwrap_or(path));
    if root == Path::new("/") { plain() } else { resolved(root, path).unwrap_or_else(plain) }
}

/// The path with every link followed below `root`; none where they go round in a circle.
fn resolved(root: &Path, path: &Path) -> Option<PathBuf> {
    const MAX_STEPS: usize = 256;
    let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut pending: Vec<OsString> = parts(path);
    let mut here = PathBuf::new();
    for _ in 0..MAX_STEPS {
        let Some(part) = pending.pop() else { return Some(root.join(here)) };
        match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => match std::fs::read_link(root.join(&here).join(name)) {
                Ok(target) => pending.extend(parts(&target)),
                Err(_) => here.push(name),
            },
            Some(Component::RootDir) => here = PathBuf::new(),
            Some(Component::ParentDir) => {
                here.pop();
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    None
}

/// The first runtime that has a configuration. Docker brings a containerd along, so that its socket and not
/// its file decides between it and CRI-O.
fn present(root: &Path) -> Option<Kind> {
    let has_file = |kind: &Kind| kind.files().iter().any(|file| below(root, Path::new(file)).exists());
    let found: Vec<Kind> = Kind::ALL.into_iter().filter(has_file).collect();
    let runs = |kind: &&Kind| kind.socket().is_some_and(|socket| below(root, Path::new(socket)).exists());
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
}

impl Said {
    /// A later file counts where it says something.
    fn and(mut self, later: Self) -> Self {
        self.conf_dir = later.conf_dir.or(self.conf_dir);
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
fn with_imports(root: &Path, file: &Path, seen: &mut HashSet<PathBuf>) -> Result<Said, RuntimeError> {
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
    let Some(cni) = plugins.and_then(cni) else { return Said::default() };
    let several = paths(cni.get("bin_dirs"));
    let bin_dirs = if several.is_empty() { path(cni.get("bin_dir")).into_iter().collect() } else { several };
    Said { conf_dir: path(cni.get("conf_dir")), bin_dirs }
}

fn crio(root: &Path) -> Result<Said, RuntimeError> {
    let mut files: Vec<PathBuf> = vec!["/etc/crio/crio.conf".into()];
    files.retain(|file| below(root, file).exists());
    files.extend(matching(root, Path::new("/etc/crio/crio.conf.d/*")));
    files.iter().try_fold(Said::default(), |said, file| {
        let table = read(root, file)?;
        let network = table.get("crio").and_then(|crio| crio.get("network")).and_then(Value::as_table);
        let Some(network) = network else { return Ok(said) };
        let later =
            Said { conf_dir: path(network.get("network_dir")), bin_dirs: paths(network.get("plugin_dirs")) };
        Ok(said.and(later))
    })
}

fn read(root: &Path, file: &Path) -> Result<Table, RuntimeError> {
    let text = netconf::read_file(&below(root, file))?;
    text.parse().map_err(|error: toml::de::Error| RuntimeError::Toml {
        path: file.to_owned(),
        problem: crate::cni::error::one_line(&error.to_string(), 300),
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
    let files = glob::glob(&format!("{escaped}/{}", name.to_string_lossy())).into_iter().flatten().flatten();
    files
        .filter(|file| file.is_file())
        .map(|file| file.strip_prefix(root).map_or_else(|_| file.clone(), |rest| Path::new("/").join(rest)))
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
mod tests {
    use super::*;

    fn detect(files: &[(&str, &str)]) -> Result<Runtime, RuntimeError> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = below(root.path(), Path::new(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Runtime::detect(root.path(), None)
    }

    #[test]
    fn every_runtime_is_known_by_its_file() {
        let v1 = "[plugins.cri.cni]\nconf_dir = '/v1'\nbin_dir = '/v1/bin'";
        let v2 = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = '/v2/'\nbin_dir = '/v2/bin'";
        let v3 = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/v3'\nbin_dirs = ['/a', '/b']";
        let crio = "[crio.network]\nnetwork_dir = '/crio/'\nplugin_dirs = ['/c', '']";
        let snap =
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = '${SNAP_DATA}/args/x'";
        let table = [
            ("/etc/containerd/config.toml", v1, Kind::Containerd, "/v1", vec!["/v1/bin"]),
            ("/etc/containerd/config.toml", v2, Kind::Containerd, "/v2", vec!["/v2/bin"]),
            ("/etc/containerd/config.toml", v3, Kind::Containerd, "/v3", vec!["/a", "/b"]),
            ("/etc/containerd/config.toml", "", Kind::Containerd, CONF_DIR, vec![BIN_DIR]),
            ("/etc/crio/crio.conf", crio, Kind::Crio, "/crio", vec!["/c"]),
            ("/etc/crio/crio.conf.d/10-x.conf", crio, Kind::Crio, "/crio", vec!["/c"]),
            (
                "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
                "version = 2",
                Kind::K3s,
                "/var/lib/rancher/k3s/agent/etc/cni/net.d",
                vec!["/var/lib/rancher/k3s/data/current/bin"],
            ),
            (
                "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
                v2,
                Kind::Rke2,
                "/v2",
                vec!["/v2/bin"],
            ),
            (
                "/var/snap/microk8s/current/args/containerd-template.toml",
                snap,
                Kind::Microk8s,
                "/var/snap/microk8s/current/args/x",
                vec!["/var/snap/microk8s/current/opt/cni/bin"],
            ),
        ];
        for (path, text, kind, conf_dir, bin_dirs) in table {
            let runtime = detect(&[(path, text)]).unwrap();
            let found = (runtime.kind, runtime.conf_dir, runtime.bin_dirs);
            let expected = (Some(kind), conf_dir.into(), bin_dirs.iter().map(PathBuf::from).collect());
            assert_eq!(found, expected, "{path}: {text}");
        }
    }

    #[test]
    fn a_node_without_a_known_runtime_has_the_usual_directories() {
        let runtime = detect(&[]).unwrap();
        assert_eq!((runtime.kind, runtime.conf_dir), (None, CONF_DIR.into()));
    }

    #[test]
    fn imports_and_drop_ins_count_later() {
        let main =
            "imports = ['/etc/containerd/conf.d/*.toml']\n[plugins.cri.cni]\nconf_dir = '/a'\nbin_dir = '/b'";
        let drop_in = "[plugins.cri.cni]\nconf_dir = '/later'";
        let files = [("/etc/containerd/config.toml", main), ("/etc/containerd/conf.d/x.toml", drop_in)];
        let runtime = detect(&files).unwrap();
        assert_eq!((runtime.conf_dir, runtime.bin_dirs), ("/later".into(), vec!["/b".into()]));
    }

    #[test]
    fn imports_may_be_relative_and_import_others() {
        let cni = |key: &str| format!("[plugins.'io.containerd.cri.v1.runtime'.cni]\n{key}");
        let files = [
            ("/etc/containerd/config.toml", "version = 3\nimports = ['conf.d/1?-*.toml']".to_owned()),
            (
                "/etc/containerd/conf.d/10-a.toml",
                format!("imports = ['../more.toml', '10-a.toml']\n{}", cni("conf_dir = '/a'")),
            ),
            ("/etc/containerd/conf.d/20-b.toml", cni("conf_dir = '/not-imported'")),
            ("/etc/containerd/conf.d/../more.toml", cni("bin_dirs = ['/more/bin']")),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let runtime = detect(&files).unwrap();
        assert_eq!((runtime.conf_dir, runtime.bin_dirs), ("/a".into(), vec!["/more/bin".into()]));
    }

    #[test]
    fn links_of_the_node_stay_on_the_node() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("var/lib/rancher/k3s/data");
        std::fs::create_dir_all(data.join("abc/bin")).unwrap();
        symlink("/var/lib/rancher/k3s/data/abc", data.join("current")).unwrap();
        symlink("../../../../../../../../etc", data.join("out")).unwrap();
        symlink("circle", data.join("circle")).unwrap();
        let below = |path: &str| below(root.path(), Path::new(path));
        let current = "/var/lib/rancher/k3s/data/current/bin/braid";
        assert_eq!(below(current), data.join("abc/bin/braid"));
        assert_eq!(below("/var/lib/rancher/k3s/data/out/x"), root.path().join("etc/x"));
        assert_eq!(below("/var/lib/rancher/k3s/data/circle"), data.join("circle"));
        assert_eq!(below("/new/file"), root.path().join("new/file"));
    }

    #[test]
    fn an_executable_tells_whether_sub_directories_are_read() {
        let root = tempfile::tempdir().unwrap();
        let runtime = Runtime::unknown(Some(Kind::Containerd));
        assert_eq!(runtime.reads_sub_directories(root.path()), None);
        let executable = root.path().join("usr/bin/containerd");
        std::fs::create_dir_all(executable.parent().unwrap()).unwrap();
        std::fs::write(&executable, vec![b'x'; 3 << 20]).unwrap();
        assert_eq!(runtime.reads_sub_directories(root.path()), Some(false));
        // Across the border of two pieces.
        let mut bytes = vec![b'x'; (1 << 20) - 5];
        bytes.extend_from_slice(b"loadOnlyInlinedPlugins");
        std::fs::write(&executable, bytes).unwrap();
        assert_eq!(runtime.reads_sub_directories(root.path()), Some(true));
        assert_eq!(Runtime::unknown(None).reads_sub_directories(root.path()), None);
    }

    #[test]
    fn of_two_runtimes_the_one_that_runs_counts() {
        let (containerd, crio) = (("/etc/containerd/config.toml", ""), ("/etc/crio/crio.conf", ""));
        assert_eq!(detect(&[containerd, crio]).unwrap().kind, Some(Kind::Crio));
        let socket = ("/run/containerd/containerd.sock", "");
        assert_eq!(detect(&[containerd, crio, socket]).unwrap().kind, Some(Kind::Containerd));
    }

    #[test]
    fn a_broken_file_says_what_to_do() {
        let error = detect(&[("/etc/containerd/config.toml", "a = [")]).unwrap_err().to_string();
        assert!(error.contains("/etc/containerd/config.toml") && error.ends_with("--bin-dir"), "{error}");
    }
}
