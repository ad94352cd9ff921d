//! DEL waits two seconds for the API at most, whatever holds it up; what it could not give back is due.

use std::path::Path;

use super::*;

/// A name for what becomes of the network's kubeconfig or of the server, and the doing.
type Spoiler = (&'static str, fn(&Cluster, &Path));

const SPOILERS: [Spoiler; 5] = [
    ("the kubeconfig is a FIFO", |_, kubeconfig| {
        fs::remove_file(kubeconfig).unwrap();
        nix::unistd::mkfifo(kubeconfig, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
    ("the token's file is a FIFO", |cluster, kubeconfig| {
        let fifo = cluster.node.path("token");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        replace(kubeconfig, &cluster.server.kubeconfig(json!({"tokenFile": fifo})));
    }),
    ("the exec plugin hangs", |cluster, kubeconfig| {
        replace(kubeconfig, &exec(cluster, "exec sleep 60"));
    }),
    ("the server says nothing in TLS", |cluster, _| cluster.server.be_mute(true)),
    ("the exec plugin is slow, and the server says nothing", |cluster, kubeconfig| {
        cluster.server.be_mute(true);
        let token = cluster.server.token(&User::braid(), 3600);
        let credential = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token},
        });
        replace(kubeconfig, &exec(cluster, &format!("sleep 1.5; echo '{credential}'")));
    }),
];

fn replace(kubeconfig: &Path, by: &Path) {
    fs::copy(by, kubeconfig).unwrap();
}

/// A kubeconfig whose credential is what a script prints.
fn exec(cluster: &Cluster, script: &str) -> PathBuf {
    let command = cluster.server.program(script);
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never",
    });
    cluster.server.kubeconfig(json!({"exec": exec}))
}

#[test]
fn nothing_that_hangs_holds_del_up() {
    for (what, spoil) in SPOILERS {
        let cluster = Cluster::new();
        let kubeconfig = cluster.own_kubeconfig();
        let config = cluster.config(json!({"kubernetes": {"kubeconfig": kubeconfig}}));
        let pod = cluster.pod();
        known(pod.add(config.clone()), &pod).networks("lan").run().assert_success();
        spoil(&cluster, &kubeconfig);
        let deleted = pod.del().run();
        deleted.assert_success();
        assert!(deleted.took < Duration::from_secs(4), "{what}: {:?}", deleted.took);
        assert_eq!(cluster.containers(), std::slice::from_ref(&pod.container), "{what}");
        assert_eq!(cluster.node.state("addresses/due").len(), 1, "{what}");
        cluster.server.be_mute(false);
        fs::remove_file(&kubeconfig).unwrap();
        replace(&kubeconfig, &cluster.kubeconfig);
        cluster.gc(&config);
        assert_eq!(cluster.containers(), Vec::<String>::new(), "{what}");
        assert_eq!(cluster.node.state("addresses/due"), Vec::<String>::new(), "{what}");
    }
}

/// An address is given back where it was taken, and nowhere else.
#[test]
fn a_kubeconfig_that_leads_to_another_server_gives_nothing_back_there() {
    let cluster = Cluster::new();
    let kubeconfig = cluster.own_kubeconfig();
    let config = cluster.config(json!({"kubernetes": {"kubeconfig": kubeconfig}}));
    let pod = cluster.pod();
    known(pod.add(config.clone()), &pod).networks("lan").run().assert_success();
    let other = Cluster::new();
    let foreign = json!({"id": pod.container, "podref": "team-a/web", "ifname": "net1"});
    other.put_pool(POOL, "10.7.0.0/24", json!({"1": foreign}));
    replace(&kubeconfig, &other.kubeconfig);
    pod.del().run().assert_success();
    assert_eq!(other.containers(), std::slice::from_ref(&pod.container));
    assert_eq!(other.server.lines(), Vec::<String>::new());
    assert_eq!(cluster.node.state("addresses/due").len(), 1);
    replace(&kubeconfig, &cluster.kubeconfig);
    cluster.gc(&config);
    assert_eq!(cluster.containers(), Vec::<String>::new());
}

/// Each request takes most of a second: nothing is given up, and no address is lost.
#[test]
fn a_slow_etcd_is_waited_for() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({"enable_overlapping_ranges": true}));
    let slow = Duration::from_millis(700);
    cluster.server.take_time(Latency { read: slow, write: slow });
    let pod = cluster.pod();
    let added = known(pod.add(config.clone()), &pod).networks("lan").run();
    added.assert_success();
    assert!(added.took > slow * 5, "{:?}", added.took);
    assert!(cluster.has("overlappingrangeipreservations", "10.7.0.1"));
    let deleted = pod.del().run();
    deleted.assert_success();
    assert!(deleted.took < Duration::from_secs(4), "{:?}", deleted.took);
    cluster.server.take_time(Latency::default());
    cluster.gc(&config);
    assert_eq!(cluster.containers(), Vec::<String>::new());
    assert!(!cluster.has("overlappingrangeipreservations", "10.7.0.1"));
}

/// The write was done, and its answer comes later than ADD waits: its own entry is found.
#[test]
fn an_answer_that_comes_too_late_gives_no_second_address() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({}));
    let pod = cluster.pod();
    let late = Fault::Afterwards(Box::new(Fault::Late(Duration::from_secs(8))));
    cluster.server.next(&format!("PATCH {POOLS}"), late);
    known(pod.add(config), &pod).networks("lan").run().assert_success();
    assert_eq!(cluster.containers(), std::slice::from_ref(&pod.container));
    assert_eq!(pod.addresses("net1"), ["10.7.0.1/24"]);
}
