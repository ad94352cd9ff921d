//! `braid follow`: what `braid keep --watch-pods` starts for a pod whose annotation has changed, on
//! the node's own file system. It ends when the pod has what its annotation asks for.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::CommandError;
use super::console::{Exit, OutputStyle, View};
use super::node::{Node, NodeOptions};
use super::sandbox;
use crate::observe::logging;
use crate::pod::name::NamespacedName;
use crate::selection::MAX_ANNOTATION_BYTES;
use crate::verb::running::{Changer, Followed};
use cni::error::{Code, Error};
use linux::signal::Signals;

/// What `braid follow` is told; the annotation is on standard input.
#[derive(Args, Debug)]
pub(super) struct Follow {
    /// The pod
    #[arg(value_name = "NAMESPACE/NAME")]
    pod: NamespacedName,
    /// Its UID
    #[arg(long)]
    uid: String,
    /// Publish the status even if nothing changes
    #[arg(long)]
    publish: bool,
    /// The node's root directory, which is entered
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    node: NodeOptions,
}

/// What came of it, in sentences.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    done: Vec<String>,
    failed: Vec<String>,
    /// Whether trying again later helps without anything changing before.
    is_passing: bool,
    /// Whether there is no sandbox of the pod's.
    is_absent: bool,
}

impl Follow {
    pub(super) fn run(&self) -> Result<Outcome, CommandError> {
        let networks = read_annotation()?;
        if self.root != std::path::Path::new("/") {
            nix::unistd::chroot(&self.root)
                .and_then(|()| nix::unistd::chdir("/"))
                .map_err(|errno| CommandError::Root(self.root.clone(), errno.into()))?;
        }
        let node = Node::find(&self.node)?;
        let Some(target) = sandbox::find_by_uid(&node, &self.pod.to_string(), &self.uid)? else {
            return Ok(Outcome::absent());
        };
        logging::start(&node.config.log);
        let request = node.request();
        let mut signals = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
        let mut changer = Changer::new(&node.config, &request, &mut signals);
        Ok(Outcome::of(changer.follow(&target, &networks, self.publish)?))
    }
}

fn read_annotation() -> Result<String, CommandError> {
    let mut text = String::new();
    // One byte more than is valid, so that too long an annotation is refused as such.
    let most = u64::try_from(MAX_ANNOTATION_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin().lock().take(most).read_to_string(&mut text).map_err(|error| {
        Error::new(Code::IO, format!("cannot read the annotation on standard input: {error}"))
    })?;
    Ok(text)
}

impl Outcome {
    fn absent() -> Self {
        Self { done: Vec::new(), failed: Vec::new(), is_passing: true, is_absent: true }
    }

    fn of(followed: Followed) -> Self {
        let Followed { changed, failed } = followed;
        let attached = changed.attached.iter().map(|label| format!("attached: {label}"));
        let detached = changed.detached.iter().map(|label| format!("detached: {label}"));
        Self {
            done: detached.chain(attached).chain(changed.warnings).collect(),
            is_passing: failed.iter().any(|error| error.code == Code::TRY_AGAIN),
            failed: failed.iter().map(ToString::to_string).collect(),
            is_absent: false,
        }
    }
}

impl View for Outcome {
    fn text(&self, _: &OutputStyle) -> String {
        self.done.iter().chain(&self.failed).map(|line| format!("{line}\n")).collect()
    }

    fn exit(&self) -> Exit {
        match (self.is_absent, self.failed.is_empty()) {
            (true, _) => Exit::NotYet,
            (false, true) => Exit::Done,
            (false, false) => Exit::Failed,
        }
    }
}
