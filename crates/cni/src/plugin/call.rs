//! One call of a plugin: the operation, the attachment and the plugin's configuration, read once.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Code, Error, one_line};
use crate::keys;
use crate::name::InterfaceName;
use crate::netconf::{NetworkName, PluginType};
use crate::request::{Command, ContainerId, Environment, Request, Sandbox};
use crate::result::AttachmentResult;
use crate::version::Version;

/// A call of a plugin, whose configuration is known to be an object with a network name and a
/// version that the plugin understands.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation.
    pub command: Command,
    /// The network's name (`name`).
    pub network: NetworkName,
    /// The version of the request, in which the result is written.
    pub version: Version,
    /// The attachment: STATUS and GC have none.
    pub sandbox: Option<Sandbox>,
    /// Where executables of plugins are (`CNI_PATH`).
    pub path: Vec<PathBuf>,
    /// The environment that the call came with.
    pub environment: Environment,
    /// The configuration, as it was written.
    object: Map<String, Value>,
}

/// What ADD, CHECK and DEL are about (CNI 1.1.0, section 2, "Parameters").
#[derive(Clone, Copy, Debug)]
pub struct Attachment<'a> {
    /// `CNI_CONTAINERID`.
    pub container: &'a ContainerId,
    /// `CNI_IFNAME`.
    pub interface: &'a InterfaceName,
    /// `CNI_NETNS`; empty on DEL if the runtime has none any more.
    pub netns: &'a Path,
}

/// An attachment that the runtime still knows (CNI 1.1.0, section 2, "GC").
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ValidAttachment {
    /// The container's ID.
    pub container: String,
    /// The interface in it.
    pub interface: String,
}

impl Call {
    /// Reads a call from the request's environment and the bytes of standard input.
    ///
    /// # Errors
    /// Code 6 for input that is no JSON object, 7 for a name that is missing or invalid, 1 for a
    /// version that is not known, older than `oldest`, or too old for the operation.
    pub fn read(request: &Request, input: &[u8], oldest: Version) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(input).map_err(|error| {
            Error::new(
                Code::DECODE,
                format!("the network configuration is not valid JSON: {error}"),
            )
        })?;
        Self::from_value(request, value, oldest)
    }

    /// Reads a call from the request's environment and its configuration.
    ///
    /// # Errors
    /// As [`Call::read`].
    pub fn from_value(request: &Request, value: Value, oldest: Version) -> Result<Self, Error> {
        let Value::Object(object) = value else {
            return Err(Error::new(Code::DECODE, "the network configuration is not a JSON object"));
        };
        let name = text(&object, "name")?
            .ok_or_else(|| config("the network configuration has no \"name\""))?;
        let network = name.parse().map_err(|error| Error::new(Code::CONFIG, error))?;
        let command = request.verb.command();
        let version = read_version(&object, command, oldest)?;
        let sandbox = request.verb.sandbox().cloned();
        let path = request.path.clone();
        Ok(Self {
            command,
            network,
            version,
            sandbox,
            path,
            environment: request.environment.clone(),
            object,
        })
    }

    /// The same call of another operation, as a plugin makes it of an IPAM plugin (CNI 1.1.0,
    /// section 4).
    #[must_use]
    pub fn with_command(&self, command: Command) -> Self {
        Self { command, ..self.clone() }
    }

    /// The configuration, as it was written.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// The plugin's configuration decoded into its own type. Keys are matched as Go's decoder does:
    /// `T` names them as the specification spells them, see [`keys::normalise`].
    ///
    /// # Errors
    /// Code 7, naming the key whose value has the wrong type.
    pub fn config<T: DeserializeOwned>(&self, known: &[&str]) -> Result<T, Error> {
        let object = keys::normalise(&self.object, known);
        serde_json::from_value(Value::Object(object))
            .map_err(|error| Error::new(Code::CONFIG, error))
    }

    /// The attachment that the call is about.
    ///
    /// # Errors
    /// Code 4 for operations that have none.
    pub fn attachment(&self) -> Result<Attachment<'_>, Error> {
        let none =
            || Error::new(Code::ENVIRONMENT, format!("{} is about no attachment", self.command));
        let sandbox = self.sandbox.as_ref().ok_or_else(none)?;
        Ok(Attachment {
            container: &sandbox.container,
            interface: &sandbox.interface,
            netns: Path::new(&sandbox.netns),
        })
    }

    /// The value of a key of `CNI_ARGS`, if it is not empty.
    pub fn arg(&self, key: &str) -> Option<&str> {
        self.sandbox.as_ref()?.args.get(key).filter(|value| !value.is_empty())
    }

    /// A capability argument (`runtimeConfig`).
    pub fn runtime_config(&self, key: &str) -> Option<&Value> {
        keys::get(keys::get(&self.object, "runtimeConfig")?.as_object()?, key)
    }

    /// The arguments of the pod or the network for plugins (`args.cni`).
    pub fn cni_arg(&self, key: &str) -> Option<&Value> {
        let args = keys::get(&self.object, "args")?.as_object()?;
        keys::get(keys::get(args, "cni")?.as_object()?, key)
    }

    /// The result of the plugin before, or of ADD on CHECK and DEL (`prevResult`); none if it is
    /// missing.
    ///
    /// # Errors
    /// Code 6 for a result that is none.
    pub fn prev_result(&self) -> Result<Option<AttachmentResult>, Error> {
        let value = keys::get(&self.object, "prevResult");
        let read = value.map(|value| AttachmentResult::read(value, self.version)).transpose();
        read.map_err(|error| Error::new(Code::DECODE, format!("prevResult: {error}")))
    }

    /// The IPAM plugin that the configuration names (`ipam.type`); none for an L2 network.
    ///
    /// # Errors
    /// Code 7 for an `ipam` that is no object, or a type that is no name of an executable.
    pub fn ipam(&self) -> Result<Option<PluginType>, Error> {
        let Some(ipam) = keys::get(&self.object, "ipam") else { return Ok(None) };
        let ipam = ipam.as_object().ok_or_else(|| config("\"ipam\" must be an object"))?;
        let kind = text(ipam, "type")?;
        kind.map(|kind| kind.parse()).transpose().map_err(|error| Error::new(Code::CONFIG, error))
    }

    /// The attachments of this network that the runtime knows (GC, `cni.dev/valid-attachments`);
    /// none if the request does not say, and then nothing may be removed.
    ///
    /// # Errors
    /// Code 7 for a list of another form.
    pub fn valid_attachments(&self) -> Result<Option<Vec<ValidAttachment>>, Error> {
        let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let Some(list) = names.iter().find_map(|name| self.object.get(*name)) else {
            return Ok(None);
        };
        let list = list.as_array().and_then(|list| list.iter().map(valid_attachment).collect());
        let problem = "\"cni.dev/valid-attachments\" must be a list of objects with \
                       \"containerID\" and \"ifname\"";
        list.map(Some).ok_or_else(|| config(problem))
    }
}

fn valid_attachment(value: &Value) -> Option<ValidAttachment> {
    let object = value.as_object()?;
    let text = |key| keys::get(object, key)?.as_str().map(str::to_owned);
    Some(ValidAttachment { container: text("containerID")?, interface: text("ifname")? })
}

fn read_version(
    object: &Map<String, Value>,
    command: Command,
    oldest: Version,
) -> Result<Version, Error> {
    let written = text(object, "cniVersion")?.unwrap_or_else(|| Version::V0_1_0.as_str());
    let version: Version = written.parse().map_err(|error| Error::new(Code::VERSION, error))?;
    let fits = match command {
        Command::Check => version.has_check(),
        Command::Gc | Command::Status => version.has_gc_and_status(),
        Command::Add | Command::Del | Command::Version => true,
    };
    if version < oldest {
        let problem = format!(
            "cniVersion {version} is older than {oldest}, the oldest that this plugin knows"
        );
        return Err(Error::new(Code::VERSION, problem));
    }
    if fits {
        return Ok(version);
    }
    Err(Error::new(Code::VERSION, format!("cniVersion {version} has no {command}")))
}

/// A text that is not empty; an error for another type.
fn text<'o>(object: &'o Map<String, Value>, key: &str) -> Result<Option<&'o str>, Error> {
    match keys::get(object, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => {
            let written = one_line(&other.to_string(), 64);
            Err(config(format!("\"{key}\" must be a text, not {written}")))
        }
    }
}

fn config(problem: impl std::fmt::Display) -> Error {
    Error::new(Code::CONFIG, problem)
}
