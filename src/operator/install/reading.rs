//! Whether the runtime has read what an installation has written: without that, a file of a chain
//! leaves pods silently without their networks.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{InstallError, renewal};
use crate::operator::installation::Installation;
use crate::operator::runtime::{Runtime, below};

/// The time that a runtime has to read its directory after an event.
const LIMIT: Duration = Duration::from_secs(5);
/// How often it is asked in the meantime.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of it.
#[derive(Debug)]
pub(super) enum Reading {
    /// The runtime runs Braid in the chain, or no runtime runs here.
    Done,
    /// It does not, after all.
    NotRead(String),
    /// It cannot be asked.
    Unknown(String),
}

/// Asks the runtime whether it has read Braid's file of a chain. One that has not gets another
/// event, since the first may have come before it watched.
pub(super) fn of_chained_file(
    runtime: &Runtime,
    root: &Path,
    place: &Installation,
) -> Result<Reading, InstallError> {
    if !runtime.socket.as_deref().is_some_and(|socket| below(root, socket).exists()) {
        return Ok(Reading::Done);
    }
    let file = place.file.display();
    let started = Instant::now();
    let mut again = renewal(root, place);
    loop {
        match runtime.has_loaded(root, place.network()) {
            Ok(true) => return Ok(Reading::Done),
            Err(error) => {
                return Ok(Reading::Unknown(format!(
                    "whether the runtime has read {file} is not known ({error}): start a pod with \
                     an extra network, then run braid doctor"
                )));
            }
            Ok(false) if started.elapsed() > LIMIT => {
                return Ok(Reading::NotRead(format!(
                    "the runtime has not read {file}, and pods start without the networks that \
                     they ask for: restart the runtime, or use another --mode"
                )));
            }
            Ok(false) => {}
        }
        std::thread::sleep(PAUSE);
        if started.elapsed() > LIMIT / 2
            && let Some(renewal) = again.take()
        {
            renewal.make(root)?;
        }
    }
}
