//! The multi-network standard (NPWG 1.3), sections 4 to 7: each requirement that concerns a
//! delegating plugin, and the test that holds Braid to it. What Braid does otherwise on purpose
//! says so and why.
//!
//! | Section | Requirement | Tests |
//! |---|---|---|
//! | 4 | what the annotation selects comes beside the cluster-wide default network | `plan::tests::the_primary_comes_first_then_the_nodes_networks_then_the_pods` |
//! | 4.1 | the annotation is `k8s.v1.cni.cncf.io/networks` | `npwg::the_annotations_have_their_names` |
//! | 4.1 | its value is in one of two forms | `selection::tests::the_first_character_tells_the_form` |
//! | 4.1 | both forms are supported | `selection::tests::both_forms_read_alike` |
//! | 4.1.1 | a reference is `name` or `namespace/name`, of the pod's namespace or that one | `selection::short_form::tests::elements_are_references_with_an_optional_interface` |
//! | 4.1.2.1 | other keys have a period in them; those without one are reserved, and refused | `selection::json_form::tests::keys_are_known_once_or_foreign` |
//! | 4.1.2.1.1 | `name` is required, and a name | `selection::json_form::tests::lists_that_are_none_are_refused` |
//! | 4.1.2.1.2 | `namespace` may be missing or empty: the pod's own | `selection::json_form::tests::names_alone_are_enough` |
//! | 4.1.2.1.3 | the pod has the addresses asked for | `requested_values::an_address_is_given_by_static_through_its_capability` |
//! | 4.1.2.1.3 | at least one element, each an address with or without a prefix length | `selection::json_form::tests::addresses_are_checked_one_by_one` `selection::request::tests::other_addresses_are_refused` |
//! | 4.1.2.1.3 | an invalid value makes the annotation invalid. Otherwise: it is not ignored, for a pod would run without a network that it asked for; the pod is refused | `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 4.1.2.1.3.2 | `ips` is in `runtimeConfig`, in the form of the conventions | `plan::tests::addresses_travel_as_capability_arguments_and_as_cni_args` |
//! | 4.1.2.1.3.2 | support for `ips` is looked for in `capabilities` | `plan::tests::addresses_need_the_capability_only_if_the_policy_is_strict` |
//! | 4.1.2.1.3.2 | without it the request fails. Otherwise: Multus's users rely on plugins that read `IP=` and declare nothing, so `capabilityPolicy` `verify` tries, holds the result against the request, and undoes; `strict` is the standard's | `requested_values::what_was_asked_and_not_given_is_an_error_with_the_remedy_and_everything_undone` `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 4.1.2.1.4 | the pod has the MAC address asked for | `requested_values::a_mac_is_given_by_tuning` |
//! | 4.1.2.1.4 | it is a valid one of 6 bytes | `selection::request::tests::other_mac_addresses_are_refused` |
//! | 4.1.2.1.4 | an invalid value makes the annotation invalid. Otherwise: as for `ips` | `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 4.1.2.1.4.2 | `mac` is in `runtimeConfig` | `plan::tests::addresses_travel_as_capability_arguments_and_as_cni_args` |
//! | 4.1.2.1.4.2 | support for `mac` is looked for in `capabilities` | `plan::tests::addresses_need_the_capability_only_if_the_policy_is_strict` |
//! | 4.1.2.1.4.2 | without it the request fails. Otherwise: as for `ips` | `requested_values::what_was_asked_and_not_given_is_an_error_with_the_remedy_and_everything_undone` |
//! | 4.1.2.1.5 | the interface has the name asked for | `requested_values::interface_names_count_by_position_and_skip_what_is_taken` |
//! | 4.1.2.1.5 | it is a name that the kernel takes | `selection::json_form::tests::single_values_are_checked` |
//! | 4.1.2.1.5 | an invalid name makes the annotation invalid. Otherwise: as for `ips` | `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 4.1.2.1.5 | a name that another attachment has fails. Sooner: before anything is attached | `selection::tests::two_elements_cannot_have_one_interface` `plan::tests::a_name_that_is_taken_is_refused` |
//! | 4.1.2.1.5.1 | `CNI_IFNAME` is that name | `npwg::every_operation_of_an_attachment_has_the_same_tuple` |
//! | 4.1.2.1.6 | `cni-args` go to the plugins | `requested_values::addresses_and_mac_travel_in_cni_args_too` |
//! | 4.1.2.1.6 | a delegating plugin has the key | `selection::json_form::tests::every_key_arrives` |
//! | 4.1.2.1.6.2 | they are in `args` of the configuration, as the conventions say (`args.cni`) | `plan::tests::cni_args_are_merged_into_every_plugin_the_pods_word_first` |
//! | 4.1.2.1.6.2 | the pod's come before the definition's | `cni::netconf::tests::the_pods_arguments_win_over_the_definitions` |
//! | 4.1.2.1.7 | a port of the host leads to the pod | `scenarios::extras::a_port_of_the_node_by_portmap` |
//! | 4.1.2.1.7 | an invalid value makes the annotation invalid. Otherwise: as for `ips` | `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 4.1.2.1.7 | at least one element, each an object | `selection::json_form::tests::port_mappings_are_checked` |
//! | 4.1.2.1.7 | `hostPort` is required, 1 to 65535 | `npwg::both_ports_of_a_mapping_are_ports` |
//! | 4.1.2.1.7 | `containerPort` is required, 1 to 65535 | `npwg::both_ports_of_a_mapping_are_ports` |
//! | 4.1.2.1.7 | `protocol` is TCP, UDP or SCTP in any case; TCP by default | `selection::request::tests::protocols_read_in_any_case` `selection::json_form::tests::a_port_mapping_defaults_to_tcp_on_all_addresses` |
//! | 4.1.2.1.7 | a network that cannot do it fails | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.7.2 | `portMappings` is in `runtimeConfig`, in the form of the conventions | `requested_values::capability_arguments_of_a_pods_network_are_there_on_add_and_del` `selection::request::tests::port_mappings_have_the_conventional_shape` |
//! | 4.1.2.1.7.2 | support for `portMappings` is looked for in `capabilities` | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.7.2 | without it the request fails | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.8 | the traffic is limited | `scenarios::extras::a_rate_by_bandwidth` |
//! | 4.1.2.1.8 | an invalid value makes the annotation invalid. Otherwise: as for `ips` | `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 4.1.2.1.8 | at least one of the keys | `selection::json_form::tests::bandwidth_needs_a_rate` |
//! | 4.1.2.1.8 | `ingressRate` is above 0 | `npwg::each_amount_of_bandwidth_is_above_zero_and_a_burst_has_its_rate` |
//! | 4.1.2.1.8 | `ingressBurst` is above 0 | `npwg::each_amount_of_bandwidth_is_above_zero_and_a_burst_has_its_rate` |
//! | 4.1.2.1.8 | `ingressBurst` has an `ingressRate` | `npwg::each_amount_of_bandwidth_is_above_zero_and_a_burst_has_its_rate` |
//! | 4.1.2.1.8 | `egressRate` is above 0 | `npwg::each_amount_of_bandwidth_is_above_zero_and_a_burst_has_its_rate` |
//! | 4.1.2.1.8 | `egressBurst` is above 0 | `npwg::each_amount_of_bandwidth_is_above_zero_and_a_burst_has_its_rate` |
//! | 4.1.2.1.8 | `egressBurst` has an `egressRate` | `npwg::each_amount_of_bandwidth_is_above_zero_and_a_burst_has_its_rate` |
//! | 4.1.2.1.8 | a network that cannot do it fails | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.8.2 | `bandwidth` is in `runtimeConfig`, in the form of the conventions; a burst is chosen if none is given | `requested_values::capability_arguments_of_a_pods_network_are_there_on_add_and_del` `selection::request::tests::a_rate_alone_gets_the_default_burst` |
//! | 4.1.2.1.8.2 | support for `bandwidth` is looked for in `capabilities` | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.8.2 | without it the request fails | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.9 | one element may have it, and its list may be empty | `selection::json_form::tests::an_empty_default_route_is_not_an_absent_one` `default_route::an_empty_list_means_the_networks_own_gateways` |
//! | 4.1.2.1.9 | the cluster-wide default network loses its default route | `default_route::a_default_route_moves_in_both_families_through_each_gateway` |
//! | 4.1.2.1.9 | without it, the default route is the cluster-wide default network's | `default_route::a_default_route_stays_with_the_primary_unless_it_is_asked_for` |
//! | 4.1.2.1.9 | two elements with it make the annotation invalid. Otherwise: as for `ips` | `selection::tests::two_elements_cannot_have_the_default_route` `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 4.1.2.1.10 | the pod has the GUID asked for. The plugin sets it: no InfiniBand is here, so the test ends at the plugin | `requested_values::capability_arguments_of_a_pods_network_are_there_on_add_and_del` |
//! | 4.1.2.1.10 | it is a valid one of 8 bytes | `selection::request::tests::guids_have_eight_bytes` |
//! | 4.1.2.1.10 | an invalid value makes the annotation invalid. Otherwise: as for `ips` | `selection::json_form::tests::single_values_are_checked` |
//! | 4.1.2.1.10.2 | `infinibandGUID` is in `runtimeConfig` | `requested_values::capability_arguments_of_a_pods_network_are_there_on_add_and_del` |
//! | 4.1.2.1.10.2 | support for `infinibandGUID` is looked for in `capabilities` | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.10.2 | without it the request fails | `plan::tests::what_only_a_capability_can_do_is_refused_without_it` |
//! | 4.1.2.1.11.1 | the claim's name reaches the plugin, which honours it; together with `ips` it is an error | `plan::tests::an_ipam_claim_is_an_argument` `selection::json_form::tests::addresses_are_checked_one_by_one` |
//! | 4.2 | the same network again is an attachment and a status entry of its own | `kubernetes::status::a_network_that_is_attached_twice_has_two_entries` |
//! | 4.2.1 | all operations of an attachment have its container ID, network name and interface | `npwg::every_operation_of_an_attachment_has_the_same_tuple` |
//! | 4.2.1 | an interface name that Braid chooses is unique | `plan::tests::automatic_names_pass_over_those_asked_for_and_those_there` |
//! | 4.2.2 | `net-a,net-a` is two attachments and two entries | `kubernetes::status::a_network_that_is_attached_twice_has_two_entries` |
//! | 5 | the annotation is `k8s.v1.cni.cncf.io/network-status`, a JSON list of maps | `npwg::the_annotations_have_their_names` `api_client::status_and_events::a_status_is_one_merge_patch_that_leaves_the_rest_alone` |
//! | 5 | a map is made of an attachment's result | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.1 | what it says is from the result. Otherwise: MTU and gateways are the kernel's if it knows better, since a route may have moved after ADD | `verb::network_status::tests::an_entry_has_what_clients_read` `verb::network_status::tests::gateways_are_the_final_ones` |
//! | 5.1.1 | the first sandbox interface has the attachment's status. Otherwise: the others have an entry each, as the NPWG's own library writes them | `kubernetes::status::several_sandbox_interfaces_and_none` |
//! | 5.1.1 | an ADD without a result has a minimal map: so has an empty result. Otherwise: one that prints nothing has failed, since it is unknown what the pod has | `kubernetes::status::several_sandbox_interfaces_and_none` `protocol::result::output_that_is_no_result_is_an_error_that_quotes_it_or_stderr` |
//! | 5.1.1 | as much of the result as possible is used | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.1.1 | of a result before 0.3.0 as much as can be, and the kernel's word for the rest | `kubernetes::status::a_result_of_the_oldest_versions_is_shown` |
//! | 5.2 | the cluster-wide default network has an entry | `kubernetes::status::the_status_of_a_chained_braid_has_the_primary_too` |
//! | 5.2 | whose `default` is true | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3 | other keys are in reverse domain notation. Otherwise: `mtu` and `gateway` are what clients read (KubeVirt, the NPWG's library), and the later drafts' | `kubernetes::status::an_entry_has_no_keys_but_those_that_clients_know` |
//! | 5.3.1 | `name` is required: the definition's, or that of the cluster-wide default network | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.1 | with the namespace | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.2 | `interface` is the name in the pod | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.2.1 | it is the first interface of the result with a `sandbox`; before 0.3.0 `CNI_IFNAME` | `kubernetes::status::several_sandbox_interfaces_and_none` `kubernetes::status::a_result_of_the_oldest_versions_is_shown` |
//! | 5.3.3 | `ips` are the pod's addresses of both families. Otherwise: without their prefix lengths, as the NPWG's library writes them and KubeVirt reads them | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.3.1 | they are in the status if the result says that they are the pod's, and else not | `kubernetes::status::several_sandbox_interfaces_and_none` |
//! | 5.3.3.1 | those whose index is that of the sandbox interface | `kubernetes::status::several_sandbox_interfaces_and_none` |
//! | 5.3.3.1 | without sandbox interfaces, those without an index | `verb::network_status::tests::a_result_without_interfaces_has_an_entry` |
//! | 5.3.3.1 | before 0.3.0, those of `ip4` and `ip6` | `kubernetes::status::a_result_of_the_oldest_versions_is_shown` |
//! | 5.3.4 | `mac` is that of the interface | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.4 | there is none without `interface` | `verb::network_status::tests::a_result_without_interfaces_has_an_entry` |
//! | 5.3.4.1 | it is that of the first interface of the result with a `sandbox` | `kubernetes::status::several_sandbox_interfaces_and_none` |
//! | 5.3.5 | `default` is required, and true in one entry alone | `verb::network_status::tests::several_sandbox_interfaces_have_an_entry_each` `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.6 | `dns` is the attachment's | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.6.1 | with `nameservers` | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.6.2 | `domain` | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.6.3 | and `search` | `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.6.4 | `default-route` has the gateways of an attachment that asked for it | `verb::network_status::tests::gateways_are_the_final_ones` `kubernetes::status::the_status_has_an_entry_for_every_attachment` |
//! | 5.3.7 | `device-info` is what was gathered of the device | `kubernetes::devices::a_device_info_file_goes_from_the_device_plugin_to_the_status` |
//! | 5.3.7 | with the keys of its specification | `device::device_info::content_that_is_wrong_is_refused_on_both_ways` |
//! | 6 | every pod is attached to the cluster-wide default network, before all others | `primary_network::the_primary_by_auto` `primary_network::the_default_network_annotation_replaces_the_primary` |
//! | 6.1 | no configuration before the default network is ready. Otherwise: the administrator's file is there from the start, and STATUS tells the runtime (CNI 1.1.0), whose node is NotReady until then | `status::status_of_a_primary_that_is_not_there_yet_is_50_and_of_a_chained_braid_fine` |
//! | 6.1.1 | it waits for the default network's file: ADD and STATUS say "not yet" until that is there | `primary_network::a_primary_that_is_not_there_yet_is_worth_another_try` |
//! | 6.1.2 | attaching waits until the default network is ready. Otherwise: detaching does not, since pods would stay Terminating and it needs the record alone | `primary_network::add_waits_for_the_readiness_file` `primary_network::add_does_not_wait_longer_than_it_may_and_status_not_at_all` |
//! | 6.2 | the cluster-wide default network comes first | `kubernetes::definitions::definitions_come_from_the_api` |
//! | 7.1 | a chain is run as CNI says | `protocol::delegate_request::requests_are_derived_as_libcni_does` |
//! | 7.1 | `cniVersion` and `name` of the list are in each plugin's configuration, and the result is in the runtime's version | `protocol::delegate_request::requests_are_derived_as_libcni_does` `protocol::result::each_network_runs_in_its_own_version` |
//! | 7.2 | a network that cannot be attached fails the pod's setup at once | `teardown::interrupted_add::an_add_that_fails_in_the_middle_is_undone_in_reverse_the_failing_one_included` |
//! | 7.2 | what has not been attached yet is not tried | `teardown::interrupted_add::an_add_that_fails_in_the_middle_is_undone_in_reverse_the_failing_one_included` |
//! | 7.2 | teardown is of all that was tried, past failures | `teardown::del::del_goes_past_failures_says_what_remains_and_finishes_the_rest_later` `teardown::interrupted_add::del_after_a_killed_add` |
//! | 7.2 | and ends in one error if one failed | `teardown::del::several_failures_are_one_error` |
//! | 7.3 | calls for one container are not run at once | `load::calls_for_one_container_at_once` |
//! | 7.3 | attachments are made one after the other | `npwg::attachments_are_made_and_removed_one_after_the_other` |
//! | 7.4 | a network that a pod may not have fails the pod | `multus_faults::configuration::fault_03_isolation_holds_for_the_default_network_annotation` `tenancy::foreign::another_tenants_network_looks_as_if_it_were_not_there` |
//! | 7.5 | the runtime's `runtimeConfig` is the cluster-wide default network's alone | `multus_faults::configuration::fault_04_the_kubelets_arguments_do_not_leak_to_extra_networks` |

use std::collections::{BTreeMap, BTreeSet};

use braid::internals::selection::{Limits, parse};
use serde_json::{Value, json};

use crate::call::NETWORKS;
use crate::node::{Node, Recorded, text};
use crate::source::test_exists;

/// How many sentences of each section say "must", "shall", "should", "requires" or "required key".
/// A section that is not here has none.
const REQUIREMENTS: [(&str, usize); 52] = [
    ("4", 1),
    ("4.1", 3),
    ("4.1.2.1", 1),
    ("4.1.2.1.1", 1),
    ("4.1.2.1.3", 3),
    ("4.1.2.1.3.2", 3),
    ("4.1.2.1.4", 3),
    ("4.1.2.1.4.2", 3),
    ("4.1.2.1.5", 4),
    ("4.1.2.1.5.1", 1),
    ("4.1.2.1.6", 2),
    ("4.1.2.1.6.2", 2),
    ("4.1.2.1.7", 7),
    ("4.1.2.1.7.2", 3),
    ("4.1.2.1.8", 10),
    ("4.1.2.1.8.2", 3),
    ("4.1.2.1.9", 4),
    ("4.1.2.1.10", 3),
    ("4.1.2.1.10.2", 3),
    ("4.1.2.1.11.1", 1),
    ("4.2", 1),
    ("4.2.1", 2),
    ("4.2.2", 1),
    ("5", 2),
    ("5.1", 1),
    ("5.1.1", 4),
    ("5.2", 2),
    ("5.3", 1),
    ("5.3.1", 2),
    ("5.3.2", 1),
    ("5.3.2.1", 1),
    ("5.3.3", 1),
    ("5.3.3.1", 4),
    ("5.3.4", 2),
    ("5.3.4.1", 1),
    ("5.3.5", 1),
    ("5.3.6", 1),
    ("5.3.6.1", 1),
    ("5.3.6.2", 1),
    ("5.3.6.3", 1),
    ("5.3.6.4", 1),
    ("5.3.7", 2),
    ("6", 1),
    ("6.1", 1),
    ("6.1.1", 1),
    ("6.1.2", 1),
    ("6.2", 1),
    ("7.1", 2),
    ("7.2", 4),
    ("7.3", 2),
    ("7.4", 1),
    ("7.5", 1),
];

/// A row of the table above.
struct Row {
    section: &'static str,
    tests: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("npwg.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let [section, requirement, tests] = cells[..] else { panic!("no three cells: {line}") };
        assert!(requirement.len() > 5, "{line}");
        let tests: Vec<&str> =
            tests.split('`').map(str::trim).filter(|name| !name.is_empty()).collect();
        Row { section, tests }
    };
    lines.filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).map(row).collect()
}

#[test]
fn every_requirement_has_a_test() {
    let rows = rows();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.section).or_default() += 1;
        assert!(!row.tests.is_empty(), "section {} has no test", row.section);
        for test in &row.tests {
            assert!(test_exists(test), "section {}: there is no test {test}", row.section);
        }
    }
    for (section, sentences) in REQUIREMENTS {
        let rows = counts.get(section).copied().unwrap_or_default();
        assert!(
            rows >= sentences,
            "section {section} has {sentences} requirements and {rows} rows"
        );
    }
    let sections = REQUIREMENTS.iter().map(|(section, _)| *section).collect::<BTreeSet<_>>();
    assert_eq!(sections.len(), REQUIREMENTS.len(), "a section is there twice");
    assert!(
        !test_exists("npwg::no_such_test") && !test_exists("npwg::rows"),
        "anything is taken for a test"
    );
}

#[test]
fn the_annotations_have_their_names() {
    assert_eq!(braid::internals::pod::NETWORKS_ANNOTATION, "k8s.v1.cni.cncf.io/networks");
    assert_eq!(NETWORKS, "k8s.v1.cni.cncf.io/networks");
    assert_eq!(
        braid::internals::verb::network_status::STATUS_ANNOTATION,
        "k8s.v1.cni.cncf.io/network-status"
    );
}

/// What is wrong with an element that has these members.
fn refusal(members: Value) -> Option<String> {
    let mut element = json!({"name": "blue"});
    element.as_object_mut().unwrap().extend(members.as_object().cloned().unwrap());
    let limits = Limits { networks: 16, ..Limits::default() };
    parse(&json!([element]).to_string(), &"team-a".parse().unwrap(), limits)
        .err()
        .map(|error| error.to_string())
}

/// Section 4.1.2.1.7.
#[test]
fn both_ports_of_a_mapping_are_ports() {
    let mapping = |key: &str, value: Value| {
        let mut mapping = json!({"hostPort": 8080, "containerPort": 80});
        mapping[key] = value;
        refusal(json!({"portMappings": [mapping]}))
    };
    for key in ["hostPort", "containerPort"] {
        for port in [1, 65535] {
            assert_eq!(mapping(key, json!(port)), None, "{key} {port}");
        }
        for port in [json!(0), json!(65536), json!(-1), json!("80"), Value::Null] {
            let error = mapping(key, port.clone()).unwrap_or_default();
            assert!(error.contains(&format!("portMappings[0].{key}")), "{key} {port}: {error}");
        }
    }
}

/// Section 4.1.2.1.8.
#[test]
fn each_amount_of_bandwidth_is_above_zero_and_a_burst_has_its_rate() {
    let full = json!({"ingressRate": 1, "ingressBurst": 1, "egressRate": 1, "egressBurst": 1});
    assert_eq!(refusal(json!({"bandwidth": full})), None);
    for key in ["ingressRate", "ingressBurst", "egressRate", "egressBurst"] {
        for amount in [json!(0), json!(-1), json!(1.5), json!("1M")] {
            let mut bandwidth = full.clone();
            bandwidth[key] = amount.clone();
            let error = refusal(json!({"bandwidth": bandwidth})).unwrap_or_default();
            assert!(error.contains(&format!("bandwidth.{key}")), "{key} {amount}: {error}");
        }
    }
    for direction in ["ingress", "egress"] {
        let mut bandwidth = full.clone();
        bandwidth.as_object_mut().unwrap().remove(&format!("{direction}Rate"));
        let error = refusal(json!({"bandwidth": bandwidth})).unwrap_or_default();
        let said =
            format!("bandwidth.{direction}Burst\" must be given together with \"{direction}Rate\"");
        assert!(error.contains(&said), "{error}");
    }
}

/// Sections 4.1.2.1.5.1 and 4.2.1.
#[test]
fn every_operation_of_an_attachment_has_the_same_tuple() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue,blue@data0,blue").run().assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    let tuple = |call: &Recorded| {
        let name = text(&call.stdin()["name"]).to_owned();
        (call.variable("CNI_CONTAINERID").to_owned(), name, call.variable("CNI_IFNAME").to_owned())
    };
    let mut verbs: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for call in node.calls() {
        verbs.entry(tuple(&call)).or_default().push(call.verb().to_owned());
    }
    let of_blue =
        |interface: &str| (pod.container.clone(), "blue".to_owned(), interface.to_owned());
    let cluster = (pod.container.clone(), "cluster".to_owned(), "eth0".to_owned());
    let expected = BTreeSet::from([cluster, of_blue("net1"), of_blue("data0"), of_blue("net3")]);
    assert_eq!(verbs.keys().cloned().collect::<BTreeSet<_>>(), expected);
    assert!(verbs.values().all(|verbs| *verbs == ["ADD", "CHECK", "DEL"]), "{verbs:?}");
}

/// Section 7.3. Each call of a plugin fails if another one is under way.
#[test]
fn attachments_are_made_and_removed_one_after_the_other() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.network("red", json!({}));
    let config = node.delegating();
    let (busy, overlaps) = (node.path_text("busy"), node.path_text("overlaps"));
    let shell = format!("mkdir {busy} || touch {overlaps}; sleep 0.05; rmdir {busy}");
    let alone = json!({"shell": shell});
    for kind in ["primary", "blue", "red"] {
        node.script(kind, json!({"ADD": alone, "CHECK": alone, "DEL": alone}));
    }
    let pod = node.pod("team-a", "web");
    pod.add(config).networks("blue,red,blue").run().assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.calls().len(), 12);
    assert!(!node.path("overlaps").exists(), "two plugins ran at once");
}
