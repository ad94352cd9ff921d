use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::request::{Environment, Request};
use crate::result::Interface;

/// Answers ADD with its interface, and refuses all else with what it was given.
struct Echo;

impl Plugin for Echo {
    fn oldest_version(&self) -> Version {
        Version::V0_3_1
    }

    fn add(&self, call: &Call, _: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let name = call.attachment()?.interface.to_string();
        Ok(AttachmentResult {
            interfaces: vec![Interface { name, ..Interface::default() }],
            ..Default::default()
        })
    }

    fn del(&self, _: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        Err(Error::new(Code::IO, "link not found"))
    }

    fn check(&self, _: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        context.proceed()
    }
}

fn run(command: &str, input: &Value) -> Answer {
    let environment = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "net1"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    let request = Request::read(Environment::from(environment)).unwrap().unwrap();
    let mut context = Context {
        delegate: &mut NoDelegates,
        deadline: Deadline::after(Duration::ZERO),
        stop: &NeverStop,
    };
    answer(&Echo, &request, input.to_string().as_bytes(), &mut context)
}

#[test]
fn add_answers_in_the_version_of_the_request() {
    let answer = run("ADD", &json!({"cniVersion": "0.4.0", "name": "n", "type": "echo"}));
    let value = answer.outcome.unwrap().unwrap();
    assert_eq!(value["cniVersion"], "0.4.0");
    assert_eq!(value["interfaces"][0]["name"], "net1");
}

#[test]
fn del_never_says_what_containerd_takes_for_success() {
    let answer = run("DEL", &json!({"cniVersion": "1.0.0", "name": "n"}));
    assert_eq!(answer.outcome.unwrap_err().msg, "link absent");
}

#[test]
fn a_call_ends_at_its_deadline() {
    let error = run("CHECK", &json!({"cniVersion": "1.0.0", "name": "n"})).outcome.unwrap_err();
    assert_eq!((error.code, error.msg.as_str()), (Code::TRY_AGAIN, "the time of the call is over"));
}

#[test]
fn an_operation_that_the_version_lacks_is_refused() {
    for (command, version, code) in [
        ("CHECK", "0.3.1", Code::VERSION),
        ("STATUS", "1.0.0", Code::VERSION),
        ("GC", "1.0.0", Code::VERSION),
        ("ADD", "0.2.0", Code::VERSION),
        ("ADD", "9.0.0", Code::VERSION),
    ] {
        let error = run(command, &json!({"cniVersion": version, "name": "n"})).outcome.unwrap_err();
        assert_eq!(error.code, code, "{command} {version}: {error}");
    }
}

#[test]
fn a_configuration_needs_a_name_and_to_be_an_object() {
    for (input, code) in [
        (json!({"cniVersion": "1.0.0"}), Code::CONFIG),
        (json!({"cniVersion": "1.0.0", "name": "../x"}), Code::CONFIG),
        (json!({"cniVersion": "1.0.0", "name": 1}), Code::CONFIG),
        (json!([1]), Code::DECODE),
    ] {
        assert_eq!(run("ADD", &input).outcome.unwrap_err().code, code, "{input}");
    }
}

#[test]
fn version_lists_those_that_the_plugin_knows() {
    let value = run("VERSION", &json!({"cniVersion": "0.4.0"})).outcome.unwrap().unwrap();
    let known = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    assert_eq!(value, json!({"cniVersion": "0.4.0", "supportedVersions": known}));
}
