use super::*;
use serde_json::json;

fn selection(more: Value) -> Selection {
    let mut element = json!({"name": "blue"});
    element.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let text = json!([element]).to_string();
    crate::selection::parse(&text, &"team-a".parse().unwrap(), Default::default())
        .unwrap()
        .remove(0)
}

#[test]
fn every_request_is_seen() {
    let table = [
        (json!({"interface": "data0"}), Request::Interface),
        (json!({"ips": ["10.0.0.1"]}), Request::Ips),
        (json!({"mac": "02:00:00:00:00:01"}), Request::Mac),
        (json!({"infiniband-guid": "24:8a:07:03:00:8d:ae:2f"}), Request::InfinibandGuid),
        (json!({"bandwidth": {"ingressRate": 1}}), Request::Bandwidth),
        (json!({"default-route": []}), Request::DefaultRoute),
        (json!({"ipam-claim-reference": "vm1"}), Request::IpamClaim),
        (json!({"portMappings": [{"hostPort": 1, "containerPort": 1}]}), Request::PortMappings),
        (json!({"cni-args": {}}), Request::CniArgs),
        (json!({"deviceID": "0000:00:00.1"}), Request::DeviceId),
    ];
    assert_eq!(table.len(), Request::ALL.len());
    for (more, request) in table {
        assert_eq!(asked(&selection(more.clone())), [request], "{more}");
    }
    assert_eq!(asked(&selection(json!({}))), []);
}

#[test]
fn what_hides_in_cni_args_is_seen_in_every_spelling() {
    for key in ["ips", "IPs", "ip\u{17f}", "Ip"] {
        let hidden = selection(json!({"cni-args": {key: ["10.0.0.9/24"]}}));
        assert_eq!(asked(&hidden), [Request::Ips, Request::CniArgs], "{key}");
        assert_eq!(values_of(Request::Ips, &hidden), ["10.0.0.9/24"]);
    }
    let hidden =
        selection(json!({"cni-args": {"MAC": "02:00:00:00:00:01", "infinibandGUID": "x"}}));
    assert_eq!(asked(&hidden), [Request::Mac, Request::InfinibandGuid, Request::CniArgs]);
    assert_eq!(
        values_of(Request::Ips, &selection(json!({"cni-args": {"ips": {"a": 1}}}))),
        ["{\"a\":1}"]
    );
}

#[test]
fn addresses_and_macs_are_held_against_the_owners_words() {
    let ips = [
        ("10.0.0.0/24", "10.0.0.9/24", true),
        ("10.0.0.0/24", "10.0.0.9/26", true),
        ("10.0.0.0/24", "10.0.0.9", true),
        ("10.0.0.0/24", "10.0.0.9/23", false),
        ("10.0.0.0/24", "10.0.0.9/0", false),
        ("10.0.0.0/24", "10.0.1.9", false),
        ("10.0.0.9", "10.0.0.9", true),
        ("10.0.0.9", "10.0.0.9/24", false),
        ("10.0.0.9/24", "10.0.0.9/24", true),
        ("10.0.0.9/24", "10.0.0.9", true),
        ("10.0.0.9/24", "10.0.0.9/23", false),
        ("10.0.0.9/24", "10.0.0.8/24", false),
        ("2001:db8::/32", "2001:db8::20/3", false),
        ("fd00::/64", "fd00::9/64", true),
        ("10.0.0.0/24", "fd00::9", false),
        ("0.0.0.0/0", "::ffff:10.0.0.9", false),
        ("0.0.0.0/0", "010.0.0.9", false),
        ("nonsense", "10.0.0.9", false),
    ];
    for (word, value, expected) in ips {
        assert_eq!(is_allowed_ip(word, value), expected, "{word} {value}");
    }
    let macs = [
        ("02:00:5e", "02:00:5e:00:00:01", true),
        ("02-00-5E", "0200.5e00.0001", true),
        ("02:00:5e:", "02:00:5e:00:00:01", true),
        ("02:00:5e:00:00:01", "02:00:5E:00:00:01", true),
        ("02:00:5", "02:00:5e:00:00:01", false),
        (":", "02:00:5e:00:00:01", false),
        ("02", "12:00:00:00:00:01", false),
        ("02", "nonsense", false),
    ];
    for (word, value, expected) in macs {
        assert_eq!(is_allowed_mac(word, value), expected, "{word} {value}");
    }
}

#[test]
fn names_read_back() {
    for request in Request::ALL {
        assert_eq!(request.as_str().parse(), Ok(request));
    }
    assert_eq!("IPs".parse::<Request>(), Err(UnknownRequest));
}
