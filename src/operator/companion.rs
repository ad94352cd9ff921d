//! The executable beside this one: `braid-cluster`, with the commands that no node needs.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of its file.
const NAME: &str = "braid-cluster";

/// Why the executable with a command was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompanionError {
    /// It is not where it belongs.
    #[error(
        "{command} is a command of {NAME}, and {} is missing: the image, the archive and the \
         Debian package of braid {} have it, and scripts/build makes it",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Missing {
        /// The command.
        command: &'static str,
        /// Where it belongs.
        path: PathBuf,
    },
    /// The system does not start it.
    #[error("cannot start {} for {command}: {source}", path.display())]
    Start {
        /// The command.
        command: &'static str,
        /// The executable.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Becomes the other executable, with the same arguments; returns only if that fails.
pub(super) fn execute(command: &'static str, arguments: &[OsString]) -> CompanionError {
    let path = match std::env::current_exe() {
        Ok(own) => beside(&own),
        Err(source) => return CompanionError::Start { command, path: NAME.into(), source },
    };
    let source = Command::new(&path).args(arguments.iter().skip(1)).exec();
    if source.kind() == io::ErrorKind::NotFound {
        return CompanionError::Missing { command, path };
    }
    CompanionError::Start { command, path, source }
}

/// Its place, for an executable whose links are resolved.
fn beside(own: &Path) -> PathBuf {
    own.with_file_name(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_that_was_replaced_still_finds_the_one_beside_it() {
        let place = Path::new("/opt/cni/bin/braid-cluster");
        for own in ["/opt/cni/bin/braid", "/opt/cni/bin/braid (deleted)"] {
            assert_eq!(beside(Path::new(own)), place);
        }
    }

    #[test]
    fn a_missing_executable_is_named_with_where_it_is_to_be_had() {
        let error = execute("admission", &["braid".into(), "admission".into()]).to_string();
        assert!(error.starts_with("admission is a command of braid-cluster, and /"), "{error}");
        assert!(error.contains("the image, the archive and the Debian package"), "{error}");
    }
}
