//! Braid as its own tool: `braid <command>`, where a person starts it and not a runtime.
//!
//! ```text
//! arguments ──> cli ──> one module for each command ──> view ──> console
//!                                                     (data)    (text or JSON)
//! ```
//!
//! A command looks at a node, or changes one, and returns what came of it as data; how that is
//! shown is decided once, by [`console`]. Nothing here runs where `CNI_COMMAND` is set.

mod account;
mod attach;
mod built_in;
mod change;
mod cli;
pub(crate) mod console;
mod credential;
mod doctor;
mod explain;
mod fault;
mod follow;
mod gc;
mod install;
mod installation;
mod keep;
mod list;
mod manifests;
mod manual;
mod mended;
mod migrate;
mod node;
mod records;
mod repair;
mod runtime;
mod sandbox;
mod settings;
mod source;
mod uninstall;
mod validate;
mod version;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

pub(crate) use console::{Console, Exit};
pub use manual::markdown;

use cli::{Cli, Command};
use console::View;

use crate::ledger::LedgerError;
use cni::error::{Code, Error};
use linux::signal::Signals;

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The reader of our output has gone away.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
    /// A file of the manual could not be written.
    #[error(transparent)]
    Manual(#[from] manual::ManualError),
    /// The node cannot be looked at.
    #[error(transparent)]
    Node(#[from] node::NodeError),
    /// The runtime's configuration cannot be read.
    #[error(transparent)]
    Runtime(#[from] runtime::RuntimeError),
    /// Braid cannot be installed, or taken away.
    #[error(transparent)]
    Install(#[from] install::InstallError),
    /// The node cannot change hands.
    #[error(transparent)]
    Migrate(#[from] migrate::MigrateError),
    /// There is no pod to explain.
    #[error(transparent)]
    Explain(#[from] explain::ExplainError),
    /// The ledger cannot be looked at.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no such record.
    #[error(transparent)]
    NoRecord(#[from] list::NoRecord),
    /// There is nothing to forget.
    #[error(transparent)]
    NotStale(#[from] gc::NotStale),
    /// The step that a runtime's call would fail with, too.
    #[error(transparent)]
    Protocol(#[from] Error),
    /// The records are root's.
    #[error("only root can read the records of a node: run braid {0} as root")]
    NotRoot(&'static str),
    /// The node's file system cannot be entered.
    #[error("cannot enter {}: {}", .0.display(), .1)]
    Root(std::path::PathBuf, #[source] std::io::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] std::io::Error),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::Protocol(error) if error.code == Code::TRY_AGAIN => Exit::NotYet,
            Self::Install(error) if error.may_pass() => Exit::NotYet,
            Self::Migrate(error) if error.may_pass() => Exit::NotYet,
            _ => Exit::Failed,
        }
    }

    /// What ends the sentence where the user is one who may not change a node.
    fn hint(&self) -> &'static str {
        let changes = matches!(self, Self::Install(_) | Self::Migrate(_) | Self::Ledger(_));
        if changes && !is_root() { "; run it as root" } else { "" }
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What only root can do is not tried by others, who would hear of the first obstacle alone.
fn as_root(command: &'static str) -> Result<&'static str, CommandError> {
    if is_root() { Ok(command) } else { Err(CommandError::NotRoot(command)) }
}

/// Carries out `arguments`, the program's own name first, and writes to `console`.
pub fn run(arguments: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return console.usage(&error),
    };
    console.set_format(cli.options.format());
    match carry_out(cli, console) {
        Ok(exit) => exit,
        // The reader has closed its end: `braid list | head`.
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Exit::Done
        }
        Err(error) => console.failed(&format_args!("{error}{}", error.hint()), error.exit()),
    }
}

fn carry_out(cli: Cli, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    match cli.command {
        None => Ok(console.help(Cli::command())?),
        Some(Command::Install(install)) => attend(console, "install", || install.run()),
        Some(Command::Keep(keep)) => keep.run(console),
        Some(Command::Uninstall(uninstall)) => {
            let left = uninstall.run(console)?;
            Ok(console.show(&left)?)
        }
        Some(Command::Migrate(migrate)) => undisturbed(console, "migrate", || migrate.run()),
        Some(Command::Doctor(doctor)) => attend(console, "doctor", || doctor.run()),
        Some(Command::Explain(explain)) => attend(console, "explain", || explain.run()),
        Some(Command::Validate(validate)) => attend(console, "validate", || validate.run()),
        Some(Command::List(list)) => {
            let is_whole = console.is_json();
            attend(console, as_root("list")?, || list.run(is_whole))
        }
        Some(Command::Show(show)) => attend(console, as_root("show")?, || show.run()),
        Some(Command::Gc(gc)) => undisturbed(console, as_root("gc")?, || gc.run()),
        Some(Command::Repair(repair)) => undisturbed(console, as_root("repair")?, || repair.run()),
        Some(Command::Attach(attach)) => undisturbed(console, as_root("attach")?, || attach.run()),
        Some(Command::Detach(detach)) => undisturbed(console, as_root("detach")?, || detach.run()),
        Some(Command::Follow(follow)) => undisturbed(console, as_root("follow")?, || follow.run()),
        Some(Command::Version) => Ok(console.show(&version::Versions::of_program())?),
        Some(Command::Completions { shell }) => Ok(console.text(&manual::completions(shell)?)?),
        Some(Command::Man { directory: Some(directory) }) => {
            Ok(console.show(&manual::write_pages(&directory)?)?)
        }
        Some(Command::Man { directory: None }) => Ok(console.text(&markdown())?),
    }
}

/// Shows the outcome of work that a person may have to wait for.
fn attend<V: View + Send>(
    console: &mut Console<'_>,
    command: &str,
    work: impl FnOnce() -> Result<V, CommandError> + Send,
) -> Result<Exit, CommandError> {
    let view = console.attend(command, work)??;
    Ok(console.show(&view)?)
}

/// The same for work that is not to be broken off halfway: it notices a request to stop where it
/// can.
fn undisturbed<V: View + Send>(
    console: &mut Console<'_>,
    command: &str,
    work: impl FnOnce() -> Result<V, CommandError> + Send,
) -> Result<Exit, CommandError> {
    let _blocked = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
    attend(console, command, work)
}
