//! The process that does what one pod wants: this program as `braid follow`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
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
/// As many bytes of its output as are read.
const MAX_OUTPUT: u64 = 64 << 10;
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
        let mut child = self.command(job).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that ends before it reads has said why.
            let _ = input.write_all(job.networks.as_bytes());
        }
        let status = wait(&mut child, is_stopping)?;
        let mut sentences = lines(child.stdout.take());
        sentences.extend(lines(child.stderr.take()));
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
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
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

fn lines(output: Option<impl Read>) -> Vec<String> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        let _ = output.take(MAX_OUTPUT).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}
