//! kubectl, as a plugin of it calls it.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// kubectl cannot be started.
    #[error("cannot start kubectl: {0}: it must be on the PATH")]
    Start(#[source] std::io::Error),
    /// kubectl has failed; its own words.
    #[error("{0}")]
    Failed(String),
    /// What it says cannot be read, or shown.
    #[error("kubectl's answer cannot be used: {0}")]
    Form(String),
    /// The pod is on no node.
    #[error("pod \"{0}\" is on no node yet: kubectl describe pod says why")]
    NoNode(String),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

/// How kubectl is called.
#[derive(Debug, Default)]
pub(crate) struct Kubectl {
    /// The context, if it is not the current one.
    pub(crate) context: Option<String>,
}

impl Kubectl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command.args(arguments);
        command
    }

    /// The output of a call, as text.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn text(&self, arguments: &[&str]) -> Result<String, Error> {
        let output = self.command(arguments).stdin(Stdio::null()).output().map_err(Error::Start)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Failed(said.trim().to_owned()));
        }
        String::from_utf8(output.stdout).map_err(|error| Error::Form(error.to_string()))
    }

    /// The output of a call, as JSON.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value, Error> {
        serde_json::from_str(&self.text(arguments)?).map_err(|error| Error::Form(error.to_string()))
    }

    /// Runs a call whose output is the user's own, with `input` for it; its exit status.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn pass(&self, arguments: &[&str], input: &str) -> Result<ExitCode, Error> {
        let mut child =
            self.command(arguments).stdin(Stdio::piped()).spawn().map_err(Error::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input has said why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let status = child.wait()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Ok(ExitCode::from(code))
    }
}
