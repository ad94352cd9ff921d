//! `install` and `uninstall`, on roots in directories of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{Said, Tool};
use crate::apiserver::{ApiServer, User};
use crate::node::{BRAID, Node};

const PRIMARY: &str = "{\"cniVersion\": \"1.0.0\", \"name\": \"primary\",\n \"plugins\": [{\"type\": \"ptp\", \"capabilities\": {\"ips\": true}}]}\n";

/// One that has all that can be looked at without the API.
const KUBECONFIG: &str = "clusters: [{name: c, cluster: {server: https://10.0.0.1}}]\n";

/// A root with a primary network, and the configuration of a runtime.
fn root(runtime: &str, text: &str) -> Node {
    let node = Node::new();
    node.write(&format!("root{runtime}"), text);
    node.write("root/etc/cni/net.d/10-primary.conflist", PRIMARY);
    node
}

fn containerd() -> Node {
    root("/etc/containerd/config.toml", "version = 2\n")
}

fn run(node: &Node, arguments: &[&str]) -> Said {
    let root = node.path_text("root");
    let (command, rest) = arguments.split_first().unwrap();
    Tool::new(node, &[&[*command, "--root", &root], rest].concat()).run()
}

fn read(node: &Node, path: &str) -> String {
    fs::read_to_string(node.path(&format!("root{path}"))).unwrap()
}

fn conf(node: &Node, path: &str) -> Value {
    serde_json::from_str(&read(node, path)).unwrap()
}

/// Every file below the root with its contents, the binary apart.
fn files(node: &Node) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![node.path("root")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if path.ends_with("bin/braid") => {}
                path => {
                    found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()))
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_dry_run_shows_a_diff_and_changes_nothing() {
    let node = containerd();
    let before = files(&node);
    // The size of the binary changes with every build.
    let said = run(&node, &["install", "--dry-run"]).assert_status(0);
    let kept: Vec<&str> =
        said.stdout.lines().filter(|line| !line.contains("bytes become")).collect();
    assert_snapshot!(kept.join("\n"));
    assert_eq!(files(&node), before);
}

#[test]
fn it_installs_once_and_again_changes_nothing() {
    let node = containerd();
    assert_snapshot!(run(&node, &["install"]).snapshot());
    assert_eq!(fs::read(node.path("root/opt/cni/bin/braid")).unwrap(), fs::read(BRAID).unwrap());
    let mode = fs::metadata(node.path("root/opt/cni/bin/braid")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(read(&node, "/etc/cni/net.d/10-primary.conflist"), PRIMARY);
    let entry = conf(&node, "/etc/cni/net.d/00-braid.conflist")["plugins"][0].clone();
    let capabilities: Vec<&String> = entry["capabilities"].as_object().unwrap().keys().collect();
    let expected = [
        "io.kubernetes.cri.pod-annotations",
        "portMappings",
        "bandwidth",
        "cgroupPath",
        "dns",
        "ips",
    ];
    assert_eq!(capabilities, expected);
    let before = files(&node);
    assert_snapshot!(run(&node, &["install"]).snapshot());
    assert_eq!(files(&node), before);
}

#[test]
fn what_an_administrator_wrote_stays() {
    let node = containerd();
    run(&node, &["install"]).assert_status(0);
    let file = "/etc/cni/net.d/00-braid.conflist";
    let mut document = conf(&node, file);
    document["plugins"][0]["maxNetworks"] = json!(4);
    document["plugins"][0]["capabilities"]["dns"] = json!(false);
    document["plugins"][0]["drain"] = json!(true);
    node.write(&format!("root{file}"), &document.to_string());
    node.write("root/etc/braid.kubeconfig", KUBECONFIG);
    run(&node, &["install", "--kubeconfig", "/etc/braid.kubeconfig"]).assert_status(0);
    let entry = conf(&node, file)["plugins"][0].clone();
    assert_eq!((&entry["maxNetworks"], &entry["capabilities"]["dns"]), (&json!(4), &json!(false)));
    assert_eq!(
        (&entry["drain"], &entry["kubeconfig"]),
        (&Value::Null, &json!("/etc/braid.kubeconfig"))
    );
}

#[test]
fn each_runtime_gets_what_it_needs() {
    let crio = root("/etc/crio/crio.conf", "[crio.network]\nplugin_dirs = ['/usr/libexec/cni']\n");
    run(&crio, &["install"]).assert_status(0);
    let entry = conf(&crio, "/etc/cni/net.d/00-braid.conflist")["plugins"][0].clone();
    assert_eq!(
        (&entry["resultScope"], &entry["binDir"]),
        (&json!("primary"), &json!("/usr/libexec/cni"))
    );
    assert!(crio.path("root/usr/libexec/cni/braid").exists());

    // As Debian's package of containerd has it.
    let cni = "[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"/etc/cni/net.d\"\n";
    let debian = root("/etc/containerd/config.toml", &format!("version = 2\n{cni}"));
    let said = run(&debian, &["install"]).assert_status(0).stdout;
    assert!(
        said.starts_with("write /usr/lib/cni/braid\n") && !debian.path("root/opt").exists(),
        "{said}"
    );
    assert_eq!(
        conf(&debian, "/etc/cni/net.d/00-braid.conflist")["plugins"][0]["binDir"],
        "/usr/lib/cni"
    );

    let k3s = root("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "version = 2\n");
    let directory = "/var/lib/rancher/k3s/agent/etc/cni/net.d";
    k3s.write(&format!("root{directory}/10-primary.conflist"), PRIMARY);
    run(&k3s, &["install"]).assert_status(0);
    let entry = conf(&k3s, &format!("{directory}/00-braid.conflist"))["plugins"][0].clone();
    assert_eq!(entry["primaryConfDir"], directory);
    assert_eq!(entry["confDir"], format!("{directory}/braid.d"));
}

#[test]
fn chained_it_is_the_last_of_the_chain_and_leaves_no_trace() {
    let node = containerd();
    let before = files(&node);
    assert_snapshot!(run(&node, &["install", "--mode", "chained"]).snapshot());
    let plugins = conf(&node, "/etc/cni/net.d/10-primary.conflist")["plugins"].clone();
    assert_eq!((&plugins[0]["type"], &plugins[1]["type"]), (&json!("ptp"), &json!("braid")));
    assert_eq!(run(&node, &["install"]).assert_status(0).stdout, "nothing to change\n");
    assert_snapshot!(run(&node, &["uninstall"]).snapshot());
    assert_eq!(files(&node), before);
    assert_eq!(run(&node, &["uninstall"]).assert_status(0).stdout, "braid is not installed here\n");
}

#[test]
fn where_the_primary_removes_other_files_it_is_a_file_of_the_chain() {
    let node = containerd();
    node.write("root/etc/cni/net.d/05-old.conflist.cilium_bak", "{}");
    assert_snapshot!(run(&node, &["install"]).snapshot());
    node.write("root/usr/bin/containerd", "an old one");
    assert_snapshot!(run(&node, &["install", "--mode", "chained-file"]).snapshot());
    node.write("root/usr/bin/containerd", "a new one knows loadOnlyInlinedPlugins");
    let before = files(&node);
    run(&node, &["install"]).assert_status(0);
    assert_eq!(conf(&node, "/etc/cni/net.d/primary/braid.conf")["type"], "braid");
    run(&node, &["uninstall"]).assert_status(0);
    assert_eq!(files(&node), before);
    assert!(!node.path("root/etc/cni/net.d/primary").exists());
}

/// An entry that is there, and cannot work, is not called well because nothing of it is Braid's to
/// change.
#[test]
fn a_node_that_cannot_work_is_an_error() {
    let with = |more: Value, behind: bool| {
        let node = containerd();
        run(&node, &["install"]).assert_status(0);
        let file = "/etc/cni/net.d/00-braid.conflist";
        let mut document = conf(&node, file);
        let entry = document["plugins"][0].as_object_mut().unwrap();
        entry.remove("clusterNetwork");
        entry.extend(more.as_object().cloned().unwrap());
        if behind {
            document["plugins"].as_array_mut().unwrap().insert(0, json!({"type": "ptp"}));
        }
        node.write(
            &format!("root{file}"),
            &(serde_json::to_string_pretty(&document).unwrap() + "\n"),
        );
        node
    };
    let file = "error: NODE/root/etc/cni/net.d/00-braid.conflist";
    let first = "braid is the first plugin and has no primary network, so that no pod starts: set \"clusterNetwork\" or \"delegates\"";
    let behind = "braid stands behind other plugins and has a primary network of its own, so that no pod starts: put it first, or remove \"clusterNetwork\" and \"delegates\"";
    let typo = "; unknown key \"clusterNetwrk\" in braid's configuration: did you mean \"clusterNetwork\"?";
    let policy = "braid's configuration, key \"policy\": must be an object: until then pods get no network that they ask for";
    for (more, is_behind, expected) in [
        (json!({}), false, format!("{file}: {first}")),
        (json!({"clusterNetwrk": "auto"}), false, format!("{file}: {first}{typo}")),
        (json!({"delegates": []}), false, format!("{file}: {first}")),
        (json!({"clusterNetwork": "auto"}), true, format!("{file}: {behind}")),
        (json!({"clusterNetwork": "auto", "policy": 1}), false, format!("{file}: {policy}")),
        (
            json!({"clusterNetwork": "auto", "maxNetworks": "x"}),
            false,
            format!("{file}: braid's configuration, key \"maxNetworks\": "),
        ),
        (
            json!({"clusterNetwork": "/etc/none.conf"}),
            false,
            "error: NODE/root/etc/none.conf ".to_owned(),
        ),
    ] {
        let node = with(more.clone(), is_behind);
        // Its keys are in another order now, which is Braid's to mend, once.
        run(&node, &["install"]).assert_status(1);
        let before = files(&node);
        let said = run(&node, &["install"]).assert_status(1);
        let start = format!("nothing to change\n{expected}");
        assert!(said.stdout.starts_with(&start), "{more}: {}", said.stdout);
        assert_eq!(files(&node), before);
        assert_eq!(run(&node, &["install", "--dry-run"]).assert_status(1).stdout, said.stdout);
    }
}

/// The name of a file and what tells it from another one of the same contents.
fn inode(node: &Node, path: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(node.path(&format!("root{path}"))).unwrap().ino()
}

const PRIMARY_FILE: &str = "/etc/cni/net.d/10-primary.conflist";
const CHAINED_FILE: &str = "/etc/cni/net.d/primary/braid.conf";

/// containerd does not watch the directory of a chain: each change there renames the primary's file
/// over itself.
#[test]
fn every_change_of_a_chained_file_renews_the_primarys() {
    let node = containerd();
    let before = files(&node);
    let renewal = format!("renew {PRIMARY_FILE}\n");
    let first = inode(&node, PRIMARY_FILE);
    let mut seen = first;
    let mut renews = |arguments: &[&str], expected: bool| {
        let said = run(&node, arguments).assert_status(0).stdout;
        let now = inode(&node, PRIMARY_FILE);
        assert_eq!(
            (said.contains(&renewal), now != seen),
            (expected, expected),
            "{arguments:?}: {said}"
        );
        seen = now;
    };
    let install = ["install", "--mode", "chained-file"];
    let shown = run(&node, &[&install[..], &["--dry-run"]].concat()).assert_status(0).stdout;
    assert!(shown.ends_with(&renewal) && first == inode(&node, PRIMARY_FILE), "{shown}");
    renews(&install, true);
    renews(&["install"], false);
    node.write("settings.json", "{\"maxNetworks\": 4}");
    renews(&["install", "--settings", &node.path_text("settings.json")], true);
    // A run that was killed between the two files, or a hand: what is there is right, and was not
    // read.
    std::thread::sleep(std::time::Duration::from_millis(20));
    node.write(&format!("root{CHAINED_FILE}"), &read(&node, CHAINED_FILE));
    renews(&["install"], true);
    node.write("root/etc/cni/net.d/primary/other.conf", "{\"type\": \"tuning\"}");
    let other = node.path("root/etc/cni/net.d/primary/other.conf");
    renews(&["uninstall"], true);
    assert!(other.exists() && !node.path(&format!("root{CHAINED_FILE}")).exists());
    fs::remove_dir_all(other.parent().unwrap()).unwrap();
    assert_eq!(files(&node), before);
}

/// Such a primary leaves pods silently without their networks: no runtime reads the file.
#[test]
fn a_chained_file_that_no_runtime_reads_is_refused() {
    let single = "{\"cniVersion\": \"1.0.0\", \"name\": \"primary\", \"type\": \"ptp\"}";
    let inlined = PRIMARY.replacen('{', "{\"loadOnlyInlinedPlugins\": true, ", 1);
    for (primary, said) in
        [(single, "is a single plugin and no conflist"), (&inlined, "loadOnlyInlinedPlugins")]
    {
        let node = containerd();
        node.write(&format!("root{PRIMARY_FILE}"), primary);
        let before = files(&node);
        let refused = run(&node, &["install", "--mode", "chained-file"]).assert_status(1);
        assert!(
            refused.stderr.contains(said) && refused.stderr.contains(" use --mode "),
            "{}",
            refused.stderr
        );
        assert_eq!(files(&node), before);
    }
}

#[test]
fn another_file_that_sorts_first_is_an_error() {
    let node = containerd();
    run(&node, &["install"]).assert_status(0);
    node.write("root/etc/cni/net.d/00-a.conf", "{\"name\": \"a\", \"type\": \"ptp\"}");
    let said = run(&node, &["install"]).assert_status(1);
    assert_eq!(
        said.stdout,
        "nothing to change\nerror: the runtime reads NODE/root/etc/cni/net.d/00-a.conf first, and not \
         NODE/root/etc/cni/net.d/00-braid.conflist, so that pods get nothing from braid: rename one of the \
         two, so that braid's sorts first\n"
    );
    fs::remove_file(node.path("root/etc/cni/net.d/00-a.conf")).unwrap();
    run(&node, &["install"]).assert_status(0);

    let chained = containerd();
    run(&chained, &["install", "--mode", "chained"]).assert_status(0);
    chained.write("root/etc/cni/net.d/00-a.conf", "{\"name\": \"a\", \"type\": \"ptp\"}");
    let said = run(&chained, &["install"]).assert_status(1);
    assert!(
        said.stdout.contains("00-a.conf first, and not NODE/root/etc/cni/net.d/10-"),
        "{}",
        said.stdout
    );

    // A file behind the primary's chain is in no other chain.
    let file = containerd();
    run(&file, &["install", "--mode", "chained-file"]).assert_status(0);
    run(&file, &["install"]).assert_status(0);
    file.write("root/etc/cni/net.d/00-a.conf", "{\"name\": \"a\", \"type\": \"ptp\"}");
    let said = run(&file, &["install"]).assert_status(1);
    assert!(
        said.stdout.contains("00-a.conf first, and not NODE/root/etc/cni/net.d/primary/"),
        "{}",
        said.stdout
    );
}

/// Pods depend on it from the installation on.
#[test]
fn a_kubeconfig_that_braid_could_not_work_with_is_refused() {
    let node = containerd();
    let before = files(&node);
    let page = "docs/cluster.md, \"Node by node\", says how to make one";
    let refused = |kubeconfig: &str| {
        let said = run(&node, &["install", "--kubeconfig", kubeconfig]).assert_status(1);
        let dry =
            run(&node, &["install", "--dry-run", "--kubeconfig", kubeconfig]).assert_status(1);
        assert_eq!((&said.stdout, &said.stderr), (&dry.stdout, &dry.stderr));
        said.stderr
    };
    assert_eq!(
        refused("/etc/braid.kubeconfig"),
        format!(
            "braid: the kubeconfig cannot be used: NODE/root/etc/braid.kubeconfig: No such file or directory (os error 2); {page}\n"
        )
    );
    assert_eq!(
        refused("braid.kubeconfig"),
        "braid: the kubeconfig braid.kubeconfig must have an absolute path, as the node sees it\n"
    );
    assert_eq!(files(&node), before);
    node.write("root/etc/braid.kubeconfig", "secret-token");
    let form = format!("braid: /etc/braid.kubeconfig is not a kubeconfig; {page}\n");
    assert_eq!(refused("/etc/braid.kubeconfig"), form);
    let users = "users: [{name: u, user: {tokenFile: braid.token}}]\n";
    node.write("root/etc/braid.kubeconfig", &format!("{KUBECONFIG}{users}"));
    let token = refused("/etc/braid.kubeconfig");
    assert!(token.contains("NODE/root/etc/braid.token: No such file or directory"), "{token}");
    nix::unistd::mkfifo(&node.path("root/etc/braid.token"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused("/etc/braid.kubeconfig").contains("braid.token: is not a regular file"));
    fs::remove_file(node.path("root/etc/braid.token")).unwrap();
    node.write("root/etc/braid.token", "t");
    run(&node, &["install", "--kubeconfig", "/etc/braid.kubeconfig"]).assert_status(0);

    // One that stands there already is reported, and keeps nothing from being brought up to date.
    fs::remove_file(node.path("root/etc/braid.token")).unwrap();
    let said = run(&node, &["install"]).assert_status(1);
    let reported =
        "nothing to change\nerror: the kubeconfig cannot be used: NODE/root/etc/braid.token: ";
    assert!(said.stdout.starts_with(reported), "{}", said.stdout);
}

/// On the node itself the API is asked for the rights, before anything is changed.
#[test]
fn a_kubeconfig_without_the_rights_is_refused() {
    let server = ApiServer::start();
    let node = containerd();
    let directory = node.path("root/etc/cni/net.d");
    let install = |kubeconfig: &std::path::Path| {
        let mut command = std::process::Command::new(BRAID);
        command.args(["install", "--runtime", "containerd", "--conf-dir"]).arg(&directory);
        command.arg("--bin-dir").arg(node.path("bin")).arg("--kubeconfig").arg(kubeconfig);
        let output = command.env_clear().output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let stranger = User::service_account("team-a", "stranger");
    let without = server.kubeconfig(json!({"token": server.token(&stranger, 3600)}));
    let (status, said) = install(&without);
    let user = "user \"system:serviceaccount:team-a:stranger\" may not get network-attachment-definitions.k8s.cni.cncf.io";
    let expected = format!("braid: the kubeconfig {}: {user}", without.display());
    assert!(
        status == 1 && said.starts_with(&expected) && said.contains("kubectl create clusterrole"),
        "{said}"
    );
    let late = server.kubeconfig(json!({"token": server.token(&User::braid(), -60)}));
    let (status, said) = install(&late);
    assert!(status == 1 && said.contains("does not accept the token"), "{said}");
    let names = || fs::read_dir(&directory).unwrap().count();
    assert_eq!(names(), 1, "nothing is changed");
    server.be_mute();
    let (status, said) = install(&server.usual_kubeconfig());
    assert!(status == 3 && said.contains("did not "), "not yet: {status} {said}");
    assert_eq!(names(), 1, "nothing is changed");
}

/// The primary may come up after Braid: it is installed all the same, and the status says that it
/// is not yet fit.
#[test]
fn without_a_primary_the_node_is_not_yet_fit() {
    let node = containerd();
    fs::remove_file(node.path("root/etc/cni/net.d/10-primary.conflist")).unwrap();
    let said = run(&node, &["install"]).assert_status(3);
    let problem = "error: no primary network in NODE/root/etc/cni/net.d yet: no configuration there without braid or multus in it: until then no pod starts\n";
    assert!(said.stdout.ends_with(problem), "{}", said.stdout);
    assert!(node.path("root/etc/cni/net.d/00-braid.conflist").exists());
    let said = run(&node, &["install"]).assert_status(3);
    assert_eq!(said.stdout, format!("nothing to change\n{problem}"));
    let json = run(&node, &["install", "-o", "json"]).assert_status(3).json();
    assert_eq!(json["problems"].as_array().unwrap().len(), 1, "{json}");
    node.write("root/etc/cni/net.d/10-primary.conflist", PRIMARY);
    run(&node, &["install"]).assert_status(0);
}

/// What an administrator has written there is not overwritten because it has a mistake.
#[test]
fn braids_own_file_that_cannot_be_read_is_left_as_it_is() {
    let node = containerd();
    let file = "etc/cni/net.d/00-braid.conflist";
    node.write(&format!("root/{file}"), "{\"name\": ");
    let before = files(&node);
    let said = run(&node, &["install"]).assert_status(1);
    let expected = "braid: braid's own file cannot be read: NODE/root/etc/cni/net.d/00-braid.conflist: not valid JSON: EOF while parsing a value at line 1 column 9: repair it, or remove it to have it written anew\n";
    assert_eq!(said.stderr, expected);
    assert_eq!(files(&node), before);
}

#[test]
fn definitions_keep_their_directory() {
    let node = containerd();
    run(&node, &["install"]).assert_status(0);
    node.write("root/etc/cni/net.d/braid.d/lan.yaml", "{}");
    run(&node, &["uninstall"]).assert_status(0);
    assert!(node.path("root/etc/cni/net.d/braid.d/lan.yaml").exists());
    run(&node, &["install"]).assert_status(0);
    fs::remove_file(node.path("root/etc/cni/net.d/braid.d/lan.yaml")).unwrap();
    let said = run(&node, &["uninstall"]).assert_status(0).stdout;
    assert!(said.contains("remove /etc/cni/net.d/braid.d\n"), "{said}");
    assert!(!node.path("root/etc/cni/net.d/braid.d").exists());
}

#[test]
fn two_that_would_fight_are_refused() {
    let node = containerd();
    run(&node, &["install"]).assert_status(0);
    assert_snapshot!(run(&node, &["install", "--mode", "chained"]).snapshot());
    let held = fs::File::open(node.path("root/etc/cni/net.d")).unwrap();
    let _held = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusive).unwrap();
    assert_snapshot!(run(&node, &["install"]).snapshot());

    let multus = containerd();
    multus.write("root/etc/cni/net.d/00-multus.conf", "{\"name\": \"m\", \"type\": \"multus\"}");
    assert_snapshot!(run(&multus, &["install"]).snapshot());
}

/// An ADD that began before the drain has no record yet, and holds the configuration up all the
/// same.
#[test]
fn it_waits_for_calls_that_are_at_work() {
    let node = Node::new();
    node.write("etc/containerd/config.toml", "version = 2\n");
    let entry = json!({"type": "braid", "cniDir": "/state", "delegates": [{"type": "ptp"}]});
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("etc/cni/net.d/00-braid.conflist", &conflist.to_string());
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    for directory in ["state", "state/locks"] {
        fs::create_dir(node.path(directory)).unwrap();
        fs::set_permissions(node.path(directory), fs::Permissions::from_mode(0o700)).unwrap();
    }
    node.write("state/locks/killed", "");
    node.write("state/locks/c1", "");
    let lock = fs::File::open(node.path("state/locks/c1")).unwrap();
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let said = Tool::new(&node, &["uninstall", "--root", root]).run().assert_status(3);
    assert!(
        said.stdout.ends_with("waiting: a call for container c1 is at work\n"),
        "{}",
        said.stdout
    );
    assert!(node.path("etc/cni/net.d/00-braid.conflist").exists());
    drop(held);
    Tool::new(&node, &["uninstall", "--root", root]).run().assert_status(0);
    assert!(!node.path("etc/cni/net.d/00-braid.conflist").exists());
}

/// A node with a pod that has an extra network, and braid's configuration in its directory.
fn held_up(node: &Node) -> (crate::pod::Pod<'_>, std::path::PathBuf) {
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    node.write("etc/containerd/config.toml", "version = 2\n");
    let more = node.delegating();
    let entry = json!({"type": "braid", "cniDir": "/state", "delegates": more["delegates"]});
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("etc/cni/net.d/00-braid.conflist", &conflist.to_string());
    let web = node.pod("team-a", "web");
    web.add(more).networks("blue").run().assert_success();
    (web, node.path("etc/cni/net.d/00-braid.conflist"))
}

/// An interrupted wait leaves the node as it was; a drain that was there before goes on, and that
/// is said.
#[test]
fn an_interrupted_wait_takes_its_drain_back() {
    use nix::sys::signal::{Signal, kill};
    let node = Node::new();
    let (_web, file) = held_up(&node);
    let before = fs::read_to_string(&file).unwrap();
    let root = node.path_text("");
    let interrupted = |signal: Signal| {
        let mut command = std::process::Command::new(BRAID);
        command.args(["uninstall", "--wait", "--root", root.trim_end_matches('/')]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "new extra networks are refused on this node from now on"
        );
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "waiting for 1 pod with extra networks: team-a/web"
        );
        assert!(fs::read_to_string(&file).unwrap().contains("drain"));
        kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (status, said) = interrupted(signal);
        assert!(
            status == Some(3)
                && said.ends_with("interrupted; new extra networks are accepted again\n"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    }
    let drain = Tool::new(&node, &["uninstall", "--root", root.trim_end_matches('/')]);
    drain.run().assert_status(3);
    let drained = fs::read_to_string(&file).unwrap();
    let (status, said) = interrupted(Signal::SIGINT);
    let goes_on = "interrupted; the drain of before goes on: braid install ends it\n";
    assert!(status == Some(3) && said.ends_with(goes_on), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), drained);
}

#[test]
fn a_wait_has_an_end() {
    let node = Node::new();
    let (web, file) = held_up(&node);
    let root = node.path_text("");
    let uninstall = |more: &[&str]| {
        Tool::new(&node, &[&["uninstall", "--root", root.trim_end_matches('/')], more].concat())
            .run()
    };
    let started = std::time::Instant::now();
    let said = uninstall(&["--wait", "--timeout", "2s"]).assert_status(3);
    assert!((2..20).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert!(said.stdout.ends_with("the time to wait is over\n"), "{}", said.stdout);
    assert!(fs::read_to_string(&file).unwrap().contains("drain"), "and it goes on");
    let wrong = uninstall(&["--wait", "--timeout", "2 days"]).assert_status(2);
    assert!(
        wrong.stderr.contains("must be seconds, or a number with one of the units"),
        "{}",
        wrong.stderr
    );
    uninstall(&["--timeout", "2s"]).assert_status(2);
    web.del().run().assert_success();
    uninstall(&["--wait", "--timeout", "1h"]).assert_status(0);
}

/// A pod with an extra network holds the configuration up, new ones are refused, all else works.
#[test]
fn it_leaves_once_no_pod_has_an_extra_network() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    node.write("etc/containerd/config.toml", "version = 2\n");
    let more = node.delegating();
    let mut entry = json!({
        "type": "braid", "cniDir": "/state", "confDir": node.path("braid.d"), "capabilities": {},
    });
    entry["delegates"] = more["delegates"].clone();
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("etc/cni/net.d/00-braid.conflist", &conflist.to_string());
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    let uninstall =
        |more: &[&str]| Tool::new(&node, &[&["uninstall", "--root", root], more].concat()).run();

    let web = node.pod("team-a", "web");
    web.add(more.clone()).networks("blue").run().assert_success();
    assert_snapshot!(uninstall(&["--dry-run"]).snapshot());
    assert_snapshot!(uninstall(&[]).snapshot());
    let drained: Value = serde_json::from_str(
        &fs::read_to_string(node.path("etc/cni/net.d/00-braid.conflist")).unwrap(),
    )
    .unwrap();
    assert_eq!(drained["plugins"][0]["drain"], true);

    let drains = json!({"drain": true, "delegates": more["delegates"]});
    let refused = node.pod("team-a", "late");
    refused
        .add(drains.clone())
        .networks("blue")
        .run()
        .assert_error(11, ["leaving this node (drain)"]);
    let plain = node.pod("team-a", "plain");
    plain.add(drains).run().assert_success();

    // Somebody waits, and is told for what: the pod, then the call that takes it down.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| uninstall(&["--wait"]));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(node.path("etc/cni/net.d/00-braid.conflist").exists());
        web.del().run().assert_success();
        waiting.join().unwrap()
    });
    // Whether the DEL itself is seen at work is chance.
    assert!(
        waiting.stderr.starts_with(
            "new extra networks are refused on this node from now on\nwaiting for 1 pod with extra networks: team-a/web"
        ),
        "{}",
        waiting.stderr
    );
    assert_snapshot!(Said { stderr: String::new(), ..waiting }.snapshot());
    assert!(!node.path("etc/cni/net.d/00-braid.conflist").exists() && !node.path("state").exists());
}
