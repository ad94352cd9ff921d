//! The life of an executable as a plugin: environment and standard input in, one answer on standard
//! output out.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Call, Context, Plugin};
use crate::error::{Code, Error};
use crate::keys;
use crate::request::{Command, Environment, Request};
use crate::version::Version;

/// The largest configuration that is read from standard input.
pub const MAX_INPUT_BYTES: u64 = 16 << 20;

/// What a call ends with: what goes to standard output, in the layout of `version`.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The version of the request.
    pub version: Version,
    /// A result (ADD, VERSION), nothing (the other operations), or the error.
    pub outcome: Result<Option<Value>, Error>,
}

/// Carries out one call of `plugin`. VERSION is answered here (CNI 1.1.0, section 5, "VERSION
/// Success").
pub fn answer(
    plugin: &dyn Plugin,
    request: &Request,
    input: &[u8],
    context: &mut Context<'_>,
) -> Answer {
    let version = version_of(input);
    if request.verb.command() == Command::Version {
        return Answer { version, outcome: Ok(Some(versions(plugin, version))) };
    }
    let call = Call::read(request, input, plugin.oldest_version());
    let is_del = request.verb.command() == Command::Del;
    let outcome = call.and_then(|call| carry_out(plugin, &call, context));
    Answer {
        version,
        outcome: outcome.map_err(|error| if is_del { error.for_del() } else { error }),
    }
}

/// Carries out a call that was read, and returns what goes to standard output: a result (ADD,
/// VERSION) in the version of the call, or nothing.
///
/// # Errors
/// The plugin's [`Error`].
pub fn carry_out(
    plugin: &dyn Plugin,
    call: &Call,
    context: &mut Context<'_>,
) -> Result<Option<Value>, Error> {
    match call.command {
        Command::Add => plugin.add(call, context).map(|result| Some(result.write(call.version))),
        Command::Del => plugin.del(call, context).map(|()| None).map_err(Error::for_del),
        Command::Check => plugin.check(call, context).map(|()| None),
        Command::Status => plugin.status(call, context).map(|()| None),
        Command::Gc => plugin.gc(call, context).map(|()| None),
        Command::Version => Ok(Some(versions(plugin, call.version))),
    }
}

/// The life of an executable that is `plugin` and nothing else: reads the process' environment and
/// standard input, carries the call out, prints the answer, and returns the process' exit status.
pub fn serve(plugin: &dyn Plugin, context: &mut Context<'_>) -> ExitCode {
    let answer = match Request::read(Environment::of_process()) {
        None => {
            let problem = "CNI_COMMAND is not set: a container runtime starts this program";
            Answer::unread(Error::new(Code::ENVIRONMENT, problem))
        }
        Some(Err(error)) => Answer::unread(error.into()),
        Some(Ok(request)) => match read_input(&request) {
            Ok(input) => answer(plugin, &request, &input, context),
            Err(error) => Answer::unread(error),
        },
    };
    answer.print(&mut io::stdout().lock()).unwrap_or(ExitCode::FAILURE)
}

/// The configuration on standard input, at most [`MAX_INPUT_BYTES`] of it.
///
/// # Errors
/// Code 5 if it cannot be read, or is larger.
pub fn read_input(request: &Request) -> Result<Vec<u8>, Error> {
    read_bounded(request).map_err(|error| {
        let problem = format!("cannot read the configuration on standard input: {error}");
        Error::new(Code::IO, problem)
    })
}

fn read_bounded(request: &Request) -> io::Result<Vec<u8>> {
    let mut input = Vec::new();
    // A person who asks for the versions types no configuration.
    let is_asked_by_hand = request.verb.command() == Command::Version && io::stdin().is_terminal();
    if !is_asked_by_hand {
        io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_end(&mut input)?;
    }
    if input.len() as u64 > MAX_INPUT_BYTES {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    Ok(input)
}

impl Answer {
    /// An error of a request that was not read far enough to know its version.
    pub const fn unread(error: Error) -> Self {
        Self { version: Version::NEWEST, outcome: Err(error) }
    }

    /// Prints the answer, and returns the exit status that goes with it.
    ///
    /// # Errors
    /// What writing fails with: the runtime has gone away.
    pub fn print(&self, out: &mut impl Write) -> io::Result<ExitCode> {
        let (value, code) = match &self.outcome {
            Ok(value) => (value.clone(), ExitCode::SUCCESS),
            Err(error) => (Some(error.to_value(self.version)), ExitCode::FAILURE),
        };
        if let Some(value) = value {
            writeln!(out, "{value}")?;
            out.flush()?;
        }
        Ok(code)
    }
}

/// The version of a configuration that may be wrong otherwise, so that an error comes in its
/// layout.
pub fn version_of(input: &[u8]) -> Version {
    let value: Value = serde_json::from_slice(input).unwrap_or_default();
    let version = value
        .as_object()
        .and_then(|object| keys::get(object, "cniVersion")?.as_str()?.parse().ok());
    version.unwrap_or(Version::NEWEST)
}

/// The answer to VERSION: the version asked in, and every version that the plugin knows.
pub fn versions(plugin: &dyn Plugin, version: Version) -> Value {
    let known = Version::ALL.into_iter().filter(|version| *version >= plugin.oldest_version());
    let known: Vec<&str> = known.map(Version::as_str).collect();
    json!({ "cniVersion": version.as_str(), "supportedVersions": known })
}
