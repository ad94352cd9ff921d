use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn addresses_keep_their_text() {
    let cases = [
        ("10.2.2.42/24", "10.2.2.42", Some(24)),
        ("10.2.2.42", "10.2.2.42", None),
        ("10.2.2.42/0", "10.2.2.42", Some(0)),
        ("10.2.2.42/32", "10.2.2.42", Some(32)),
        ("2001:DB8:0::5/64", "2001:db8::5", Some(64)),
        ("2001:db8::5/128", "2001:db8::5", Some(128)),
        ("fe80::1", "fe80::1", None),
    ];
    for (text, ip, prefix) in cases {
        let address: RequestedAddress = text.parse().unwrap();
        assert_eq!((address.ip(), address.prefix()), (ip.parse().unwrap(), prefix));
        assert_eq!(address.to_string(), text);
        assert_eq!(serde_json::to_value(&address).unwrap(), json!(text));
        assert_eq!(address.to_value(), json!(text));
    }
}

#[test]
fn other_addresses_are_refused() {
    use Rule::{AddressWithPrefix, HostAddress, MappedAddress};
    let cases = [
        ("", AddressWithPrefix),
        ("10.0.0.300/24", AddressWithPrefix),
        ("10.0.0.010", AddressWithPrefix),
        ("10.0.0.1/33", AddressWithPrefix),
        ("10.0.0.1/", AddressWithPrefix),
        ("10.0.0.1/+24", AddressWithPrefix),
        ("10.0.0.1/024", AddressWithPrefix),
        ("10.0.0.1/24/8", AddressWithPrefix),
        ("10.0.0.1/255.0.0.0", AddressWithPrefix),
        ("/24", AddressWithPrefix),
        (" 10.0.0.1", AddressWithPrefix),
        ("10.0.0.1;MAC=x", AddressWithPrefix),
        ("2001:db8::5/129", AddressWithPrefix),
        ("2001:db8::5/256", AddressWithPrefix),
        ("fe80::1%eth0", AddressWithPrefix),
        ("fe80::1%eth0/64", AddressWithPrefix),
        ("[::2]", AddressWithPrefix),
        ("0.0.0.0", HostAddress),
        ("::/64", HostAddress),
        ("127.0.0.5/8", HostAddress),
        ("::1", HostAddress),
        ("224.0.0.1", HostAddress),
        ("ff02::1", HostAddress),
        ("255.255.255.255", HostAddress),
        ("::ffff:10.0.0.1", MappedAddress),
        ("::ffff:0.0.0.0/96", MappedAddress),
    ];
    for (text, rule) in cases {
        assert_eq!(text.parse::<RequestedAddress>(), Err(rule), "{text}");
    }
}

#[test]
fn mac_addresses_read_in_every_form() {
    for text in ["0a:bb:cc:dd:ee:ff", "0A-BB-CC-DD-EE-FF", "0abb.ccdd.eeff", "0A:bb:CC:dd:EE:ff"] {
        let mac: MacAddress = text.parse().unwrap();
        assert_eq!(mac.0, [0x0a, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        assert_eq!(mac.to_string(), "0a:bb:cc:dd:ee:ff");
        assert_eq!(serde_json::to_value(mac).unwrap(), mac.to_value());
    }
}

#[test]
fn other_mac_addresses_are_refused() {
    let cases = [
        ("", Rule::Mac),
        ("0a:bb:cc:dd:ee", Rule::Mac),
        ("0a:bb:cc:dd:ee:ff:00", Rule::Mac),
        ("0a:bb:cc-dd:ee:ff", Rule::Mac),
        ("a:bb:cc:dd:ee:ff", Rule::Mac),
        ("0abbccddeeff", Rule::Mac),
        ("0a.bb.cc.dd.ee.ff", Rule::Mac),
        ("0g:bb:cc:dd:ee:ff", Rule::Mac),
        ("0a:bb:cc:dd:ee:ff ", Rule::Mac),
        ("ä:bb:cc:dd:ee:ff", Rule::Mac),
        ("+a:bb:cc:dd:ee:ff", Rule::Mac),
        ("00:00:00:00:00:00", Rule::MacZero),
        ("01:00:5e:00:00:01", Rule::MacMulticast),
        ("ff:ff:ff:ff:ff:ff", Rule::MacMulticast),
    ];
    for (text, rule) in cases {
        assert_eq!(text.parse::<MacAddress>(), Err(rule), "{text}");
    }
}

#[test]
fn guids_have_eight_bytes() {
    let guid: InfinibandGuid = "24:8A:07:03:00:8d:ae:2f".parse().unwrap();
    assert_eq!(guid.0, [0x24, 0x8a, 7, 3, 0, 0x8d, 0xae, 0x2f]);
    assert_eq!(guid.to_value(), json!("24:8a:07:03:00:8d:ae:2f"));
    for text in ["", "24:8a:07:03:00:8d:ae", "24-8a-07-03-00-8d-ae-2f", "248a:0703:008d:ae2f"] {
        assert_eq!(text.parse::<InfinibandGuid>(), Err(Rule::Guid), "{text}");
    }
}

#[test]
fn protocols_read_in_any_case() {
    for (text, protocol) in
        [("tcp", Protocol::Tcp), ("UDP", Protocol::Udp), ("Sctp", Protocol::Sctp)]
    {
        assert_eq!(text.parse(), Ok(protocol));
    }
    for text in ["", "icmp", "tcp "] {
        assert_eq!(text.parse::<Protocol>(), Err(Rule::Protocol));
    }
}

#[test]
fn port_mappings_have_the_conventional_shape() {
    let mut mapping =
        PortMapping { host_port: 8080, container_port: 80, protocol: Protocol::Udp, host_ip: None };
    assert_eq!(
        mapping.to_value(),
        json!({"hostPort": 8080, "containerPort": 80, "protocol": "udp"})
    );
    mapping.host_ip = Some("192.0.2.1".parse().unwrap());
    assert_eq!(
        serde_json::to_value(mapping).unwrap(),
        json!({"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "192.0.2.1"})
    );
}

#[test]
fn a_rate_alone_gets_the_default_burst() {
    let bandwidth = Bandwidth { ingress_rate: Some(5), ..Bandwidth::default() };
    assert_eq!(bandwidth.to_value(), json!({"ingressRate": 5, "ingressBurst": 2147483647}));
    let bandwidth = Bandwidth {
        ingress_rate: Some(2048),
        ingress_burst: Some(1600),
        egress_rate: Some(4096),
        egress_burst: None,
    };
    assert_eq!(
        serde_json::to_value(bandwidth).unwrap(),
        json!({"ingressRate": 2048, "ingressBurst": 1600, "egressRate": 4096, "egressBurst": 2147483647})
    );
}

proptest! {
    #[test]
    fn every_unicast_mac_reads_back(mut bytes: [u8; 6]) {
        bytes[0] &= 0xfe;
        prop_assume!(bytes != [0; 6]);
        let mac = MacAddress(bytes);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn every_accepted_address_is_in_range(text in "[0-9a-f:./%]{0,24}|\\PC*") {
        if let Ok(address) = text.parse::<RequestedAddress>() {
            prop_assert_eq!(address.to_string(), text.as_str());
            let most = if address.ip().is_ipv4() { 32 } else { 128 };
            prop_assert!(address.prefix().unwrap_or(0) <= most);
        }
        let _ = text.parse::<MacAddress>();
        let _ = text.parse::<InfinibandGuid>();
    }
}
