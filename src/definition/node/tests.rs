use super::*;

#[test]
fn a_field_that_yaml_reads_as_something_else_is_named() {
    let manifest = |more: &str| format!("kind: NetworkAttachmentDefinition\n{more}\n");
    let files = [
        ("kind.yaml", "kind: y\n".to_owned(), "kind is a boolean"),
        ("name.yaml", manifest("metadata: {name: y}"), "metadata.name is a boolean"),
        (
            "number.yaml",
            manifest("metadata: {name: 1}"),
            "metadata.name is a number: put it in quotes",
        ),
        (
            "namespace.yaml",
            manifest("metadata: {name: a, namespace: on}"),
            "metadata.namespace is a boolean",
        ),
        ("missing.yaml", manifest("metadata: {namespace: a}"), "metadata.name is missing"),
        (
            "config.yaml",
            manifest("metadata: {name: a}\nspec: {config: {type: x}}"),
            "spec.config is an object",
        ),
        (
            "shared.yaml",
            manifest("metadata: {name: a, annotations: {braid.io/allowed-namespaces: no}}"),
            "annotation braid.io/allowed-namespaces is a boolean",
        ),
        ("item.yaml", "kind: List\nitems: [{kind: 1}]\n".to_owned(), "kind is a number"),
    ];
    for (name, text, expected) in &files {
        let dir = directory(&[(*name, text.as_str())]);
        let warnings = NodeDefinitions::read(&[dir.path().to_owned()]).warnings;
        assert_eq!(warnings.len(), 1, "{name}");
        assert!(warnings[0].contains(expected), "{}", warnings[0]);
    }
    let quoted =
        manifest("metadata: {name: 'y', namespace: '1'}\nspec: {config: '{\"type\": \"x\"}'}");
    let dir = directory(&[("quoted.yaml", quoted.as_str())]);
    let found = NodeDefinitions::read(&[dir.path().to_owned()]);
    assert_eq!(found.warnings, Vec::<String>::new());
    assert!(found.find(&"1".parse().unwrap(), "y", Version::V1_0_0).is_ok());
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn find(
    dir: &tempfile::TempDir,
    namespace: &str,
    name: &str,
) -> Result<Definition, DefinitionError> {
    let definitions = NodeDefinitions::read(&[dir.path().into()]);
    definitions.find(&namespace.parse().unwrap(), name, Version::V1_0_0)
}

const MANIFESTS: &str = "
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: blue, namespace: team-a}
spec:
  config: |
    {\"type\": \"bridge\", \"bridge\": \"br-blue\"}
---
apiVersion: v1
kind: Pod
metadata: {name: other}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: node-net}
---
kind: NetworkAttachmentDefinition
metadata: {name: broken}
spec: {config: '{\"type\": '}
";

#[test]
fn a_manifest_is_found_by_namespace_and_name() {
    let dir = directory(&[("all.yaml", MANIFESTS)]);
    let network = find(&dir, "team-a", "blue").unwrap().network;
    assert_eq!((network.name.as_str(), network.version), ("blue", Version::V1_0_0));
    let error = find(&dir, "team-b", "blue").unwrap_err().to_string();
    assert!(
        error.starts_with(
            "network \"team-b/blue\" is not defined on this node: put its definition in"
        ),
        "{error}"
    );
}

#[test]
fn without_a_config_the_file_of_the_name_counts_conflists_first() {
    let dir = directory(&[
        ("all.yaml", MANIFESTS),
        ("10.conf", r#"{"cniVersion": "0.3.1", "name": "node-net", "type": "single"}"#),
        (
            "20.conflist",
            r#"{"cniVersion": "0.4.0", "name": "node-net", "plugins": [{"type": "listed"}]}"#,
        ),
    ]);
    let network = find(&dir, "default", "node-net").unwrap().network;
    assert_eq!((network.plugins[0].kind.as_str(), network.version), ("listed", Version::V0_4_0));
    assert!(find(&dir, "team-a", "node-net").is_err(), "past the namespace of its manifest");
}

#[test]
fn one_broken_file_is_a_warning_that_names_it() {
    let dir = directory(&[
        ("00-broken.yaml", "a: [b"),
        ("01-broken.json", "{"),
        ("02-broken.conf", r#"{"name": "x"}"#),
        ("03-broken.yaml", "kind: NetworkAttachmentDefinition\nmetadata: {name: 'Not A Name'}"),
        ("04-broken.yaml", "just text"),
        ("all.yaml", MANIFESTS),
    ]);
    std::fs::create_dir(dir.path().join("05-directory.yaml")).unwrap();
    let definitions = NodeDefinitions::read(&[dir.path().into()]);
    assert_eq!(
        definitions.warnings.len(),
        4,
        "a directory is passed over: {:#?}",
        definitions.warnings
    );
    assert!(
        definitions.warnings.iter().all(|warning| warning.contains("0")),
        "{:#?}",
        definitions.warnings
    );
    assert!(find(&dir, "team-a", "blue").is_ok());
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_plain_words() {
    let twice = "kind: NetworkAttachmentDefinition\nmetadata:\n  name: a\n  name: b\n";
    let many = "kind: List\nitems: [".to_owned() + &"{},".repeat(MAX_YAML_NODES) + "]\n";
    let files = [
        ("a.yaml", twice, " at line 4, column 3: key \"name\" is given twice: keep one of them"),
        ("a.yaml", "a: 'b\n", " at line "),
        ("a.yaml", many.as_str(), ": it is too large, or unfolds to too much: divide it"),
    ];
    for (name, text, expected) in files {
        let dir = directory(&[(name, text)]);
        let path = dir.path().join(name);
        let warnings = NodeDefinitions::read(&[dir.path().into()]).warnings;
        let [warning] = warnings.as_slice() else { panic!("not one: {warnings:?}") };
        let said = warning.strip_prefix(&format!("{} is ignored: not valid YAML", path.display()));
        assert!(said.is_some_and(|said| said.contains(expected)), "{warning}");
        for word in ["Policy", "Options", "budget", "max_", "DuplicateKey", "-->"] {
            assert!(!warning.contains(word), "{warning}");
        }
    }
}

#[test]
fn a_broken_config_breaks_its_own_definition_alone() {
    let dir = directory(&[("all.yaml", MANIFESTS)]);
    let error = find(&dir, "default", "broken").unwrap_err().to_string();
    assert!(error.starts_with("network \"default/broken\" is not valid"), "{error}");
}

#[test]
fn a_near_miss_is_named_in_the_own_namespace_alone() {
    let dir = directory(&[("all.yaml", MANIFESTS)]);
    let message = |namespace: &str| find(&dir, namespace, "bleu").unwrap_err().to_string();
    assert!(message("team-a").ends_with("did you mean \"blue\"?"));
    assert!(!message("team-b").contains("blue"));
}

#[test]
fn a_yaml_bomb_is_a_warning() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 9].join(",")));
    }
    bomb.push_str("kind: NetworkAttachmentDefinition\n");
    let dir = directory(&[("bomb.yaml", &bomb), ("all.yaml", MANIFESTS)]);
    assert_eq!(NodeDefinitions::read(&[dir.path().into()]).warnings.len(), 1);
    assert!(find(&dir, "team-a", "blue").is_ok());
}

#[test]
fn json_lists_count_too() {
    let item = r#"{"kind": "NetworkAttachmentDefinition", "metadata": {"name": "x"}, "spec": {"config": "{\"type\": \"t\"}"}}"#;
    let dir = directory(&[("list.json", &format!(r#"{{"kind": "List", "items": [{item}]}}"#))]);
    assert!(find(&dir, "default", "x").is_ok());
}
