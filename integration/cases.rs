//! `docs/cases/`: each chapter's manifests, `conf/cases/<chapter>`, as they are, on a node that has
//! Braid and its built-in plugins and no other; with packets that show what the chapter promises.

mod chapters;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::readme::machine::{Machine, Sandbox};
use crate::readme::page::documents;
use crate::readme::reliability::has_test;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The chapters, each with its test.
const CHAPTERS: [(&str, &str); 5] = [
    ("control-and-data", "cases::chapters::control_and_data_are_apart"),
    ("heterogeneous", "cases::chapters::workloads_of_different_needs_share_a_node"),
    ("tenants", "cases::chapters::each_tenant_has_a_network_of_its_own"),
    ("edge", "cases::chapters::unusual_protocols_reach_the_edge"),
    ("nfv", "cases::chapters::a_router_pod_is_the_only_way_between_two_networks"),
];

#[track_caller]
fn read(relative: &str) -> String {
    let path = Path::new(REPOSITORY).join(relative);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// A node with a chapter's definitions and settings.
fn machine(chapter: &str) -> Machine {
    let machine = Machine::new();
    machine.sh(
        "rm /opt/cni/bin/*; scripts/build && install -m 0755 target/dist/braid /opt/cni/bin/braid",
    );
    let mut conflist: Value = serde_json::from_str(&read("conf/00-built-in.conflist")).unwrap();
    let settings = format!("conf/cases/{chapter}/settings.json");
    if Path::new(REPOSITORY).join(&settings).exists() {
        let settings: Value = serde_json::from_str(&read(&settings)).unwrap();
        let entry = conflist["plugins"][0].as_object_mut().unwrap();
        entry.extend(settings.as_object().cloned().unwrap());
    }
    machine.node.write("net.d/00-braid.conflist", &conflist.to_string());
    let definitions = read(&format!("conf/cases/{chapter}/definitions.yaml"));
    machine.node.write("net.d/braid.d/case.yaml", &definitions);
    machine
}

/// The chapter's pods, in the order of its file.
fn start<'m>(machine: &'m Machine, chapter: &str) -> Vec<Sandbox<'m>> {
    let pods = documents(&read(&format!("conf/cases/{chapter}/pods.yaml"))).unwrap();
    let start = |pod: &Value| {
        let started = machine.start_manifest(pod);
        started.unwrap_or_else(|outcome| panic!("{pod}: {}", outcome.stdout))
    };
    pods.iter().map(start).collect()
}

/// CHECK passes, DEL succeeds, and nothing is left but what plugins make once for all pods.
fn leave(machine: &Machine, sandboxes: Vec<Sandbox<'_>>) {
    for sandbox in &sandboxes {
        sandbox.check();
    }
    for sandbox in sandboxes {
        sandbox.del();
        assert_eq!(sandbox.pod.links(), Vec::<String>::new(), "{}", sandbox.pod.name);
    }
    assert_eq!(machine.node.state("records"), Vec::<String>::new());
}

#[test]
fn every_chapter_has_manifests_a_picture_and_its_test() {
    let pages: BTreeSet<String> = fs::read_dir(Path::new(REPOSITORY).join("docs/cases"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().trim_end_matches(".md").to_owned())
        .collect();
    let chapters: BTreeSet<String> =
        CHAPTERS.iter().map(|(chapter, _)| (*chapter).to_owned()).collect();
    assert_eq!(pages, chapters);
    for (chapter, test) in CHAPTERS {
        let page = read(&format!("docs/cases/{chapter}.md"));
        assert!(has_test(test) && page.contains(&format!("`{test}`")), "{chapter} names {test}");
        for picture in [format!("case-{chapter}.svg"), format!("case-{chapter}-dark.svg")] {
            assert!(page.contains(&format!("../pictures/{picture}")), "{chapter}: {picture}");
        }
        for file in fs::read_dir(Path::new(REPOSITORY).join("conf/cases").join(chapter)).unwrap() {
            let name = file.unwrap().file_name().to_string_lossy().into_owned();
            let link = format!("../../conf/cases/{chapter}/{name}");
            assert!(page.contains(&link), "{chapter}: no link to {link}");
        }
    }
}
