//! `braid keep`: an installation that stays as it should be, and goes when its DaemonSet goes.
//!
//! Pods never depend on it: it changes files, and the runtime starts the plugin as ever while it is
//! away. SIGTERM comes for a restart, for an update, for a node that shuts down, and for good. Only
//! the API knows which, and without its word nothing is taken off. If everything is deleted at
//! once, the right to ask may be gone by then: a watch that was begun before tells.

mod changes;
mod exposition;
mod metrics;
mod orphans;
mod pending_migration;
mod periodic;
mod pods;
mod releases;
mod shared_pools;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::exposition::Exposition;
use self::pending_migration::PendingMigration;
use self::pods::PodFollower;
use super::CommandError;
use super::console::{Console, Exit};
use super::install::{self, Install, RunMode};
use super::installation::Installation;
use super::node;
use super::runtime::below;
use super::uninstall::Uninstall;
use crate::conf_file;
use crate::kube::{Cluster, ClusterConfig, DaemonSetWatch};
use crate::pod::name::NamespacedName;
use cni::request::Environment;
use linux::signal::Signals;

/// How often the files are looked at. The kubelet itself takes up to a minute to renew a mounted
/// one.
const PAUSE: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again, if nothing has changed meanwhile.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How long the watch of the DaemonSet is waited for, if the API refuses to answer: what is deleted
/// at once is gone within seconds.
const WATCH_LIMIT: Duration = Duration::from_secs(30);

/// What `braid keep` is told.
#[derive(Args, Debug)]
pub(super) struct Keep {
    /// The DaemonSet of this pod: if it is deleted, Braid leaves the node
    #[arg(long, value_name = "NAMESPACE/NAME")]
    daemon_set: Option<NamespacedName>,
    /// Serve /metrics for Prometheus on this address: loopback or the pod's own
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = metrics::address)]
    metrics: Option<SocketAddr>,
    /// Watch the pods of this node: those that run get and lose networks as their annotation
    /// changes
    #[arg(long)]
    watch_pods: bool,
    /// This node's name in the API [default: NODE_NAME of the environment, or the host's name]
    #[arg(long, value_name = "NAME", requires = "watch_pods")]
    node_name: Option<String>,
    #[command(flatten)]
    install: Install,
}

/// What tells one state of a file from another, without reading it.
type Mark = (PathBuf, Option<(u64, u64, i64, i64)>);

impl Keep {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Result<Exit, CommandError> {
        if self.install.is_rehearsal() {
            return Ok(console.show(&self.install.run()?)?);
        }
        let mut signals = block()?;
        if let Some(address) = self.metrics {
            let install = &self.install;
            metrics::serve(address, Exposition::new(&install.root, &install.directories));
        }
        let watch = self.daemon_set.as_ref().map(DaemonSetWatch::start).unwrap_or_default();
        let follower = self.follow_pods()?;
        let watched = self.watch(console, &mut signals, follower.as_ref());
        // Whatever has ended it: what is under way for a pod is ended in order.
        follower.map_or(Ok(()), |follower| follower.stop(console))?;
        watched?;
        let Some(daemon_set) = &self.daemon_set else { return Ok(Exit::Done) };
        if self.install.migrates() {
            console
                .progress("a migration does not take braid off a node: what it runs now stays")?;
            return Ok(Exit::Done);
        }
        if is_for_good(daemon_set, &watch, console)? { self.leave(console) } else { Ok(Exit::Done) }
    }

    /// Begins to watch this node's pods, if that is wanted.
    fn follow_pods(&self) -> Result<Option<PodFollower>, CommandError> {
        if !self.watch_pods {
            return Ok(None);
        }
        let of_environment = std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
        let host = || nix::unistd::gethostname().unwrap_or_default();
        let name = self.node_name.clone().or(of_environment);
        let name = name.unwrap_or_else(|| host().to_string_lossy().to_lowercase());
        PodFollower::start(&self.install.root, &self.install.directories, name).map(Some)
    }

    /// Until a signal comes.
    fn watch(
        &self,
        console: &mut Console<'_>,
        signals: &mut Signals,
        follower: Option<&PodFollower>,
    ) -> Result<(), CommandError> {
        let mut seen = None;
        let mut failure = String::new();
        let mut again = Instant::now();
        let mut tasks = [changes::task(), orphans::task(), releases::task()];
        let mut pending = PendingMigration::default();
        loop {
            // Taken before the work: what others change meanwhile is another state.
            pending.ask(&self.install);
            let now = Some((self.marks(), pending.migration, pending.problem.clone()));
            let is_due = !failure.is_empty() || self.install.token_is_due();
            if seen != now || (is_due && Instant::now() >= again) {
                seen = now;
                again = Instant::now() + AFTER_FAILURE;
                let problem = self.repeat(&pending, console)?.unwrap_or_default();
                if !problem.is_empty() && problem != failure {
                    console.progress(&format!("braid: {problem}"))?;
                }
                failure = problem;
            }
            for task in &mut tasks {
                task.run_if_due(&self.install.directories, &self.install.root, signals, console)?;
            }
            follower.map_or(Ok(()), |follower| follower.tell(console))?;
            if stops_within(PAUSE, signals)? {
                return Ok(());
            }
        }
    }

    /// Installs again, and says what it has changed. A failure is a sentence: others of this kind
    /// follow.
    fn repeat(
        &self,
        pending: &PendingMigration,
        console: &mut Console<'_>,
    ) -> Result<Option<String>, CommandError> {
        let Some(migration) = pending.migration else { return Ok(pending.problem.clone()) };
        match self.install.carry_out(migration, RunMode::Reconcile) {
            Ok(installed) if installed.is_unchanged() => {
                Ok(pending.problem.clone().or(installed.problem()))
            }
            Ok(installed) => {
                let problem = pending.problem.clone().or(installed.problem());
                console.show(&installed.without_problems())?;
                Ok(problem)
            }
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// All that an installation reads and writes, save for the state.
    fn marks(&self) -> Vec<Mark> {
        let root = &self.install.root;
        let mut files = self.install.sources();
        if let Ok(runtime) = node::runtime(&self.install.directories, root) {
            let directory = below(root, &runtime.conf_dir);
            files.push(below(root, &install::binary(&runtime)));
            files.extend(conf_file::list(&directory, &conf_file::EXTENSIONS).unwrap_or_default());
            files.extend(
                Installation::all(&directory, &["braid"]).into_iter().map(|place| place.file),
            );
            files.extend(self.install.credential(&runtime));
        }
        files.into_iter().map(mark).collect()
    }

    /// As `braid uninstall --wait`, but without holding the node's lock meanwhile: an administrator
    /// who wants Braid back installs it, which ends the drain, and this with it.
    fn leave(&self, console: &mut Console<'_>) -> Result<Exit, CommandError> {
        let uninstall = Uninstall::repeated(&self.install.root, &self.install.directories);
        let mut said: Option<Vec<String>> = None;
        loop {
            if said.is_some() && self.is_wanted_again() {
                console.progress("braid was installed again meanwhile, and stays")?;
                return Ok(Exit::Done);
            }
            match uninstall.run(console) {
                Ok(left) if left.waiting_for().is_empty() => return Ok(console.show(&left)?),
                Ok(left) if said.as_deref() != Some(left.waiting_for()) => {
                    console.show(&left)?;
                    said = Some(left.waiting_for().to_vec());
                }
                Ok(_) => {}
                Err(error) => console.progress(&format!("braid: {error}"))?,
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether Braid's configuration drains no more.
    fn is_wanted_again(&self) -> bool {
        let root = &self.install.root;
        let Ok(runtime) = node::runtime(&self.install.directories, root) else { return false };
        let places = Installation::all(&below(root, &runtime.conf_dir), &["braid"]);
        !places.is_empty() && !places.iter().all(Installation::is_draining)
    }
}

/// Whether this pod will have no successor on this node.
fn is_for_good(
    daemon_set: &NamespacedName,
    watch: &DaemonSetWatch,
    console: &mut Console<'_>,
) -> Result<bool, CommandError> {
    let asked = Instant::now();
    let said = loop {
        let cluster = Cluster::configured(&ClusterConfig::default(), &Environment::of_process());
        match cluster.map(|mut cluster| cluster.is_leaving(daemon_set)) {
            Some(Ok(true)) => break Ok(()),
            Some(Ok(false)) => break Err("it is still there".to_owned()),
            _ if watch.is_leaving() => break Ok(()),
            // The rights may have gone first: the watch hears of the rest.
            Some(Err(_)) if watch.is_open() && asked.elapsed() < WATCH_LIMIT => {}
            Some(Err(error)) => break Err(format!("that cannot be told: {error}")),
            None => break Err("there is no API to ask".to_owned()),
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    let line = match &said {
        Ok(()) => format!("DaemonSet {daemon_set} is deleted: leaving this node"),
        Err(reason) => format!("whether DaemonSet {daemon_set} is deleted: {reason}: braid stays"),
    };
    console.progress(&line)?;
    Ok(said.is_ok())
}

pub(super) fn block() -> Result<Signals, CommandError> {
    Signals::block().map_err(|errno| CommandError::Signals(errno.into()))
}

/// Waits for so long; whether a signal has come that ends us.
pub(super) fn stops_within(pause: Duration, signals: &mut Signals) -> Result<bool, CommandError> {
    if signals.stop_requested() {
        return Ok(true);
    }
    let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(signals.stop_requested()),
        Err(errno) => Err(CommandError::Signals(errno.into())),
    }
}

fn mark(file: PathBuf) -> Mark {
    let seen = file.metadata().ok();
    let seen = seen.map(|it| (it.ino(), it.size(), it.ctime(), it.ctime_nsec()));
    (file, seen)
}
