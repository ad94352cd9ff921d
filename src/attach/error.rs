//! How attaching one network fails.

use crate::delegate::DelegateError;
use crate::reservation::former::HoldError;
use cni::error::{Code, Error};
use cni::name::InterfaceName;
use cni::result::ResultError;

/// How one network failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A plugin of the chain failed.
    #[error("network \"{label}\" on {interface}: {source}")]
    Delegate {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// How.
        #[source]
        source: Box<DelegateError>,
    },
    /// The first plugin of the chain could not be started: nothing of the network is there.
    #[error("network \"{label}\" on {interface}: {source}")]
    NotStarted {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// Why.
        #[source]
        source: Box<DelegateError>,
    },
    /// The addresses that pods have under the network's other name cannot be held.
    #[error(
        "network \"{label}\" on {interface}: addresses that host-local has given out under its \
         other name cannot be kept for the pods that have them: {source}"
    )]
    NotHeld {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// What the system says.
        #[source]
        source: HoldError,
    },
    /// The interface was there after the network's plugins had run, and is not there any more.
    #[error(
        "network \"{label}\" on {interface}: its interface was there and is gone: the plugins of a \
         network that was attached after it have removed or renamed it"
    )]
    Vanished {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
    },
    /// A plugin's result is none.
    #[error(
        "network \"{label}\" on {interface}: plugin \"{plugin}\" printed a result that is not \
         valid: {source}"
    )]
    Result {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// The last plugin of the chain.
        plugin: String,
        /// What is wrong with it.
        #[source]
        source: Box<ResultError>,
    },
    /// The network gave an address that the pod has not been granted.
    #[error(
        "network \"{label}\" on {interface}: its claim (\"ipam-claim-reference\") gave {address}, \
         which is in no network that the pod is granted: braid.io/allowed-ips, or \
         policy.allowedSubnets, can have it"
    )]
    NotGranted {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// The address.
        address: ipnetwork::IpNetwork,
    },
    /// What was asked for is not what is there.
    #[error(
        "network \"{label}\" on {interface}: {key} {asked} was asked for, and the network gave \
         {got}; {advice}, or leave \"{key}\" out"
    )]
    NotAsAsked {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// The annotation's key.
        key: &'static str,
        /// What was asked.
        asked: Box<str>,
        /// What is there.
        got: Box<str>,
        /// What to change in the definition.
        advice: Box<str>,
    },
}

impl AttachError {
    /// The words in which a plugin has refused its work for good: it ended by itself, reported an
    /// error, and did not ask to be tried again.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Delegate { source, .. } => match source.as_ref() {
                DelegateError::Failed { code, msg, .. } if *code != Code::TRY_AGAIN.0 => Some(msg),
                _ => None,
            },
            _ => None,
        }
    }

    /// The error as the protocol has it; a plugin's own code and details are kept.
    pub fn to_protocol(&self) -> Error {
        match self {
            Self::Delegate { source, .. } | Self::NotStarted { source, .. } => {
                let protocol = source.to_protocol();
                Error { details: protocol.details, ..Error::new(protocol.code, self) }
            }
            Self::Result { .. } | Self::Vanished { .. } => Error::new(Code::DELEGATE, self),
            Self::NotAsAsked { .. } | Self::NotGranted { .. } => {
                Error::new(Code::NOT_AS_ASKED, self)
            }
            Self::NotHeld { .. } => Error::new(Code::IO, self),
        }
    }

    /// Whether a plugin says that it does not know the network's version.
    pub(super) fn is_of_version(&self) -> bool {
        match self {
            Self::Delegate { source, .. } => source.to_protocol().code == Code::VERSION,
            _ => false,
        }
    }
}
