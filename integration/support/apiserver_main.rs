//! The API server of the tests as a program, for `scripts/bench` and for trying things out.
//!
//! `apiserver [--slow <directory>] <manifest.yaml>...` serves the objects of the manifests; without
//! any it is a cluster that has no NetworkAttachmentDefinitions yet. With `--slow` it takes as long
//! as a cluster's API server: a millisecond for each GET and two for each change, and RSA keys as
//! kubeadm makes them, `ca.key` and `apiserver.key` in the directory. It prints the path of an
//! administrator's kubeconfig, and after that, for each line on standard input, how many requests
//! and connections there were since the line before, or what it holds if the line is `objects`.
//! It ends with its input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's tool: it fails loudly, and answers on stdout"
)]
#![allow(dead_code, unused_imports, reason = "the tests use the rest")]

mod apiserver;

use std::io::BufRead;
use std::time::Duration;

use apiserver::{Latency, Setup};
use serde_json::{Value, json};

fn main() {
    let mut paths: Vec<_> = std::env::args().skip(1).collect();
    let setup = if paths.first().is_some_and(|path| path == "--slow") {
        slow(paths.drain(..2).next_back().unwrap())
    } else {
        Setup::default()
    };
    let server = apiserver::ApiServer::bare_with(setup);
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        documents.into_iter().for_each(|object| server.objects().put(object));
    }
    let token = server.token(&apiserver::User::administrator(), 3600);
    println!("{}", server.kubeconfig(json!({"token": token})).display());
    let (mut requests, mut connections) = (0, 0);
    for line in std::io::stdin().lock().lines() {
        if line.unwrap() == "objects" {
            println!("{}", server.objects().names().join(" "));
            continue;
        }
        let now = (server.requests().len(), server.connections());
        println!("{} {}", now.0 - requests, now.1 - connections);
        (requests, connections) = now;
    }
}

/// What an API server over etcd on the same machine takes.
fn slow(pki: String) -> Setup {
    let [read, write] = [1, 2].map(Duration::from_millis);
    Setup { pki: Some(pki.into()), latency: Latency { read, write }, ..Setup::default() }
}
