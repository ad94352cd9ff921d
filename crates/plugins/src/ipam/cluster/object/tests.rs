use super::*;

#[test]
fn a_pool_has_an_entry_for_each_key_that_is_a_number() {
    let text = r#"{"metadata": {"name": "10.0.0.0-24", "namespace": "kube-system", "resourceVersion": "9",
            "managedFields": [{"manager": "whereabouts"}], "annotations": null},
        "spec": {"range": "10.0.0.0/24", "allocations": {
            "5": {"id": "c1", "podref": "a/b", "ifname": "net1"},
            "007": {"id": "c2", "podref": "a/c"}, "x": {"id": "c3"}, "-1": {"id": "c4"}}}}"#;
    let pool = Pool::decode(text.as_bytes()).unwrap();
    let found: Vec<_> = pool.entries.iter().map(|(at, entry)| (*at, entry.key.as_str())).collect();
    assert_eq!(found, [(5, "5"), (7, "007")]);
    assert_eq!(pool.entries[&7].ifname, "");
    assert_eq!((pool.bytes, pool.has_allocations), (text.len(), true));
    assert_eq!(pool.address(5).unwrap().to_string(), "10.0.0.5");
    assert_eq!(pool.offset("10.0.0.7".parse().unwrap()), Some(7));
    assert_eq!(pool.offset("9.0.0.7".parse().unwrap()), None);
    assert_eq!(pool.address(u128::MAX), None);
}

#[test]
fn what_is_missing_is_empty() {
    let text = r#"{"metadata": {"name": "a"}}"#.as_bytes();
    assert!(!Pool::decode(text).unwrap().has_allocations);
    assert_eq!(Reservation::decode(text).unwrap().container, "");
    assert!(NodeSlices::decode(text).unwrap().slices.is_empty());
    assert!(Claim::decode(text).unwrap().ips.is_empty());
    for text in ["", "[]", "{}", r#"{"metadata": {"name": "a"}, "spec": {"allocations": 5}}"#] {
        assert!(Pool::decode(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_list_has_pages() {
    let text = r#"{"metadata": {"continue": "abc"}, "items": [{"metadata": {"name": "a"}}]}"#;
    let page = Pool::decode_list(text.as_bytes()).unwrap();
    assert_eq!((page.items.len(), page.next.as_str()), (1, "abc"));
    assert_eq!(page.items[0].bytes, r#"{"metadata":{"name":"a"}}"#.len());
    assert_eq!(Pool::decode_list(b"{}").unwrap(), Page { items: vec![], next: String::new() });
}

#[test]
fn slices_and_claims_are_read() {
    let text = r#"{"metadata": {"name": "a"}, "spec": {"range": "10.0.0.0/16", "sliceSize": "/24"},
        "status": {"allocations": [{"nodeName": "n1", "sliceRange": "10.0.1.0/24"}, {"nodeName": "",
        "sliceRange": "10.0.2.0/24"}]}}"#;
    let slices = NodeSlices::decode(text.as_bytes()).unwrap().slices;
    assert_eq!(slices, BTreeMap::from([("n1".to_owned(), "10.0.1.0/24".to_owned())]));
    let text = r#"{"metadata": {"name": "a"}, "spec": {"network": "blue", "interface": "net1"},
        "status": {"ips": ["10.0.0.5/24"]}}"#;
    assert_eq!(Claim::decode(text.as_bytes()).unwrap().ips, ["10.0.0.5/24"]);
}
