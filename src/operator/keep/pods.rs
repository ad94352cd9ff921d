//! `braid keep --watch-pods`: pods of this node whose annotation changes get and lose networks.
//!
//! ```text
//! watch ──> what each pod wants ──> some workers ──> braid follow, for one pod at a time
//! ```
//!
//! The watch only notes what is wanted. What is done for a pod is a process of its own, on the
//! node's file system: it ends as a runtime's call does, and a pod whose plugins hang holds up no
//! other's. No pod that starts needs any of it.

mod follow;
mod state;

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use self::follow::Starter;
use self::state::{Outcome, Pods};
use crate::kube::{ClusterConfig, PodWatch, Seen};
use crate::ledger::Ledger;
use crate::operator::CommandError;
use crate::operator::console::Console;
use crate::operator::installation::Installation;
use crate::operator::node::{self, Directories};
use crate::operator::records::Records;
use crate::operator::runtime::below;
use cni::request::Environment;

/// How many pods are changed at once.
const WORKERS: usize = 4;
/// The stack of a thread; no more of it is in memory than is used.
const STACK: usize = 2 << 20;

/// The watch and its workers. They end when the process is told to stop.
#[derive(Debug)]
pub(super) struct PodFollower {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    said: Receiver<String>,
}

#[derive(Debug)]
struct Shared {
    pods: Mutex<Pods>,
    changed: Condvar,
    starter: Starter,
}

impl Shared {
    fn pods(&self) -> MutexGuard<'_, Pods> {
        // A thread that has panicked has changed no more than one pod's state.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodFollower {
    /// Begins to watch the pods of `node`.
    ///
    /// # Errors
    /// [`CommandError::Threads`].
    pub(super) fn start(
        root: &Path,
        directories: &Directories,
        node: String,
    ) -> Result<Self, CommandError> {
        let shared = Arc::new(Shared {
            pods: Mutex::default(),
            changed: Condvar::new(),
            starter: Starter::new(root, directories),
        });
        let (say, said) = channel();
        let mut threads = Vec::new();
        for _ in 0..WORKERS {
            let (shared, say) = (shared.clone(), say.clone());
            threads.push(spawn(move || work(&shared, &say))?);
        }
        let (watched, root, directories) = (shared.clone(), root.to_owned(), directories.clone());
        threads.push(spawn(move || watch(&watched, &root, &directories, &node, &say))?);
        Ok(Self { shared, threads, said })
    }

    /// Says what has been done since the last time.
    ///
    /// # Errors
    /// [`CommandError::Output`].
    pub(super) fn tell(&self, console: &mut Console<'_>) -> Result<(), CommandError> {
        for sentence in self.said.try_iter() {
            console.progress(&sentence)?;
        }
        Ok(())
    }

    /// Waits for the ends of what is under way: each was told to stop.
    ///
    /// # Errors
    /// [`CommandError::Output`].
    pub(super) fn stop(self, console: &mut Console<'_>) -> Result<(), CommandError> {
        self.shared.pods().stop();
        self.shared.changed.notify_all();
        let Self { threads, said, .. } = self;
        for thread in threads {
            let _ = thread.join();
        }
        for sentence in said.try_iter() {
            console.progress(&sentence)?;
        }
        Ok(())
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, CommandError> {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    thread.map_err(CommandError::Threads)
}

/// Follows the API's word of the node's pods.
fn watch(
    shared: &Shared,
    root: &Path,
    directories: &Directories,
    node: &str,
    say: &Sender<String>,
) {
    let place = place(root, directories);
    let config = place.as_ref().and_then(|place| place.config_for_teardown().ok());
    let cluster = ClusterConfig {
        kubeconfig: config.as_ref().and_then(|config| config.kubeconfig.clone()),
        ..ClusterConfig::default()
    };
    let ledger = config.map(|config| Ledger::new(&below(root, &config.state_dir)));
    let mut failing = String::new();
    let mut see = |seen: Seen| {
        let sentence = match &seen {
            Seen::Failing(error) => format!("pods are not watched now: {error}"),
            _ => String::new(),
        };
        if !sentence.is_empty() && sentence != failing {
            let _ = say.send(sentence.clone());
        }
        failing = sentence;
        note(shared, ledger.as_ref(), seen)
    };
    let is_stopping = || shared.pods().is_stopping();
    let environment = Environment::of_process();
    if let Err(error) = PodWatch::run(&cluster, &environment, node, &mut see, &is_stopping) {
        let _ = say.send(format!("pods are not watched: {error}"));
    }
}

/// Whether a list is wanted.
fn note(shared: &Shared, ledger: Option<&Ledger>, seen: Seen) -> bool {
    let with_extras = match &seen {
        Seen::ListBegins => ledger.and_then(with_extras),
        _ => None,
    };
    let now = Instant::now();
    let mut pods = shared.pods();
    match seen {
        Seen::ListBegins => pods.begin_list(with_extras),
        Seen::ListEnds => pods.end_list(),
        Seen::Pod(pod) => pods.see(pod, now),
        Seen::Gone(uid) => pods.remove(&uid),
        Seen::Alive | Seen::Failing(_) => {}
    }
    let wants_list = pods.wants_list(now);
    drop(pods);
    shared.changed.notify_all();
    wants_list
}

fn place(root: &Path, directories: &Directories) -> Option<Installation> {
    let runtime = node::runtime(directories, root).ok()?;
    Installation::all(&below(root, &runtime.conf_dir), &["braid"]).into_iter().next()
}

/// The pods that have an extra network, as `namespace/name`; none if that cannot be read.
fn with_extras(ledger: &Ledger) -> Option<HashSet<String>> {
    let records = Records::read(ledger).ok()?;
    Some(records.with_extras().map(|listed| listed.header().pod.clone()).collect())
}

/// Does what is wanted, one pod after the other, until the process is told to stop.
fn work(shared: &Shared, say: &Sender<String>) {
    loop {
        let mut pods = shared.pods();
        let job = loop {
            if pods.is_stopping() {
                return;
            }
            match pods.take(Instant::now()) {
                Ok(job) => break job,
                Err(wait) => {
                    let waited = shared.changed.wait_timeout(pods, wait);
                    pods = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        };
        drop(pods);
        let (outcome, sentences) = shared.starter.run(&job, || shared.pods().is_stopping());
        let is_news = shared.pods().finish(&job, outcome, &sentences, Instant::now());
        if is_news || outcome == Outcome::Settled {
            for sentence in sentences {
                let _ = say.send(format!("{}: {sentence}", job.pod));
            }
        }
    }
}
