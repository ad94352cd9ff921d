//! Tenants against each other and against the node, on every path that a tenant has. The rules
//! themselves are tested in `src/policy/`.
//!
//! Each attack, with words of the refusal that it gets and the test that tries it. The table is
//! complete: `the_table_has_every_test_and_every_refusal` compares it with the modules.
//!
//! | Attack | Refusal | Test |
//! |---|---|---|
//! | Another tenant's definition, on the node or in the API, shared with others, broken or too large; whether it exists | `is not shared with namespace team-a` | `foreign::another_tenants_network_looks_as_if_it_were_not_there` |
//! | A network file of the node, directly or through an empty definition of that name | `policy.sharedNodeNetworks` | `foreign::an_empty_definition_opens_no_network_of_the_node` |
//! | A definition for some service accounts, as another account or as a namesake of the pod | `is not shared with service account team-a/default` | `foreign::service_accounts_are_learnt_from_the_api_or_refused` |
//! | A closed definition out of its copy, while the API is away | `there is no copy of it` | `foreign::an_outage_opens_no_network_that_was_closed` |
//! | Pods that are refused, to fill the state directory with copies of what they ask for | `such a one may have 65536` | `foreign::what_is_refused_leaves_no_copy` |
//! | The default-network annotation as a way around isolation | `can add it to policy.primaryOverride` | `primary::the_default_network_annotation_is_no_way_around` |
//! | The default-network annotation as a way to learn names in `multusNamespace` | `may not be the primary of pods of namespace` | `primary::a_refused_primary_tells_nothing_of_what_there_is` |
//! | CNI-Genie's annotation as a way around `primaryOverride`, by name and by type | `may not be the primary of pods of namespace` | `primary::genies_annotation_is_under_the_rule_for_primaries` |
//! | CNI-Genie's annotation with paths, empty words, a second primary, behind a primary | `must be the name` | `primary::genies_annotation_is_refused_if_it_makes_no_sense` |
//! | CNI-Genie's annotation if the node does not read it | none: it is not read | `primary::genies_annotation_chooses_the_primary_and_more` |
//! | CNI-Genie's annotation if the node reads it, with real plugins | none: it is served | `primary::genies_networks_carry_packets` |
//! | A full or hostile disk, so that the primary that was chosen is forgotten | `is no directory` | `primary::a_chosen_primary_is_never_without_a_record` |
//! | `dataDir`, `resolvConf`, log files, kubeconfigs and sockets in a definition, absolute and relative | `may not carry \"dataDir\"` | `definition::files_of_the_host_stay_out_of_reach` |
//! | `bridge` and `master` left out, of the host, of another tenant; modes that take an interface whole | `may not reach the host's interface` | `definition::interfaces_of_the_host_stay_out_of_reach` |
//! | The name that the node has for another interface (`nodeInterfaces`) | `may not reach the host's interface` | `definition::another_name_for_an_interface_does_not_open_it` |
//! | Nested types, delegating plugins, IPAM types that are none, types with path parts | `delegates to others` | `definition::no_plugin_hides_inside_another` |
//! | Any plugin of the node, first in its chain or as IPAM, with a key that no facts know | `may not use plugin` | `definition::each_of_debians_plugins_is_fenced_in_or_out` |
//! | Addresses, gateways and routes of the cluster or another tenant, IPv4-mapped or octal ones | `is in no subnet of namespace team-a` | `definition::addresses_of_others_stay_out_of_reach` |
//! | The VLAN of another tenant, or a range that holds it | `is no VLAN of namespace team-a` | `definition::vlans_of_others_stay_out_of_reach` |
//! | A network name that another's addresses are kept under | none: its plugins get another | `definition::a_name_is_not_taken_from_another_namespace` |
//! | A network name that means something outside the node, or one too long to be scoped | `its owner can write \"name\": \"team-a.x\"` | `definition::a_name_that_cannot_be_scoped_is_refused` |
//! | A network's scoped name, in calls after ADD and in what people read | none: the record's counts | `naming::plugins_get_the_scoped_name_and_people_the_definitions_own` |
//! | A scoped name while the policy is only audited | none: a warning says so | `naming::audit_mode_leaves_the_name_and_says_what_it_would_be` |
//! | Addresses that pods have under the name from before the policy | none: they are held | `naming::addresses_from_before_are_not_given_out_again` |
//! | A file in place of the directory that would hold them | `cannot be kept for the pods that have them` | `naming::a_pool_that_cannot_be_held_gives_out_nothing` |
//! | A scoped name that no message tells of | none: `explain` says it | `naming::explain_says_the_scoped_name` |
//! | Keys that Go's decoder reads and Braid's does not: other case, `ſ`, given twice | `may not carry \"BRIDGE\"` | `definition::no_spelling_of_a_key_passes_the_fence` |
//! | A second value of a key, for the plugin alone | none: it is dropped | `definition::a_plugin_gets_what_was_judged` |
//! | Sysctls of the node, of the pod, of another interface | `net.ipv4.conf.IFNAME` | `definition::a_sysctl_is_of_the_attachments_own_interface` |
//! | A definition of hostile size, depth or encoding | `such a one may have 65536` | `definition::a_definition_of_hostile_size_or_depth_is_refused` |
//! | `ips`, `mac`, `infinibandGUID` inside `cni-args`, against the owner's limits | `takes no \"ips\" \"10.96.0.1/24\"` | `request::values_are_not_smuggled_in_cni_args` |
//! | A device of the node that the kubelet has not given the pod | `no device but those that the kubelet has given them` | `request::a_device_of_the_node_is_not_for_the_asking` |
//! | Sysctls and other keys of plugins inside `cni-args`, against the fence | `none of its plugins may carry \"SysCtl\"` | `request::arguments_say_no_more_than_the_definition_may` |
//! | An annotation of hostile size, depth, encoding; keys given twice, NUL, lone surrogates, huge numbers | `recursion limit exceeded` | `request::a_hostile_annotation_is_refused_as_a_whole` |
//! | A call that is not UTF-8 | `is not valid JSON` | `request::a_call_that_is_no_text_is_refused` |
//! | Interface names with `/`, `%`, newline, leading dash, period at either end, reserved ones | `that does not begin with '-' or '.'` | `request::an_interface_name_is_no_path_no_option_and_no_pattern` |
//! | An address of the node's subnet, of a service, of another bridge, on a shared network with its gateway on the node, by every key and both annotations, of trusted definitions and of the node's files | `no network that is granted holds it` | `address::an_address_that_is_not_granted_is_refused_on_every_path` |
//! | The same if a careless owner grants it | `it overlaps an address or a route of the node` | `address::an_address_of_the_node_is_refused_under_every_grant` |
//! | A granted address, and a second pod beside it | none: they are given | `address::a_granted_address_is_given_with_its_gateway_on_the_node` |
//! | An address that an IPAMClaim brings | `which is in no network that the pod is granted` | `address::the_address_of_a_claim_is_held_against_the_grant` |
//! | An address that is not granted, while the policy is only audited | none: it is logged | `address::audit_gives_the_address_and_writes_it_down` |
//! | A policy with a slip of the pen | `did you mean \"allowedSubnets\"?` | `audit::an_unclear_policy_refuses_networks_and_nothing_else` |
//! | Isolation while the policy is only audited | `is not shared with namespace team-a` | `audit::audit_mode_lets_pods_run_and_writes_down_what_it_would_refuse` |
//! | Names with control characters, to forge lines of the audit log | none: they are escaped | `audit::every_decision_is_one_line` |
//! | An audit log that cannot be written, so that decisions are lost unseen | none: a warning says so | `audit::an_audit_log_that_cannot_be_written_is_a_warning` |
//! | A refusal that only the runtime hears of | none: the event has it too | `audit::a_refusal_is_the_same_everywhere` |
//! | A namespace path that points at the host, or at no namespace | `is the host's own network namespace` | `host::the_hosts_namespace_is_no_pods` |
//! | Container IDs, interface and network names with `..`, `/`, newline, leading dash | `a valid CNI_CONTAINERID` | `host::names_from_the_runtime_never_become_paths` |
//! | A state directory behind a symbolic link, of another user, writable by others | `is a symbolic link` | `host::state_that_others_can_change_is_not_used` |
//! | `LD_PRELOAD` and its like in the environment | none: they stay behind | `host::nothing_of_the_environment_reaches_a_tenants_plugin` |
//! | Packets, raw frames and addresses of the other tenant | `cannot have address \"10.20.0.3/16\"` | `packets::packets_of_one_tenant_never_reach_the_other` |

mod address;
mod audit;
mod definition;
mod foreign;
mod host;
mod naming;
mod packets;
mod primary;
mod request;

use std::collections::BTreeSet;
use std::fs;

use linux::netns::Netns;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Setup};
use crate::node::{Node, text};

const UID: &str = "0f7c8d1e-0000-4000-8000-000000000002";

/// A node that two tenants share, with the API that their definitions come from.
pub(crate) struct Cluster {
    pub(crate) node: Node,
    server: ApiServer,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let node = Node::new();
        node.recorders(["primary", "blue"]);
        let host = Netns::open(node.host().path().as_ref()).unwrap();
        let setup = Setup { manifests: vec!["rbac.yaml", "rbac-pods.yaml"], ..Setup::default() };
        let server = host.run(move || ApiServer::with(setup)).unwrap();
        Self { node, server }
    }

    pub(crate) fn publish(
        &self,
        namespace: &str,
        name: &str,
        annotations: Value,
        config: Option<Value>,
    ) {
        let spec = config.map(|config| json!({"config": config.to_string()})).unwrap_or_default();
        self.server.objects().put(json!({
            "kind": "NetworkAttachmentDefinition", "spec": spec,
            "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        }));
    }

    /// A definition as its owner has typed it.
    fn publish_text(&self, namespace: &str, name: &str, config: &str) {
        self.server.objects().put(json!({
            "kind": "NetworkAttachmentDefinition", "spec": {"config": config},
            "metadata": {"namespace": namespace, "name": name},
        }));
    }

    pub(crate) fn config(&self, policy: Value) -> Value {
        json!({
            "kubeconfig": self.server.usual_kubeconfig(), "statusPolicy": "never", "policy": policy,
            "auditLog": self.node.path_text("audit.log"),
            "delegates": [{"type": "primary", "name": "cluster", "addresses": ["10.1.0.2/24"]}],
        })
    }

    /// The refusal of a pod of team-a with this networks annotation.
    #[track_caller]
    pub(crate) fn refusal(&self, policy: Value, networks: &str) -> String {
        let pod = self.node.pod("team-a", "web");
        let outcome = pod.add(self.config(policy)).networks(networks).run();
        let error = outcome.assert_error(7, ["pod team-a/web: "]);
        assert_eq!(
            self.node.calls_in_order(),
            Vec::<String>::new(),
            "{networks}: nothing was attached"
        );
        text(&error["msg"]).to_owned()
    }

    fn decisions(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.node.path("audit.log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn policy() -> Value {
    json!({
        "allowedHostInterfaces": {"br-a*": ["team-a"], "br-b*": ["team-b"]},
        "allowedSubnets": {"10.20.0.0/16": ["team-a"], "10.21.0.0/16": ["team-b"]},
        "sharedNodeNetworks": {"uplink": ["team-c"]}, "serviceCIDRs": ["10.96.0.0/12", "fd00:10:96::/112"],
    })
}

/// The modules of the table, with their text.
const MODULES: [(&str, &str); 9] = [
    ("address", include_str!("tenancy/address.rs")),
    ("audit", include_str!("tenancy/audit.rs")),
    ("definition", include_str!("tenancy/definition.rs")),
    ("foreign", include_str!("tenancy/foreign.rs")),
    ("host", include_str!("tenancy/host.rs")),
    ("naming", include_str!("tenancy/naming.rs")),
    ("packets", include_str!("tenancy/packets.rs")),
    ("primary", include_str!("tenancy/primary.rs")),
    ("request", include_str!("tenancy/request.rs")),
];

/// The tests of a module: name and text.
fn tests_of(source: &str) -> impl Iterator<Item = (&str, &str)> {
    source.split("#[test]\nfn ").skip(1).filter_map(|text| Some((text.split_once('(')?.0, text)))
}

#[test]
fn the_table_has_every_test_and_every_refusal() {
    let lines = include_str!("tenancy.rs").lines();
    let rows: Vec<Vec<&str>> = lines
        .filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"))
        .skip(1)
        .map(|row| row.split(" | ").collect())
        .collect();
    let mut listed = BTreeSet::new();
    for row in &rows {
        let [_, refusal, test] = row.as_slice() else { panic!("not three cells: {row:?}") };
        let (module, name) = test.trim_matches('`').split_once("::").unwrap();
        let (_, source) = MODULES.iter().find(|(known, _)| *known == module).expect(module);
        let (_, text) = tests_of(source)
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("no test {test}"));
        assert!(listed.insert((module, name)), "{test} is there twice");
        if !refusal.starts_with("none: ") {
            let words = refusal.trim_matches('`');
            let whole = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("\\ ", "");
            assert!(whole.contains(words), "{test} does not ask for: {words}");
        }
    }
    let all = MODULES
        .iter()
        .flat_map(|(module, source)| tests_of(source).map(move |(name, _)| (*module, name)));
    assert_eq!(listed, all.collect(), "every test is in the table");
}
