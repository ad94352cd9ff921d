use super::*;
use crate::attach::tests::attachment;
use cni::error::Code;
use cni::version::Version;
use serde_json::{Value, json};

fn verified(attachment: &Attachment, result: Value, link_mac: Option<&str>) -> Result<(), String> {
    let result = AttachmentResult::read(&result, Version::V1_0_0).unwrap();
    let link = link_mac.map(|mac| Link {
        index: 2,
        name: "net1".to_owned(),
        mac: Some(mac.to_owned()),
        mtu: None,
        up: true,
        parent: None,
        addresses: Vec::new(),
    });
    verify(attachment, &result, link.as_ref()).map_err(|error| error.to_string())
}

#[test]
fn every_address_asked_for_must_be_in_the_result() {
    let mut attachment = attachment("1.0.0");
    let ips = |list: &[&str]| {
        let ips: Vec<_> = list.iter().map(|address| json!({"address": address})).collect();
        json!({ "ips": ips })
    };
    assert_eq!(verified(&attachment, ips(&[]), None), Ok(()), "nothing was asked for");
    attachment.asked_ips = vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    assert_eq!(
        verified(&attachment, ips(&["fd00:0:0::5/64", "10.0.0.5/16", "10.0.0.6/24"]), None),
        Ok(())
    );
    assert_eq!(
        verified(&attachment, ips(&["10.0.0.5/24", "10.0.0.6/24"]), None).unwrap_err(),
        "network \"team-a/blue\" on net1: ips fd00::5 was asked for, and the network gave \
         10.0.0.5/24, 10.0.0.6/24; add \"capabilities\": {\"ips\": true} to the plugin that can \
         set it, or leave \"ips\" out"
    );
    assert!(verified(&attachment, ips(&[]), None).unwrap_err().contains("the network gave none"));
    let error = verify(&attachment, &AttachmentResult::default(), None).unwrap_err();
    assert_eq!(error.to_protocol().code, Code::NOT_AS_ASKED);
}

#[test]
fn every_address_of_a_claim_must_be_granted() {
    let mut attachment = attachment("1.0.0");
    attachment.granted_networks =
        Some(vec!["10.0.0.0/24".parse().unwrap(), "fd00::9/64".parse().unwrap()]);
    let given = |list: &[&str]| {
        let ips: Vec<_> = list.iter().map(|address| json!({"address": address})).collect();
        verified(&attachment, json!({ "ips": ips }), None)
    };
    assert_eq!(given(&["10.0.0.5/24", "fd00::9/64"]), Ok(()));
    assert_eq!(
        given(&["10.0.0.5/24", "10.96.0.10/12"]).unwrap_err(),
        "network \"team-a/blue\" on net1: its claim (\"ipam-claim-reference\") gave 10.96.0.10/12, \
         which is in no network that the pod is granted: braid.io/allowed-ips, or \
         policy.allowedSubnets, can have it"
    );
    assert!(given(&["10.0.0.5/23"]).is_err() && given(&["fd00::8/64"]).is_err());
}

#[test]
fn the_mac_asked_for_must_be_on_the_link_or_without_one_in_the_result() {
    let mut attachment = attachment("1.0.0");
    let reported = |name: &str, mac: &str| json!({"interfaces": [{"name": name, "mac": mac, "sandbox": "/n"}]});
    assert_eq!(verified(&attachment, json!({}), None), Ok(()), "nothing was asked for");
    attachment.asked_mac = Some("02:00:00:00:00:0a".to_owned());
    let table = [
        (reported("net1", "02:00:00:00:00:0A"), None, true),
        (reported("net1", "02:00:00:00:00:0a"), Some("02:00:00:00:00:0a"), true),
        (json!({}), Some("02:00:00:00:00:0a"), true),
        (reported("net1", "02:00:00:00:00:0b"), Some("02:00:00:00:00:0a"), true),
        (reported("net1", "02:00:00:00:00:0a"), Some("02:00:00:00:00:0b"), false),
        (reported("net2", "02:00:00:00:00:0a"), None, false),
        (json!({"interfaces": [{"name": "net1", "mac": "02:00:00:00:00:0a"}]}), None, false),
        (json!({}), None, false),
    ];
    for (result, link, expected) in table {
        let outcome = verified(&attachment, result.clone(), link);
        assert_eq!(outcome.is_ok(), expected, "{result} {link:?}: {outcome:?}");
    }
    let error = verified(&attachment, json!({}), Some("02:00:00:00:00:0b")).unwrap_err();
    assert!(
        error.contains(
            "mac 02:00:00:00:00:0a was asked for, and the network gave 02:00:00:00:00:0b"
        ),
        "{error}"
    );
}
