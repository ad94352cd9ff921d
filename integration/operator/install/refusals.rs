//! What `install` refuses, and what it leaves as an administrator has written it.

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{KUBECONFIG, PRIMARY, PRIMARY_FILE, conf, containerd, files, run};
use crate::apiserver::{ApiServer, User};
use crate::node::BRAID;

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
    let first = "braid is the first plugin and has no primary network, so that no pod starts: set \
                 \"clusterNetwork\" or \"delegates\"";
    let behind = "braid stands behind other plugins and has a primary network of its own, so that \
                  no pod starts: put it first, or remove \"clusterNetwork\" and \"delegates\"";
    let typo = "; unknown key \"clusterNetwrk\" in braid's configuration: did you mean \
                \"clusterNetwork\"?";
    let policy = "braid's configuration, key \"policy\": must be an object: until then pods get no \
                  network that they ask for";
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
        "nothing to change\nerror: the runtime reads NODE/root/etc/cni/net.d/00-a.conf first, and \
         not NODE/root/etc/cni/net.d/00-braid.conflist, so that pods get nothing from braid: \
         rename one of the two, so that braid's sorts first\n"
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
            "braid: the kubeconfig cannot be used: NODE/root/etc/braid.kubeconfig: No such file or \
             directory (os error 2); {page}\n"
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
    let user = "user \"system:serviceaccount:team-a:stranger\" may not get \
                network-attachment-definitions.k8s.cni.cncf.io";
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
    server.be_mute(true);
    let (status, said) = install(&server.usual_kubeconfig());
    assert!(status == 3 && said.contains("did not "), "not yet: {status} {said}");
    assert_eq!(names(), 1, "nothing is changed");
}

/// Rights that a RoleBinding grants in one namespace let no pod of another start.
#[test]
fn a_kubeconfig_with_rights_in_one_namespace_alone_is_refused() {
    let server = ApiServer::start();
    let local = User::service_account("team-a", "local");
    let role = json!({"kind": "ClusterRole", "name": "braid"});
    let subject = json!({"kind": "ServiceAccount", "name": "local", "namespace": "team-a"});
    let binding = json!({
        "kind": "RoleBinding", "metadata": {"name": "local", "namespace": "kube-system"},
        "roleRef": role, "subjects": [subject],
    });
    server.objects().rbac.add(binding);
    let node = containerd();
    let directory = node.path("root/etc/cni/net.d");
    let kubeconfig = server.kubeconfig(json!({"token": server.token(&local, 3600)}));
    let mut command = std::process::Command::new(BRAID);
    command.args(["install", "--runtime", "containerd", "--conf-dir"]).arg(&directory);
    command.arg("--bin-dir").arg(node.path("bin")).arg("--kubeconfig").arg(&kubeconfig);
    let output = command.env_clear().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "may get network-attachment-definitions.k8s.cni.cncf.io in namespace \
                    \"kube-system\", but not in every namespace";
    assert!(output.status.code() == Some(1) && said.contains(expected), "{said}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is changed");
}

/// The primary may come up after Braid: it is installed all the same, and the status says that it
/// is not yet fit.
#[test]
fn without_a_primary_the_node_is_not_yet_fit() {
    let node = containerd();
    fs::remove_file(node.path("root/etc/cni/net.d/10-primary.conflist")).unwrap();
    let said = run(&node, &["install"]).assert_status(3);
    let problem = "error: no primary network in NODE/root/etc/cni/net.d yet: no configuration \
                   there without braid or multus in it: until then no pod starts\n";
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
    let expected = "braid: braid's own file cannot be read: \
                    NODE/root/etc/cni/net.d/00-braid.conflist: not valid JSON: EOF while parsing a \
                    value at line 1 column 9: repair it, or remove it to have it written anew\n";
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
