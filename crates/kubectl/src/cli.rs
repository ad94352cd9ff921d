//! The command line, in kubectl's own words.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::kubectl::{Error, Kubectl};
use crate::networks::{self, Network, Pod};
use crate::node::{self, OnNode};
use crate::table;

/// The networks of a cluster's pods, and Braid on its nodes
#[derive(Debug, Parser)]
#[command(name = "kubectl-braid", bin_name = "kubectl braid", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pods with their networks, from the network status, and why a pod has none
    Pods(Shown),
    /// Every address of every pod, one on a line
    Addresses(Shown),
    /// Run braid explain for a pod on its node
    Explain {
        /// The pod
        pod: String,
        /// Its namespace
        #[arg(short, long, value_name = "NAMESPACE")]
        namespace: Option<String>,
        #[command(flatten)]
        on_node: OnNode,
    },
    /// Run braid doctor on a node
    Doctor {
        /// The node
        node: String,
        #[command(flatten)]
        on_node: OnNode,
    },
}

/// Which pods, and how.
#[derive(Args, Debug)]
struct Shown {
    /// Only this pod
    pod: Option<String>,
    /// The namespace
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Every namespace
    #[arg(short = 'A', long, conflicts_with = "pod")]
    all_namespaces: bool,
    /// How the output looks
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Go on, and show what changes
    #[arg(short, long)]
    watch: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// With MAC addresses, devices and nodes
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// An address of a pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Address<'p> {
    namespace: &'p str,
    pod: &'p str,
    network: &'p str,
    interface: &'p str,
    address: &'p str,
}

impl Cli {
    /// Does what was asked, and writes to `out`.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Error> {
        let kubectl = Kubectl { context: self.context.clone() };
        match &self.command {
            Command::Pods(shown) => shown.run(&kubectl, out, &Shown::pods),
            Command::Addresses(shown) => shown.run(&kubectl, out, &Shown::addresses),
            Command::Explain { pod, namespace, on_node } => {
                node::explain(&kubectl, namespace.as_deref(), pod, on_node)
            }
            Command::Doctor { node, on_node } => {
                node::run(&kubectl, node, &["doctor"], None, on_node)
            }
        }
    }
}

/// How pods become text.
type View = dyn Fn(&Shown, &[Pod]) -> Result<String, Error>;

impl Shown {
    fn run(&self, kubectl: &Kubectl, out: &mut impl Write, view: &View) -> Result<ExitCode, Error> {
        let mut before = None;
        loop {
            let text = view(self, &self.read(kubectl)?)?;
            if before.as_ref() != Some(&text) {
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            if !self.watch {
                return Ok(ExitCode::SUCCESS);
            }
            before = Some(text);
            std::thread::sleep(networks::PAUSE);
        }
    }

    fn scope(&self) -> Vec<&str> {
        match (&self.namespace, self.all_namespaces) {
            (_, true) => vec!["--all-namespaces"],
            (Some(namespace), _) => vec!["--namespace", namespace],
            (None, _) => Vec::new(),
        }
    }

    fn read(&self, kubectl: &Kubectl) -> Result<Vec<Pod>, Error> {
        let scope = self.scope();
        let name = self.pod.as_deref().into_iter();
        let pods: Vec<&str> =
            ["get", "pods", "-o", "json"].into_iter().chain(scope.clone()).chain(name).collect();
        let pods = kubectl.json(&pods)?;
        // Who may not read events sees the networks all the same.
        let events: Vec<&str> = ["get", "events", "-o", "json"].into_iter().chain(scope).collect();
        let events = kubectl.json(&events).unwrap_or_default();
        Ok(networks::pods(&pods, &events))
    }

    fn pods(&self, pods: &[Pod]) -> Result<String, Error> {
        let is_wide = match self.output {
            Some(Format::Json) => return json(pods),
            Some(Format::Yaml) => return yaml(&pods),
            format => format == Some(Format::Wide),
        };
        let mut head = vec!["POD", "NETWORK", "INTERFACE", "ADDRESSES"];
        if self.all_namespaces {
            head.insert(0, "NAMESPACE");
        }
        if is_wide {
            head.extend(["MAC", "DEVICE", "NODE"]);
        }
        let rows = pods.iter().flat_map(|pod| rows(pod, self.all_namespaces, is_wide));
        let mut text = table::text(&head, &rows.collect::<Vec<_>>());
        for pod in pods {
            for problem in &pod.problems {
                text.push_str(&format!("{}/{}: {problem}\n", pod.namespace, pod.name));
            }
        }
        Ok(text)
    }

    fn addresses(&self, pods: &[Pod]) -> Result<String, Error> {
        let all: Vec<Address<'_>> = pods.iter().flat_map(addresses_of).collect();
        match self.output {
            Some(Format::Json) => json(&all),
            Some(Format::Yaml) => yaml(&all),
            _ => {
                let rows: Vec<Vec<String>> = all
                    .iter()
                    .map(|it| {
                        [it.address, it.interface, it.network, it.namespace, it.pod]
                            .map(str::to_owned)
                            .to_vec()
                    })
                    .collect();
                Ok(table::text(&["ADDRESS", "INTERFACE", "NETWORK", "NAMESPACE", "POD"], &rows))
            }
        }
    }
}

fn addresses_of(pod: &Pod) -> impl Iterator<Item = Address<'_>> {
    pod.networks.iter().flat_map(move |network| {
        network.addresses.iter().map(move |address| Address {
            namespace: &pod.namespace,
            pod: &pod.name,
            network: &network.name,
            interface: &network.interface,
            address,
        })
    })
}

/// A row for each network; one with a dash for a pod without a status.
fn rows(pod: &Pod, has_namespace: bool, is_wide: bool) -> Vec<Vec<String>> {
    let nothing = [Network { name: "-".to_owned(), ..Network::default() }];
    let networks = if pod.networks.is_empty() { &nothing[..] } else { &pod.networks };
    let row = |network: &Network| {
        let mut row = if has_namespace { vec![pod.namespace.clone()] } else { Vec::new() };
        row.extend([pod.name.clone(), network.name.clone(), network.interface.clone()]);
        row.push(network.addresses.join(","));
        if is_wide {
            row.extend([network.mac.clone(), network.device.clone(), pod.node.clone()]);
        }
        row
    };
    networks.iter().map(row).collect()
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(value).map_err(|error| Error::Form(error.to_string()))? + "\n")
}

fn yaml(value: &impl Serialize) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|error| Error::Form(error.to_string()))
}
