//! What makes an ADD fail leaves nothing behind, and is said in words that a person understands.

use super::*;

/// The error of an ADD.
fn refused(cluster: &Cluster, config: &Value) -> String {
    let pod = cluster.pod();
    let outcome = known(pod.add(config.clone()), &pod).networks("lan").run();
    let (_, message) = outcome.error();
    assert!(!cluster.containers().contains(&pod.container), "{message}");
    pod.del().run().assert_success();
    assert_eq!(cluster.node.state("addresses/held"), Vec::<String>::new(), "{message}");
    message
}

/// A pool of so many bytes, with entries as long as names may be.
fn entries(bytes: usize) -> Value {
    let entry = |number: usize| {
        let podref = format!("{}/{}-{number}", "n".repeat(63), "p".repeat(180));
        json!({"id": format!("{number:064}"), "podref": podref, "ifname": "net1"})
    };
    let each = entry(1000).to_string().len() + 8;
    let all = (1..=bytes / each).map(|number| (number.to_string(), entry(number)));
    Value::Object(all.collect())
}

#[test]
fn a_pool_that_is_too_large_for_etcd_says_what_to_do() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({"range": "10.7.0.0/16"}));
    cluster.put_pool("10.7.0.0-16", "10.7.0.0/16", entries((3 << 19) - 9000));
    // So that one entry more is too much.
    let mut objects = cluster.server.objects();
    let mut pool = objects.get("ippools", "kube-system", "10.7.0.0-16").unwrap().clone();
    let left = (3 << 19) - 150 - pool.to_string().len();
    pool["metadata"]["annotations"] = json!({"pad": "x".repeat(left)});
    objects.put(pool);
    drop(objects);
    let message = refused(&cluster, &config);
    for words in ["in 1535 KiB, and takes no more", "request is too large", "\"node_slice_size\""] {
        assert!(message.contains(words), "{message}");
    }
    // A proxy in front of the server, or the server itself before it decodes.
    cluster.put_pool("10.7.0.0-16", "10.7.0.0/16", json!({}));
    let words = "Request entity too large: limit is 3145728";
    let fault = Fault::status(413, "RequestEntityTooLarge", words);
    cluster.server.next(&format!("PATCH {POOLS}"), fault);
    let message = refused(&cluster, &config);
    assert!(message.contains("takes no more") && message.contains(words), "{message}");
}

#[test]
fn a_pool_of_more_than_a_megabyte_still_gives_addresses() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({"range": "10.7.0.0/16"}));
    cluster.put_pool("10.7.0.0-16", "10.7.0.0/16", entries(1 << 20));
    let pod = cluster.pod();
    let added = known(pod.add(config), &pod).networks("lan").run();
    added.assert_success();
    assert!(added.stderr.contains("KiB, which etcd limits to 1.5 MiB"), "{}", added.stderr);
    let deleted = pod.del().run();
    deleted.assert_success();
    assert_eq!(cluster.node.state("addresses/due"), Vec::<String>::new(), "{}", deleted.stderr);
}

/// What others have written is shown on one line, without what moves a terminal's cursor.
#[test]
fn a_hostile_name_in_a_pool_stays_one_line_of_an_error() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({}));
    let podref = format!("x/y\n\u{1b}[2Jroot@node:~# {}", "z".repeat(9000));
    let entry = json!({"id": "other", "podref": podref, "ifname": "net1"});
    cluster.put_pool(POOL, "10.7.0.0/24", json!({"5": entry}));
    let pod = cluster.pod();
    let asked = json!([{"name": "lan", "ips": ["10.7.0.5/24"]}]);
    let outcome = known(pod.add(config.clone()), &pod).networks_json(asked).run();
    let (_, message) = outcome.error();
    assert!(message.contains("is taken by pod x/y"), "{message}");
    assert!(message.len() < 1000 && !message.contains(['\n', '\u{1b}']), "{message:?}");
    // Outside of the range there is nothing to ask for.
    let asked = json!([{"name": "lan", "ips": ["10.99.0.5/24"]}]);
    let outcome = known(pod.add(config), &pod).networks_json(asked).run();
    let (_, message) = outcome.error();
    assert!(message.contains("lies in no range of the network"), "{message}");
    assert!(!cluster.containers().contains(&pod.container));
}

/// Without a journal, nothing is written to the API.
#[test]
fn a_full_disk_takes_no_address() {
    let cluster = Cluster::new();
    let directory = cluster.node.path_text("full/addresses");
    let config = cluster.config(json!({"dataDir": directory}));
    cluster.node.mount("full", "mode=0700,size=16k");
    let filler = cluster.node.path("full/filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    let message = refused(&cluster, &config);
    assert!(message.contains("No space left on device"), "{message}");
    assert_eq!(cluster.containers(), Vec::<String>::new());
    fs::remove_file(&filler).unwrap();
    let pod = cluster.pod();
    known(pod.add(config), &pod).networks("lan").run().assert_success();
    // Full again: DEL gives back what is there, and removes its record.
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    pod.del().run().assert_success();
    assert_eq!(cluster.containers(), Vec::<String>::new());
}

#[test]
fn a_relative_directory_is_refused() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({"dataDir": "addresses"}));
    let message = refused(&cluster, &config);
    assert!(message.contains("\"ipam.dataDir\" must be an absolute path"), "{message}");
}
