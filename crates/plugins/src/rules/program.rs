//! The programs that change rules, each found in `PATH` of the call and run to its end, bounded in
//! time and output. They die with this process.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error, one_line};
use cni::plugin::{Call, Context, NeverStop, Stop};
use cni::request::Command;
use linux::child::{Ended, Failure, Output, Program, run_program};

/// How long one program may take; it may wait for the lock of another.
const LIMIT: Duration = Duration::from_secs(30);

/// How long undoing may take after an ADD that failed, whatever time the call has left.
const UNDO: Duration = Duration::from_secs(10);

/// The most that a listing may have: far beyond what a node's chains hold.
const MAX_OUTPUT: usize = 16 << 20;

/// Most characters of a program's words that an error quotes.
const QUOTED: usize = 300;

/// Why a program has not done what it was started for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It is not installed.
    #[error("program \"{name}\" is in no directory of PATH: install the package {package}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// The package that has it, by Debian's name.
        package: &'static str,
    },
    /// The system does not run it.
    #[error("program \"{name}\" cannot be run: {reason}")]
    NotRun {
        /// Its name.
        name: &'static str,
        /// What the system says.
        reason: String,
    },
    /// It was ended: its time was over, or the call was asked to stop.
    #[error("program \"{name}\" was ended: {reason}")]
    Ended {
        /// Its name.
        name: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// It failed.
    #[error("program \"{name}\" {ended}: {words}")]
    Failed {
        /// Its name.
        name: &'static str,
        /// How it ended.
        ended: Ended,
        /// What it wrote to standard error, on one line.
        words: String,
    },
    /// It printed something else than it prints.
    #[error("program \"{name}\" prints what cannot be read: {reason}")]
    Unreadable {
        /// Its name.
        name: &'static str,
        /// Why.
        reason: String,
    },
}

impl ProgramError {
    /// Whether the program is not installed.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Whether it has run and failed with this status.
    pub(crate) fn has_status(&self, status: i32) -> bool {
        matches!(self, Self::Failed { ended, .. } if *ended == Ended::Exited(status))
    }

    /// Whether it has run and failed, which another try may mend.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// Whether it says this.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Failed { words: said, .. } if said.contains(words))
    }
}

impl From<ProgramError> for Error {
    fn from(error: ProgramError) -> Self {
        let code = match error {
            ProgramError::Ended { .. } => Code::TRY_AGAIN,
            _ => Code::IO,
        };
        Self::new(code, error)
    }
}

/// Where programs are found, and how long they may take.
pub(crate) struct Programs<'c> {
    directories: Vec<PathBuf>,
    deadline: Deadline,
    stop: &'c dyn Stop,
}

impl std::fmt::Debug for Programs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").field("directories", &self.directories).finish_non_exhaustive()
    }
}

impl<'c> Programs<'c> {
    /// Those of a call. Only ADD and CHECK end early if the call is asked to stop.
    pub(crate) fn of<'x: 'c>(call: &Call, context: &Context<'x>) -> Self {
        let stop = match call.command {
            Command::Add | Command::Check => context.stop,
            _ => &NeverStop,
        };
        Self { directories: call.environment.programs(), deadline: context.deadline, stop }
    }

    /// Those in these directories, of no call.
    pub(crate) fn at(directories: &[PathBuf], deadline: Deadline) -> Self {
        Self { directories: directories.to_vec(), deadline, stop: &NeverStop }
    }

    /// For undoing what an ADD that failed has made.
    pub(crate) fn for_undo(call: &Call) -> Self {
        let deadline = Deadline::after(UNDO);
        Self { directories: call.environment.programs(), deadline, stop: &NeverStop }
    }

    /// Where the program is; none if it is not installed.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        self.directories.iter().map(|directory| directory.join(name)).find(is_program)
    }

    /// Runs a program, and returns what it prints if it ends with status 0.
    pub(crate) fn run(
        &self,
        name: &'static str,
        arguments: &[&str],
        input: &str,
    ) -> Result<Vec<u8>, ProgramError> {
        let executable = self.find(name).ok_or_else(|| missing(name))?;
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let path = std::env::join_paths(&self.directories).unwrap_or_default();
        let environment: [(OsString, OsString); 2] =
            [("PATH".into(), path), ("LC_ALL".into(), "C".into())];
        let program = Program {
            executable: &executable,
            arguments: &arguments,
            environment: &environment,
            max_output: MAX_OUTPUT,
        };
        let deadline = self.deadline.within(LIMIT).instant();
        let outcome = run_program(&program, input.as_bytes(), deadline, &|| self.stop.requested());
        judge(name, outcome)
    }
}

fn judge(name: &'static str, outcome: Result<Output, Failure>) -> Result<Vec<u8>, ProgramError> {
    let not_run = |reason: String| ProgramError::NotRun { name, reason };
    let ended = |reason| ProgramError::Ended { name, reason };
    match outcome {
        Ok(output) if output.ended.is_success() => Ok(output.stdout),
        Ok(output) => {
            let words = one_line(String::from_utf8_lossy(&output.stderr).trim(), QUOTED);
            Err(ProgramError::Failed { name, ended: output.ended, words })
        }
        Err(Failure::Start(source)) => Err(not_run(source.to_string())),
        Err(Failure::Serve { attempt, source }) => Err(not_run(format!("{attempt}: {source}"))),
        Err(Failure::TimedOut { .. }) => Err(ended("its time was over")),
        Err(Failure::Flood { .. }) => Err(ended("it printed more than 16 MiB")),
        Err(Failure::Stopped) => Err(ended("the call was asked to stop")),
    }
}

fn missing(name: &'static str) -> ProgramError {
    let package = match name {
        "nft" => "nftables",
        "ip" => "iproute2",
        _ => "iptables",
    };
    ProgramError::Missing { name, package }
}
