//! Kubeconfigs, certificates and tokens: only regular files are read, within a time limit.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use linux::file::read_regular;

/// The largest kubeconfig or certificate that is read: more than a bundle of all public authorities
/// has.
pub(super) const MAX_BYTES: u64 = 2 << 20;

/// The stack of a thread that reads one.
const STACK_BYTES: usize = 64 << 10;

/// Reads a file within `limit`, on a thread of its own: a file system that does not answer (NFS,
/// FUSE) holds up that thread alone, and SIGTERM is answered meanwhile.
///
/// # Errors
/// The system's error; `TimedOut` after `limit`.
pub(super) async fn read(path: &Path, max: u64, limit: Duration) -> io::Result<Vec<u8>> {
    let (done, read) = oneshot::channel();
    let path: PathBuf = path.to_owned();
    Builder::new().stack_size(STACK_BYTES).spawn(move || {
        // After `limit` the receiver is gone.
        let _ = done.send(read_regular(&path, max));
    })?;
    match timeout(limit, read).await {
        Ok(read) => read.map_err(io::Error::other)?,
        Err(_) => {
            let problem = format!("its file system did not answer in {} s", limit.as_secs_f64());
            Err(io::Error::new(io::ErrorKind::TimedOut, problem))
        }
    }
}
