//! The executable of another version beside today's, on the same node: each goes on with what the
//! other has left, in every verb. `scripts/compatibility` builds the other one and starts these.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Scene;
use crate::call::Call;
use crate::node::{BRAID, text};
use crate::pod::Pod;

const MODES: [&str; 2] = ["delegating", "chained"];

/// The executable of the other version.
fn previous() -> PathBuf {
    let variable = "BRAID_PREVIOUS";
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.unwrap_or_else(|| panic!("{variable} is not set: run scripts/compatibility"));
    assert!(path.is_file(), "{} is missing: run scripts/compatibility", path.display());
    path
}

/// Who attaches and who goes on, each way.
fn pairs() -> [(PathBuf, PathBuf); 2] {
    [(previous(), BRAID.into()), (BRAID.into(), previous())]
}

/// A pod that `program` has attached, and the result.
fn attached<'n>(scene: &'n Scene, mode: &str, program: &Path) -> (Pod<'n>, Value) {
    let pod = scene.node.pod("team-a", "web");
    let call = match mode {
        "chained" => pod.add_chained(json!({"cniVersion": "1.0.0", "name": "cluster"})),
        _ => pod.add(scene.config()),
    };
    let result = by(call.networks("blue"), program).run().assert_success();
    assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"], "{mode}");
    (pod, result)
}

fn by<'n>(call: Call<'n>, program: &Path) -> Call<'n> {
    call.wrapper(program)
}

fn shown(scene: &Scene, program: &Path) -> Value {
    serde_json::from_str(&scene.run(program, &["list", "-o", "json"])).unwrap()
}

#[test]
#[ignore = "needs the executable of another version: scripts/compatibility"]
fn each_version_checks_shows_and_tears_down_what_the_other_has_attached() {
    for ((first, second), mode) in
        pairs().into_iter().flat_map(|it| MODES.map(|mode| (it.clone(), mode)))
    {
        let scene = Scene::new();
        let (pod, result) = attached(&scene, mode, &first);
        let check = pod.check().prev_result(result.clone());
        by(check, &second).run().assert_success();
        let list = shown(&scene, &second);
        assert_eq!(text(&list["records"][0]["kernel"]), "agrees", "{mode}: {list}");
        assert!(scene.run(&second, &["show", "team-a/web"]).contains("team-a/blue"));
        if mode == "delegating" {
            by(scene.gc(&[&pod]), &second).run().assert_success();
            scene.run(&second, &["gc"]);
            assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"], "GC keeps what lives");
        }
        let del = pod.del().prev_result(result);
        by(del, &second).run().assert_success();
        scene.assert_nothing_left(&pod);
    }
}

#[test]
#[ignore = "needs the executable of another version: scripts/compatibility"]
fn gc_of_each_version_takes_what_the_other_has_left() {
    for (first, second) in pairs() {
        let scene = Scene::new();
        let (pod, _) = attached(&scene, "delegating", &first);
        by(scene.gc(&[]), &second).run().assert_success();
        scene.assert_nothing_left(&pod);
    }
}

/// A network that one version had to give up is seen, tried again and ended by the other.
#[test]
#[ignore = "needs the executable of another version: scripts/compatibility"]
fn each_version_ends_the_orphans_of_the_other() {
    for (first, second) in pairs() {
        let scene = Scene::new();
        let node = &scene.node;
        node.recorder("green");
        node.define("team-a", "green", json!({"cniVersion": "1.0.0", "type": "green"}));
        let pod = node.pod("team-a", "web");
        by(pod.add(scene.config()).networks("green"), &first).run().assert_success();
        node.script("green", json!({"DEL": {"error": {"code": 17, "msg": "the switch is away"}}}));
        let del = pod.del().with(json!({"deleteGiveUp": 0}));
        by(del, &first).run().assert_success();
        assert_eq!(node.state("orphans").len(), 1);
        let list = scene.run(&second, &["list"]);
        assert!(list.contains("orphan"), "{list}");
        node.script("green", json!({}));
        by(scene.gc(&[]), &second).run().assert_success();
        assert_eq!(node.state("orphans"), Vec::<String>::new());
    }
}

/// A pod goes through both versions: attached by one, checked by the other, and so on, among pods
/// of each.
#[test]
#[ignore = "needs the executable of another version: scripts/compatibility"]
fn pods_of_both_versions_live_side_by_side() {
    let scene = Scene::new();
    let programs = [previous(), BRAID.into()];
    let mut pods = Vec::new();
    for (at, program) in programs.iter().cycle().take(6).enumerate() {
        let pod = scene.node.pod("team-a", &format!("web-{at}"));
        let call = pod.add(scene.config()).networks("blue");
        let result = by(call, program).run().assert_success();
        pods.push((pod, result));
    }
    let living: Vec<&Pod<'_>> = pods.iter().map(|(pod, _)| pod).collect();
    for program in &programs {
        by(scene.gc(&living), program).run().assert_success();
        assert_eq!(shown(&scene, program)["records"].as_array().unwrap().len(), 6);
    }
    let addresses: std::collections::BTreeSet<_> =
        pods.iter().flat_map(|(pod, _)| pod.addresses("net1")).collect();
    assert_eq!(addresses.len(), 6, "{addresses:?}");
    for ((pod, result), program) in pods.iter().zip(programs.iter().rev().cycle()) {
        by(pod.check().prev_result(result.clone()), program).run().assert_success();
        by(pod.del().prev_result(result.clone()), program).run().assert_success();
    }
    pods.iter().for_each(|(pod, _)| scene.assert_nothing_left(pod));
}
