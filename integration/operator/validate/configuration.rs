//! Configurations of a node, and files that are no configuration.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::validate;
use crate::node::Node;
use crate::operator::Tool;

#[test]
fn a_conflist_with_several_mistakes() {
    let text = r#"{
  "cniVersion": "9.9.9",
  "name": "not a name",
  "plugins": [
    {"type": "bridge", "capabilities": []},
    {"bridge": "br0"},
    {
      "type": "braid",
      "clusterNetwrk": "auto",
      "confDir": "relative",
      "delegateTimeout": "soon"
    }
  ]
}
"#;
    assert_snapshot!(validate("x.conflist", text));
}

/// What no pod starts with is an error, wherever the file will stand.
#[test]
fn a_braid_that_cannot_work_in_its_place() {
    let said = |entries: Value, name: &str| {
        let conflist = json!({"cniVersion": "1.0.0", "name": name, "plugins": entries});
        validate("x.conflist", &conflist.to_string())
    };
    let first =
        "error: braid is the first plugin and has no primary network, so that no pod starts";
    let behind = "error: braid stands behind other plugins and has a primary network of its own";
    let braid = |more: Value| {
        let mut entry = json!({"type": "braid"});
        entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        entry
    };
    for more in [
        json!({}),
        json!({"clusterNetwrk": "auto"}),
        json!({"clusterNetwork": "", "delegates": []}),
    ] {
        let text = said(json!([braid(more.clone())]), "node");
        assert!(text.starts_with("status 1") && text.contains(first), "{more}: {text}");
    }
    let ptp = json!({"type": "ptp"});
    let delegating = braid(json!({"clusterNetwork": "auto"}));
    let text = said(json!([ptp, delegating]), "node");
    assert!(text.starts_with("status 1") && text.contains(behind), "{text}");
    for entries in [json!([ptp, braid(json!({}))]), json!([delegating, ptp]), json!([ptp])] {
        let text = said(entries.clone(), "node");
        assert!(text.starts_with("status 0"), "{entries}: {text}");
    }
    // A file of a sub-directory, which is appended to the primary's chain.
    let text = validate("braid.conf", &braid(json!({})).to_string());
    assert!(text.starts_with("status 0"), "{text}");
    let alone = validate("x.conf", r#"{"cniVersion": "1.0.0", "name": "node", "type": "braid"}"#);
    assert!(alone.contains(first), "{alone}");
}

#[test]
fn json_that_ends_early() {
    assert_snapshot!(validate("x.conf", "{\n  \"name\": \"x\",\n"));
}

#[test]
fn standard_input_is_a_file_too() {
    let node = Node::new();
    let said =
        Tool::new(&node, &["validate", "-"]).input("kind: Pod\nmetadata: {namespace: A}\n").run();
    assert_snapshot!(said.snapshot());
    let json = Tool::new(&node, &["validate", "-", "-o", "json"])
        .input("{\"cniVersion\": 1}")
        .run()
        .json();
    assert_eq!(json["problems"][0]["line"], 1);
}

#[test]
fn a_configuration_that_is_none_says_so() {
    let node = Node::new();
    node.write("net.d/10-x.conflist", r#"{"name": "x", "plugins": [{"type": "ptp"}]}"#);
    node.write("net.d/broken", "{");
    let mut said = String::new();
    for file in ["net.d/absent", "net.d/broken", "net.d/10-x.conflist"] {
        let arguments = ["validate", "--config", &node.path_text(file), "-"];
        said.push_str(&Tool::new(&node, &arguments).input("kind: Pod\n").run().snapshot());
        said.push_str(&Tool::new(&node, &["list", "--config", &node.path_text(file)]).run().stderr);
    }
    assert_snapshot!(said);
}

#[test]
fn yaml_that_is_none_has_its_place_once() {
    assert_snapshot!(validate("x.yaml", "kind: Pod\nmetadata: [\n"));
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c \
                [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c]\n";
    assert_snapshot!(validate("x.yaml", bomb));
}

/// Everything to copy is valid.
#[test]
fn the_repositorys_own_files_are_valid() {
    let node = Node::new();
    let mut files = Vec::new();
    for directory in
        ["conf", "conf/definitions", "conf/pods", "conf/kubernetes", "conf/kubernetes/base"]
    {
        let entries =
            std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory))
                .unwrap();
        files.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    assert!(files.len() > 15);
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> =
        ["validate"].into_iter().chain(files.iter().map(String::as_str)).collect();
    Tool::new(&node, &arguments).run().assert_status(0);
}

#[test]
fn files_with_nothing_to_check_are_told_apart() {
    let node = Node::new();
    node.write("role.yaml", "kind: ClusterRole\nmetadata: {name: braid}\n");
    node.write("web.yaml", "kind: Deployment\nspec: {template: {metadata: {annotations: {}}}}\n");
    let validate = |names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|name| node.path_text(name)).collect();
        let arguments: Vec<&str> =
            std::iter::once("validate").chain(paths.iter().map(String::as_str)).collect();
        let said = Tool::new(&node, &arguments).run();
        (said.status, said.stdout)
    };
    assert_eq!(validate(&["web.yaml"]), (0, "valid: 1 checked\n".to_owned()));
    let some = "valid: 1 checked, 1 with nothing to check\n".to_owned();
    assert_eq!(validate(&["role.yaml", "web.yaml"]), (0, some));
    let nothing =
        "nothing to check: no network configuration, no definition and no pod\n".to_owned();
    assert_eq!(validate(&["role.yaml"]), (1, nothing));
}

#[test]
fn files_of_others_are_nothing_to_check() {
    let nothing = "status 1\n--- stdout\nnothing to check: no network configuration, no definition \
                   and no pod\n";
    let files = [
        ("values.yaml", "image: {tag: 1}\nplugins: [a, b]\n"),
        ("package.json", r#"{"name": "x", "version": "1.0.0", "type": "module"}"#),
        ("list.json", "[1, 2]"),
        ("text.yaml", "just words\n"),
        ("empty.yaml", ""),
    ];
    for (name, text) in files {
        assert_eq!(validate(name, text), nothing, "{name}");
    }
    for (name, text) in [
        ("x.json", r#"{"name": "x", "plugins": [{"type": "a/b"}]}"#),
        ("x.conf", "[]"),
        ("y.conf", "{}"),
    ] {
        assert!(validate(name, text).starts_with("status 1\n"), "{name}");
    }
    let said = validate("templates/x.yaml", "a: {{ .Values.x }}\nb: [\n");
    assert!(said.contains("; of a chart check what helm template prints"), "{said}");
}

/// The problems of a directory, as other programs read them.
#[test]
fn problems_are_told_in_the_words_of_other_programs() {
    let node = Node::new();
    node.write(
        "deploy/a/web.yaml",
        "kind: Pod\nmetadata:\n  annotations:\n    k8s.v1.cni.cncf.io/networks: a@@b\n",
    );
    node.write("deploy/role.yaml", "kind: ClusterRole\n");
    node.write("deploy/notes.md", "no file of ours");
    let directory = node.path_text("deploy");
    let run = |format: &str| {
        Tool::new(&node, &["validate", &directory, "--output", format]).run().assert_status(1)
    };
    let file = node.path_text("deploy/a/web.yaml");
    let text = run("table").stdout;
    assert!(text.ends_with("\n1 error: 1 checked, 1 with nothing to check\n"), "{text}");
    let github = run("github").raw;
    assert!(
        github.starts_with(&format!("::error file={file},line=4,col=34::element 1 is ")),
        "{github}"
    );
    assert_eq!(github.lines().count(), 1);
    let sarif = run("sarif").json();
    assert_eq!((&sarif["version"], sarif["runs"].as_array().unwrap().len()), (&json!("2.1.0"), 1));
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["level"], "error");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], format!("file://{file}"));
    assert_eq!(place["region"], json!({"startLine": 4, "startColumn": 34}));
    let refused = Tool::new(&node, &["list", "--output", "sarif"]).run().assert_status(2);
    assert!(refused.stderr.contains("are for braid validate"), "{}", refused.stderr);
}
