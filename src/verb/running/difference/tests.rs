use super::*;
use crate::selection::{Limits, parse};

fn selections(annotation: &str) -> Vec<Selection> {
    parse(annotation, &"team-a".parse().unwrap(), Limits::default()).unwrap()
}

/// What a pod has that was started with an annotation: an interface for each element.
fn pod(annotation: &str, interfaces: &[&str]) -> Vec<(String, String, String)> {
    let selections = selections(annotation);
    assert_eq!(selections.len(), interfaces.len());
    let had = |(selection, interface): (Selection, &&str)| {
        let label = format!("{}/{}", selection.namespace, selection.name);
        (label, (*interface).to_owned(), selection.canonical())
    };
    selections.into_iter().zip(interfaces).map(had).collect()
}

/// What changes: interfaces that go, elements that come, by name.
fn change(had: &[(String, String, String)], annotation: &str) -> (Vec<String>, Vec<String>) {
    let had: Vec<Had<'_>> = had
        .iter()
        .map(|(label, interface, element)| Had { label, interface, element: Some(element) })
        .collect();
    let Difference { gone, new, .. } = difference(&had, selections(annotation));
    let gone = gone.iter().map(|at| had[*at].interface.to_owned()).collect();
    let asked = |selection: &Selection| {
        let interface = selection.interface.as_ref().map(|name| format!("@{name}"));
        format!("{}{}", selection.name, interface.unwrap_or_default())
    };
    (gone, new.iter().map(asked).collect())
}

#[test]
fn what_stays_keeps_its_interface_and_the_rest_changes() {
    let had = pod("a,b,c@data0", &["net1", "net2", "data0"]);
    let cases: [(&str, &[&str], &[&str]); 12] = [
        ("a,b,c@data0", &[], &[]),
        ("", &["net1", "net2", "data0"], &[]),
        ("b,c@data0", &["net1"], &[]),
        ("a,d,b,c@data0", &[], &["d"]),
        ("c@data0,b", &["net1"], &[]),
        // The name of an interface may come and go: it is the same network on the same one.
        ("a@net1,b,c", &[], &[]),
        ("a@net9,b,c@data0", &["net1"], &["a@net9"]),
        ("a,a,b,c@data0", &[], &["a"]),
        ("d@data0,a,b", &["data0"], &["d@data0"]),
        ("x", &["net1", "net2", "data0"], &["x"]),
        (r#"[{"name": "a", "mac": "02:00:00:00:00:01"}]"#, &["net1", "net2", "data0"], &["a"]),
        ("ops/a,b,c@data0", &["net1"], &["a"]),
    ];
    for (annotation, gone, new) in cases {
        let (went, came) = change(&had, annotation);
        assert_eq!((went, came), (to_owned(gone), to_owned(new)), "{annotation}");
    }
}

fn to_owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn an_element_whose_order_has_changed_is_attached_anew_and_told_of() {
    let had = pod("a,b", &["net1", "net2"]);
    let had: Vec<Had<'_>> = had
        .iter()
        .map(|(label, interface, element)| Had { label, interface, element: Some(element) })
        .collect();
    let changed = difference(&had, selections("b,a"));
    assert_eq!((changed.gone.len(), changed.new.len()), (1, 1));
    assert_eq!(changed.reordered.len(), 1, "{:?}", changed.reordered);
    assert!(difference(&had, selections("a,b,c")).reordered.is_empty());
}

/// Records of Braid before 0.2 have no elements.
#[test]
fn without_elements_the_networks_name_counts() {
    let had = [
        Had { label: "team-a/a", interface: "net1", element: None },
        Had { label: "ops/b", interface: "data0", element: None },
    ];
    let same = difference(
        &had,
        selections(r#"[{"name": "a"}, {"name": "b", "namespace": "ops", "interface": "data0"}]"#),
    );
    assert!(same.gone.is_empty() && same.new.is_empty(), "{same:?}");
    let changed = difference(&had, selections("a,b@data0"));
    assert_eq!((changed.gone, changed.new.len()), (vec![1], 1));
}
