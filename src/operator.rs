//! Braid as its own tool: `braid <command>`, where a person starts it and not a runtime.
//!
//! ```text
//! arguments ──> cli ──> one module for each command ──> view ──> console
//!                                                     (data)    (text or JSON)
//! ```
//!
//! A command looks at a node, or changes one, and returns what came of it as data; how that is shown is
//! decided once, by [`console`]. Nothing here runs where `CNI_COMMAND` is set.

mod change;
mod cli;
pub mod console;
mod doctor;
mod explain;
mod install;
mod installation;
mod list;
mod manual;
mod migrate;
mod node;
mod records;
mod repair;
mod runtime;
mod source;
mod uninstall;
mod validate;
mod version;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

pub use console::{Console, Exit};
pub use manual::markdown;

use cli::{Cli, Command};

use crate::cni::error::{Code, Error};
use crate::ledger::LedgerError;

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
    /// The step that a runtime's call would fail with, too.
    #[error(transparent)]
    Protocol(#[from] Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] std::io::Error),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::Protocol(error) if error.code == Code::TRY_AGAIN => Exit::NotYet,
            Self::Install(install::InstallError::Busy(_)) => Exit::NotYet,
            _ => Exit::Failed,
        }
    }
}

/// Carries out `arguments`, the program's own name first, and writes to `console`.
pub fn run(arguments: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return console.usage(&error),
    };
    console.set_format(cli.options.output);
    match carry_out(cli, console) {
        Ok(exit) => exit,
        // Whoever read us has enough: `braid list | head`.
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => console.failed(&error, error.exit()),
    }
}

fn carry_out(cli: Cli, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    match cli.command {
        None => Ok(console.help(Cli::command())?),
        Some(Command::Install(install)) => Ok(console.show(&install.run()?)?),
        Some(Command::Uninstall(uninstall)) => {
            let left = uninstall.run(console)?;
            Ok(console.show(&left)?)
        }
        Some(Command::Migrate(migrate)) => Ok(console.show(&migrate.run()?)?),
        Some(Command::Doctor(doctor)) => Ok(console.show(&doctor.run()?)?),
        Some(Command::Explain(explain)) => Ok(console.show(&explain.run()?)?),
        Some(Command::Validate(validate)) => Ok(console.show(&validate.run()?)?),
        Some(Command::List(list)) => Ok(console.show(&list.run()?)?),
        Some(Command::Show(show)) => Ok(console.show(&show.run()?)?),
        Some(Command::Gc(gc)) => Ok(console.show(&gc.run()?)?),
        Some(Command::Repair(repair)) => Ok(console.show(&repair.run()?)?),
        Some(Command::Version) => Ok(console.show(&version::Versions::of_program())?),
        Some(Command::Completions { shell }) => Ok(console.text(&manual::completions(shell)?)?),
        Some(Command::Man { directory: Some(directory) }) => {
            Ok(console.show(&manual::write_pages(&directory)?)?)
        }
        Some(Command::Man { directory: None }) => Ok(console.text(&markdown())?),
    }
}
