use super::*;
use crate::ledger::Ledger;
use serde_json::json;

fn sandbox() -> Sandbox {
    Sandbox {
        container: "c1".parse().unwrap(),
        netns: String::new(),
        interface: "eth0".parse().unwrap(),
        args: "IgnoreUnknown=1".into(),
    }
}

fn encode(value: &Value) -> String {
    STANDARD.encode(value.to_string())
}

fn directory(content: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c1"), content).unwrap();
    dir
}

fn attachments(dir: &tempfile::TempDir) -> Result<Vec<Remembered>, String> {
    let cache = find(dir.path(), &sandbox().container).unwrap();
    cache.attachments(&sandbox(), Version::V0_3_1)
}

fn three() -> Value {
    json!([
        {"Name": "", "Bytes": encode(&json!({"type": "ptp", "name": "primary"}))},
        {"Name": "blue", "Bytes": encode(&json!({"type": "bridge"}))},
        {"Name": "red", "ifnameRequest": "data0", "Bytes": encode(&json!({"name": "r", "plugins": [{"type": "a"}]}))},
    ])
}

fn shown(found: &[Remembered]) -> Vec<(&str, &str)> {
    let attachments = found.iter().map(|remembered| &remembered.attachment);
    attachments
        .map(|attachment| (attachment.label.as_str(), attachment.interface.as_str()))
        .collect()
}

#[test]
fn delegates_are_read_with_their_interfaces_the_primary_first() {
    let found = attachments(&directory(&three().to_string())).unwrap();
    assert_eq!(shown(&found), [("primary", "eth0"), ("blue", "net1"), ("r", "data0")]);
    let roles: Vec<Role> = found.iter().map(|remembered| remembered.attachment.role).collect();
    assert_eq!(roles, [Role::Primary, Role::Extra, Role::Extra]);
    assert!(found.iter().all(|remembered| remembered.result.is_none()));
}

/// The API takes definitions of up to 1.5 MiB each, and Multus has all of them in one file.
#[test]
fn a_record_of_several_large_definitions_is_read_and_a_result_of_one() {
    let large = |name: &str| json!({"type": "bridge", "name": name, "filler": "x".repeat(1 << 20)});
    let mut delegates = three();
    for (at, name) in ["primary", "blue", "r"].into_iter().enumerate() {
        delegates[at]["Bytes"] = encode(&large(name)).into();
    }
    let dir = directory(&delegates.to_string());
    std::fs::create_dir(dir.path().join("results")).unwrap();
    let result = json!({"cniVersion": "0.3.1", "dns": {}});
    let kept = json!({
        "kind": "cniCacheV1", "containerId": "c1", "config": encode(&large("blue")), "ifName": "net1",
        "networkName": "blue", "result": result,
    });
    std::fs::write(dir.path().join("results/blue-c1-net1"), kept.to_string()).unwrap();
    let found = attachments(&dir).unwrap();
    assert_eq!(shown(&found), [("primary", "eth0"), ("blue", "net1"), ("r", "data0")]);
    assert_eq!(found[1].result, Some(result));
}

#[test]
fn what_libcni_remembers_comes_with_them() {
    let dir = directory(&three().to_string());
    std::fs::create_dir(dir.path().join("results")).unwrap();
    let write = |name: &str, content: String| {
        std::fs::write(dir.path().join("results").join(name), content)
    };
    let newest = json!({
        "kind": "cniCacheV1", "containerId": "c1", "config": "", "ifName": "net1", "networkName": "blue",
        "cniArgs": [["IgnoreUnknown", "1"], ["IP", "10.0.0.5"]],
        "capabilityArgs": {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]},
        "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24"}]},
    });
    write("blue-c1-net1", newest.to_string()).unwrap();
    write("primary-c1-eth0", json!({"cniVersion": "0.3.1", "dns": {}}).to_string()).unwrap();
    write("r-c1-data0", "{\"kind\": \"cniCa".to_owned()).unwrap();
    let found = attachments(&dir).unwrap();
    assert_eq!(found[0].result, Some(json!({"cniVersion": "0.3.1", "dns": {}})), "the old form");
    let blue = &found[1];
    assert_eq!(blue.attachment.args.get("IP"), Some("10.0.0.5"));
    assert_eq!(blue.attachment.runtime_config["portMappings"][0]["hostPort"], 80);
    let result = blue.result.as_ref().unwrap();
    assert_eq!(
        (&result["cniVersion"], &result["ips"][0]["version"]),
        (&json!("0.3.1"), &json!("4"))
    );
    assert_eq!(found[2].result, None, "a result that is cut off is none");

    find(dir.path(), &sandbox().container).unwrap().remove(&sandbox().container, &found);
    assert_eq!(
        (count(dir.path()), std::fs::read_dir(dir.path().join("results")).unwrap().count()),
        (0, 0)
    );
}

#[test]
fn braids_own_directories_are_no_memory_of_multus() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("records")).unwrap();
    std::fs::write(dir.path().join("records/c1@eth0"), "").unwrap();
    let here = || any(dir.path()).filter(|found| found == dir.path());
    assert_eq!(here(), None);
    std::fs::write(dir.path().join("c1"), "[]").unwrap();
    assert_eq!((here(), count(dir.path())), (Some(dir.path().to_owned()), 1));
}

#[test]
fn a_record_that_is_broken_says_so_and_a_primary_that_is_broken_is_left_out() {
    for content in
        ["", "{", "[1]", "[{}, {}]", "[{}, {\"Bytes\": \"!\"}]", "[{}, {\"Bytes\": \"e30=\"}]"]
    {
        assert!(attachments(&directory(content)).is_err(), "{content}");
    }
    let mut broken = three();
    broken[0] = json!({"Bytes": "e30="});
    assert_eq!(shown(&attachments(&directory(&broken.to_string())).unwrap())[0], ("blue", "net1"));
}

/// What is written for Multus is what we would read of Multus's.
#[test]
fn a_record_that_goes_back_is_read_as_it_was() {
    use crate::ledger::{Event, Key, LAYOUT, Mode, RecordPlan, RecordedNetns};
    let dir = tempfile::tempdir().unwrap();
    let found = attachments(&directory(&three().to_string())).unwrap();
    let mut expected: Vec<Attachment> =
        found.into_iter().map(|remembered| remembered.attachment).collect();
    expected[1].runtime_config.insert("mac".to_owned(), json!("02:00:00:00:00:0a"));
    let plan = RecordPlan {
        layout: LAYOUT,
        key: Key { container: sandbox().container, interface: sandbox().interface },
        network: "node".parse().unwrap(),
        mode: Mode::Delegating,
        netns: RecordedNetns {
            boot: String::new(),
            id: linux::netns::NetnsId { device: 1, inode: 2 },
            cookie: None,
            path: "/run/netns/web".to_owned(),
        },
        pod: "team-a/web".to_owned(),
        args: sandbox().args,
        created: 1,
        attachments: expected.clone(),
        primary: None,
        declined: Vec::new(),
    };
    let ledger = Ledger::new(&dir.path().join("braid"));
    let result =
        json!({"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.0.0.5/24"}]});
    let key = plan.key.clone();
    let mut journal = ledger.create(plan).unwrap();
    journal.append(&Event::Attached(1, result.clone())).unwrap();
    let record = ledger.read(&key).unwrap().unwrap();

    let multus = dir.path().join("multus");
    assert!(write(&multus, &record).unwrap());
    let cache = find(&multus, &sandbox().container).unwrap();
    let back = cache.attachments(&sandbox(), Version::V0_3_1).unwrap();
    for (at, remembered) in back.iter().enumerate() {
        assert_eq!(remembered.result, Some(result.clone()).filter(|_| at == 1));
        let attachment =
            Attachment { label: expected[at].label.clone(), ..remembered.attachment.clone() };
        // Without a result of its ADD, libcni remembers no arguments either.
        assert_eq!(attachment.network.to_value(), expected[at].network.to_value());
        assert_eq!(attachment.interface, expected[at].interface);
        assert_eq!(attachment.runtime_config, expected[at].runtime_config);
    }

    journal.append(&Event::Gone(0)).unwrap();
    let record = ledger.read(&key).unwrap().unwrap();
    assert!(
        !write(&multus, &record).unwrap(),
        "without its primary, Multus would take blue for it"
    );
}

#[test]
fn a_record_that_others_can_have_written_is_none() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = directory("[]");
    let file = dir.path().join("c1");
    let found = || find(dir.path(), &sandbox().container).is_some();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap()
    };
    mode(&file, 0o666);
    assert!(!found(), "a file that others can write");
    mode(&file, 0o600);
    mode(dir.path(), 0o777);
    assert!(!found(), "a directory that others can write");
    mode(dir.path(), 0o700);
    assert!(found());
    std::fs::rename(&file, dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), &file).unwrap();
    assert!(!found(), "a symbolic link");
}
