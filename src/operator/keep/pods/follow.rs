//! The process that does what one pod wants: this program as `braid follow`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::state::{Job, Outcome};
use crate::operator::console::Exit;
use crate::operator::node::Directories;

/// How long a process may take: longer than an ADD with its undoing.
const LIMIT: Duration = Duration::from_secs(260);
/// How long one may take that was told to stop: it undoes what it has begun.
const STOP_LIMIT: Duration = Duration::from_secs(50);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// As many bytes of each of its outputs as are told of.
const MAX_OUTPUT: u64 = 64 << 10;
/// How long its outputs are read once it has ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(2);
/// The stack of a thread that reads one.
const STACK: usize = 64 << 10;
/// Where the node's programs are: a container has another path.
const NODE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts processes on the node.
#[derive(Debug)]
pub(super) struct Starter {
    root: PathBuf,
    arguments: Vec<String>,
}

impl Starter {
    pub(super) fn new(root: &Path, directories: &Directories) -> Self {
        let mut arguments = vec!["--root".to_owned(), root.display().to_string()];
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        if let Some(directory) = &directories.conf_dir {
            option("--conf-dir", directory.display().to_string());
        }
        for directory in &directories.bin_dir {
            option("--bin-dir", directory.display().to_string());
        }
        let runtime = directories.runtime.as_ref().and_then(ValueEnum::to_possible_value);
        if let Some(runtime) = runtime {
            option("--runtime", runtime.get_name().to_owned());
        }
        Self { root: root.to_owned(), arguments }
    }

    /// Does what a pod wants, and returns what there is to say of it. `is_stopping` ends it.
    pub(super) fn run(&self, job: &Job, is_stopping: impl Fn() -> bool) -> (Outcome, Vec<String>) {
        match self.attempt(job, is_stopping) {
            Ok(done) => done,
            Err(error) => (Outcome::Failed, vec![format!("braid follow cannot be run: {error}")]),
        }
    }

    fn attempt(
        &self,
        job: &Job,
        is_stopping: impl Fn() -> bool,
    ) -> std::io::Result<(Outcome, Vec<String>)> {
        let (status, sentences) = run(&mut self.command(job), &job.networks, is_stopping)?;
        Ok((outcome(status), sentences))
    }

    fn command(&self, job: &Job) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["follow", &job.pod, "--uid", &job.uid]).args(&self.arguments);
        if job.is_retry {
            command.arg("--publish");
        }
        if self.root != Path::new("/") {
            command.env("PATH", NODE_PATH);
        }
        command
    }
}

/// Runs a process to its end, which gets `input`, and returns what it has printed.
fn run(
    command: &mut Command,
    input: &str,
    is_stopping: impl Fn() -> bool,
) -> std::io::Result<(ExitStatus, Vec<String>)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let outputs = [read(child.stdout.take()), read(child.stderr.take())];
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it reads has said why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = wait(&mut child, is_stopping)?;
    // What it has left running may hold the other ends.
    let printed = outputs.iter().filter_map(|output| output.recv_timeout(OUTPUT_LIMIT).ok());
    Ok((status, printed.flat_map(|bytes| lines(&bytes)).collect()))
}

/// Reads what a process prints, on a thread of its own: one whose pipe is full waits for it.
fn read(output: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (done, read) = channel();
    let reading = move || {
        let Some(mut output) = output else { return };
        let mut bytes = Vec::new();
        let _ = output.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut output, &mut std::io::sink());
        let _ = done.send(bytes);
    };
    // Without a thread the process ends as soon as it prints.
    let _ = std::thread::Builder::new().stack_size(STACK).spawn(reading);
    read
}

/// Waits for the end, and brings it about if it takes too long or is told to.
fn wait(child: &mut Child, is_stopping: impl Fn() -> bool) -> std::io::Result<ExitStatus> {
    let mut until = Instant::now() + LIMIT;
    let mut is_told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let now = Instant::now();
        if !is_told && (is_stopping() || now >= until) {
            is_told = true;
            until = now + STOP_LIMIT;
            if let Ok(id) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
        } else if is_told && now >= until {
            child.kill()?;
        }
        std::thread::sleep(LOOK);
    }
}

fn outcome(status: ExitStatus) -> Outcome {
    match status.code() {
        Some(code) if code == i32::from(Exit::Done.status()) => Outcome::Settled,
        Some(code) if code == i32::from(Exit::NotYet.status()) => Outcome::Absent,
        _ => Outcome::Failed,
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &str) -> (ExitStatus, Vec<String>) {
        run(Command::new("sh").args(["-c", script]), input, || false).unwrap()
    }

    /// A pipe holds 64 KiB.
    #[test]
    fn a_process_that_prints_more_than_a_pipe_holds_ends() {
        let began = Instant::now();
        let script = "cat >/dev/null; yes line | head -c 300000; yes line | head -c 300000 >&2";
        let (status, said) = shell(script, &"x".repeat(200_000));
        assert!(status.success() && began.elapsed() < LIMIT / 10);
        let bytes: usize = said.iter().map(|line| line.len() + 1).sum();
        assert!(bytes <= 2 * usize::try_from(MAX_OUTPUT).unwrap() + 2, "{bytes}");
        assert_eq!(said[0], "line");
    }

    #[test]
    fn what_a_process_leaves_running_holds_up_nothing() {
        let began = Instant::now();
        let (status, _) = shell("sleep 20 & echo done", "");
        assert!(status.success() && began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_process_is_told_to_stop() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'echo stopped; exit 3' TERM; while :; do sleep 0.1; done"]);
        let began = Instant::now();
        let stops = || began.elapsed() > Duration::from_millis(500);
        let (status, said) = run(&mut command, "", stops).unwrap();
        assert_eq!((status.code(), said), (Some(3), vec!["stopped".to_owned()]));
    }
}
