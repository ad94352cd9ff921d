//! Prometheus and Grafana: what `braid keep` serves, and the rules and the dashboard of
//! `conf/monitoring` against it. `promtool` is of Debian's package prometheus.

mod addresses;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linux::netns::Netns;
use serde_json::{Value, json};

use crate::daemonset::{kubernetes, monitored_daemonset};
use crate::kustomize::documents;
use crate::node::{BRAID, Node, text};

const ADDRESS: &str = "127.0.0.1:9750";

fn monitoring(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/monitoring").join(file)
}

#[track_caller]
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().expect("promtool: install Debian's package prometheus (scripts/packages)");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// `braid keep` on a node whose Braid counts its calls.
struct Keep<'n> {
    node: &'n Node,
    child: Child,
}

impl Drop for Keep<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'n> Keep<'n> {
    fn start(node: &'n Node) -> Self {
        node.write("root/etc/containerd/config.toml", "version = 2\n");
        let primary =
            json!({"cniVersion": "1.0.0", "name": "primary", "plugins": [{"type": "ptp"}]});
        node.write("root/etc/cni/net.d/10-primary.conflist", &primary.to_string());
        let entry =
            json!({"type": "braid", "clusterNetwork": "auto", "metricsFile": "/braid.prom"});
        let ours = json!({"cniVersion": "1.0.0", "name": "braid", "plugins": [entry]});
        node.write("root/etc/cni/net.d/00-braid.conflist", &ours.to_string());
        let mut command = node.host().command(Path::new(BRAID));
        command.args(["keep", "--metrics", ADDRESS, "--root", &node.path_text("root")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let keep = Self { node, child };
        let started = Instant::now();
        while keep.ask("HEAD /metrics HTTP/1.1\r\nHost: n\r\n\r\n").is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "nothing is served");
            std::thread::sleep(Duration::from_millis(50));
        }
        keep
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let inside = Netns::open(self.node.host().path().as_ref()).unwrap();
        inside.run(|| TcpStream::connect(ADDRESS)).unwrap()
    }

    /// Head and body of the response.
    fn ask(&self, request: &str) -> std::io::Result<(String, String)> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request.as_bytes())?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        Ok((head.to_owned(), body.to_owned()))
    }

    fn metrics(&self) -> String {
        let (head, body) = self.ask("GET /metrics HTTP/1.1\r\nHost: n\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        body
    }
}

/// The counts of a node on which pods have come and gone.
fn counted(node: &Node) -> String {
    let mut config = node.delegating();
    config["metricsFile"] = json!(node.path("braid.prom"));
    let pod = node.pod("team-a", "web");
    pod.add(config).run().assert_success();
    fs::read_to_string(node.path("braid.prom")).unwrap()
}

#[test]
fn keep_serves_the_counts_and_what_it_alone_knows() {
    let node = Node::new();
    node.recorders(["primary"]);
    let counts = counted(&node);
    node.write("root/braid.prom", &counts);
    let keep = Keep::start(&node);
    let body = keep.metrics();
    assert!(body.starts_with(&counts), "{body}");
    assert!(body.contains("braid_node_network{plugin=\"braid\"} 1\n"), "{body}");
    assert!(body.ends_with("braid_oldest_unfinished_teardown_seconds 0\n"), "{body}");
    promtool(&["check", "metrics"], &body);
}

#[test]
fn nothing_but_metrics_is_served_and_no_connection_holds_it_up() {
    let node = Node::new();
    let keep = Keep::start(&node);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: n\r\n\r\n", "404"),
        ("GET /metrics/../etc/passwd HTTP/1.1\r\nHost: n\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: n\r\nContent-Length: 0\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let (head, body) = keep.ask(request).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {head}");
        assert!(body.is_empty(), "{request}: {body}");
    }
    let large = format!("GET /metrics HTTP/1.1\r\nHost: n\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let answer = keep.ask(&large).map(|(head, _)| head).unwrap_or_default();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    // As many as it serves at a time, each without a word: they end, and the next is served.
    let _silent: Vec<_> = (0..8).map(|_| keep.connect().unwrap()).collect();
    let body = keep.metrics();
    assert!(body.contains("braid_build_info{version="), "{body}");
}

#[test]
fn an_address_that_is_every_one_is_refused() {
    for address in ["0.0.0.0:9750", "[::]:9750"] {
        let output = Command::new(BRAID).args(["keep", "--metrics", address]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && said.contains("this one is every one"),
            "{said}"
        );
    }
}

#[test]
fn the_alerts_fire_when_they_should() {
    promtool(&["check", "rules", monitoring("alerts.yaml").to_str().unwrap()], "");
    let test = monitoring("alerts_test.yaml");
    promtool(&["test", "rules", test.to_str().unwrap()], "");
    let (alerts, tests) =
        (documents(&monitoring("alerts.yaml")).remove(0), fs::read_to_string(test).unwrap());
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        let name = format!("alertname: {}", text(&rule["alert"]));
        assert!(tests.matches(&name).count() >= 2, "{name}: it fires, and it does not");
    }
}

/// The queries of the dashboard, with what Grafana fills in.
fn queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(monitoring("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| text(&target["expr"]).replace("$__rate_interval", "5m"));
    queries.map(|query| query.replace("$instance", ".*")).collect()
}

#[test]
fn every_query_of_the_dashboard_is_one() {
    let queries = queries();
    assert!(queries.len() > 10 && queries.iter().all(|query| !query.contains('$')), "{queries:?}");
    let rule = |(at, query): (usize, &String)| json!({"record": format!("q{at}"), "expr": query});
    let rules: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    fs::write(file.path(), json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string())
        .unwrap();
    promtool(&["check", "rules", file.path().to_str().unwrap()], "");
}

fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names = words.filter(|word| word.starts_with("braid_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

/// No query asks for a metric that is not there, and the page names every metric.
#[test]
fn rules_dashboard_and_page_know_the_metrics_that_there_are() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `braid_")?.split('`').next())
        .map(|name| format!("braid_{name}"))
        .collect();
    let alerts = documents(&monitoring("alerts.yaml")).remove(0);
    let rules = alerts["groups"][0]["rules"].as_array().unwrap().clone();
    let asked = rules.iter().map(|rule| text(&rule["expr"]).to_owned()).chain(queries());
    for name in asked.flat_map(|query| metric_names(&query)) {
        assert!(documented.contains(&name), "{name} is not on the page");
    }
    let node = Node::new();
    node.recorders(["primary"]);
    let counts = counted(&node);
    node.write("root/braid.prom", &counts);
    let served = Keep::start(&node).metrics();
    let types = served.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut served: BTreeSet<String> = types.map(str::to_owned).collect();
    // Seen on the node itself alone, and not below another root.
    served.insert("braid_drifted_records".to_owned());
    // `addresses` has a node with a range and a pool.
    for name in ["range", "pool"] {
        served.insert(format!("braid_{name}_addresses"));
        served.insert(format!("braid_{name}_addresses_free"));
    }
    assert_eq!(documented, served);
}

/// The component adds the flag and the port, and nothing else.
#[test]
fn the_component_for_kubernetes_serves_on_the_pods_address() {
    let set = monitored_daemonset(&kubernetes().join("metrics"));
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap();
    assert_eq!(arguments.last().unwrap(), "--metrics=$(POD_IP):9750");
    assert_eq!(container["ports"][0]["containerPort"], 9750);
    let port = &set["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"];
    assert_eq!(port, "9750");
}
