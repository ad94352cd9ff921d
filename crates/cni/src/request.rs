//! What the runtime asks: the protocol's environment variables as values (CNI 1.1.0, section 2).
//!
//! The environment is read once, as a value, so that nothing else looks at globals and all that is
//! missing is named in one error. Standard input is not read here; see the caller.

mod environment;

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, one_line};
use crate::name::{InterfaceName, InvalidInterfaceName};

pub use environment::Environment;

/// The operation (CNI 1.1.0, section 2, "CNI operations").
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    /// Add a container to the network.
    Add,
    /// Remove a container from the network.
    Del,
    /// Is the container's network as expected?
    Check,
    /// Is the plugin ready?
    Status,
    /// Remove what no attachment needs any more.
    Gc,
    /// Which versions does the plugin know?
    Version,
}

impl Command {
    const ALL: [Self; 6] =
        [Self::Add, Self::Del, Self::Check, Self::Status, Self::Gc, Self::Version];

    /// The command as `CNI_COMMAND` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }

    /// The variables that the command cannot do without.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Status | Self::Gc | Self::Version => &[],
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A container ID: starts with an alphanumeric character, then alphanumerics, `_`, `.`, `-`
/// (CNI 1.1.0, section 2, "Parameters"). At most 200 bytes, so that it fits a file name.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// A text that cannot be a container ID.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "container id \"{0}\" must be 1 to 200 letters, digits, \"_\", \".\" or \"-\", the first a \
     letter or digit"
)]
pub struct ContainerIdError(String);

impl ContainerId {
    /// The ID as the runtime wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` is an identifier of the protocol: container IDs and network names share the rule.
pub(super) fn is_identifier(text: &str) -> bool {
    text.len() <= 200
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

impl FromStr for ContainerId {
    type Err = ContainerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_identifier(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ContainerIdError(one_line(text, 64)))
        }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = ContainerIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `CNI_ARGS`: `KEY=value` pairs between semicolons, in the order and text they came in.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CniArgs(String);

impl CniArgs {
    /// The text as the runtime wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of `key`; the last pair counts, as in Go's decoder.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .next_back()
    }

    /// These arguments with `pairs` added, each replacing a pair of the same key.
    #[must_use]
    pub fn with(&self, pairs: &[(&str, String)]) -> Self {
        let kept = self.0.split(';').filter(|pair| {
            let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
            !pair.is_empty() && !pairs.iter().any(|(name, _)| *name == key)
        });
        let added = pairs.iter().map(|(key, value)| format!("{key}={value}"));
        Self(kept.map(str::to_owned).chain(added).collect::<Vec<_>>().join(";"))
    }
}

impl From<&str> for CniArgs {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// What identifies an attachment to the runtime: container, namespace, interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sandbox {
    /// `CNI_CONTAINERID`.
    pub container: ContainerId,
    /// `CNI_NETNS`; empty if the runtime sent none, as containerd does when it removes a sandbox.
    pub netns: String,
    /// `CNI_IFNAME`, the primary's interface.
    pub interface: InterfaceName,
    /// `CNI_ARGS`.
    pub args: CniArgs,
}

/// The verb with what it acts on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verb {
    /// ADD.
    Add(Sandbox),
    /// DEL.
    Del(Sandbox),
    /// CHECK.
    Check(Sandbox),
    /// STATUS.
    Status,
    /// GC.
    Gc,
    /// VERSION.
    Version,
}

impl Verb {
    /// The verb alone.
    pub const fn command(&self) -> Command {
        match self {
            Self::Add(_) => Command::Add,
            Self::Del(_) => Command::Del,
            Self::Check(_) => Command::Check,
            Self::Status => Command::Status,
            Self::Gc => Command::Gc,
            Self::Version => Command::Version,
        }
    }

    /// The sandbox that it acts on; STATUS, GC and VERSION have none.
    pub const fn sandbox(&self) -> Option<&Sandbox> {
        match self {
            Self::Add(sandbox) | Self::Del(sandbox) | Self::Check(sandbox) => Some(sandbox),
            Self::Status | Self::Gc | Self::Version => None,
        }
    }
}

/// One call of the runtime.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do, and to which sandbox.
    pub verb: Verb,
    /// `CNI_PATH`: where plugins are, in order.
    pub path: Vec<PathBuf>,
    /// The environment that the call came with.
    pub environment: Environment,
}

/// What is wrong with the environment. Every problem is in one error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// `CNI_COMMAND` holds no command of the protocol.
    #[error("CNI_COMMAND is \"{0}\": must be one of ADD, DEL, CHECK, STATUS, GC, VERSION")]
    Command(String),
    /// Variables that the command needs are missing, empty or malformed.
    #[error("{command} needs {}", problems.join(", and "))]
    Variables {
        /// The command.
        command: Command,
        /// One entry for each variable, naming it.
        problems: Vec<String>,
    },
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        Self::new(Code::ENVIRONMENT, error)
    }
}

impl Request {
    /// Reads the request from the environment, or `None` if `CNI_COMMAND` is not set: then a
    /// person, not a runtime, has started the program.
    ///
    /// # Errors
    /// [`RequestError`] (code 4), naming every variable that is missing or malformed.
    pub fn read(environment: Environment) -> Option<Result<Self, RequestError>> {
        Self::read_with(environment, str::parse)
    }

    /// As [`Request::read`], for the plugin `loopback` alone: runtimes call it for `lo`.
    ///
    /// # Errors
    /// As [`Request::read`].
    pub fn read_for_loopback(environment: Environment) -> Option<Result<Self, RequestError>> {
        Self::read_with(environment, InterfaceName::parse_loopback)
    }

    fn read_with(
        environment: Environment,
        parse_interface: impl Fn(&str) -> Result<InterfaceName, InvalidInterfaceName>,
    ) -> Option<Result<Self, RequestError>> {
        let command = environment.get("CNI_COMMAND")?.to_string_lossy().into_owned();
        Some(Self::with_command(&command, environment, parse_interface))
    }

    fn with_command(
        command: &str,
        environment: Environment,
        parse_interface: impl Fn(&str) -> Result<InterfaceName, InvalidInterfaceName>,
    ) -> Result<Self, RequestError> {
        let command = Command::ALL
            .into_iter()
            .find(|known| known.as_str() == command)
            .ok_or_else(|| RequestError::Command(one_line(command, 64)))?;
        let verb = read_verb(command, &environment, parse_interface)?;
        let path = environment.get("CNI_PATH").map(std::env::split_paths).into_iter().flatten();
        Ok(Self { verb, path: path.filter(|dir| dir.is_absolute()).collect(), environment })
    }
}

fn read_verb(
    command: Command,
    environment: &Environment,
    parse_interface: impl Fn(&str) -> Result<InterfaceName, InvalidInterfaceName>,
) -> Result<Verb, RequestError> {
    let sandbox = match command {
        Command::Status => return Ok(Verb::Status),
        Command::Gc => return Ok(Verb::Gc),
        Command::Version => return Ok(Verb::Version),
        Command::Add | Command::Del | Command::Check => {
            read_sandbox(command, environment, parse_interface)?
        }
    };
    Ok(match command {
        Command::Add => Verb::Add(sandbox),
        Command::Check => Verb::Check(sandbox),
        _ => Verb::Del(sandbox),
    })
}

fn read_sandbox(
    command: Command,
    environment: &Environment,
    parse_interface: impl Fn(&str) -> Result<InterfaceName, InvalidInterfaceName>,
) -> Result<Sandbox, RequestError> {
    let mut problems: Vec<String> = command
        .required()
        .iter()
        .filter(|name| environment.get(name).is_none_or(OsStr::is_empty))
        .map(|name| format!("{name} (not set)"))
        .collect();
    let mut value = |name: &'static str| {
        let text = environment.text(name);
        if text.is_none() && environment.get(name).is_some() {
            problems.push(format!("{name} in UTF-8"));
        }
        text.unwrap_or_default()
    };
    let (container, netns, interface, args) =
        (value("CNI_CONTAINERID"), value("CNI_NETNS"), value("CNI_IFNAME"), value("CNI_ARGS"));
    let container = parsed(container, "CNI_CONTAINERID", str::parse, &mut problems);
    let interface = parsed(interface, "CNI_IFNAME", parse_interface, &mut problems);
    match (container, interface, problems.is_empty()) {
        (Some(container), Some(interface), true) => {
            Ok(Sandbox { container, netns: netns.to_owned(), interface, args: CniArgs::from(args) })
        }
        _ => Err(RequestError::Variables { command, problems }),
    }
}

/// An empty value has been named as missing already.
fn parsed<T, E: fmt::Display>(
    text: &str,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
    problems: &mut Vec<String>,
) -> Option<T> {
    let value = parse(text).map_err(|error| format!("a valid {name}: {error}"));
    match value {
        Ok(value) => Some(value),
        Err(_) if text.is_empty() => None,
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

#[cfg(test)]
mod tests;
