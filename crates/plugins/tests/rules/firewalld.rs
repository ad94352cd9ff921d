//! firewall: sources of firewalld's zones, over a message bus that remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use cni::request::Command::{Add, Check, Del, Gc, Status};
use serde_json::{Value, json};

use super::node::Who::{self, Ours, Reference};
use super::node::{About, Node, merged, with_valid};

/// What the bus was asked, and what firewalld has.
#[derive(Debug, Default)]
struct State {
    runs: bool,
    asked: Vec<String>,
    sources: Vec<String>,
}

/// A bus with firewalld on it. The thread ends with the test.
struct Bus {
    directory: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

impl Bus {
    fn start(runs: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = Arc::new(Mutex::new(State { runs, ..State::default() }));
        let listener = UnixListener::bind(directory.path().join("bus")).unwrap();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { directory, state }
    }

    fn about(&self, node: &Node) -> About {
        let bus = format!("unix:path={}", self.directory.path().join("bus").display());
        About { bus, ..node.about("container-1", "eth0") }
    }

    /// What it was asked since the last time, and the sources that firewalld has.
    fn take(&self) -> (Vec<String>, Vec<String>) {
        let mut state = self.state.lock().unwrap();
        (std::mem::take(&mut state.asked), state.sources.clone())
    }
}

/// Serves a client until it hangs up.
fn serve(stream: UnixStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    greet(&mut reader, &mut writer)?;
    loop {
        let (serial, member, texts) = read_call(&mut reader)?;
        let (kind, name, body) = answer(&member, &texts, &mut state.lock().unwrap());
        let mut fields = vec![5, 1, b'u', 0];
        fields.extend(serial.to_le_bytes());
        if let Some(name) = name {
            put(&mut fields, 8, &[4, 1, b's', 0]);
            put_text(&mut fields, name);
        }
        let (signature, body) = body;
        put(&mut fields, 8, &[8, 1, b'g', 0, 1, signature, 0]);
        let mut message = vec![b'l', kind, 0, 1];
        message.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        message.extend(1_u32.to_le_bytes());
        message.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
        message.extend(fields);
        put(&mut message, 8, &body);
        writer.write_all(&message).ok()?;
    }
}

fn greet(reader: &mut impl BufRead, writer: &mut impl Write) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let answer = match line.trim_start_matches('\0').trim_end() {
            "BEGIN" => return Some(()),
            "AUTH EXTERNAL" => "DATA",
            "AUTH EXTERNAL 30" | "DATA" => "OK 0123456789abcdef0123456789abcdef",
            "NEGOTIATE_UNIX_FD" => "AGREE_UNIX_FD",
            _ => "REJECTED EXTERNAL",
        };
        write!(writer, "{answer}\r\n").ok()?;
    }
}

fn read_call(reader: &mut impl Read) -> Option<(u32, String, Vec<String>)> {
    let mut start = [0; 16];
    reader.read_exact(&mut start).ok()?;
    assert_eq!(start[0], b'l', "a big-endian client");
    let [body, serial, fields] = [4, 8, 12].map(|at| number(&start, at));
    let mut header = vec![0; usize::try_from(fields).unwrap().next_multiple_of(8)];
    reader.read_exact(&mut header).ok()?;
    let mut content = vec![0; usize::try_from(body).unwrap()];
    reader.read_exact(&mut content).ok()?;
    let field = [3, 1, b's', 0];
    let member =
        header.chunks(4).position(|chunk| chunk == field).map(|at| text(&header, at * 4 + 4));
    let mut texts = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let found = text(&content, at);
        at = (at + 4 + found.len() + 1).next_multiple_of(4);
        texts.push(found);
    }
    Some((serial, member.unwrap(), texts))
}

type Answer = (u8, Option<&'static str>, (u8, Vec<u8>));

fn answer(member: &str, texts: &[String], state: &mut State) -> Answer {
    let returned = |text: &str| (2, None, (b's', encoded(text)));
    let failed = |name, words: &str| (3, Some(name), (b's', encoded(words)));
    let source = texts.join(" ");
    if member.ends_with("Source") {
        state.asked.push(format!("{member} {source}"));
    }
    let exception = "org.fedoraproject.FirewallD1.Exception";
    let is_there = state.sources.contains(&source);
    match member {
        "Hello" => returned(":1.1"),
        "GetNameOwner" if state.runs => returned(":1.0"),
        "GetNameOwner" => failed("org.freedesktop.DBus.Error.NameHasNoOwner", "no such name"),
        "addSource" if is_there => failed(exception, "ZONE_ALREADY_SET: it is there"),
        "addSource" => {
            state.sources.push(source);
            returned("trusted")
        }
        "removeSource" if !is_there => failed(exception, "UNKNOWN_SOURCE: it is not there"),
        "removeSource" => {
            state.sources.retain(|it| *it != source);
            returned("trusted")
        }
        "querySource" => (2, None, (b'b', u32::from(is_there).to_le_bytes().to_vec())),
        _ => failed("org.freedesktop.DBus.Error.UnknownMethod", member),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn text(bytes: &[u8], at: usize) -> String {
    let length = usize::try_from(number(bytes, at)).unwrap();
    String::from_utf8(bytes[at + 4..at + 4 + length].to_vec()).unwrap()
}

fn put(bytes: &mut Vec<u8>, to: usize, more: &[u8]) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
    bytes.extend(more);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, 4, &encoded(text));
}

fn encoded(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    length.into_iter().chain(text.bytes()).chain([0]).collect()
}

fn network(keys: &Value) -> Value {
    let base = json!({
        "cniVersion": "0.4.0", "name": "blue", "type": "firewall", "backend": "firewalld",
        "prevResult": {
            "cniVersion": "0.4.0",
            "ips": [{"version": "4", "address": "10.1.0.5/24"}, {"version": "6", "address": "fd01::5/64"}],
            "interfaces": [{"name": "br0"}],
        },
    });
    merged(base, keys)
}

#[test]
fn sources_are_the_reference_s_and_go_by_either() {
    for keys in [json!({}), json!({"firewalldZone": "home"}), json!({"backend": ""})] {
        let node = Node::new();
        let config = network(&keys);
        let asked = [Reference, Ours].map(|who: Who| {
            let bus = Bus::start(true);
            let about = bus.about(&node);
            node.call(who, Add, &config, &about).unwrap();
            let added = bus.take();
            assert_eq!(added.1.len(), 2, "{who:?}");
            for checks in [Ours, Reference] {
                node.call(checks, Check, &config, &about).unwrap();
            }
            bus.take();
            node.call(who.other(), Del, &config, &about).unwrap();
            let removed = bus.take();
            assert_eq!(removed.1, [""; 0], "{who:?}'s, after DEL by the other");
            node.call(Ours, Del, &config, &about).unwrap();
            (added, removed)
        });
        assert_eq!(asked[0], asked[1], "{keys}");
        assert_eq!(node.rules(), "", "{keys}");
    }
}

#[test]
fn a_source_that_is_gone_is_told_by_check_and_forgiven_by_del() {
    let node = Node::new();
    let bus = Bus::start(true);
    let about = bus.about(&node);
    let config = network(&json!({}));
    node.call(Ours, Add, &config, &about).unwrap();
    // A second ADD finds them there.
    node.call(Ours, Add, &config, &about).unwrap();
    bus.state.lock().unwrap().sources.remove(1);
    let error = node.call(Ours, Check, &config, &about).unwrap_err();
    let sentence = "what lets packets of fd01::5 through is gone";
    assert_eq!((error.code.0, error.msg.as_str()), (101, sentence));
    let bare = merged(config, &json!({"prevResult": null}));
    node.call(Ours, Del, &bare, &about.without_netns()).unwrap();
    assert_eq!(bus.take().1, [""; 0]);
}

#[test]
fn gc_removes_the_sources_of_attachments_that_are_gone() {
    let node = Node::new();
    let bus = Bus::start(true);
    let about = bus.about(&node);
    let config = network(&json!({}));
    node.call(Ours, Add, &config, &about).unwrap();
    node.call(Ours, Gc, &with_valid(&config, &[("container-1", "eth0")]), &about).unwrap();
    assert_eq!(bus.take().1.len(), 2);
    node.call(Ours, Gc, &with_valid(&config, &[]), &about).unwrap();
    assert_eq!(bus.take().1, [""; 0]);
}

#[test]
fn without_firewalld_iptables_has_the_rules() {
    let node = Node::new();
    let bus = Bus::start(false);
    let about = bus.about(&node);
    let automatic = network(&json!({"backend": ""}));
    node.call(Ours, Add, &automatic, &about).unwrap();
    assert!(node.rules().contains("10.1.0.5"));
    // It was started meanwhile: the attachment's rules are where they were made.
    bus.state.lock().unwrap().runs = true;
    node.call(Ours, Check, &automatic, &about).unwrap();
    node.call(Ours, Del, &automatic, &about).unwrap();
    assert_eq!(node.leftovers(&["10.1.0.5", "fd01::5"]), [""; 0]);
}

#[test]
fn a_bus_that_is_missing_is_said_and_keeps_no_del_from_succeeding() {
    let node = Node::new();
    let bus = Bus::start(false);
    let about = bus.about(&node);
    let status = network(&json!({"cniVersion": "1.1.0", "prevResult": null}));
    let error = node.call(Ours, Status, &status, &about).unwrap_err();
    assert_eq!(error.code.0, 50);
    assert!(error.msg.contains("firewalld does not run"), "{error}");
    let nowhere = About { bus: "unix:path=/nowhere/bus".to_owned(), ..about };
    let error = node.call(Ours, Add, &network(&json!({})), &nowhere).unwrap_err();
    assert!(error.msg.contains("firewalld: the message bus cannot be reached"), "{error}");
    node.call(Ours, Del, &network(&json!({})), &nowhere).unwrap();
    assert_eq!(node.rules(), "");
}
