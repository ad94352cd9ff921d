//! What each module's error becomes at the edge: the protocol's code and one sentence.

use crate::attach::AttachError;
use crate::attach::routes::RouteError;
use crate::conf_file::ConfFileError;
use crate::config::ConfigError;
use crate::definition::DefinitionError;
use crate::delegate::DelegateError;
use crate::device::DeviceError;
use crate::kube::ClusterError;
use crate::ledger::LedgerError;
use crate::plan::PlanError;
use crate::pod::PodError;
use crate::policy::Refusal;
use crate::prepare::primary::PrimaryError;
use crate::selection::SelectionError;
use cni::error::{Code, Error};
use cni::netconf::NetconfError;

macro_rules! with_code {
    ($($error:ty => $code:ident),* $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::new(Code::$code, error)
            }
        })*
    };
}

with_code! {
    PodError => CONFIG,
    SelectionError => CONFIG,
    RouteError => ROUTE,
}

impl From<Refusal> for Error {
    fn from(error: Refusal) -> Self {
        Self::new(if error.is_outage() { Code::TRY_AGAIN } else { Code::CONFIG }, error)
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        error.to_protocol()
    }
}

impl From<AttachError> for Error {
    fn from(error: AttachError) -> Self {
        error.to_protocol()
    }
}

impl From<DelegateError> for Error {
    fn from(error: DelegateError) -> Self {
        error.to_protocol()
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(config_code(&error), error)
    }
}

fn config_code(error: &ConfigError) -> Code {
    match error {
        ConfigError::Json(_) | ConfigError::NotAnObject => Code::DECODE,
        ConfigError::Netconf(source) => netconf_code(source),
        ConfigError::Key(_) | ConfigError::Value { .. } => Code::CONFIG,
        ConfigError::Unread(inner) => config_code(inner),
    }
}

impl From<DefinitionError> for Error {
    fn from(error: DefinitionError) -> Self {
        let code = match &error {
            DefinitionError::Invalid { source, .. } => conf_file_code(source),
            error if error.is_transient() => Code::TRY_AGAIN,
            DefinitionError::Unknown { .. }
            | DefinitionError::NotShared { .. }
            | DefinitionError::Cluster { .. } => Code::CONFIG,
        };
        Self::new(code, error)
    }
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        // A pod that the API does not have may be a static one whose mirror is still to come.
        let transient = error.is_transient() || matches!(error, ClusterError::NotFound { .. });
        Self::new(if transient { Code::TRY_AGAIN } else { Code::CONFIG }, error)
    }
}

impl From<PrimaryError> for Error {
    fn from(error: PrimaryError) -> Self {
        let code = match &error {
            PrimaryError::Invalid { source, .. } => conf_file_code(source),
            transient if transient.is_transient() => Code::TRY_AGAIN,
            _ => Code::CONFIG,
        };
        Self::new(code, error)
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::new(Code::CONFIG, error)
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        let code = match &error {
            LedgerError::Busy(_) | LedgerError::Stopped => Code::TRY_AGAIN,
            LedgerError::File(_)
            | LedgerError::Directory(_)
            | LedgerError::Unreadable { .. }
            | LedgerError::Damaged { .. }
            | LedgerError::Stuck { .. } => Code::IO,
            LedgerError::NoTime(_) => Code::TRY_AGAIN,
        };
        Self::new(code, error)
    }
}

fn conf_file_code(error: &ConfFileError) -> Code {
    match error {
        ConfFileError::Netconf(error) => netconf_code(error),
        ConfFileError::File { .. } | ConfFileError::NotAFile { .. } => Code::CONFIG,
    }
}

fn netconf_code(error: &NetconfError) -> Code {
    if error.is_version() { Code::VERSION } else { Code::CONFIG }
}
