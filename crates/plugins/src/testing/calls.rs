//! A call as a runtime makes it, of a plugin of ours or of the reference plugin beside it. The unit
//! tests and `tests/rules` share it.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::plugin::{Context, Delegate, NeverStop, Plugin, answer};
use cni::request::{Environment, Request};
use linux::netns::Netns;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

/// Who carries a call out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Who {
    Ours,
    Reference,
}

/// The environment of a call.
pub(crate) type Variables = [(&'static str, String); 7];

/// Where the reference plugins are.
pub(crate) fn reference_directory() -> String {
    std::env::var("REFERENCE_PLUGINS").unwrap_or_else(|_| "/usr/lib/cni".to_owned())
}

pub(crate) fn namespace() -> Netns {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("these tests make network namespaces: run them as root");
        Netns::open(Path::new("/proc/thread-self/ns/net")).unwrap()
    };
    thread::spawn(make).join().unwrap()
}

pub(crate) fn path_of(netns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd())
}

/// Calls a plugin of ours in this thread. Returns what it prints: null if it prints nothing.
pub(crate) fn call_ours(
    plugin: &dyn Plugin,
    config: &Value,
    environment: &Variables,
    delegate: &mut dyn Delegate,
) -> Result<Value, Error> {
    let pairs = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let request = Request::read(Environment::from(pairs)).unwrap().unwrap();
    let deadline = Deadline::after(Duration::from_secs(60));
    let mut context = Context { delegate, deadline, stop: &NeverStop };
    let answer = answer(plugin, &request, config.to_string().as_bytes(), &mut context);
    answer.outcome.map(Option::unwrap_or_default)
}

/// Calls a reference plugin. Returns what it prints: null if it prints nothing.
pub(crate) fn call_executable(
    kind: &str,
    input: &str,
    environment: &Variables,
) -> Result<Value, Error> {
    let executable = Path::new(&reference_directory()).join(kind);
    let started = Process::new(&executable)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.unwrap_or_else(|error| {
        panic!("{} is missing: install containernetworking-plugins: {error}", executable.display())
    });
    // A plugin that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if output.status.success() {
        return Ok(printed);
    }
    let code = Code(printed["code"].as_u64().unwrap_or_default());
    Err(Error::new(code, printed["msg"].as_str().unwrap_or_default()))
}
