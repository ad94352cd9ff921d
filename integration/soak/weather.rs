//! What is broken on the node for a while.

use std::fs;

use serde_json::{Value, json};

use crate::node::Node;

/// One fault, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Weather {
    /// Everything works: what is not interrupted must succeed.
    Calm,
    /// Network `moody` refuses each call.
    Refusing,
    /// Network `moody` fails once it has made its interface, and on DEL.
    FailingLate,
    /// Network `moody` does not end.
    Hanging,
    /// The state directory takes nothing more.
    Full,
}

impl Weather {
    /// The next one: calm half of the time, so that calls can succeed.
    pub(super) fn next(dice: &mut fastrand::Rng) -> Self {
        match dice.u8(0..12) {
            0 | 1 => Self::Refusing,
            2 | 3 => Self::FailingLate,
            4 => Self::Hanging,
            5 => Self::Full,
            _ => Self::Calm,
        }
    }

    /// Makes it so.
    pub(super) fn set_in(self, node: &Node) {
        node.script("moody", self.script());
        let ballast = node.path("state/ballast");
        if self == Self::Full {
            let filled = fs::write(&ballast, vec![0; 4 << 20]);
            assert!(filled.is_err(), "the disk takes more than it should");
        } else {
            let _ = fs::remove_file(&ballast);
        }
    }

    fn script(self) -> Value {
        let error = json!({"code": 99, "msg": "not today"});
        match self {
            Self::Calm | Self::Full => json!({}),
            Self::Refusing => json!({"ADD": {"error": error}, "DEL": {"error": error}}),
            Self::FailingLate => {
                json!({"ADD": {"link": true, "error": error}, "DEL": {"error": error}})
            }
            Self::Hanging => json!({"ADD": {"sleep_ms": 60_000}, "DEL": {"sleep_ms": 60_000}}),
        }
    }

    /// What a call's configuration says because of it.
    pub(super) fn configuration(self) -> Value {
        match self {
            Self::Hanging => json!({"delegateTimeout": "1s"}),
            _ => json!({"delegateTimeout": null}),
        }
    }
}
