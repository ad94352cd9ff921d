//! Connections through mapped ports, of both families and by both backends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use cni::request::Command::{Add, Del};
use serde_json::{Value, json};

use super::node::Who::Ours;
use super::node::{Node, merged, namespace, path_of};
use linux::netns::Netns;

const WAIT: Duration = Duration::from_secs(5);

/// A node with a container behind a bridge, and a neighbour in another namespace.
struct Place {
    node: Node,
    neighbour: Netns,
    result: Value,
}

impl Place {
    fn new() -> Self {
        let node = Node::new();
        let bridge = json!({
            "cniVersion": "1.0.0", "name": "blue", "type": "bridge", "isDefaultGateway": true,
            "hairpinMode": true,
            "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}, {"address": "fd01::5/64"}]},
        });
        let result = node.must(Ours, Add, &bridge);
        let neighbour = namespace();
        let path = path_of(&neighbour);
        node.on_host(&format!(
            "ip link add out0 type veth peer name eth0; ip link set eth0 netns {path}; ip link set \
             out0 up; ip addr add 192.0.2.1/24 dev out0; ip addr add 2001:db8::1/64 dev out0 nodad"
        ));
        let setup = "ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0; \
                     ip addr add 2001:db8::2/64 dev eth0 nodad";
        let run = || std::process::Command::new("sh").args(["-c", setup]).status().unwrap();
        assert!(neighbour.run(run).unwrap().success());
        Self { node, neighbour, result }
    }

    fn portmap(&self, protocol: &str, backend: &str) -> Value {
        let mapping = json!({"hostPort": 8080, "containerPort": 80, "protocol": protocol});
        let base =
            json!({"cniVersion": "1.0.0", "name": "blue", "type": "portmap", "backend": backend});
        let keys = json!({"runtimeConfig": {"portMappings": [mapping]}, "prevResult": self.result});
        merged(base, &keys)
    }

    /// The container answers each connection with the address that it comes from.
    fn serve(&self, count: usize) -> thread::JoinHandle<()> {
        let listener = self.node.container.run(|| TcpListener::bind("[::]:80").unwrap()).unwrap();
        thread::spawn(move || {
            for _ in 0..count {
                let (mut stream, peer) = listener.accept().unwrap();
                let _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes());
            }
        })
    }
}

/// What the server says to a connection from a namespace.
fn ask(from: &Netns, target: &str) -> Result<String, std::io::Error> {
    let target: SocketAddr = target.parse().unwrap();
    let connect = || -> Result<String, std::io::Error> {
        let mut stream = TcpStream::connect_timeout(&target, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    from.run(connect).unwrap()
}

#[test]
fn a_mapped_port_leads_to_the_container_from_everywhere_until_del() {
    for backend in ["iptables", "nftables"] {
        let place = Place::new();
        let config = place.portmap("tcp", backend);
        place.node.must(Ours, Add, &config);
        let server = place.serve(6);
        // Who the container sees: the neighbour itself; the gateway for what comes from the host's
        // loopback or from the container itself, which would answer past the host otherwise.
        for (from, target, peer) in [
            (&place.neighbour, "192.0.2.1:8080", "192.0.2.2"),
            (&place.neighbour, "[2001:db8::1]:8080", "2001:db8::2"),
            (&place.node.host, "127.0.0.1:8080", "10.1.0.1"),
            (&place.node.host, "192.0.2.1:8080", "192.0.2.1"),
            (&place.node.container, "192.0.2.1:8080", "10.1.0.1"),
            (&place.node.container, "[2001:db8::1]:8080", "fd01::1"),
        ] {
            let answer =
                ask(from, target).unwrap_or_else(|error| panic!("{backend} {target}: {error}"));
            assert_eq!(answer, peer, "{backend} {target}");
        }
        server.join().unwrap();
        place.node.must(Ours, Del, &config);
        for target in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            assert!(ask(&place.neighbour, target).is_err(), "{backend} {target}");
        }
    }
}

#[test]
fn a_connection_of_udp_that_was_begun_before_goes_to_the_container() {
    for backend in ["iptables", "nftables"] {
        let place = Place::new();
        let socket = place.neighbour.run(|| UdpSocket::bind("192.0.2.2:0").unwrap()).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        // Rules of another container make the kernel track connections.
        let other = merged(place.portmap("tcp", backend), &json!({"name": "green"}));
        place.node.must(Ours, Add, &other);
        let before = place.node.host.run(|| UdpSocket::bind("0.0.0.0:8080").unwrap()).unwrap();
        before.set_read_timeout(Some(WAIT)).unwrap();
        socket.send_to(b"1", "192.0.2.1:8080").unwrap();
        before.recv(&mut [0; 8]).unwrap();
        let server = place.node.container.run(|| UdpSocket::bind("0.0.0.0:80").unwrap()).unwrap();
        server.set_read_timeout(Some(WAIT)).unwrap();
        place.node.must(Ours, Add, &place.portmap("udp", backend));
        socket.send_to(b"2", "192.0.2.1:8080").unwrap();
        let mut received = [0; 8];
        let length =
            server.recv(&mut received).unwrap_or_else(|error| panic!("{backend}: {error}"));
        assert_eq!(&received[..length], b"2");
    }
}
