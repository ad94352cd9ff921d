//! Cluster-wide addresses of a plan: the pools that they would come from, and whether the credential
//! may take any.

use std::time::Duration;

use serde_json::{Value, json};

use super::Explanation;
use crate::delegate::Installed;
use crate::plan::{Attachment, Plan};
use cni::deadline::Deadline;
use cni::error::Error;
use cni::netconf::{PluginConfig, PluginType};
use cni::plugin::Call;
use cni::request::{Environment, Request, Sandbox, Verb};
use cni::version::Version;
use plugins::ipam::cluster::foresee;

/// The IPAM type.
const KIND: &str = "whereabouts";
/// How long the API may take for one network.
const LIMIT: Duration = Duration::from_secs(5);

/// Says what ADD would ask the API for addresses, or why it would give none.
pub(super) fn explain(
    plan: &Plan,
    installed: &Installed,
    sandbox: &Sandbox,
    explanation: &mut Explanation,
) {
    for attachment in &plan.attachments {
        let plugins = attachment.network.plugins.iter();
        for plugin in plugins.filter(|plugin| is_ours(plugin, installed)) {
            let (label, interface) = (&attachment.label, &attachment.interface);
            match ask(attachment, plugin, sandbox) {
                Ok(asked) => explanation
                    .requests
                    .extend(asked.iter().map(|asked| format!("{asked}, for {interface}"))),
                Err(error) => {
                    let problem = &error.msg;
                    explanation.refuse(format!("network \"{label}\" on {interface}: {problem}"));
                }
            }
        }
    }
}

/// Whether the plugin gets its addresses from the built-in IPAM plugin, in the process.
fn is_ours(plugin: &PluginConfig, installed: &Installed) -> bool {
    let kind = plugin.ipam().filter(|kind| *kind == KIND);
    let kind = kind.and_then(|kind| kind.parse::<PluginType>().ok());
    kind.is_some_and(|kind| installed.origin(&kind).is_ok_and(|origin| origin.is_in_process()))
}

fn ask(
    attachment: &Attachment,
    plugin: &PluginConfig,
    sandbox: &Sandbox,
) -> Result<Vec<String>, Error> {
    let mut object = plugin.object().clone();
    object.insert("name".to_owned(), json!(attachment.network.name.as_str()));
    object.insert("cniVersion".to_owned(), json!(attachment.network.version.as_str()));
    let request = Request {
        verb: Verb::Add(sandbox.clone()),
        path: Vec::new(),
        environment: Environment::default(),
    };
    let call = Call::from_value(&request, Value::Object(object), Version::V0_1_0)?;
    foresee(&call, Deadline::after(LIMIT))
}
