//! `kubectl braid`: a plugin of kubectl's, which finds it as `kubectl-braid` on the `PATH`.
//!
//! It asks the cluster through kubectl alone, with the user's own context and rights, and links
//! nothing of what runs on nodes.
//!
//! ```text
//! arguments ──> cli ──> kubectl get … -o json ──> networks (pure) ──> table, JSON or YAML
//!                   └─> kubectl run on the node ──> braid doctor, braid explain
//! ```

mod cli;
mod kubectl;
mod networks;
mod node;
mod table;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run(&mut std::io::stdout().lock()) {
        Ok(code) => code,
        Err(kubectl::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // If the output is closed, the exit status still tells.
            let _ = writeln!(std::io::stderr(), "kubectl braid: {error}");
            ExitCode::FAILURE
        }
    }
}
