//! The suite of `kubernetes.rs` against an API server that is there already, as
//! `BRAID_TEST_KUBECONFIG` names one: here the double as a process of its own, of which the suite
//! knows nothing but the kubeconfig.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// The double's process; it ends with its input.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    kubeconfig: String,
}

impl Process {
    fn start() -> Self {
        let test = std::env::current_exe().unwrap();
        let program = test.parent().and_then(Path::parent).unwrap().join("examples/apiserver");
        assert!(
            program.exists(),
            "{} is missing: run `cargo build --example apiserver`",
            program.display()
        );
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, output, kubeconfig: String::new() };
        process.kubeconfig = process.line();
        process
    }

    /// Runs the suite against it.
    fn test(&self) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["kubernetes::", "--test-threads=4"]);
        command.env("BRAID_TEST_KUBECONFIG", &self.kubeconfig).output().unwrap()
    }

    /// What the cluster holds, `resource/namespace/name` each.
    fn objects(&mut self) -> Vec<String> {
        writeln!(self.child.stdin.as_mut().unwrap(), "objects").unwrap();
        self.line().split_whitespace().map(str::to_owned).collect()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn the_suite_runs_against_a_server_that_is_given() {
    let mut process = Process::start();
    let output = process.test();
    let said = String::from_utf8_lossy(&output.stdout);
    let summary = said.lines().find(|line| line.starts_with("test result: ")).unwrap_or_default();
    let passed: usize =
        summary.split(' ').nth(3).and_then(|number| number.parse().ok()).unwrap_or_default();
    assert!(
        output.status.success() && passed >= 30,
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(process.objects(), Vec::<String>::new(), "what the suite has left");
}
