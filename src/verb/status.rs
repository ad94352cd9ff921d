//! STATUS (CNI 1.1.0, section 2): answers at once, from the configuration and the primary's own
//! STATUS. A STATUS that fails makes the node NotReady, so neither the API nor an extra network has
//! a say.

use super::Session;
use crate::attach;
use crate::prepare::primary::{self, PrimaryError};
use cni::deadline::Deadline;
use cni::error::{Code, Error};

pub(super) fn status(session: &mut Session<'_>) -> Result<(), Error> {
    session.refuse_nested().map_err(not_available)?;
    let config = session.config;
    let Some(source) = &config.primary else { return Ok(()) };
    if let Some(file) = config.readiness.file.as_ref().filter(|file| !file.exists()) {
        let problem = format!(
            "the primary network is not ready: {} is missing (readinessindicatorfile)",
            file.display()
        );
        return Err(Error::new(Code::NOT_AVAILABLE, problem));
    }
    let mut definitions = session.definitions();
    let network = match primary::resolve(source, config, &mut definitions) {
        Ok(resolved) => resolved.network,
        // The cluster may well have it. Without a copy from an earlier ADD nothing more is known
        // here, and a NotReady node would never see that ADD.
        Err(PrimaryError::Unknown(..)) if session.cluster.is_some() => return Ok(()),
        Err(error) => return Err(not_available(error.into())),
    };
    for plugin in &network.plugins {
        session
            .delegates
            .installed()
            .executor(&plugin.kind)
            .map_err(|error| not_available(error.to_protocol()))?;
    }
    let about = format!("primary network \"{}\"", network.name);
    attach::status(&mut session.delegates, &network, Deadline::after(super::limit::STATUS))
        .map_err(|error| not_available(error.to_protocol()).about(about))
}

/// 50, unless the primary itself says 51.
fn not_available(error: Error) -> Error {
    let code = if error.code == Code(51) { error.code } else { Code::NOT_AVAILABLE };
    Error { code, ..error }
}
