//! A thread that stays in a namespace, for several pieces of work in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::{Netns, NetnsError, refused};

type Work = Box<dyn FnOnce() + Send>;

/// A thread in a namespace, which ends with this value. No failure of its work can leave another
/// thread in the pod.
#[derive(Debug)]
pub struct NetnsThread {
    work: Sender<Work>,
    path: PathBuf,
}

impl NetnsThread {
    /// Starts a thread that enters the namespace.
    ///
    /// # Errors
    /// As [`Netns::run`].
    pub fn start(netns: &Netns) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError::Thread { path: netns.path.clone(), source };
        let file = netns.file.try_clone().map_err(failed)?;
        let (work, queue) = channel::<Work>();
        let (entered, outcome) = channel();
        let inside = move || {
            let entry = setns(file, CloneFlags::CLONE_NEWNET);
            if entered.send(entry).is_ok() && entry.is_ok() {
                queue.into_iter().for_each(|work| work());
            }
        };
        thread::Builder::new().name("netns".to_owned()).spawn(inside).map_err(failed)?;
        let entry = outcome.recv().map_err(|_| NetnsError::Panicked(netns.path.clone()))?;
        entry.map_err(|errno| refused(&netns.path, errno))?;
        Ok(Self { work, path: netns.path.clone() })
    }

    /// Runs `work` in the namespace and returns what it returns.
    ///
    /// # Errors
    /// [`NetnsError::Panicked`].
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetnsError> {
        let (done, outcome) = channel();
        let work = move || {
            // Of what a panic may leave half done, nothing is used again.
            if let Ok(value) = catch_unwind(AssertUnwindSafe(work)) {
                drop(done.send(value));
            }
        };
        let panicked = || NetnsError::Panicked(self.path.clone());
        self.work.send(Box::new(work)).map_err(|_| panicked())?;
        outcome.recv().map_err(|_| panicked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::testing::sandbox;

    fn inode() -> String {
        std::fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string()
    }

    #[test]
    fn all_work_runs_inside_on_one_thread() {
        let netns = sandbox();
        let thread = NetnsThread::start(&netns).unwrap();
        let place = || (std::thread::current().id(), inode());
        let first = thread.run(place).unwrap();
        assert_eq!(first, thread.run(place).unwrap());
        assert_eq!(first.1, netns.run(inode).unwrap());
        assert_ne!(first, place());
    }

    #[test]
    fn after_a_panic_the_next_work_runs() {
        let thread = NetnsThread::start(&sandbox()).unwrap();
        let error = thread.run(|| panic!("on purpose")).unwrap_err();
        assert!(matches!(error, NetnsError::Panicked(_)), "{error:?}");
        assert_eq!(thread.run(|| 7).unwrap(), 7);
    }

    #[test]
    fn the_thread_ends_with_its_value() {
        let netns = sandbox();
        let thread = NetnsThread::start(&netns).unwrap();
        let task = thread.run(|| std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        let path = std::path::Path::new("/proc").join(task);
        assert!(path.exists());
        drop(thread);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while path.exists() {
            assert!(std::time::Instant::now() < until, "it lives on");
            std::thread::yield_now();
        }
    }
}
