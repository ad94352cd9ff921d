//! Addresses that are left, in ranges of the node and in pools of the cluster. `braid keep` runs on
//! the node itself here, since a container has no way to the API but an account of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::{BRAID, Node};
use crate::operator::doctor::addresses::{journal, server};

struct Keep {
    child: Child,
    port: u16,
}

impl Drop for Keep {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Keep {
    fn start(node: &Node) -> Self {
        std::fs::create_dir(node.path("kept")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(BRAID)
            .args(["keep", "--metrics", &format!("127.0.0.1:{port}"), "--runtime", "containerd"])
            .args(["--conf-dir", &node.path_text("net.d"), "--bin-dir", &node.path_text("kept")])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port }
    }

    fn ask(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\n\r\n")?;
        let mut body = String::new();
        stream.read_to_string(&mut body)?;
        Ok(body)
    }

    /// What is served once it has this line, and the time of the last scrape.
    #[track_caller]
    fn until(&self, line: &str) -> String {
        let started = Instant::now();
        loop {
            let body = self.ask().unwrap_or_default();
            if body.contains(line) {
                return body;
            }
            assert!(started.elapsed() < Duration::from_secs(40), "no {line} in {body}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn entry(node: &Node, more: Value) -> Value {
    let ipam = json!({"type": "host-local", "dataDir": node.path("ipam"), "subnet": "10.1.0.0/24"});
    let primary = json!({
        "cniVersion": "1.0.0", "name": "cluster", "type": "bridge", "bridge": "cni0", "ipam": ipam,
    });
    let mut entry = json!({
        "type": "braid", "delegates": [primary],
        "cniDir": node.path("state"), "confDir": node.path("braid.d"),
        "metricsFile": node.path("braid.prom"),
    });
    entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    entry
}

fn install(node: &Node, entry: &Value) {
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
}

#[test]
fn what_is_left_of_ranges_and_pools_is_shown() {
    let server = server(13);
    let kubeconfig = server.usual_kubeconfig();
    let node = Node::new();
    let entry = entry(&node, json!({"kubeconfig": kubeconfig}));
    install(&node, &entry);
    journal(&node, &server, &kubeconfig, json!({}));
    let pods = ["web", "db"].map(|name| node.pod("team-a", name));
    for pod in &pods {
        pod.add(entry.clone()).run().assert_success();
    }
    let keep = Keep::start(&node);
    let body = keep.until("braid_pool_addresses_free{");
    for line in [
        "braid_pool_addresses{pool=\"10.9.0.0-28\"} 14\n",
        "braid_pool_addresses_free{pool=\"10.9.0.0-28\"} 1\n",
        "braid_range_addresses{network=\"cluster\",range=\"10.1.0.1-10.1.0.254\"} 253\n",
        "braid_range_addresses_free{network=\"cluster\",range=\"10.1.0.1-10.1.0.254\"} 251\n",
        "braid_drifted_records 0\n",
    ] {
        assert!(body.contains(line), "{line} in {body}");
    }
    let (_, body) = body.split_once("\r\n\r\n").unwrap();
    super::promtool(&["check", "metrics"], body);
}

/// No scrape waits for the API: with one that never answers, the rest is served at once.
#[test]
fn a_scrape_does_not_wait_for_the_api() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = server(1);
    let node = Node::new();
    let usual = std::fs::read_to_string(server.usual_kubeconfig()).unwrap();
    let mut usual: Value = serde_saphyr::from_str(&usual).unwrap();
    let address = format!("https://{}", silent.local_addr().unwrap());
    usual["clusters"][0]["cluster"]["server"] = json!(address);
    node.write("silent.kubeconfig", &usual.to_string());
    let kubeconfig = node.path("silent.kubeconfig");
    let entry = entry(&node, json!({"kubeconfig": kubeconfig}));
    install(&node, &entry);
    journal(&node, &server, Path::new(&kubeconfig), json!({"server": address}));
    let keep = Keep::start(&node);
    keep.until("braid_build_info");
    // It is asked, and waits for an answer.
    let _asked = silent.accept().unwrap();
    std::thread::sleep(Duration::from_secs(10));
    let started = Instant::now();
    let body = keep.ask().unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(body.contains("braid_build_info") && !body.contains("braid_pool_"), "{body}");
}
