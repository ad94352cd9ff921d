use super::*;

fn definition(name: &str) -> ClusterDefinition {
    ClusterDefinition {
        namespace: "team-a".parse().unwrap(),
        name: name.parse().unwrap(),
        config: Some("{}".to_owned()),
        annotations: BTreeMap::new(),
        resource_version: "1".to_owned(),
    }
}

fn copies(max_age: u64) -> (tempfile::TempDir, Copies) {
    let dir = tempfile::tempdir().unwrap();
    let mut copies =
        Copies::new(&dir.path().join("state"), Duration::from_secs(max_age), SystemTime::now);
    copies.writer = Some("c1".parse().unwrap());
    (dir, copies)
}

#[test]
fn a_copy_is_kept_until_it_is_too_old() {
    let (_dir, copies) = copies(100);
    let blue = definition("blue");
    copies.keep(&blue);
    assert_eq!(copies.fresh(&blue.namespace, &blue.name), Some(blue.clone()));
    let stale = Copies { max_age: Duration::ZERO, ..copies.clone() };
    assert_eq!(stale.fresh(&blue.namespace, &blue.name), None);
    assert_eq!(stale.any(&blue.namespace, &blue.name), Some(blue.clone()));
    stale.sweep();
    assert_eq!(copies.any(&blue.namespace, &blue.name), None);
}

#[test]
fn a_copy_from_the_future_is_as_stale_as_an_old_one() {
    let (_dir, copies) = copies(100);
    let blue = definition("blue");
    copies.keep(&blue);
    let is_fresh = |clock: Clock| {
        Copies { clock, ..copies.clone() }.fresh(&blue.namespace, &blue.name).is_some()
    };
    assert!(is_fresh(|| SystemTime::now() + Duration::from_secs(50)));
    assert!(!is_fresh(|| SystemTime::now() + Duration::from_secs(101)));
    assert!(!is_fresh(|| SystemTime::now() - Duration::from_secs(50)));
}

/// A namespace has up to 63 bytes and a name up to 253, a file's name up to 255.
#[test]
fn the_longest_name_has_a_copy_too() {
    let (_dir, copies) = copies(100);
    let long = |last: &str| {
        let name = format!("{}{last}", "a".repeat(252)).parse().unwrap();
        ClusterDefinition { namespace: "n".repeat(63).parse().unwrap(), name, ..definition("x") }
    };
    for definition in [long("b"), long("c")] {
        copies.keep(&definition);
        assert_eq!(copies.fresh(&definition.namespace, &definition.name), Some(definition));
    }
    let first = long("b");
    assert_eq!(copies.any(&first.namespace, &first.name), Some(first));
}

#[test]
fn a_copy_of_what_has_changed_is_forgotten() {
    let (_dir, copies) = copies(100);
    let blue = definition("blue");
    copies.keep(&blue);
    copies.forget_outdated(&blue);
    assert_eq!(copies.any(&blue.namespace, &blue.name), Some(blue.clone()));
    copies.forget_outdated(&ClusterDefinition { resource_version: "2".to_owned(), ..blue.clone() });
    assert_eq!(copies.any(&blue.namespace, &blue.name), None);
}

fn of(namespace: &str, name: &str, bytes: usize) -> ClusterDefinition {
    let config = Some("x".repeat(bytes));
    ClusterDefinition { namespace: namespace.parse().unwrap(), config, ..definition(name) }
}

fn names(copies: &Copies) -> Vec<String> {
    let files = directory::list(&copies.root, &copies.directory()).unwrap();
    files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Older by its number, whatever the file system's clock can tell apart.
fn age(copies: &Copies, seconds: u64) {
    for kept in copies.kept() {
        let file = std::fs::File::options().write(true).open(&kept.path).unwrap();
        file.set_modified(kept.written - Duration::from_secs(seconds)).unwrap();
    }
}

#[test]
fn a_namespace_with_too_many_copies_loses_its_oldest() {
    let (_dir, copies) = copies(10_000);
    copies.keep(&of("team-b", "lan", 10));
    for at in 0..OF_NAMESPACE.copies + 3 {
        age(&copies, 1);
        copies.keep(&of("team-a", &format!("n{at:03}"), 10));
    }
    let names = names(&copies);
    assert_eq!(names.len(), OF_NAMESPACE.copies + 1);
    assert!(names.contains(&"team-b_lan".to_owned()), "{names:?}");
    assert!(
        !names.contains(&"team-a_n002".to_owned()) && names.contains(&"team-a_n003".to_owned()),
        "{names:?}"
    );
}

#[test]
fn copies_are_bounded_in_bytes_and_the_largest_namespace_pays() {
    let (_dir, copies) = copies(10_000);
    let bytes = |copies: &Copies| copies.kept().iter().map(|kept| kept.bytes).sum::<u64>();
    let most = usize::try_from(OF_NAMESPACE.bytes).unwrap();
    for at in 0..8 {
        copies.keep(&of("team-a", &format!("n{at}"), most / 3));
    }
    assert!(bytes(&copies) <= OF_NAMESPACE.bytes, "{}", bytes(&copies));
    assert_eq!(names(&copies), ["team-a_n6", "team-a_n7"]);
    copies.keep(&of("kube-system", "primary", 10));
    for at in 0..12 {
        for number in 0..2 {
            copies.keep(&of(&format!("team-{at}"), &format!("n{number}"), most / 2 - 1000));
        }
    }
    assert!(bytes(&copies) <= OF_ALL.bytes, "{}", bytes(&copies));
    assert!(names(&copies).contains(&"kube-system_primary".to_owned()), "{:?}", names(&copies));
    assert_eq!(copies.kept().len(), 16 + 1);
}

/// In its file, a configuration is text in JSON, and can be longer than what is read.
#[test]
fn what_could_not_be_read_back_is_not_kept() {
    let (_dir, copies) = copies(100);
    let blue = ClusterDefinition { config: Some("\"".repeat(600 << 10)), ..definition("blue") };
    copies.keep(&blue);
    assert!(!copies.path(&blue.namespace, &blue.name).exists());
}

#[test]
fn a_sweep_takes_what_an_older_braid_kept_too_much_of() {
    let (_dir, copies) = copies(100);
    copies.keep(&definition("blue"));
    for at in 0..OF_NAMESPACE.copies {
        std::fs::write(copies.directory().join(format!("team-a_n{at}")), "{}").unwrap();
    }
    age(&copies, 1);
    std::fs::write(copies.directory().join("team-b_lan"), vec![b'x'; 3 << 20]).unwrap();
    copies.sweep();
    assert_eq!(copies.kept().len(), OF_NAMESPACE.copies);
    age(&copies, 100);
    copies.sweep();
    assert_eq!(names(&copies), Vec::<String>::new());
}

#[test]
fn zero_keeps_none() {
    let (dir, copies) = copies(0);
    copies.keep(&definition("blue"));
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_copy_under_another_name_does_not_count() {
    let (_dir, copies) = copies(100);
    let blue = definition("blue");
    copies.keep(&blue);
    let red = definition("red");
    std::fs::copy(copies.path(&blue.namespace, &blue.name), copies.path(&red.namespace, &red.name))
        .unwrap();
    assert_eq!(copies.any(&red.namespace, &red.name), None);
}

#[test]
fn a_broken_copy_is_none() {
    let (_dir, copies) = copies(100);
    let blue = definition("blue");
    copies.keep(&blue);
    std::fs::write(copies.path(&blue.namespace, &blue.name), "{").unwrap();
    assert_eq!(copies.any(&blue.namespace, &blue.name), None);
}
