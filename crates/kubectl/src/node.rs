//! Braid's own commands on a node: a pod for the one command, on that node, in the node's root
//! directory and namespaces. It is gone when the command has ended.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::kubectl::{Error, Kubectl};

/// How a command comes onto a node.
#[derive(Args, Clone, Debug)]
pub(crate) struct OnNode {
    /// An image with chroot in it, for the pod that runs the command
    #[arg(long, value_name = "IMAGE", default_value = "busybox:stable")]
    image: String,
    /// The namespace for that pod, which allows privileged ones
    #[arg(long, value_name = "NAMESPACE", default_value = "braid")]
    pod_namespace: String,
    /// Braid's executable on the node [default: as the DaemonSet has it, or /opt/cni/bin/braid]
    #[arg(long, value_name = "FILE")]
    executable: Option<String>,
}

/// Explains a pod on its node: the pod goes in as it is, so that no right to read pods is needed
/// there.
///
/// # Errors
/// [`Error`].
pub(crate) fn explain(
    kubectl: &Kubectl,
    namespace: Option<&str>,
    pod: &str,
    on_node: &OnNode,
) -> Result<ExitCode, Error> {
    let mut arguments = vec!["get", "pod", pod, "-o", "json"];
    arguments.extend(namespace.into_iter().flat_map(|namespace| ["--namespace", namespace]));
    let object = kubectl.json(&arguments)?;
    let node = object.pointer("/spec/nodeName").and_then(Value::as_str);
    let node = node.ok_or_else(|| Error::NoNode(pod.to_owned()))?;
    run(kubectl, node, &["explain", "-"], Some(&object.to_string()), on_node)
}

/// Runs `braid` with these arguments on a node; its exit status.
///
/// # Errors
/// [`Error`].
pub(crate) fn run(
    kubectl: &Kubectl,
    node: &str,
    arguments: &[&str],
    input: Option<&str>,
    on_node: &OnNode,
) -> Result<ExitCode, Error> {
    let executable = match &on_node.executable {
        Some(file) => file.clone(),
        None => installed(kubectl, &on_node.pod_namespace),
    };
    let overrides = overrides(node, &executable, arguments, &on_node.image).to_string();
    let name = format!("kubectl-braid-{}", std::process::id());
    let overrides = format!("--overrides={overrides}");
    let image = format!("--image={}", on_node.image);
    let call = [
        "run",
        &name,
        "--namespace",
        &on_node.pod_namespace,
        "--rm",
        "--stdin",
        "--quiet",
        "--restart=Never",
        &image,
        &overrides,
    ];
    kubectl.pass(&call, input.unwrap_or_default())
}

/// Where the DaemonSet has put Braid.
fn installed(kubectl: &Kubectl, namespace: &str) -> String {
    let set = kubectl.json(&["get", "daemonset", "braid", "--namespace", namespace, "-o", "json"]);
    let set = set.unwrap_or_default();
    let environment = set.pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array);
    let directory = environment
        .into_iter()
        .flatten()
        .find(|it| it.get("name").is_some_and(|name| name == "BIN_DIR"));
    let directory = directory.and_then(|it| it.get("value")?.as_str()).unwrap_or("/opt/cni/bin");
    format!("{directory}/braid")
}

/// What makes the pod one of the node: its namespaces, its root directory, and no other node.
fn overrides(node: &str, executable: &str, arguments: &[&str], image: &str) -> Value {
    let command: Vec<&str> =
        ["chroot", "/host", executable].into_iter().chain(arguments.iter().copied()).collect();
    json!({"apiVersion": "v1", "spec": {
        "nodeName": node, "hostNetwork": true, "hostPID": true, "hostIPC": true,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{
            "name": "braid", "image": image, "command": command, "stdin": true, "stdinOnce": true,
            "securityContext": {"privileged": true, "runAsUser": 0},
            "volumeMounts": [{"name": "host", "mountPath": "/host", "mountPropagation": "HostToContainer"}],
        }],
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
    }})
}
