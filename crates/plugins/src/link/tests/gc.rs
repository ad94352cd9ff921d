//! GC reaches the IPAM plugin of every plugin that has one.

use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::netconf::PluginType;
use cni::plugin::{Call, Context, Delegate, NeverStop, answer};
use cni::request::{Command, Environment, Request};
use serde_json::{Value, json};

/// An IPAM plugin that answers GC with this, and counts.
struct Ipam {
    answer: Result<(), Error>,
    calls: usize,
}

impl Delegate for Ipam {
    fn delegate(
        &mut self,
        plugin: &PluginType,
        command: Command,
        _: &Call,
        _: Deadline,
    ) -> Result<Option<Value>, Error> {
        assert_eq!((plugin.as_str(), command), ("ranges", Command::Gc));
        self.calls += 1;
        self.answer.clone().map(|()| None)
    }
}

fn collect(kind: &str, answer_of_ipam: Result<(), Error>) -> (Result<(), Error>, usize) {
    let environment = [("CNI_COMMAND", "GC"), ("CNI_PATH", "/x")];
    let request = Request::read(Environment::from(environment)).unwrap().unwrap();
    let config = json!({
        "cniVersion": "1.1.0", "name": "blue", "type": kind, "ipam": {"type": "ranges"},
        "cni.dev/valid-attachments": [],
    });
    let mut ipam = Ipam { answer: answer_of_ipam, calls: 0 };
    let deadline = Deadline::after(Duration::from_secs(10));
    let mut context = Context { delegate: &mut ipam, deadline, stop: &NeverStop };
    let plugin = crate::find(kind).unwrap();
    let outcome = answer(plugin, &request, config.to_string().as_bytes(), &mut context).outcome;
    (outcome.map(drop), ipam.calls)
}

#[test]
fn gc_reaches_ipam_and_forgives_one_without_gc() {
    for kind in ["bridge", "ptp", "macvlan", "ipvlan", "vlan", "dummy", "tap", "host-device"] {
        assert_eq!(collect(kind, Ok(())), (Ok(()), 1), "{kind}");
        for code in [Code::VERSION, Code::ENVIRONMENT] {
            assert_eq!(collect(kind, Err(Error::new(code, "GC?"))), (Ok(()), 1), "{kind}");
        }
        let (failed, _) = collect(kind, Err(Error::new(Code::IO, "the disk is gone")));
        assert_eq!(failed.unwrap_err().msg, "the disk is gone", "{kind}");
    }
}
