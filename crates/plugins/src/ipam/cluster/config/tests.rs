use super::*;
use cni::request::{Environment, Request, Sandbox, Verb};
use cni::version::Version;
use serde_json::json;

fn call(ipam: Value, more: Value, args: &str) -> Call {
    let sandbox = Sandbox {
        container: "c1".parse().unwrap(),
        netns: "/run/netns/x".to_owned(),
        interface: "net1".parse().unwrap(),
        args: args.into(),
    };
    let mut value = json!({"cniVersion": "1.0.0", "name": "lan", "type": "bridge", "ipam": ipam});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request =
        Request { verb: Verb::Add(sandbox), path: Vec::new(), environment: Environment::default() };
    Call::from_value(&request, value, Version::V0_1_0).unwrap()
}

fn read(ipam: Value, flat: Value) -> Result<Config, String> {
    let call = call(ipam, json!({}), "");
    Config::merged(&call, flat.as_object().unwrap(), "n1".to_owned()).map_err(|error| error.msg)
}

#[test]
fn every_key_is_read() {
    let config = read(
        json!({
            "type": "whereabouts", "range": "10.0.0.0/24", "ipRanges": [{"range": "fd00::/64"}],
            "gateway": "10.0.0.1", "addresses": [{"address": "10.9.0.5/24", "gateway": "10.9.0.1"}],
            "network_name": "blue", "enable_overlapping_ranges": false, "node_slice_size": "/26",
            "kubernetes": {"kubeconfig": "/k", "k8s_api_root": "https://api:1"}, "allocation": "spread",
            "sticky": "10m", "dataDir": "/run/a", "dns": {"domain": "x"},
            "routes": [{"dst": "10.5.0.0/16"}], "leader_lease_duration": 1500,
        }),
        json!({}),
    )
    .unwrap();
    let shown: Vec<_> = config.ranges.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.1-10.0.0.254", "fd00::1-fd00::ffff:ffff:ffff:fffe"]);
    assert_eq!((config.network.as_deref(), config.slices.as_deref()), (Some("blue"), Some("blue")));
    assert_eq!((config.overlapping, config.allocation), (false, Allocation::Spread));
    assert_eq!(config.sticky, Some(Duration::from_mins(10)));
    assert_eq!(config.access.kubeconfig, Some("/k".into()));
    assert_eq!(config.access.server.as_deref(), Some("https://api:1"));
    assert_eq!((config.addresses.len(), config.routes.len()), (1, 1));
    assert_eq!(config.directory, PathBuf::from("/run/a"));
}

#[test]
fn the_flat_file_fills_what_is_not_set() {
    let flat = json!({
        "type": "other", "range": "10.9.0.0/24", "enable_overlapping_ranges": false,
        "kubernetes": {"kubeconfig": "/flat", "k8s_api_root": "https://flat:1"}, "exclude": ["10.0.0.9"],
    });
    let config = read(
        json!({"range": "10.0.0.0/24", "kubernetes": {"kubeconfig": "/own"}, "exclude": []}),
        flat,
    )
    .unwrap();
    assert_eq!(config.ranges[0].to_string(), "10.0.0.1-10.0.0.254");
    assert!(!config.ranges[0].contains("10.0.0.9".parse().unwrap()));
    assert_eq!(config.access.kubeconfig, Some("/own".into()));
    assert_eq!(config.access.server.as_deref(), Some("https://flat:1"));
    assert!(config.overlapping, "the definition alone decides");
}

#[test]
fn what_is_asked_for_comes_from_every_place_once() {
    let more = json!({"args": {"cni": {"ips": ["10.0.0.6"], "ipam-claim-reference": "vm1"}},
        "runtimeConfig": {"ips": ["10.0.0.7/16", "10.0.0.5"]}});
    let args = "IgnoreUnknown=1;IP=10.0.0.5/24, 10.0.0.8;GATEWAY=10.0.0.1";
    let call = call(json!({"range": "10.0.0.0/24"}), more, args);
    let config = Config::merged(&call, &Map::new(), String::new()).unwrap();
    let asked: Vec<_> = config.requested.iter().map(ToString::to_string).collect();
    assert_eq!(asked, ["10.0.0.5", "10.0.0.8", "10.0.0.6", "10.0.0.7"]);
    assert_eq!(config.gateways, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.claim.as_deref(), Some("vm1"));
}

#[test]
fn what_is_wrong_is_named() {
    for (ipam, said) in [
        (json!({"range": "x"}), "\"ipam.range\" must be a subnet"),
        (json!({"ipRanges": [{}]}), "\"ipam.ipRanges[0].range\" is missing"),
        (json!({"allocation": "random"}), "\"ipam.allocation\" must be"),
        (json!({"sticky": "10"}), "\"ipam.sticky\" must be a duration"),
        (json!({"sticky": "0s"}), "between a second and a year"),
        (json!({"sticky": "99999999d"}), "between a second and a year"),
        (json!({"network_name": "../x"}), "\"ipam.network_name\" cannot start"),
        (json!({"enable_overlapping_ranges": "yes"}), "must be true or false"),
        (json!({"kubernetes": 5}), "\"ipam.kubernetes\" must be an object"),
    ] {
        let error = read(ipam.clone(), json!({})).unwrap_err();
        assert!(error.contains(said), "{ipam}: {error}");
    }
}
