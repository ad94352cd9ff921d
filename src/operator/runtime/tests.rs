//! Which runtime a node has, and what its configuration says.

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
    let v2 = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = '/v2/'\nbin_dir \
              = '/v2/bin'";
    let v3 = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/v3'\n\
              bin_dirs = ['/a', '/b']";
    let crio = "[crio.network]\nnetwork_dir = '/crio/'\nplugin_dirs = ['/c', '']";
    let snap = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = \
                '${SNAP_DATA}/args/x'";
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

/// The file of kind's node image, if no directory is named.
#[test]
fn a_node_of_kind_is_containerd_with_the_usual_directories() {
    let kind = r#"
version = 2
[proxy_plugins."fuse-overlayfs"]
  type = "snapshot"
  address = "/run/containerd-fuse-overlayfs.sock"
[plugins."io.containerd.grpc.v1.cri"]
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = false
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
  discard_unpacked_layers = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"#;
    let found =
        detect(&[("/etc/containerd/config.toml", kind), ("/kind/version", "v1.34.0")]).unwrap();
    let file = Some("/etc/containerd/config.toml".into());
    let usual = Runtime::unknown(Some(Kind::Containerd));
    assert_eq!(found, Runtime { file, ..usual });
}

#[test]
fn containerd_may_attach_more_than_one_configuration() {
    let files: Vec<PathBuf> = ["a", "b", "c"].map(PathBuf::from).to_vec();
    let table = [
        ("", 0),
        ("max_conf_num = 1", 0),
        ("max_conf_num = 2", 1),
        ("max_conf_num = 0", 2),
        ("max_conf_num = 9", 2),
    ];
    for (key, beside) in table {
        let text = format!("[plugins.'io.containerd.cri.v1.runtime'.cni]\n{key}");
        let runtime = detect(&[("/etc/containerd/config.toml", &text)]).unwrap();
        assert_eq!(runtime.attached_beside_first(&files), &files[1..=beside], "{key}");
        assert!(runtime.attached_beside_first(&[]).is_empty());
    }
}

#[test]
fn a_node_without_a_known_runtime_has_the_usual_directories() {
    let runtime = detect(&[]).unwrap();
    assert_eq!((runtime.kind, runtime.conf_dir), (None, CONF_DIR.into()));
}

#[test]
fn imports_and_drop_ins_count_later() {
    let main = "imports = ['/etc/containerd/conf.d/*.toml']\n[plugins.cri.cni]\nconf_dir = '/a'\n\
                bin_dir = '/b'";
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
    assert!(
        error.contains("/etc/containerd/config.toml") && error.ends_with("--bin-dir"),
        "{error}"
    );
}
