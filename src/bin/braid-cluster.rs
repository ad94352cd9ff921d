//! The executable with the commands that only a cluster needs, so that the one on each node is
//! small. `braid` starts it for them.

#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use braid::{Console, OutputStyle};

/// As for `braid`: musl's allocator asks the kernel for nearly every page by itself.
#[cfg(target_env = "musl")]
#[global_allocator]
static GLOBAL: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let (mut out, mut error) = (io::stdout().lock(), io::stderr().lock());
    let mut console = Console::new(&mut out, &mut error, OutputStyle::of_process());
    ExitCode::from(braid::operate_cluster(std::env::args_os(), &mut console).status())
}
