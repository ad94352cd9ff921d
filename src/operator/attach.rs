//! `braid attach` and `braid detach`: networks of a pod that runs, without a restart.

use clap::Args;
use serde::Serialize;

use super::CommandError;
use super::console::{OutputStyle, Tone, View};
use super::node::{Node, NodeOptions};
use super::sandbox::{self, Word};
use crate::observe::logging;
use crate::verb::running::{Changed, Changer, Target};
use cni::error::{Code, Error};
use linux::signal::Signals;

/// What `braid attach` is told.
#[derive(Args, Debug)]
#[command(override_usage = "braid attach [OPTIONS] POD NETWORK...\n       \
                            braid attach [OPTIONS] --container ID NETWORK...")]
pub(super) struct Attach {
    /// The pod, as [namespace/]name, and the networks, as the pod's annotation would have them
    #[arg(value_name = "POD|NETWORK", required = true)]
    words: Vec<String>,
    /// The container's ID, or enough of its beginning, in place of the pod
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    #[command(flatten)]
    node: NodeOptions,
}

/// What `braid detach` is told.
#[derive(Args, Debug)]
#[command(override_usage = "braid detach [OPTIONS] POD INTERFACE\n       \
                            braid detach [OPTIONS] --container ID INTERFACE")]
pub(super) struct Detach {
    /// The pod, as [namespace/]name, and the interface of the network
    #[arg(value_name = "POD|INTERFACE", required = true)]
    words: Vec<String>,
    /// The container's ID, or enough of its beginning, in place of the pod
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    #[command(flatten)]
    node: NodeOptions,
}

/// What has changed.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    container: String,
    attached: Vec<String>,
    detached: Vec<String>,
    warnings: Vec<String>,
}

impl Attach {
    pub(super) fn run(&self) -> Result<Change, CommandError> {
        let (word, networks) = meant(self.container.as_ref(), &self.words, "NETWORK")?;
        let networks = annotation(networks)?;
        change(&self.node, Node::find, &word, |changer, target| changer.attach(target, &networks))
    }
}

impl Detach {
    pub(super) fn run(&self) -> Result<Change, CommandError> {
        let (word, interfaces) = meant(self.container.as_ref(), &self.words, "INTERFACE")?;
        let [interface] = interfaces else {
            return Err(usage("name one INTERFACE; a network after the other is detached"));
        };
        change(&self.node, Node::find_for_teardown, &word, |changer, target| {
            changer.detach(target, interface)
        })
    }
}

type FindNode = fn(&NodeOptions) -> Result<Node, super::node::NodeError>;

fn change(
    options: &NodeOptions,
    find: FindNode,
    word: &Word,
    work: impl FnOnce(&mut Changer<'_>, &Target) -> Result<Changed, Error>,
) -> Result<Change, CommandError> {
    let node = find(options)?;
    logging::start(&node.config.log);
    let target = sandbox::find(&node, word)?;
    let request = node.request();
    let mut signals = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
    let mut changer = Changer::new(&node.config, &request, &mut signals);
    let Changed { attached, detached, warnings } = work(&mut changer, &target)?;
    Ok(Change { container: target.key.container.to_string(), attached, detached, warnings })
}

/// Which sandbox is meant, and the words that are left.
fn meant<'w>(
    container: Option<&String>,
    words: &'w [String],
    wanted: &str,
) -> Result<(Word, &'w [String]), CommandError> {
    let (word, rest) = match (container, words) {
        (Some(id), words) => (Word::Container(id.clone()), words),
        (None, [pod, rest @ ..]) => (Word::pod(pod), rest),
        (None, []) => return Err(usage("name a POD")),
    };
    if rest.is_empty() {
        return Err(usage(&format!("name a {wanted} as well")));
    }
    Ok((word, rest))
}

/// The networks as one annotation: those of the short form are listed, the JSON form is alone.
fn annotation(networks: &[String]) -> Result<String, CommandError> {
    match networks {
        [only] => Ok(only.clone()),
        several if several.iter().any(|text| text.trim_start().starts_with('[')) => {
            Err(usage("the JSON form is one list: name all networks in it"))
        }
        several => Ok(several.join(",")),
    }
}

fn usage(problem: &str) -> CommandError {
    CommandError::Protocol(Error::new(Code::CONFIG, problem))
}

impl View for Change {
    fn text(&self, style: &OutputStyle) -> String {
        let line =
            |tone, word: &str, label: &String| format!("{}: {label}\n", style.paint(tone, word));
        let attached = self.attached.iter().map(|label| line(Tone::Good, "attached", label));
        let detached = self.detached.iter().map(|label| line(Tone::Good, "detached", label));
        let warnings = self.warnings.iter().map(|warning| line(Tone::Odd, "warning", warning));
        attached.chain(detached).chain(warnings).collect()
    }
}
