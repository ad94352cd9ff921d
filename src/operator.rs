//! Braid as its own tool: `braid <command>`, if a person starts it and not a runtime.
//!
//! ```text
//! arguments ──> cli ──> one module for each command ──> view ──> console
//!                                                     (data)    (text or JSON)
//! ```
//!
//! A command looks at a node, or changes one, and returns what came of it as data; how that is
//! shown is decided once, by [`console`]. Nothing here runs if `CNI_COMMAND` is set.

mod account;
mod addresses;
mod admission;
mod attach;
mod built_in;
mod change;
mod cli;
mod companion;
mod complete;
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
mod schema;
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
    /// Nothing can be said about cluster-wide addresses.
    #[error(transparent)]
    Addresses(#[from] addresses::AddressesError),
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
    /// No thread can be started.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] std::io::Error),
    /// The node's file system cannot be entered.
    #[error("cannot enter {}: {}", .0.display(), .1)]
    Root(std::path::PathBuf, #[source] std::io::Error),
    /// The command is one of a node.
    #[error("{0} is a command of a node: run braid {0}")]
    OfNode(&'static str),
    /// The executable with the command cannot be started.
    #[error(transparent)]
    Companion(#[from] companion::CompanionError),
    /// The webhook cannot be served.
    #[error(transparent)]
    Admission(#[from] admission::AdmissionError),
    /// The keys that every node has cannot be used.
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    /// A directory cannot be read.
    #[error(transparent)]
    Files(#[from] validate::FilesError),
    /// There is no such schema.
    #[error(transparent)]
    Schema(#[from] schema::SchemaError),
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

    /// What ends the sentence if the user is one who may not change a node.
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

/// The commands of `braid`: carries out `arguments`, the program's own name first, and writes to
/// `console`. A command of `braid-cluster` is handed on to it.
pub fn run(arguments: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    carry_out(&arguments, console, |command, console| match on_node(command, console)? {
        Outcome::Ended(exit) => Ok(exit),
        Outcome::NotHere(name) => Err(companion::execute(name, &arguments).into()),
    })
}

/// The commands of `braid-cluster`, as [`run`] for those of `braid`. Only this function leads to
/// the code that they need, so that the linker leaves it out of `braid`.
pub fn run_cluster(
    arguments: impl IntoIterator<Item = OsString>,
    console: &mut Console<'_>,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    carry_out(&arguments, console, |command, console| match in_cluster(command, console)? {
        Outcome::Ended(exit) => Ok(exit),
        Outcome::NotHere(name) => Err(CommandError::OfNode(name)),
    })
}

/// What an executable makes of a command.
enum Outcome {
    /// It has ended so.
    Ended(Exit),
    /// It is in the other executable, under this name.
    NotHere(&'static str),
}

fn carry_out(
    arguments: &[OsString],
    console: &mut Console<'_>,
    execute: impl FnOnce(Command, &mut Console<'_>) -> Result<Exit, CommandError>,
) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return console.usage(&error),
    };
    console.set_format(cli.options.format());
    if let Some(error) = cli.format_error() {
        return console.usage(&error);
    }
    let ended = match cli.command {
        None => console.help(Cli::command()).map_err(CommandError::from),
        Some(command) => execute(command, console),
    };
    match ended {
        Ok(exit) => exit,
        // The reader has closed its end: `braid list | head`.
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Exit::Done
        }
        Err(error) => console.failed(&format_args!("{error}{}", error.hint()), error.exit()),
    }
}

/// The commands of a node. One that another executable has moves there by its line alone.
fn on_node(command: Command, console: &mut Console<'_>) -> Result<Outcome, CommandError> {
    let exit = match command {
        Command::Install(install) => attend(console, "install", || install.run()),
        Command::Keep(keep) => keep.run(console),
        Command::Uninstall(uninstall) => {
            let left = uninstall.run(console)?;
            Ok(console.show(&left)?)
        }
        Command::Migrate(migrate) => undisturbed(console, "migrate", || migrate.run()),
        Command::Doctor(doctor) => attend(console, "doctor", || doctor.run()),
        Command::Explain(explain) => attend(console, "explain", || explain.run()),
        Command::Validate(validate) => attend(console, "validate", || validate.run()),
        Command::List(list) => attend(console, as_root("list")?, || list.run()),
        Command::Show(show) => attend(console, as_root("show")?, || show.run()),
        Command::Gc(gc) => undisturbed(console, as_root("gc")?, || gc.run()),
        Command::Repair(repair) => undisturbed(console, as_root("repair")?, || repair.run()),
        Command::Attach(attach) => undisturbed(console, as_root("attach")?, || attach.run()),
        Command::Detach(detach) => undisturbed(console, as_root("detach")?, || detach.run()),
        Command::Addresses(addresses) => addresses.run(console),
        Command::Follow(follow) => undisturbed(console, as_root("follow")?, || follow.run()),
        Command::Version => Ok(console.show(&version::Versions::of_program())?),
        Command::Completions { shell } => Ok(console.text(&manual::completions(shell)?)?),
        Command::Complete(complete) => Ok(console.show(&complete.run()?)?),
        Command::Man { directory: Some(directory) } => {
            Ok(console.show(&manual::write_pages(&directory)?)?)
        }
        Command::Man { directory: None } => Ok(console.text(&markdown())?),
        other => return Ok(Outcome::NotHere(other.name())),
    };
    exit.map(Outcome::Ended)
}

/// The commands that only a cluster needs.
fn in_cluster(command: Command, console: &mut Console<'_>) -> Result<Outcome, CommandError> {
    let exit = match command {
        Command::Admission(admission) => admission.run(console),
        Command::Schema(schema) => schema.run(console),
        Command::Version => Ok(console.show(&version::Versions::of_program())?),
        other => return Ok(Outcome::NotHere(other.name())),
    };
    exit.map(Outcome::Ended)
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

/// The same for work that is not to be broken off halfway: it notices a request to stop when it
/// can.
fn undisturbed<V: View + Send>(
    console: &mut Console<'_>,
    command: &str,
    work: impl FnOnce() -> Result<V, CommandError> + Send,
) -> Result<Exit, CommandError> {
    let _blocked = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
    attend(console, command, work)
}
