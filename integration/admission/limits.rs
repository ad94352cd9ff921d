//! Requests that are none, too large or too slow, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::webhook::{NAME, Pair, Webhook, eventually, read_answer};
use super::{pod, review};

fn start() -> (Webhook, Pair) {
    let (directory, pair) = (tempfile::tempdir().unwrap(), Pair::new());
    pair.write(directory.path());
    let certificates = directory.path().to_str().unwrap().to_owned();
    let webhook = Webhook::start(&["--certificates", &certificates, "--without-definitions"]);
    (webhook, pair)
}

#[test]
fn requests_that_are_no_review_are_refused() {
    let (webhook, pair) = start();
    let client = webhook.client(&pair.certificate);
    let status = |line: &str, body: &[u8]| client.request(line, body).0;
    assert_eq!(client.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(status("GET /validate", b""), 405);
    assert_eq!(status("POST /elsewhere", b"{}"), 404);
    assert_eq!(status("POST /validate", b"{}"), 400);
    let mut old = review(&pod("blue"));
    old["apiVersion"] = "admission.k8s.io/v1beta1".into();
    assert_eq!(status("POST /validate", old.to_string().as_bytes()), 400);
    assert_eq!(status("POST /validate", &vec![b' '; 7 << 20]), 413);
    assert_eq!(client.review(&review(&pod("blue")))["allowed"], true, "it still answers");
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let (webhook, pair) = start();
    let started = Instant::now();
    let mut silent = TcpStream::connect(webhook.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut half = webhook.client(&pair.certificate).connect().unwrap();
    half.write_all(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{").unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "the handshake never came");
    assert_eq!(read_answer(&mut half).0, 408, "the body never came");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn told_to_stop_it_is_not_ready_and_ends_what_it_has_begun() {
    let (mut webhook, pair) = start();
    let client = webhook.client(&pair.certificate);
    assert_eq!(client.get("/readyz").0, 200);
    let body = review(&pod("a@@b")).to_string();
    let (first, rest) = body.split_at(body.len() / 2);
    let mut begun = client.connect().unwrap();
    let head = format!(
        "POST /validate HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n\
         {first}",
        body.len()
    );
    begun.write_all(head.as_bytes()).unwrap();
    webhook.signal(Signal::SIGTERM);
    eventually("it is not ready", || client.get("/readyz").0 == 503);
    assert_eq!(client.review(&review(&pod("blue")))["allowed"], true, "late requests are answered");
    begun.write_all(rest.as_bytes()).unwrap();
    let (status, answer) = read_answer(&mut begun);
    assert!(status == 200 && answer.contains("\"allowed\":false"), "{status} {answer}");
    assert_eq!(webhook.end(), Some(0), "{:?}", webhook.said());
}
