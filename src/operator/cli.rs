//! What can be said on the command line. Meaning is given to it elsewhere, by each command's
//! module.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::addresses::Addresses;
use super::admission::Admission;
use super::attach::{Attach, Detach};
use super::complete::Complete;
use super::console::Format;
use super::doctor::Doctor;
use super::explain::Explain;
use super::follow::Follow;
use super::gc::Gc;
use super::install::Install;
use super::keep::Keep;
use super::list::{List, Show};
use super::migrate::Migrate;
use super::repair::Repair;
use super::schema::Schema;
use super::uninstall::Uninstall;
use super::validate::Validate;

/// What stands below the options of a command's help: command lines, as they are tested.
macro_rules! examples {
    ($only:literal $(,)?) => {
        concat!("Example:\n  ", $only)
    };
    ($first:literal, $($next:literal),+ $(,)?) => {
        concat!("Examples:\n  ", $first, $("\n  ", $next),+)
    };
}
pub(super) use examples;

/// A CNI meta-plugin: gives a pod its primary network and every extra network it asks for.
#[derive(Debug, Parser)]
#[command(
    name = "braid",
    version,
    long_about = include_str!("../help/about.txt"),
    after_long_help = include_str!("../help/example.txt"),
    max_term_width = 100
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The form of the output
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// As --output json
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
}

impl Cli {
    /// What is wrong with a format that only one command has.
    pub(super) fn format_error(&self) -> Option<clap::Error> {
        let is_special = matches!(self.options.format(), Format::Github | Format::Sarif);
        let has_it = matches!(self.command, Some(Command::Validate(_)));
        (is_special && !has_it).then(|| {
            let message = "--output github and sarif are for braid validate";
            Self::command().error(clap::error::ErrorKind::ArgumentConflict, message)
        })
    }
}

impl Options {
    pub(super) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put binary and configuration onto a node
    #[command(
        long_about = "Puts this program beside the other plugins, then its configuration where the \
                      runtime reads it. The directories are those of the runtime's own \
                      configuration (containerd, CRI-O, K3s, RKE2, MicroK8s, kind). Each file is \
                      written beside its place and renamed. Run again, it changes what is not as \
                      it should be, keeps keys that it does not know, and ends a drain.",
        after_help = examples!(
            "braid install --dry-run",
            "braid install --kubeconfig /etc/cni/net.d/braid.d/braid.kubeconfig",
            "braid install --mode chained",
            "braid install --root /host",
        )
    )]
    Install(Install),
    /// Keep Braid on a node as it should be, until its DaemonSet is deleted
    #[command(
        long_about = "What the container of a DaemonSet runs after braid install: installs again \
                      if the files that it was installed from have changed, if another program has \
                      changed what it installed, and if half of the token's life is over. A drain \
                      goes on. On the node itself (without --root), it also tries networks that \
                      DEL had to give up, every ten minutes, with their definitions as they are \
                      now. Told to stop, it asks the API whether the DaemonSet is still there: if \
                      it is deleted, Braid leaves the node as with braid uninstall --wait, and if \
                      that cannot be told, Braid stays. With --watch-pods, pods that run get and \
                      lose networks as their annotation changes: it then runs on the node itself, \
                      or in a container that has the node's root directory at --root, its network \
                      and its processes.",
        after_help = examples!(
            "braid keep --root /host --service-account braid/braid \\\n    \
             --settings /etc/braid/settings.json --daemon-set braid/braid",
        )
    )]
    Keep(Keep),
    /// Take Braid off a node, once no pod needs it
    #[command(
        long_about = "First refuses new extra networks (drain), while everything else works. Once \
                      no record holds an extra network, gives the runtime the primary's own \
                      configuration back, then removes state and binary. Until then it says which \
                      pods it waits for, and ends with 3. Definitions stay.",
        after_help = examples!(
            "braid uninstall --dry-run",
            "kubectl drain node1 --ignore-daemonsets & braid uninstall --wait",
        )
    )]
    Uninstall(Uninstall),
    /// Take a node over from Multus, or give it back
    #[command(
        long_about = "Translates Multus's configuration, thin or thick, into Braid's, puts it with \
                      this program where the runtime reads it, and takes Multus's file out of the \
                      runtime's sight. Running pods run on: those that Multus started are torn \
                      down by what Multus remembers of them. With --back, Multus's file comes \
                      back, and Multus gets Braid's records in its own form. Run again, it changes \
                      nothing.",
        after_help = examples!(
            "braid migrate multus --dry-run",
            "braid migrate multus --kubeconfig /etc/cni/net.d/braid.d/braid.kubeconfig",
            "braid migrate multus --back",
        )
    )]
    Migrate(Migrate),
    /// Check configurations, definitions and pods' annotations
    #[command(
        long_about = "Holds files against the rules that the plugin has for them: configurations \
                      and conflists, NetworkAttachmentDefinitions, and the annotations by which \
                      pods, and what makes pods, choose networks. All problems at once, as \
                      FILE:LINE:COLUMN, or with --output json, github (annotations of a workflow) \
                      or sarif (2.1.0). Of a directory, the files that end with .conf, .conflist, \
                      .json, .yaml and .yml. Needs no node and no cluster. With --config, \
                      definitions are held against a node's policy, as those of the cluster are, \
                      and pods against its limits. Ends with 1 if something is wrong, or if there \
                      was nothing to check.",
        after_help = examples!(
            "braid validate conf/*.conflist conf/pods",
            "braid validate --output sarif conf/pods",
            "kubectl get pod web -o yaml | braid validate -",
            "kubectl get net-attach-def -A -o yaml | braid validate --config \
             /etc/cni/net.d/00-braid.conflist -",
        )
    )]
    Validate(Validate),
    /// Check whether this node is fit for pods with several networks
    #[command(
        long_about = "Looks at the runtime, Braid's place and configuration, the primary network, \
                      plugins, capabilities, kernel, state, records and API, and changes nothing. \
                      Each line is ok, warn or fail, with what was found, and below it what to do. \
                      Ends with 1 if something fails.",
        after_help = examples!("braid doctor", "braid doctor --strict --json")
    )]
    Doctor(Doctor),
    /// Show what would be attached to a pod on this node, and why
    #[command(
        long_about = "Makes the plan that ADD would carry out for a pod on this node, and shows \
                      it: networks in order, interfaces, where each definition is, the rule that \
                      allows it, plugins, capabilities, default routes, and requests to the API. \
                      Ends with 1 if a pod would be refused, with all reasons. Nothing is changed.",
        after_help = examples!(
            "braid explain pod.yaml",
            "kubectl get pod web -o yaml | braid explain -",
            "braid explain --pod team-a/web",
        )
    )]
    Explain(Explain),
    /// List what is attached on this node, and whether the kernel agrees
    #[command(
        long_about = "Lists every attachment that Braid has recorded on this node, with the pod, \
                      the addresses, the age, and whether the kernel still shows what it showed \
                      when the pod was attached. Ends with 1 if it does not, or if a record cannot \
                      be read. Networks that DEL had to give up are listed as orphans; they are no \
                      difference. With --output json, everything that is recorded.",
        after_help = examples!(
            "braid list",
            "braid list -n team-a",
            "braid list --output json | jq '.records[].pod'",
        )
    )]
    List(List),
    /// Show all that is recorded of a container or pod
    #[command(
        after_help = examples!(
            "braid show 3f1c9a",
            "braid show team-a/web",
            "braid show team-a/web -o json",
        )
    )]
    Show(Show),
    /// Tear down what is left of sandboxes that are gone
    #[command(
        long_about = "Tears down what is recorded of sandboxes that are gone, and what DEL had to \
                      give up, as DEL would: with the recorded configurations and results. A \
                      sandbox is gone if no process and no mount of this machine holds its network \
                      namespace, so run it on the node itself and not in a container. Addresses \
                      that host-local holds for containers without a record are named, and \
                      stay.\n\nWhat DEL gave up is an orphan: GC tries it again, and an orphan \
                      that resists again stays one. With --forget it is tried once more and \
                      dropped if it resists, and so is the record of a sandbox that is gone; what \
                      that may leave behind is said.\n\nEnds with 1 if the record of a sandbox \
                      that is gone could not be torn down, nor dropped. Orphans alone never make \
                      it fail.",
        after_help = examples!(
            "braid gc --dry-run",
            "braid gc",
            "braid gc --dry-run --forget-all",
            "braid gc --forget-all",
        )
    )]
    Gc(Gc),
    /// Show how a sandbox differs from its record, and tear down what is stale
    #[command(
        long_about = "Compares the sandbox of a container, or of a pod, with its record. A sandbox \
                      that is gone is torn down, and so are extra networks whose interface is \
                      gone, and those that DEL had to give up: their addresses are free again. If \
                      DEL has failed before and fails again, the definition as it is now is tried \
                      too, under the name that its plugins know, if the policy admits the pod to \
                      it. What else differs needs a new pod, and is said.\n\nEnds with 1 if \
                      something failed or needs a new pod, and with 3 if nothing is left but \
                      networks that resist again, which GC goes on trying.",
        after_help = examples!("braid repair --dry-run team-a/web", "braid repair 3f1c9a")
    )]
    Repair(Repair),
    /// Attach networks to a pod that runs
    #[command(
        long_about = "Attaches networks to a running pod on this node, without a restart. NETWORK \
                      is what the pod's annotation would have, in the short form or as one JSON \
                      list. Plan, policy, devices, default routes and status are those of a pod \
                      that starts with it: the pod gets all of them or none. What is attached so \
                      is not touched by braid keep --watch-pods.",
        after_help = examples!(
            "braid attach team-a/web blue",
            "braid attach team-a/web ops/storage@data0 red",
            "braid attach --container 3f1c9a '[{\"name\": \"blue\", \"ips\": [\"10.2.2.42/24\"]}]'",
        )
    )]
    Attach(Attach),
    /// Detach a network from a pod that runs
    #[command(
        long_about = "Detaches the network on an interface from a running pod on this node: one of \
                      braid attach, of the pod's annotation or of the node's configuration, and \
                      not the primary. If it had the default route, the primary has it again. What \
                      an annotation asks for does not come back while it asks for the same.",
        after_help = examples!(
            "braid detach team-a/web net1",
            "braid detach --container 3f1c9a data0",
        )
    )]
    Detach(Detach),
    /// Have a running pod have what the annotation on standard input asks for
    #[command(hide = true)]
    Follow(Follow),
    /// Check pods and definitions before a cluster stores them
    #[command(
        long_about = "Serves the webhook that an API server asks before it stores a pod, what \
                      makes pods, or a NetworkAttachmentDefinition: what braid validate would call \
                      an error is refused, with the path of the field, and what ADD would only \
                      warn of is a warning that kubectl shows. A network that does not exist yet \
                      is a warning. Certificates come from files that are read again when they \
                      change, as cert-manager writes them, or with --self-signed from a Secret \
                      that this command fills. On SIGTERM it is no longer ready, and ends when the \
                      reviews that it has begun are done.",
        after_help = examples!(
            "braid admission --certificates /etc/braid/tls --settings /etc/braid/settings.json",
            "braid admission --self-signed braid/braid-admission",
        )
    )]
    Admission(Admission),
    /// Print a JSON Schema of a configuration
    #[command(
        long_about = "Prints the JSON Schema (draft 2020-12) of a network configuration with \
                      Braid's entry and every built-in plugin, of Braid's entry alone, of the \
                      settings of a DaemonSet, or of a definition's config with one built-in \
                      plugin.",
        after_help = examples!(
            "braid schema",
            "braid schema bridge",
            "braid schema --directory schemas",
        )
    )]
    Schema(Schema),
    /// The cluster-wide addresses of extra networks: who holds them, and what is stale
    #[command(
        after_help = examples!("braid addresses list", "braid addresses reconcile --dry-run")
    )]
    Addresses(Addresses),
    /// Print a shell's completions
    #[command(after_help = examples!(
            "braid completions bash >/usr/share/bash-completion/completions/braid",
        ))]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the names that a shell offers
    #[command(hide = true)]
    Complete(Complete),
    /// Write the man pages, or print this tool's reference
    #[command(
        long_about = "Writes a man page for each command into DIR. Without DIR, prints the \
                      reference of all commands as Markdown.",
        after_help = examples!("braid man /usr/local/share/man/man1")
    )]
    Man {
        /// Where the pages go; made if it is missing
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Print the version, and those of the protocol
    #[command(after_help = examples!("braid version", "braid version -o json"))]
    Version,
}

impl Command {
    /// The name on the command line.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Install(_) => "install",
            Self::Keep(_) => "keep",
            Self::Uninstall(_) => "uninstall",
            Self::Migrate(_) => "migrate",
            Self::Validate(_) => "validate",
            Self::Doctor(_) => "doctor",
            Self::Explain(_) => "explain",
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Gc(_) => "gc",
            Self::Repair(_) => "repair",
            Self::Attach(_) => "attach",
            Self::Detach(_) => "detach",
            Self::Follow(_) => "follow",
            Self::Addresses(_) => "addresses",
            Self::Admission(_) => "admission",
            Self::Schema(_) => "schema",
            Self::Completions { .. } => "completions",
            Self::Complete(_) => "complete",
            Self::Man { .. } => "man",
            Self::Version => "version",
        }
    }
}
