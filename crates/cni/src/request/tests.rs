use super::*;

const ADD: [(&str, &str); 6] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/x"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web"),
    ("CNI_PATH", "/opt/cni/bin:relative:/usr/lib/cni"),
];

fn without(names: &[&str]) -> Environment {
    let mut environment = Environment::from(ADD);
    environment.0.retain(|name, _| !names.iter().any(|gone| OsStr::new(gone) == name));
    environment
}

#[test]
fn no_command_means_a_person() {
    assert!(Request::read(Environment::default()).is_none());
}

#[test]
fn an_add_is_read_whole() {
    let request = Request::read(ADD.into()).unwrap().unwrap();
    let Verb::Add(sandbox) = request.verb else { panic!("not an ADD") };
    assert_eq!((sandbox.container.as_str(), sandbox.netns.as_str()), ("c1", "/run/netns/x"));
    assert_eq!(sandbox.args.get("K8S_POD_NAME"), Some("web"));
    assert_eq!(request.path, [PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")]);
}

#[test]
fn programs_are_in_the_absolute_directories_of_path() {
    let environment = [("CNI_COMMAND", "GC"), ("PATH", "/sbin:bin::/usr/bin")];
    let request = Request::read(environment.into()).unwrap().unwrap();
    assert_eq!(request.environment.programs(), [PathBuf::from("/sbin"), PathBuf::from("/usr/bin")]);
    let request = Request::read([("CNI_COMMAND", "GC")].into()).unwrap().unwrap();
    assert!(request.environment.programs().contains(&PathBuf::from("/usr/sbin")));
}

#[test]
fn everything_missing_is_named_at_once() {
    let error = Request::read([("CNI_COMMAND", "ADD")].into()).unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "ADD needs CNI_CONTAINERID (not set), and CNI_NETNS (not set), and CNI_IFNAME (not set)"
    );
}

#[test]
fn del_does_without_a_namespace() {
    let mut environment = without(&["CNI_NETNS"]);
    environment.0.insert("CNI_COMMAND".into(), "DEL".into());
    let Verb::Del(sandbox) = Request::read(environment).unwrap().unwrap().verb else {
        panic!("not a DEL")
    };
    assert_eq!(sandbox.netns, "");
}

#[test]
fn names_that_would_become_paths_are_refused() {
    for id in ["", "../x", "/x", "-x", ".x", "a/b", "a\nb", "a b", &"x".repeat(201), "ä"] {
        assert!(id.parse::<ContainerId>().is_err(), "{id}");
    }
    let mut environment = Environment::from(ADD);
    environment.0.insert("CNI_CONTAINERID".into(), "../etc".into());
    environment.0.insert("CNI_IFNAME".into(), "a/b".into());
    let error = Request::read(environment).unwrap().unwrap_err().to_string();
    assert!(error.contains("CNI_CONTAINERID") && error.contains("CNI_IFNAME"), "{error}");
}

#[test]
fn only_the_plugin_loopback_is_called_for_lo() {
    let mut environment = Environment::from(ADD);
    environment.0.insert("CNI_IFNAME".into(), "lo".into());
    assert!(Request::read(environment.clone()).unwrap().is_err());
    let request = Request::read_for_loopback(environment).unwrap().unwrap();
    assert_eq!(request.verb.sandbox().unwrap().interface.as_str(), "lo");
    let request = Request::read_for_loopback(ADD.into()).unwrap().unwrap();
    assert_eq!(request.verb.sandbox().unwrap().interface.as_str(), "eth0");
}

#[test]
fn a_command_that_does_not_exist_is_refused() {
    let error = Request::read([("CNI_COMMAND", "add")].into()).unwrap().unwrap_err();
    assert_eq!(error, RequestError::Command("add".to_owned()));
}

#[test]
fn arguments_are_replaced_by_key() {
    let args = CniArgs::from("IgnoreUnknown=1;IP=old;;X=y").with(&[("IP", "10.0.0.1".to_owned())]);
    assert_eq!(args.as_str(), "IgnoreUnknown=1;X=y;IP=10.0.0.1");
    assert_eq!(CniArgs::default().with(&[]).as_str(), "");
}
