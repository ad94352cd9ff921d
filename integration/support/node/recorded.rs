//! One call of a recorder.

use serde_json::Value;

use super::text;

/// One call of a recorder.
#[derive(Clone, Debug)]
pub(crate) struct Recorded(pub(super) Value);

impl Recorded {
    pub(crate) fn plugin(&self) -> &str {
        text(&self.0["plugin"])
    }

    pub(crate) fn verb(&self) -> &str {
        text(&self.0["verb"])
    }

    /// "ADD blue net1"; "GC blue".
    pub(crate) fn summary(&self) -> String {
        format!("{} {} {}", self.verb(), self.plugin(), text(&self.0["interface"]))
            .trim_end()
            .to_owned()
    }

    /// The recorder's process ID then.
    pub(crate) fn process(&self) -> u64 {
        self.0["process"].as_u64().unwrap()
    }

    /// What came on standard input.
    pub(crate) fn stdin(&self) -> &Value {
        &self.0["stdin"]
    }

    /// Every variable as it was in the process's environment, repetitions included.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        serde_json::from_value(self.0["environment"].clone()).unwrap()
    }

    /// One variable; it must be there once.
    pub(crate) fn variable(&self, name: &str) -> String {
        let mut values: Vec<_> =
            self.environment().into_iter().filter(|(key, _)| key == name).collect();
        assert_eq!(values.len(), 1, "{name} in {:?}", self.environment());
        values.remove(0).1
    }
}
