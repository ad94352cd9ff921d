//! A kubeconfig's `exec` plugin: a program that prints a credential (client-go credential plugins,
//! `client.authentication.k8s.io`). It may take no longer and print no more than anything else
//! here.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join;
use kube::config::{ExecConfig, ExecInteractiveMode};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use crate::delegate::die_with_us;
use crate::yaml;
use cni::error::one_line;
use cni::request::Environment;

/// The most that a plugin may print on either output.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;
/// The pause between two checks whether a plugin that has closed its outputs has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// The variables of our environment that a plugin gets: the paths of programs and of its own files,
/// and the proxies. The rest is the runtime's (CNI's variables, its own secrets); what else a
/// plugin needs is in the kubeconfig's `env`, or in `passEnvironment`.
const PASSED: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Variables for a plugin.
pub(super) type Variables = Vec<(String, OsString)>;

/// The variables of `environment` that a plugin gets; `more` are names that the administrator adds.
pub(super) fn variables(environment: &Environment, more: &[String]) -> Variables {
    let names = PASSED.into_iter().map(str::to_owned).chain(more.iter().cloned());
    names
        .filter_map(|name| environment.get(&name).map(|value| (name.clone(), value.to_owned())))
        .collect()
}

/// What a plugin printed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Issued {
    pub(super) token: Option<String>,
    pub(super) client_certificate_data: Option<String>,
    pub(super) client_key_data: Option<String>,
    pub(super) expiration_timestamp: Option<String>,
}

/// Runs the plugin. An error is one sentence that names the program.
pub(super) async fn run(
    config: &ExecConfig,
    variables: &Variables,
    limit: Duration,
) -> Result<Issued, String> {
    let Some(program) = config.command.as_deref().filter(|command| !command.is_empty()) else {
        return Err("\"exec\" has no \"command\"".to_owned());
    };
    if config.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(format!("\"{program}\" wants to talk to a person, and there is none here"));
    }
    let child = command(program, config, variables)?
        .spawn()
        .map_err(|error| cannot_start(program, config, &error))?;
    let mut plugin = Plugin(child);
    let output = match timeout(limit, plugin.outputs()).await {
        Ok(output) => output.map_err(|error| format!("\"{program}\": {error}"))?,
        Err(_) => {
            return Err(format!(
                "\"{program}\" did not give a credential in {} s",
                limit.as_secs_f64()
            ));
        }
    };
    issued(&output).map_err(|problem| format!("\"{program}\" gave no credential: {problem}"))
}

fn command(program: &str, config: &ExecConfig, variables: &Variables) -> Result<Command, String> {
    let mut command = Command::new(program);
    command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
    command.args(config.args.iter().flatten()).process_group(0);
    for variable in config.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let cluster = config.cluster.as_ref().filter(|_| config.provide_cluster_info);
    let info = json!({
        "apiVersion": config.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": false, "cluster": cluster},
    });
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_us(&mut command);
    Ok(command)
}

fn cannot_start(program: &str, config: &ExecConfig, error: &io::Error) -> String {
    let hint = config.install_hint.as_deref().filter(|_| error.kind() == io::ErrorKind::NotFound);
    let hint = hint.map(|hint| format!("; {}", one_line(hint, 300))).unwrap_or_default();
    format!("cannot start \"{program}\": {error}{hint}")
}

struct Output {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A plugin that does not outlive its value.
struct Plugin(Child);

impl Plugin {
    async fn outputs(&mut self) -> io::Result<Output> {
        let (stdout, stderr) = join(
            read(self.0.stdout.take().map(Into::into)),
            read(self.0.stderr.take().map(Into::into)),
        )
        .await;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Output { success: status.success(), stdout: stdout?, stderr: stderr? });
            }
            sleep(PAUSE).await;
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

async fn read(descriptor: Option<OwnedFd>) -> io::Result<Vec<u8>> {
    let Some(descriptor) = descriptor else { return Ok(Vec::new()) };
    read_bounded(pipe::Receiver::from_owned_fd(descriptor)?).await
}

async fn read_bounded(output: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    output.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > MAX_OUTPUT_BYTES {
        return Err(io::Error::other("prints more than 1 MiB"));
    }
    Ok(bytes)
}

fn issued(output: &Output) -> Result<Issued, String> {
    #[derive(Deserialize)]
    struct ExecCredential {
        status: Option<Issued>,
    }
    if !output.success {
        return Err(one_line(&String::from_utf8_lossy(&output.stderr), 300));
    }
    // JSON is YAML, and some plugins print YAML. The parser's message may quote the token, so it is
    // dropped.
    let text =
        std::str::from_utf8(&output.stdout).map_err(|_| "its output is not text".to_owned())?;
    let credentials: Option<Vec<ExecCredential>> = yaml::read_all(text);
    let credential = credentials
        .and_then(|mut credentials| credentials.pop().filter(|_| credentials.is_empty()))
        .ok_or("its output is not an ExecCredential of client.authentication.k8s.io")?;
    let issued = credential.status.unwrap_or_default();
    match (&issued.token, &issued.client_certificate_data, &issued.client_key_data) {
        (Some(token), _, _) if !token.is_empty() => Ok(issued),
        (_, Some(_), Some(_)) => Ok(issued),
        _ => Err("its \"status\" holds neither a token nor a certificate with its key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(stdout: &str) -> Result<Issued, String> {
        issued(&Output { success: true, stdout: stdout.into(), stderr: Vec::new() })
    }

    #[test]
    fn json_and_yaml_are_read() {
        let json = r#"{"kind": "ExecCredential", "status": {"token": "t", "expirationTimestamp": "2026-01-01T00:00:00Z"}}"#;
        let issued = printed(json).unwrap();
        assert_eq!(issued.token.as_deref(), Some("t"));
        assert_eq!(issued.expiration_timestamp.as_deref(), Some("2026-01-01T00:00:00Z"));
        let yaml =
            "kind: ExecCredential\nstatus:\n  clientCertificateData: c\n  clientKeyData: k\n";
        assert_eq!(printed(yaml).unwrap().client_key_data.as_deref(), Some("k"));
    }

    #[test]
    fn an_output_without_a_credential_is_an_error_that_does_not_quote_it() {
        for output in [
            "",
            "s3cret",
            "{\"status\": {}}",
            "[1]",
            "status: {token: ''}",
            "status: {token: [s3cret]}",
        ] {
            let problem = printed(output).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
        }
    }
}
