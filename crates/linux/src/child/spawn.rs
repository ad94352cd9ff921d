//! Starting a plugin as posix_spawn(3) does, with `PR_SET_PDEATHSIG`: the plugin dies
//! with us. Runtimes kill with SIGKILL, after which nothing of ours could end it.
//!
//! fork(2) would copy our page tables for a child that throws them away at once; that costs more
//! than all else that Braid does for a plugin. So the child borrows our memory until it executes
//! (`CLONE_VM`, `CLONE_VFORK`), while this thread is suspended. What it runs by then is a list of
//! system calls over what was prepared before: nothing allocates, locks or panics.
//!
//! What the child shares with us until then, and what it has of its own:
//!
//! | | | |
//! |---|---|---|
//! | memory, this thread's `errno` among it | shared | it writes its own stack, `errno`, and one number that we read once it has gone |
//! | descriptors, signal dispositions, signal mask, directory | its own copies | neither `CLONE_FILES`, `CLONE_SIGHAND` nor `CLONE_FS` is set |
//!
//! Other threads of ours run on meanwhile (one may wait for the disk); the child touches nothing of
//! theirs and takes no lock that one of them could hold. Every descriptor of ours is opened
//! close-on-exec, so that the plugin gets the three pipes, and of the rest what the runtime itself
//! has let through.

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The child's stack until it executes: it makes a dozen system calls, one call deep.
const STACK_BYTES: usize = 16 << 10;

/// A child in a process group of its own, with our ends of its pipes.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) stdin: PipeWriter,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

/// A child that has not been waited for, or how it ended.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    ended: Option<Ended>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// Whether it ended by itself, with status 0.
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// Starts `executable` in `/` with these arguments, with these variables and no others, no signal
/// blocked, and none ignored that the runtime has not ignored.
///
/// # Errors
/// What the system says: that the executable is being written, for example (`ETXTBSY`).
pub(super) fn spawn(
    executable: &Path,
    arguments: &[&OsStr],
    environment: &[(OsString, OsString)],
) -> io::Result<Spawned> {
    let program = CString::new(executable.as_os_str().as_bytes())?;
    let arguments = arguments.iter().map(|argument| CString::new(argument.as_bytes()));
    let arguments: Vec<CString> = arguments.collect::<Result<_, _>>()?;
    let variables = environment.iter().map(|(name, value)| variable(name, value));
    let variables: Vec<CString> = variables.collect::<io::Result<_>>()?;
    let (stdin_end, stdin) = pipe()?;
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let ends: [OwnedFd; 3] = [stdin_end.into(), stdout_end.into(), stderr_end.into()];
    let streams = ends.each_ref().map(AsRawFd::as_raw_fd);
    let pid = start(&program, &arguments, &variables, streams)?;
    Ok(Spawned { child: Child { pid, ended: None }, stdin, stdout, stderr })
}

fn variable(name: &OsString, value: &OsString) -> io::Result<CString> {
    let mut text = name.clone();
    text.push("=");
    text.push(value);
    Ok(CString::new(text.into_vec())?)
}

/// What the child needs, as the kernel takes it.
struct Execution<'a> {
    program: &'a CString,
    arguments: Vec<*const libc::c_char>,
    variables: Vec<*const libc::c_char>,
    streams: [RawFd; 3],
    parent: libc::pid_t,
    /// Set by the child if it could not execute.
    errno: Cell<i32>,
}

impl<'a> Execution<'a> {
    /// The arguments begin with the program itself, as a program expects.
    fn new(
        program: &'a CString,
        arguments: &'a [CString],
        variables: &'a [CString],
        streams: [RawFd; 3],
    ) -> Self {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
        };
        Self {
            program,
            arguments: [program.as_ptr()].into_iter().chain(pointers(arguments)).collect(),
            variables: pointers(variables),
            streams,
            parent: Pid::this().as_raw(),
            errno: Cell::new(0),
        }
    }
}

#[allow(
    unsafe_code,
    reason = "no safe wrapper starts a child that dies with us without copying page tables"
)]
fn start(
    program: &CString,
    arguments: &[CString],
    variables: &[CString],
    streams: [RawFd; 3],
) -> io::Result<Pid> {
    let execution = Execution::new(program, arguments, variables, streams);
    let child = || {
        execution.errno.set(execute(&execution));
        // SAFETY: ends the child alone, since CLONE_THREAD is not set: without exit handlers, which
        // are ours.
        unsafe { libc::_exit(127) }
    };
    let mut stack = [0_u8; STACK_BYTES];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    let before = block_signals()?;
    // SAFETY: CLONE_VFORK suspends this thread until the child has executed or ended, also if
    // that ends by a signal, so that the stack and all that `child` borrows outlive its use, and
    // nothing reads them meanwhile. The child runs on `stack` alone, which is aligned by clone's
    // wrapper and ten times as large as its frames, and never returns from `child`. We have no
    // handler for it to run: signals are read from a descriptor and stay blocked until the child's
    // own mask is emptied; only the standard library's for SIGSEGV is there, which ends the process
    // it runs in.
    let started = unsafe { clone(Box::new(child), &mut stack, flags, Some(libc::SIGCHLD)) };
    let unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    let pid = started?;
    unblocked?;
    match execution.errno.get() {
        0 => Ok(pid),
        errno => {
            let _ = wait(pid, 0);
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

fn block_signals() -> nix::Result<SigSet> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before))?;
    Ok(before)
}

/// Runs in the child: returns the error number if it could not execute.
#[allow(
    unsafe_code,
    reason = "system calls between clone and exec, for which nothing may allocate"
)]
fn execute(execution: &Execution<'_>) -> i32 {
    let [stdin, stdout, stderr] = execution.streams;
    // SAFETY: each is a plain system call in glibc and musl alike, on values and on memory that
    // `execution` keeps alive; the pointer lists end with null. `errno` is that of the suspended
    // thread, which looks at it no more before its next call. None of the descriptors is below 3,
    // since the standard library has opened those, so that dup2 has made each of the three anew and
    // it is not closed on exec. The order is one: the bond with us comes first, and the mask is
    // emptied last.
    unsafe {
        let prepared = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
            // We may have died before the line above.
            && libc::getppid() == execution.parent
            && libc::setpgid(0, 0) == 0
            && libc::chdir(c"/".as_ptr()) == 0
            && libc::dup2(stdin, 0) >= 0
            && libc::dup2(stdout, 1) >= 0
            && libc::dup2(stderr, 2) >= 0
            && reset_signals();
        if prepared {
            libc::execve(
                execution.program.as_ptr(),
                execution.arguments.as_ptr(),
                execution.variables.as_ptr(),
            );
        }
        match *libc::__errno_location() {
            0 => libc::ESRCH,
            errno => errno,
        }
    }
}

/// Undoes what the standard library and [`crate::signal`] have set: SIGPIPE ignored, signals
/// blocked.
#[allow(
    unsafe_code,
    reason = "system calls between clone and exec, for which nothing may allocate"
)]
fn reset_signals() -> bool {
    // SAFETY: sigemptyset initialises the set before it is read. Only the child's own disposition
    // and mask change, since neither CLONE_SIGHAND nor CLONE_THREAD is set. Neither call takes a
    // lock: glibc's and musl's `signal` do for SIGABRT alone.
    unsafe {
        let mut none = std::mem::MaybeUninit::uninit();
        libc::signal(libc::SIGPIPE, libc::SIG_DFL) != libc::SIG_ERR
            && libc::sigemptyset(none.as_mut_ptr()) == 0
            && libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) == 0
    }
}

impl Child {
    /// How it ended, if it has; reaps it then.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<Ended>> {
        if self.ended.is_none() {
            self.ended = wait(self.pid, libc::WNOHANG)?;
        }
        Ok(self.ended)
    }

    /// Kills the process group, which lives on if the child has left others in it.
    pub(super) fn kill_group(&self) {
        let _ = killpg(self.pid, Signal::SIGKILL);
    }
}

/// nix's wait has no word for real-time signals, and would lose how the child ended.
#[allow(unsafe_code, reason = "the raw status is needed")]
fn wait(pid: Pid, flags: i32) -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: the kernel writes one integer, which lives on our stack.
    match unsafe { libc::waitpid(pid.as_raw(), &raw mut status, flags) } {
        -1 => Err(Errno::last().into()),
        0 => Ok(None),
        _ if libc::WIFSIGNALED(status) => Ok(Some(Ended::Killed(libc::WTERMSIG(status)))),
        _ => Ok(Some(Ended::Exited(libc::WEXITSTATUS(status)))),
    }
}

/// The same bond for a child that the standard library starts.
#[allow(unsafe_code, reason = "std offers no other way to run code between fork and exec")]
pub fn die_with_us(command: &mut Command) {
    let braid = Pid::this();
    let in_child = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // We may have died before the line above.
        if nix::unistd::getppid() == braid { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor
    // locks.
    unsafe { command.pre_exec(in_child) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn shell(script: &str) -> (String, Ended) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("script");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let environment = [("PATH".into(), "/usr/bin:/bin".into()), ("A".into(), "x=y z".into())];
        let arguments = ["one word", ""].map(OsStr::new);
        let mut spawned = spawn(&file, &arguments, &environment).unwrap();
        drop(spawned.stdin);
        let mut text = String::new();
        spawned.stdout.read_to_string(&mut text).unwrap();
        let ended = wait(spawned.child.pid, 0).unwrap().unwrap();
        (text, ended)
    }

    #[test]
    fn a_child_gets_what_it_was_given_and_nothing_else() {
        let (text, ended) = shell("pwd; env | sort; echo \"$#,$1,$2\"; cat; exit 3");
        assert_eq!(text, "/\nA=x=y z\nPATH=/usr/bin:/bin\nPWD=/\n2,one word,\n");
        assert_eq!(ended, Ended::Exited(3));
    }

    #[test]
    fn a_child_has_no_descriptor_of_ours() {
        let kept = tempfile::NamedTempFile::new().unwrap();
        let (text, _) = shell("ls -l /proc/$$/fd");
        assert!(!text.contains(&*kept.path().to_string_lossy()), "{text}");
    }

    #[test]
    fn a_child_is_in_a_group_of_its_own_and_dies_with_us() {
        let (text, _) = shell("cut -d' ' -f5 /proc/$$/stat; echo $$");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], lines[1], "process group and process");
    }

    #[test]
    fn signals_are_as_a_process_expects_them() {
        let mut all = SigSet::empty();
        all.add(Signal::SIGTERM);
        all.thread_block().unwrap();
        let (text, _) = shell("sed -n 's/^Sig[BI][lg][kn]:.//p' /proc/self/status");
        all.thread_unblock().unwrap();
        let masks: Vec<_> =
            text.lines().map(|mask| u64::from_str_radix(mask, 16).unwrap()).collect();
        let pipe = 1 << (Signal::SIGPIPE as u32 - 1);
        assert_eq!((masks[0], masks[1] & pipe), (0, 0), "blocked, and SIGPIPE ignored");
    }

    #[test]
    fn our_own_mask_is_as_before() {
        let before = SigSet::thread_get_mask().unwrap();
        shell("true");
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }

    #[test]
    fn real_time_signals_are_told_too() {
        assert_eq!(shell("kill -40 $$").1, Ended::Killed(40));
    }

    #[test]
    fn what_cannot_be_executed_says_why_and_is_reaped() {
        let dir = tempfile::tempdir().unwrap();
        let error = spawn(&dir.path().join("absent"), &[], &[]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        let file = dir.path().join("plain");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(spawn(&file, &[], &[]).unwrap_err().raw_os_error(), Some(libc::EACCES));
        assert_eq!(
            wait(Pid::from_raw(-1), libc::WNOHANG).unwrap_err().raw_os_error(),
            Some(libc::ECHILD)
        );
    }

    #[test]
    fn a_variable_with_a_nul_is_refused() {
        let error = spawn(Path::new("/bin/true"), &[], &[("A".into(), "b\0c".into())]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
