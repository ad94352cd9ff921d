//! What holds Braid's configuration up on a node.

use std::fmt;

/// How many names a line has: a node may have hundreds of pods.
const NAMED: usize = 5;

/// Pods and calls that need the configuration.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct ConfigurationUsers {
    /// The pods whose records hold an extra network.
    pub(super) pods: Vec<String>,
    /// The containers for which a call is at work.
    pub(super) calls: Vec<String>,
}

impl ConfigurationUsers {
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.calls.is_empty()
    }
}

impl fmt::Display for ConfigurationUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods =
            format!("{} with extra networks: {}", count(&self.pods, "pod"), names(&self.pods));
        let calls = format!("{} at work for {}", count(&self.calls, "call"), names(&self.calls));
        match (self.pods.is_empty(), self.calls.is_empty()) {
            (_, true) => write!(f, "waiting for {pods}"),
            (true, _) => write!(f, "waiting for {calls}"),
            _ => write!(f, "waiting for {pods}; and for {calls}"),
        }
    }
}

fn count(names: &[String], noun: &str) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", names.len())
}

fn names(all: &[String]) -> String {
    let shown = all.get(..NAMED).unwrap_or(all).join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_pods_are_counted_and_some_are_named() {
        let pods = |count: usize| (1..=count).map(|number| format!("a/p{number}")).collect();
        let held = |count, calls: &[&str]| {
            let calls = calls.iter().map(|&call| call.to_owned()).collect();
            ConfigurationUsers { pods: pods(count), calls }.to_string()
        };
        assert_eq!(held(1, &[]), "waiting for 1 pod with extra networks: a/p1");
        assert_eq!(
            held(7, &["c1"]),
            "waiting for 7 pods with extra networks: a/p1, a/p2, a/p3, a/p4, a/p5 and 2 more; and \
             for 1 call at work for c1"
        );
        assert_eq!(held(0, &["c1", "c2"]), "waiting for 2 calls at work for c1, c2");
    }
}
