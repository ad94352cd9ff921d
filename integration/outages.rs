//! ADD and DEL on a node whose API server is down, slow, flapping, half closed or silent. How each
//! question is asked again is in `api_client`; here, what becomes of pods.

use std::time::Duration;

use linux::netns::Netns;
use serde_json::{Value, json};

use crate::api_requests::{Cluster, known, wait_until};
use crate::apiserver::Fault;
use crate::node::Node;
use crate::pod::Pod;
use crate::teardown::valid_attachments;

const NOTHING: [&str; 0] = [];
const UNDONE: [&str; 4] =
    ["ADD primary eth0", "ADD blue net1", "DEL blue net1", "DEL primary eth0"];

/// Many of one fault, for every question that comes.
fn always(cluster: &Cluster, fault: &Fault) {
    cluster.server.times(200, fault);
}

/// The ADD is refused in time, before any plugin has run, and the DEL after it succeeds without the
/// API.
#[track_caller]
fn assert_refused(cluster: &Cluster, what: &str) {
    let before = cluster.node.dump();
    let pod = cluster.pod();
    let add =
        known(pod.add(cluster.config(json!({"apiTimeout": "1s"}))), &pod).networks("blue").run();
    add.assert_error(11, ["pod team-a/web", "network \"team-a/blue\""]);
    assert!(add.took < Duration::from_secs(10), "{what}: {:?}", add.took);
    assert_eq!(cluster.node.calls_in_order(), NOTHING, "{what}");
    assert_eq!(cluster.node.leftovers(&before), NOTHING, "{what}");
    let asked = cluster.server.connections();
    pod.del().run().assert_success();
    assert_eq!(cluster.server.connections(), asked, "{what}: DEL has asked");
    cluster.node.forget_calls();
}

#[test]
fn an_api_that_gives_no_answer_refuses_an_add_before_the_first_plugin() {
    for fault in [
        Fault::Late(Duration::from_secs(60)),
        Fault::Hang,
        Fault::HalfClose,
        Fault::Close,
        Fault::Cut,
    ] {
        let cluster = Cluster::usual();
        always(&cluster, &fault);
        assert_refused(&cluster, &format!("{fault:?}"));
        // And as soon as it is well, the pod starts.
        cluster.server.forget_faults();
        let pod = cluster.pod();
        known(pod.add(cluster.config(json!({}))), &pod).networks("blue").run().assert_success();
    }
    let silent = Cluster::usual();
    silent.server.be_mute(true);
    assert_refused(&silent, "silent");
    let mut down = Cluster::usual();
    down.server.stop();
    assert_refused(&down, "down");
}

#[test]
fn an_api_that_is_slow_is_waited_for() {
    let cluster = Cluster::usual();
    let late = Fault::Late(Duration::from_millis(800));
    cluster.server.next("GET", late.clone());
    cluster.server.next("PATCH", late);
    let pod = cluster.pod();
    let add =
        known(pod.add(cluster.config(json!({"apiTimeout": "10s"}))), &pod).networks("blue").run();
    add.assert_success();
    assert!(add.took > Duration::from_millis(1600), "{:?}", add.took);
    assert_eq!(cluster.status()[1]["name"], "team-a/blue");
    assert_eq!(
        cluster.server.requests().len(),
        2,
        "nothing is asked twice: {:?}",
        cluster.server.lines()
    );
}

#[test]
fn an_api_that_flaps_costs_an_add_nothing_but_time() {
    let cluster = Cluster::usual();
    for part in ["GET", "PATCH"] {
        for fault in [Fault::Close, Fault::HalfClose, Fault::Cut] {
            cluster.server.next(part, fault);
        }
    }
    let pod = cluster.pod();
    let add = known(pod.add(cluster.config(json!({"apiTimeout": "20s"}))), &pod).networks("blue");
    add.run().assert_success();
    assert_eq!(
        cluster.node.calls_in_order(),
        ["ADD primary eth0", "ADD blue net1"],
        "no plugin has run twice"
    );
    assert_eq!(cluster.status()[1]["name"], "team-a/blue");
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(cluster.node.state("records"), NOTHING);
}

/// An ADD in which blue waits until it may end.
fn held<'p>(node: &Node, pod: &'p Pod<'_>, config: Value) -> crate::call::Running<'p> {
    node.script("blue", json!({"ADD": {"wait_for": node.path("go")}}));
    let add = known(pod.add(config), pod).networks("blue").start();
    wait_until(|| node.calls_in_order().contains(&"ADD blue net1".to_owned()));
    add
}

#[test]
fn an_api_that_goes_away_in_the_middle_of_an_add_undoes_it() {
    let cluster = Cluster::usual();
    let config = cluster.config(json!({"apiTimeout": "1s"}));
    let Cluster { node, mut server } = cluster;
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let add = held(&node, &pod, config);
    server.stop();
    node.write("go", "");
    add.wait().assert_error(11, ["pod team-a/web", "cannot be reached"]);
    assert_eq!(node.calls_in_order(), UNDONE);
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
    pod.del().run().assert_success();
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

#[test]
fn an_api_that_goes_away_and_comes_back_in_the_middle_of_an_add_has_its_status() {
    let cluster = Cluster::usual();
    let config = cluster.config(json!({"apiTimeout": "20s"}));
    let Cluster { node, mut server } = cluster;
    let pod = node.pod("team-a", "web");
    let add = held(&node, &pod, config);
    server.stop();
    node.write("go", "");
    std::thread::sleep(Duration::from_millis(300));
    let host = Netns::open(node.host().path().as_ref()).unwrap();
    let server = host.run(move || {
        server.restart();
        server
    });
    add.wait().assert_success();
    let cluster = Cluster { node: Node::new(), server: server.unwrap() };
    assert_eq!(cluster.status()[1]["name"], "team-a/blue");
}

/// DEL and CHECK need the node alone.
#[test]
fn del_check_and_gc_do_not_notice_an_outage() {
    let cluster = Cluster::usual();
    let config = cluster.config(json!({}));
    let pods = [cluster.pod(), cluster.pod()];
    for pod in &pods {
        known(pod.add(config.clone()), pod).networks("blue").run().assert_success();
    }
    let asked = cluster.server.connections();
    cluster.server.be_mute(true);
    cluster.node.forget_calls();
    let outcomes = [
        pods[0].check().run(),
        pods[0].del().run(),
        pods[0].del().run(),
        cluster.node.call("GC", config).with(valid_attachments(json!([]))).run(),
    ];
    for outcome in &outcomes {
        outcome.assert_success();
        assert!(outcome.took < Duration::from_secs(10), "{:?}", outcome.took);
    }
    assert_eq!(cluster.server.connections(), asked);
    assert_eq!(cluster.node.state("records"), NOTHING);
}

/// Never in the way: nothing is asked for a pod that asks for nothing.
#[test]
fn a_plain_pod_starts_and_goes_whatever_the_api_does() {
    for fault in [Some(Fault::Hang), Some(Fault::HalfClose), None] {
        let mut cluster = Cluster::usual();
        match &fault {
            Some(fault) => always(&cluster, fault),
            None => cluster.server.stop(),
        }
        let chained = json!({"kubeconfig": cluster.server.usual_kubeconfig()});
        let delegating = cluster.config(json!({}));
        let (first, second) =
            (cluster.node.pod("team-a", "chained"), cluster.node.pod("team-a", "delegating"));
        for call in [first.add_chained(chained), second.add(delegating)] {
            let add = call.run();
            add.assert_success();
            assert!(add.took < Duration::from_secs(10), "{fault:?}: {:?}", add.took);
        }
        first.del().run().assert_success();
        second.del().run().assert_success();
        assert_eq!(cluster.server.connections(), 0, "{fault:?}");
        assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "DEL primary eth0"]);
    }
}
