//! Processes that the children of a killed parent have left running. A child dies with its parent,
//! and its own children do not: an IPAM plugin would go on, and reserve an address after the DEL
//! that has released it.
//!
//! They are known by what each process inherits: variables in its environment, and the process
//! group that it was started in. A process that is meant to outlive the call has made a session of
//! its own, and is left alone.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

/// How long they may finish what they have begun, which is better than to cut it short.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long they are waited for in all: one that is stuck in the kernel ends when that lets it.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// As much of an environment as is read; ours is a few KiB.
const MAX_ENVIRONMENT_BYTES: u64 = 256 << 10;

/// Waits until no orphaned process has all of `variables` (`NAME=value`) in its environment, and
/// kills those that do not end. The caller makes sure that no living call of its own has started
/// processes with them.
pub fn reap_orphaned_processes(variables: &[String]) {
    let started = Instant::now();
    loop {
        let survivors = find(variables);
        if survivors.is_empty() {
            return;
        }
        if started.elapsed() >= LIMIT {
            log::warn!(
                "processes of a killed call ({}) do not end: {survivors:?}",
                variables.join(", ")
            );
            return;
        }
        if started.elapsed() >= TIMEOUT {
            survivors.into_iter().for_each(|process| end(process, variables));
        }
        sleep(PAUSE);
    }
}

/// Kills a process that was found to be a survivor, and no other that has its number by now.
fn end(process: i32, variables: &[String]) {
    let Some(pid) = rustix::process::Pid::from_raw(process) else { return };
    end_held(process, pidfd_open(pid, PidfdFlags::empty()), variables);
}

/// The process behind `held` keeps its number, or has ended: what is looked at now is what is
/// killed.
fn end_held(process: i32, held: Result<OwnedFd, Errno>, variables: &[String]) {
    let is_still_one = || is_survivor(&Path::new("/proc").join(process.to_string()), variables);
    match held {
        Ok(held) if is_still_one() => drop(pidfd_send_signal(&held, rustix::process::Signal::KILL)),
        // Before Linux 5.3, or behind a filter of system calls that is as old: by its number, at
        // once.
        Err(Errno::NOSYS | Errno::PERM) if is_still_one() => {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        // It has ended, or cannot be held now: the next round sees to it.
        Ok(_) | Err(_) => {}
    }
}

fn find(variables: &[String]) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| {
        let process: i32 = entry.file_name().to_str()?.parse().ok()?;
        is_survivor(&entry.path(), variables).then_some(process)
    });
    processes.collect()
}

fn is_survivor(process: &Path, variables: &[String]) -> bool {
    // Only root's: a process of another user in a pod cannot delay its teardown.
    let is_ours = process.metadata().is_ok_and(|metadata| metadata.uid() == geteuid().as_raw());
    is_ours && is_in_group(process) && has_variables(process, variables)
}

/// Whether a process lives, in a group that is not its session's first: see [`super::spawn`].
fn is_in_group(process: &Path) -> bool {
    let status = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    // After the name, which may hold anything: state, parent, group, session.
    let mut fields = status.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let (state, group, session) = (fields.next(), fields.nth(1), fields.next());
    state.is_some_and(|state| !matches!(state, "Z" | "X")) && group != session
}

fn has_variables(process: &Path, variables: &[String]) -> bool {
    let Ok(file) = File::open(process.join("environ")) else { return false };
    let mut bytes = Vec::new();
    if file.take(MAX_ENVIRONMENT_BYTES).read_to_end(&mut bytes).is_err() {
        return false;
    }
    variables
        .iter()
        .all(|wanted| bytes.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::time::Instant;

    fn container() -> String {
        format!("survivor-{}", std::process::id())
    }

    fn variables() -> [String; 2] {
        ["NESTED=1".to_owned(), format!("ID={}", container())]
    }

    /// A process that a plugin of a killed call for the container could have left.
    fn left(seconds: &str, change: impl FnOnce(&mut Command) -> &mut Command) -> Child {
        let mut command = Command::new("sleep");
        command.arg(seconds).process_group(0);
        command.env("NESTED", "1").env("ID", container());
        change(&mut command);
        let child = command.spawn().unwrap();
        await_execution(&child);
        child
    }

    /// The parent goes on before the kernel has given the new program its arguments and
    /// environment.
    fn await_execution(child: &Child) {
        let arguments = Path::new("/proc").join(child.id().to_string()).join("cmdline");
        while std::fs::read(&arguments).unwrap().is_empty() {
            sleep(Duration::from_millis(1));
        }
    }

    fn outlasted() -> Duration {
        let started = Instant::now();
        reap_orphaned_processes(&variables());
        started.elapsed()
    }

    #[test]
    fn what_ends_by_itself_is_waited_for() {
        let mut child = left("0.5", |command| command);
        // A child of ours stays a zombie, which is as good as gone.
        let took = outlasted();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(4), "{took:?}");
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_does_not_end_is_killed() {
        let mut child = left("60", |command| command);
        let took = outlasted();
        assert!(took >= TIMEOUT && took < LIMIT, "{took:?}");
        assert!(!child.wait().unwrap().success());
    }

    /// Between the look and the kill, its number may have become another process'.
    #[test]
    fn what_is_killed_is_what_was_looked_at() {
        let held = |child: &Child| {
            pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())
        };
        let number = |child: &Child| i32::try_from(child.id()).unwrap();
        let mut other = left("60", |command| command.env("ID", "another"));
        end(number(&other), &variables());
        for held in [held(&other), Err(Errno::NOSYS), Err(Errno::MFILE)] {
            end_held(number(&other), held, &variables());
        }
        sleep(Duration::from_millis(200));
        assert!(other.try_wait().unwrap().is_none(), "it was killed");
        other.kill().unwrap();
        other.wait().unwrap();
        // A kernel that cannot hold one still ends it.
        let mut survivor = left("60", |command| command);
        end_held(number(&survivor), Err(Errno::NOSYS), &variables());
        assert!(!survivor.wait().unwrap().success());
    }

    #[test]
    fn others_are_left_alone() {
        let mut others = [
            left("60", |command| command.env("ID", "another")),
            left("60", |command| command.env_remove("NESTED")),
            left("60", Command::env_clear),
            session_of_its_own(),
        ];
        let took = outlasted();
        assert!(took < Duration::from_secs(2), "{took:?}");
        for other in &mut others {
            assert!(other.try_wait().unwrap().is_none(), "it was killed");
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }

    fn session_of_its_own() -> Child {
        let mut command = Command::new("setsid");
        command.args(["sleep", "60"]).env("NESTED", "1").env("ID", container());
        let child = command.spawn().unwrap();
        // Until it has called setsid(2), it is in our group.
        std::thread::sleep(Duration::from_millis(200));
        child
    }
}
