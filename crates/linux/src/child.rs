//! A child process between its start and its end: input and both outputs served at once, a limit, a
//! bound on what it may say, and an end that leaves no process behind.

mod orphan;
mod spawn;

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::signal::Signals;
use spawn::{Child, Spawned, spawn};

/// The most that a plugin may print: far beyond any result, far below what hurts a node.
const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// How much of standard error is kept; the rest is read and dropped.
const MAX_STDERR_BYTES: usize = 64 << 10;
/// How long outputs may stay open after the child has ended: its last words are there already.
const GRACE: Duration = Duration::from_millis(250);
/// How often and how long a start is tried while the executable is being written ("text file
/// busy").
const BUSY_TRIES: u32 = 60;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

pub use orphan::reap_orphaned_processes;
pub use spawn::{Ended, die_with_us};

/// What a child that ended by itself has left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// All that it wrote there, within the bound.
    pub stdout: Vec<u8>,
    /// The first 64 KiB of it.
    pub stderr: Vec<u8>,
}

/// Why a child has no output that counts. It is gone, with its process group.
#[derive(Debug)]
pub enum Failure {
    /// It could not be started.
    Start(io::Error),
    /// It was started, and the system does not let us serve it.
    Serve {
        /// What failed, in words.
        attempt: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// It did not end in time.
    TimedOut {
        /// What it wrote to standard error.
        stderr: Vec<u8>,
    },
    /// It printed more than its bound, which is 1 MiB for a plugin.
    Flood {
        /// What it wrote to standard error.
        stderr: Vec<u8>,
    },
    /// A signal asks this process to stop.
    Stopped,
}

/// A program of the system, such as `nft`, and what it may use.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its file.
    pub executable: &'a Path,
    /// Its arguments; no shell reads them.
    pub arguments: &'a [&'a OsStr],
    /// Its variables; it gets no others.
    pub environment: &'a [(OsString, OsString)],
    /// The most bytes that it may print.
    pub max_output: usize,
}

/// Runs `executable`, a plugin, to its end, or to `deadline`.
///
/// # Errors
/// [`Failure`]; the child and its process group are gone then.
pub fn run(
    executable: &Path,
    environment: &[(OsString, OsString)],
    input: &[u8],
    deadline: Instant,
    signals: &Signals,
) -> Result<Output, Failure> {
    let program = Program { executable, arguments: &[], environment, max_output: MAX_OUTPUT_BYTES };
    converse(&program, input, deadline, signals)
}

/// Runs a program to its end, or to `deadline`, or until `stop` says so, on whatever thread: no
/// signal is needed to notice that it has ended.
///
/// # Errors
/// [`Failure`]; the child and its process group are gone then.
pub fn run_program(
    program: &Program<'_>,
    input: &[u8],
    deadline: Instant,
    stop: &dyn Fn() -> bool,
) -> Result<Output, Failure> {
    converse(program, input, deadline, &Polling(stop))
}

fn converse(
    program: &Program<'_>,
    input: &[u8],
    deadline: Instant,
    watch: &dyn Watch,
) -> Result<Output, Failure> {
    let spawned = start(program, deadline).map_err(Failure::Start)?;
    let mut conversation = Conversation::new(spawned, input, program.max_output);
    match conversation.hold(deadline, watch) {
        Ok(status) => Ok(conversation.output(status)),
        Err(end) => {
            conversation.kill();
            Err(end.into_failure(std::mem::take(&mut conversation.stderr)))
        }
    }
}

/// What wakes the wait for a child, and may end it early.
trait Watch {
    /// Readable if the child may have ended, or the wait is to end.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// The longest wait between two looks, with and without open outputs.
    fn pause(&self, has_outputs: bool) -> Duration;

    /// Whether the wait is to end.
    fn stop_requested(&self) -> bool;
}

impl Watch for Signals {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn pause(&self, _: bool) -> Duration {
        Duration::MAX
    }

    fn stop_requested(&self) -> bool {
        Signals::stop_requested(self)
    }
}

/// Without a descriptor: a child that ends closes its outputs, which wakes the wait.
struct Polling<'a>(&'a dyn Fn() -> bool);

impl Watch for Polling<'_> {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn pause(&self, has_outputs: bool) -> Duration {
        Duration::from_millis(if has_outputs { 50 } else { 1 })
    }

    fn stop_requested(&self) -> bool {
        (self.0)()
    }
}

fn start(program: &Program<'_>, deadline: Instant) -> io::Result<Spawned> {
    let mut tries = 0;
    loop {
        match spawn(program.executable, program.arguments, program.environment) {
            Err(error)
                if error.raw_os_error() == Some(Errno::ETXTBSY as i32) && tries < BUSY_TRIES =>
            {
                tries += 1;
                sleep(BUSY_PAUSE.min(remaining(deadline)));
            }
            outcome => return outcome,
        }
    }
}

enum End {
    TimedOut,
    Flood,
    Stopped,
    Io { attempt: &'static str, source: io::Error },
}

impl End {
    fn into_failure(self, stderr: Vec<u8>) -> Failure {
        match self {
            Self::TimedOut => Failure::TimedOut { stderr },
            Self::Flood => Failure::Flood { stderr },
            Self::Stopped => Failure::Stopped,
            Self::Io { attempt, source } => Failure::Serve { attempt, source },
        }
    }
}

/// The end of a conversation in which the system does not let us do `attempt`.
fn io(attempt: &'static str) -> impl FnOnce(io::Error) -> End {
    move |source| End::Io { attempt, source }
}

struct Conversation<'a> {
    child: Child,
    input: &'a [u8],
    stdin: Option<PipeWriter>,
    stdout_pipe: Option<PipeReader>,
    stderr_pipe: Option<PipeReader>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    max_output: usize,
}

impl<'a> Conversation<'a> {
    fn new(spawned: Spawned, input: &'a [u8], max_output: usize) -> Self {
        let Spawned { child, stdin, stdout, stderr } = spawned;
        Self {
            child,
            input,
            stdin: Some(stdin),
            stdout_pipe: Some(stdout),
            stderr_pipe: Some(stderr),
            stdout: Vec::new(),
            stderr: Vec::new(),
            max_output,
        }
    }

    /// No pipe keeps us waiting: the clock and signals are looked at as well.
    fn unblock(&self) -> io::Result<()> {
        let outputs = [&self.stdout_pipe, &self.stderr_pipe].into_iter().flatten().map(AsFd::as_fd);
        self.stdin.iter().map(AsFd::as_fd).chain(outputs).try_for_each(set_nonblocking)
    }

    /// Serves the pipes until the child has ended and its outputs are closed or have had their
    /// grace.
    fn hold(&mut self, deadline: Instant, watch: &dyn Watch) -> Result<Ended, End> {
        self.unblock().map_err(io("its pipes cannot be prepared"))?;
        let mut ended: Option<(Ended, Instant)> = None;
        loop {
            self.serve()?;
            if ended.is_none() {
                let status = self
                    .child
                    .try_wait()
                    .map_err(io("the system does not say whether it has ended"))?;
                ended = status.map(|status| (status, deadline.min(Instant::now() + GRACE)));
            }
            let quiet = self.stdout_pipe.is_none() && self.stderr_pipe.is_none();
            let limit = match ended {
                Some((status, _)) if quiet => return Ok(status),
                Some((status, grace)) if remaining(grace).is_zero() => {
                    self.child.kill_group();
                    return Ok(status);
                }
                Some((_, grace)) => grace,
                None if remaining(deadline).is_zero() => return Err(End::TimedOut),
                None => deadline,
            };
            self.wait(limit, watch).map_err(io("its pipes cannot be waited for"))?;
            if watch.stop_requested() {
                return Err(End::Stopped);
            }
        }
    }

    /// Sleeps until a pipe or the watch has something, or `limit` has passed.
    fn wait(&self, limit: Instant, watch: &dyn Watch) -> io::Result<()> {
        let has_outputs = self.stdout_pipe.is_some() || self.stderr_pipe.is_some();
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(4);
        fds.extend(watch.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.stdin.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        fds.extend(
            self.stdout_pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        fds.extend(
            self.stderr_pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        // Rounded up, so that the last millisecond is slept and not spun through.
        let milliseconds = remaining(limit).min(watch.pause(has_outputs)).as_millis() + 1;
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn serve(&mut self) -> Result<(), End> {
        self.write_input();
        let came = read_available(&mut self.stdout_pipe, &mut self.stdout, self.max_output + 1)
            .map_err(io("its standard output cannot be read"))?;
        if came && self.stdout.len() > self.max_output {
            return Err(End::Flood);
        }
        read_available(&mut self.stderr_pipe, &mut self.stderr, MAX_STDERR_BYTES)
            .map_err(io("its standard error cannot be read"))?;
        Ok(())
    }

    /// A plugin that does not read its input closes the pipe, which is no error.
    fn write_input(&mut self) {
        while let Some(pipe) = self.stdin.as_mut() {
            match pipe.write(self.input) {
                Ok(written) if written > 0 && written < self.input.len() => {
                    self.input = self.input.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => self.stdin = None,
            }
        }
    }

    fn output(&mut self, ended: Ended) -> Output {
        Output {
            ended,
            stdout: std::mem::take(&mut self.stdout),
            stderr: std::mem::take(&mut self.stderr),
        }
    }

    /// Kills the group and reaps the child. A child that even SIGKILL does not end (stuck in the
    /// kernel) is not waited for.
    fn kill(&mut self) {
        self.child.kill_group();
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// What is left until `deadline`, zero once it has passed.
fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Reads what is there, keeps the first `limit` bytes, closes the pipe at its end. Whether bytes
/// came.
fn read_available(
    pipe: &mut Option<impl Read>,
    kept: &mut Vec<u8>,
    limit: usize,
) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    let mut came = false;
    // A bounded number of turns, so that a flood cannot keep us from looking at the clock.
    for _ in 0..64 {
        let Some(open) = pipe.as_mut() else { break };
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                came = true;
                let room = limit.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(came)
}

#[cfg(test)]
mod tests;
