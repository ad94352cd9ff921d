//! The node after the reboot, and what its runtime does next.

use std::path::Path;

use serde_json::{Value, json};

use super::{Due, OTHER_BOOT, Seen, Sight, View, add, del, due_in, restore, state_of};
use crate::call::Outcome;
use crate::node::{Node, Recorded, succeed, text};
use crate::pod::Pod;

const NOTHING: [&str; 0] = [];

/// Another boot for this thread and what it starts: a boot ID of its own over the kernel's, in a
/// mount namespace of its own.
pub(super) fn reboot(node: &Node) {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    succeed("mount", &["--make-rslave", "/"]);
    node.write("boot_id", &format!("{OTHER_BOOT}\n"));
    succeed("mount", &["--bind", &node.path_text("boot_id"), "/proc/sys/kernel/random/boot_id"]);
}

/// What the runtime does after the reboot, each time from the same state.
pub(super) struct Runtime<'n> {
    pub(super) node: &'n Node,
    /// The pod whose calls were cut off. Its path leads to a namespace again, another's by now.
    pub(super) pod: &'n Pod<'n>,
    pub(super) other: &'n Pod<'n>,
}

impl Runtime<'_> {
    /// Every way to go on from a state.
    pub(super) fn go_on(&self, view: &View, state: &super::State) {
        self.explain(view, || {
            restore(self.node, state);
            self.delete_twice(view);
        });
        self.explain(view, || {
            restore(self.node, state);
            self.add_again(view);
        });
        self.explain(view, || {
            restore(self.node, state);
            self.add_another_and_collect(view);
        });
    }

    fn explain(&self, view: &View, work: impl FnOnce()) {
        self.node.forget_calls();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if let Err(panic) = outcome {
            let now: Vec<_> = state_of(self.node).into_keys().collect();
            eprintln!("after {view:#?}\ncalls: {:?}\nnow: {now:#?}", self.node.calls_in_order());
            std::panic::resume_unwind(panic);
        }
    }

    /// DEL, as the kubelet wants it of every sandbox that it knew.
    fn delete_twice(&self, view: &View) {
        del(self.node, self.pod).run().assert_success();
        match record(view) {
            Some(seen) => self.assert_torn_down(&self.node.calls(), seen),
            None => assert_eq!(self.node.calls_in_order(), ["DEL primary eth0"]),
        }
        self.assert_nothing_left(view);
        self.node.forget_calls();
        del(self.node, self.pod).run().assert_success();
        assert_eq!(self.node.calls_in_order(), ["DEL primary eth0"]);
    }

    /// The ADD that was cut off, again: what it finds is torn down first, though never in a
    /// namespace of this boot.
    fn add_again(&self, view: &View) {
        let result = add(self.node, self.pod).run().assert_success();
        let mut calls = self.node.calls();
        let added: Vec<String> =
            calls.split_off(calls.len() - 2).iter().map(Recorded::summary).collect();
        assert_eq!(added, ["ADD primary eth0", "ADD blue net1"]);
        match record(view) {
            Some(seen) => self.assert_torn_down(&calls, seen),
            None => assert!(calls.is_empty()),
        }
        self.node.forget_calls();
        del(self.node, self.pod).prev_result(result).run().assert_success();
        assert_eq!(self.node.calls_in_order(), ["DEL blue net1", "DEL primary eth0"]);
        assert!(
            self.node
                .calls()
                .iter()
                .all(|call| call.variable("CNI_NETNS") == self.pod.netns_path())
        );
        assert_eq!(self.node.state("locks"), NOTHING);
        self.assert_nothing_left(view);
    }

    /// A pod under a new name, and GC with a list that has it alone. The first ADD after a start
    /// looks for what is left, so either may tear it down.
    fn add_another_and_collect(&self, view: &View) {
        add(self.node, self.other).run().assert_success();
        let outcome = self.collect();
        if matches!(of_records(view), Some(Sight::Broken { .. })) {
            // Said once, and never again.
            assert!(text(&outcome.json()["msg"]).contains("set aside"), "{outcome:?}");
            self.collect().assert_success();
        } else {
            outcome.assert_success();
        }
        let (others, calls): (Vec<Recorded>, Vec<Recorded>) = self
            .node
            .calls()
            .into_iter()
            .partition(|call| call.variable("CNI_CONTAINERID") == self.other.container);
        let others: Vec<String> = others.iter().map(Recorded::summary).collect();
        assert_eq!(others, ["ADD primary eth0", "ADD blue net1"]);
        assert!(calls.iter().all(|call| call.variable("CNI_CONTAINERID") == self.pod.container));
        let due = due_in(view);
        for (_, label) in &due.0 {
            let kind = label.rsplit('/').next().unwrap().replace("cluster", "primary");
            assert!(
                calls
                    .iter()
                    .any(|call| call.plugin() == kind && call.variable("CNI_NETNS").is_empty())
            );
        }
        assert_eq!(
            Due::of(&state_of(self.node)).0.len(),
            2,
            "only the other pod's networks are recorded"
        );
        for (directory, left) in [("orphans", 0), ("locks", 0), ("records", 1)] {
            assert_eq!(
                self.node.state(directory).len(),
                left,
                "{directory}: {:?}",
                self.node.state(directory)
            );
        }
        self.node.forget_calls();
        del(self.node, self.other).run().assert_success();
        assert_eq!(self.node.calls_in_order(), ["DEL blue net1", "DEL primary eth0"]);
    }

    fn collect(&self) -> Outcome {
        let list = json!([{"containerID": self.other.container, "ifname": "eth0"}]);
        let more = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list});
        self.node.call("GC", self.node.delegating()).with(more).run()
    }

    /// What is left of a record, in reverse, with the results that it has, and in no namespace:
    /// that of the other boot is gone, wherever its path leads.
    fn assert_torn_down(&self, calls: &[Recorded], seen: &Seen) {
        let place = |left: &String| match left.trim_end_matches('!') {
            "cluster" => "DEL primary eth0",
            _ => "DEL blue net1",
        };
        let expected: Vec<&str> = seen.left.iter().rev().map(place).collect();
        let summaries: Vec<String> = calls.iter().map(Recorded::summary).collect();
        assert_eq!(summaries, expected);
        for (call, left) in calls.iter().zip(seen.left.iter().rev()) {
            assert_eq!(call.variable("CNI_NETNS"), "", "{}", call.summary());
            assert_eq!(call.variable("CNI_CONTAINERID"), self.pod.container);
            assert_eq!(
                call.stdin()["prevResult"] != Value::Null,
                left.ends_with('!'),
                "{}",
                call.summary()
            );
        }
    }

    /// No record; one that could not be read is kept aside. A temporary file is GC's to take away.
    fn assert_nothing_left(&self, view: &View) {
        let records = self.node.state("records");
        assert!(records.iter().all(|name| name.starts_with('.')), "{records:?}");
        let is_broken = matches!(of_records(view), Some(Sight::Broken { .. }));
        assert_eq!(self.node.state("aside").len(), usize::from(is_broken));
    }
}

fn of_records(view: &View) -> Option<&Sight> {
    view.iter()
        .find(|(path, sight)| {
            path.parent() == Some(Path::new("state/records")) && **sight != Sight::Name
        })
        .map(|(_, sight)| sight)
}

fn record(view: &View) -> Option<&Seen> {
    match of_records(view)? {
        Sight::Record(seen) => Some(seen),
        _ => None,
    }
}
