//! Both forms together, and arbitrary text.

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// An annotation with every key, to be spoilt.
const FULL: &str = r#"[{"name":"blue","namespace":"ops","ips":["10.2.2.42/24","2001:db8::5"],
"mac":"02:23:45:67:89:01","interface":"data0","cni-args":{"a":[1,{"b":null}]},
"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":""}],
"bandwidth":{"ingressRate":2048,"ingressBurst":300},"default-route":["10.0.0.1"],
"infiniband-guid":"24:8a:07:03:00:8d:ae:2f","deviceID":"0000:04:00.5"},
{"name":"red","ipam-claim-reference":"vm1","interfaceRequest":"data1","org.x":1}]"#;

const SHORT: &str = "net-a, ops/net-b@data0,net-a";

fn pods() -> Namespace {
    "pods".parse().unwrap()
}

fn read(text: &str) -> Result<Vec<Selection>, String> {
    parse(text, &pods(), Limits::default()).map_err(|error| error.to_string())
}

#[test]
fn the_first_character_tells_the_form() {
    for blank in ["", " ", "\n\t ", "[]", " [ ] "] {
        assert_eq!(read(blank), Ok(Vec::new()), "{blank:?}");
    }
    assert_eq!(read("blue").unwrap(), read(" [{\"name\": \"blue\"}]").unwrap());
    assert_eq!(
        read(" {\"name\": \"blue\"}").unwrap_err(),
        "the annotation is a JSON object: must be a list, wrap it in [ ]"
    );
    assert_eq!(read(FULL).unwrap().len(), 2);
    assert_eq!(read(SHORT).unwrap().len(), 3);
}

#[test]
fn two_elements_cannot_have_one_interface() {
    let message = "element 3 (ops/c): \"interface\" is \"net1\": must differ from the interface of \
                   element 1 (pods/a)";
    assert_eq!(read("a@net1,b,ops/c@net1").unwrap_err(), message);
    let json = json!([{"name": "a", "interface": "net1"}, {"name": "b"},
                      {"name": "c", "namespace": "ops", "interfaceRequest": "net1"}]);
    assert_eq!(read(&json.to_string()).unwrap_err(), message);
    assert!(read("a@net1,b@Net1").is_ok());
}

#[test]
fn two_elements_cannot_have_the_default_route() {
    let json = json!([{"name": "a", "default-route": []}, {"name": "b"}, {"name": "c", "default-route": ["10.0.0.1"]}]);
    assert_eq!(
        read(&json.to_string()).unwrap_err(),
        "element 3 (pods/c): \"default-route\" must be given once, element 1 (pods/a) has it too"
    );
}

#[test]
fn the_size_limit_is_exact() {
    let padded = |bytes: usize| format!("blue{}", " ".repeat(bytes - 4));
    assert_eq!(read(&padded(65536)).unwrap().len(), 1);
    assert_eq!(
        read(&padded(65537)).unwrap_err(),
        "the annotation has 65537 bytes: at most 65536 are allowed"
    );
}

#[test]
fn the_limit_is_the_callers() {
    let read = |text: &str, networks| {
        parse(text, &pods(), Limits { networks, ..Limits::default() }).map(|list| list.len()).ok()
    };
    assert_eq!(read("a,b", 2), Some(2));
    assert_eq!(read("a,b", 1), None);
    assert_eq!(read("[]", 0), Some(0));
    assert_eq!(read("[{\"name\": \"a\"}]", 0), None);
}

#[test]
fn errors_keep_their_data() {
    let error =
        parse("[{\"name\": \"a\", \"mac\": \"x\"}]", &pods(), Limits::default()).unwrap_err();
    let SelectionError::Element(error) = error else { panic!("{error}") };
    assert_eq!((error.element.position, error.refusal.rule), (0, Rule::Mac));
}

/// Any JSON, its keys often ours.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}|10\\.0\\.0\\.[0-9]{1,3}(/[0-9]{1,2})?|[a-z]{1,5}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        proptest::sample::select(vec![
            "name",
            "Name",
            "namespace",
            "ips",
            "mac",
            "interface",
            "interfaceRequest",
            "cni-args",
            "portMappings",
            "hostPort",
            "containerPort",
            "bandwidth",
            "ingressRate",
            "default-route",
            "deviceID",
            "$serde_json::private::Number",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// `FULL` or `SHORT` with a few characters replaced, dropped or doubled.
fn near_valid() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..3_u8, "[\\[\\]{}\",:@/.%0-9a-zA-Z \\n]|\\PC");
    let base = prop_oneof![Just(FULL), Just(SHORT)];
    (base, prop::collection::vec(edit, 0..4)).prop_map(|(base, edits)| {
        let mut text: Vec<char> = base.chars().collect();
        for (index, kind, with) in edits {
            let at = index.index(text.len());
            let with = with.chars().next().unwrap();
            match kind {
                0 => text[at] = with,
                1 => text.insert(at, with),
                _ => drop(text.remove(at)),
            }
        }
        text.into_iter().collect()
    })
}

/// What holds of every answer.
fn judge(text: &str) -> Result<(), TestCaseError> {
    match parse(text, &pods(), Limits::default()) {
        Ok(list) => {
            prop_assert!(list.len() <= 16);
            prop_assert!(list.iter().enumerate().all(|(position, one)| one.position == position));
            prop_assert!(list.iter().all(|one| one.ips.is_empty() || one.ipam_claim.is_none()));
            prop_assert!(list.iter().filter(|one| one.default_route.is_some()).count() <= 1);
        }
        Err(error) => {
            let message = error.to_string();
            prop_assert!(message.len() < 1500, "{message}");
            prop_assert!(!message.chars().any(char::is_control), "{message:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "(?s).{0,200}|[a-z/@, ]{0,60}") {
        judge(&text)?;
    }

    #[test]
    fn no_json_is_too_strange(value in any_json(), list in any::<bool>()) {
        judge(&if list { json!([value]).to_string() } else { value.to_string() })?;
    }

    #[test]
    fn no_typing_error_is_too_strange(text in near_valid()) {
        judge(&text)?;
    }

    #[test]
    fn both_forms_read_alike(
        names in prop::collection::vec(("([a-z0-9]{1,9}/)?", "[a-z0-9]{1,9}(\\.[a-z0-9]{1,9})?", any::<bool>()), 1..16)
    ) {
        let interface = |index: usize, asked: bool| asked.then(|| format!("if{index}"));
        let short: Vec<String> = names.iter().enumerate().map(|(index, (namespace, name, asked))| {
            let suffix = interface(index, *asked).map(|text| format!("@{text}")).unwrap_or_default();
            format!("{namespace}{name}{suffix}")
        }).collect();
        let long: Vec<Value> = names.iter().enumerate().map(|(index, (namespace, name, asked))| {
            json!({"name": name, "namespace": namespace.trim_end_matches('/'), "interface": interface(index, *asked)})
        }).collect();
        let read = read(&short.join(",")).unwrap();
        prop_assert_eq!(read.len(), names.len());
        prop_assert_eq!(read, super::parse(&Value::from(long).to_string(), &pods(), Limits::default()).unwrap());
    }
}
