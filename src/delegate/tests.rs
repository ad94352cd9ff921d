//! Each with a plugin that is a shell script.

use std::io;
use std::os::unix::fs::PermissionsExt;

use super::*;
use cni::error::Code;
use serde_json::json;

/// Signal masks and children belong to the process; nextest gives each test its own.
fn with_plugin<T>(script: &str, run: impl FnOnce(&mut Delegates<'_>, &PluginType) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fake");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut signals = Signals::block().unwrap();
    let ours = Environment::from([
        ("PATH", "/usr/bin:/bin"),
        ("SECRET", "x"),
        ("KEPT", "y"),
        ("CNI_ARGS", "z"),
    ]);
    let pass = ["KEPT".to_owned(), "CNI_ARGS".to_owned()];
    let limit = Duration::from_secs(2);
    let installed = Installed::new(vec![dir.path().into()], BuiltInPlugins::Linked);
    let mut delegates = Delegates::new(installed, &ours, &pass, limit, &mut signals);
    run(&mut delegates, &"fake".parse().unwrap())
}

fn call(plugin: &PluginType) -> Call<'_> {
    Call {
        command: Command::Status,
        plugin,
        network: "",
        target: None,
        request: json!({"pad": "x".repeat(200_000)}),
    }
}

#[test]
fn a_plugin_that_would_be_killed_at_once_is_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let script = format!("touch {}", mark.display());
    let late = with_plugin(&script, |delegates, plugin| {
        delegates.run_for_effect(&call(plugin), Deadline::after(Duration::ZERO))
    });
    assert!(matches!(late, Err(DelegateError::NoTime { .. })), "{late:?}");
    let stopped = with_plugin(&script, |delegates, plugin| {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        delegates.run_for_effect(&call(plugin), Deadline::after(Duration::from_secs(20)))
    });
    assert!(matches!(stopped, Err(DelegateError::Stopped { .. })), "{stopped:?}");
    assert!(!mark.exists(), "the plugin was started");
}

fn result_of(script: &str) -> Result<Value, DelegateError> {
    let deadline = Deadline::after(Duration::from_secs(20));
    with_plugin(script, |delegates, plugin| delegates.run_for_result(&call(plugin), deadline))
}

fn message_of(script: &str) -> String {
    result_of(script).unwrap_err().to_string()
}

#[test]
fn a_result_comes_back() {
    assert_eq!(result_of("cat >/dev/null; echo '{\"ips\": []}'").unwrap(), json!({"ips": []}));
}

#[test]
fn a_plugin_that_never_reads_its_input_is_no_problem() {
    assert_eq!(result_of("echo '{}'").unwrap(), json!({}));
}

#[test]
fn the_environment_is_built_anew() {
    let names = "cat >/dev/null; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | cut -d= \
                 -f1 | sort | paste -sd, | sed 's/.*/{\"x\":\"&\"}/'";
    assert_eq!(
        result_of(names).unwrap(),
        json!({"x": "BRAID_DEPTH,CNI_COMMAND,CNI_PATH,KEPT,PATH"})
    );
}

#[test]
fn a_plugins_own_error_is_kept() {
    let error =
        result_of("echo '{\"code\": 11, \"msg\": \"busy\", \"details\": \"wait\"}'; exit 1")
            .unwrap_err();
    let protocol = error.to_protocol();
    assert_eq!((protocol.code, protocol.details.as_str()), (Code::TRY_AGAIN, "wait"));
    assert_eq!(protocol.msg, "plugin \"fake\": busy");
}

#[test]
fn an_error_with_exit_code_zero_is_an_error() {
    for code in ["7", "0", "-1", "99999999999999999999", "1.5"] {
        let said = format!("echo '{{\"code\": {code}, \"msg\": \"no\"}}'");
        assert_eq!(message_of(&said), "plugin \"fake\": no", "{code}");
    }
}

#[test]
fn a_result_with_a_failing_exit_code_is_an_error() {
    let message = message_of("echo '{\"ips\": []}'; echo why >&2; exit 3");
    assert_eq!(
        message,
        "plugin \"fake\" exited with status 3 without an error in the protocol's form: \"why\""
    );
}

const NOT_JSON: &str = "plugin \"fake\" printed a result that is not valid JSON, and standard \
                        output takes nothing else";

#[test]
fn what_is_no_result_is_quoted() {
    assert_eq!(message_of("echo oops >&2"), "plugin \"fake\" printed no result: \"oops\"");
    assert_eq!(message_of("echo '{\"ips\": ['"), format!("{NOT_JSON}: \"{{\"ips\": [\""));
    let logs = [
        ("echo 'INFO ready'; echo '{}'", "INFO ready"),
        (r"echo '{}'; echo; printf 'done\033[31m\tin 3 ms\n'", "done [31m in 3 ms"),
        (r"echo '{}' | tr -d '\n'; echo ' bye'", "{} bye"),
        ("echo noise >&2; echo '{,}'", "{,}"),
    ];
    for (script, line) in logs {
        assert_eq!(message_of(script), format!("{NOT_JSON}: \"{line}\""), "{script}");
    }
    let long = message_of(r"head -c 5000 /dev/zero | tr '\0' x");
    assert!(long.len() < 400 && long.ends_with("xxx…\""), "{long}");
    assert_eq!(message_of("echo 1"), "plugin \"fake\" printed a result that is not a JSON object");
}

#[test]
fn a_flood_is_cut_off() {
    let message = message_of("yes | head -c 100000000");
    assert_eq!(message, "plugin \"fake\" printed more than 1 MiB and was killed");
}

#[test]
fn a_plugin_that_is_killed_says_by_what() {
    assert!(message_of("kill -9 $$").contains("was killed by signal 9"));
}

fn state_of(pid: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
}

fn has_ended(state: &str) -> bool {
    state.is_empty() || state.contains(") Z ")
}

#[test]
fn a_plugin_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let started = Instant::now();
    let message =
        message_of(&format!("sleep 60 & echo $! >{}; echo hung >&2; wait", pid.display()));
    assert!(message.contains("did not end within") && message.ends_with("\"hung\""), "{message}");
    assert!(started.elapsed() < Duration::from_secs(15));
    let pid = std::fs::read_to_string(pid).unwrap();
    // It is init's to reap, and on a loaded machine the signal takes its time: wait for its end.
    let until = Instant::now() + Duration::from_secs(15);
    let mut state = state_of(pid.trim());
    while !has_ended(&state) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        state = state_of(pid.trim());
    }
    assert!(has_ended(&state), "the child lives: {state}");
}

#[test]
fn a_child_that_keeps_the_output_open_does_not_hold_us_up() {
    let started = Instant::now();
    assert_eq!(result_of("sleep 60 & echo '{}'").unwrap(), json!({}));
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_plugin_that_is_missing_is_named_with_the_directories() {
    let error = find(&"absent".parse().unwrap(), &["/nowhere".into(), "/else".into()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"absent\" is not installed: no executable of that name in /nowhere, /else"
    );
}

#[test]
fn effects_need_no_output() {
    let deadline = Deadline::after(Duration::from_secs(20));
    with_plugin("cat >/dev/null", |delegates, plugin| {
        delegates.run_for_effect(&call(plugin), deadline).unwrap();
    });
}

/// No plugin can make a pipe of ours fail: what the system says then is in the error, and what it
/// was about.
#[test]
fn what_fails_in_the_middle_is_named() {
    let source = io::Error::from_raw_os_error(5);
    let failure = child::Failure::Serve { attempt: "its standard output cannot be read", source };
    let error = judge(&"fake".parse().unwrap(), 1, Err(failure)).unwrap_err();
    let said =
        "plugin \"fake\" was started and then killed, because its standard output cannot be read: ";
    assert!(error.to_string().starts_with(said), "{error}");
    assert!(error.was_started(), "it may have done something");
    assert_eq!(error.to_protocol().code, Code::IO);
}
