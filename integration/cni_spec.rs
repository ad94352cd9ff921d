//! The CNI specification 1.1.0, sections 1 to 5: each requirement, for plugins and for runtimes,
//! and the test that holds Braid to it. To its delegates Braid is a runtime. What Braid does
//! otherwise on purpose says so and why.
//!
//! | Section | Requirement | Tests |
//! |---|---|---|
//! | 1 format | a network's name is unique on a node: of several definitions of one name one counts, in an order that is always the same | `refusals::definitions_are_found_in_the_order_of_the_standard` |
//! | 1 format | a name starts with a letter or digit, and is no path | `cni::netconf::tests::names_and_types_never_become_paths` |
//! | 1 format | no CHECK of a network with `disableCheck` | `check::check_is_switched_off_if_a_network_says_so` |
//! | 1 format | no GC of a network with `disableGC` | `teardown::gc::gc_is_switched_off_if_a_network_says_so` |
//! | 1 format | plugins of other sources are appended to the chain, unless `loadOnlyInlinedPlugins` is set | `conf_file::tests::files_of_the_sub_directory_are_appended` `primary_network::files_of_a_sub_directory_belong_to_the_chain` |
//! | 1 format | `loadOnlyInlinedPlugins` needs `plugins` | `conf_file::tests::files_of_the_sub_directory_are_appended` |
//! | 1 plugins | a plugin's configuration belongs to one network | `primary_network::files_of_a_sub_directory_belong_to_the_chain` |
//! | 1 plugins | every configuration is validated before the first plugin runs, and each plugin of a valid one is run | `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` `primary_network::the_primary_by_its_file_or_directory` |
//! | 1 plugins | keys that the protocol does not have reach the plugin as they are | `protocol::delegate_request::requests_are_derived_as_libcni_does` `cni::netconf::tests::numbers_survive_digit_for_digit` |
//! | 1 plugins | `type` is required and is no path; nor is `ipam.type` | `cni::netconf::tests::names_and_types_never_become_paths` `tenancy::definition::no_plugin_hides_inside_another` |
//! | 1 plugins | `runtimeConfig`, `args` and `cni.dev/` are set by the runtime | `cni::netconf::tests::a_request_is_the_configuration_with_what_the_runtime_adds` `requested_values::addresses_and_mac_travel_in_cni_args_too` |
//! | 1 versions | the highest version of `cniVersion` and `cniVersions` that is supported counts | `protocol::result::the_highest_version_of_cni_versions_is_used` `cni::netconf::tests::the_highest_known_version_wins` |
//! | 1 versions | older and newer layouts are understood | `cni::result::tests::every_layout_is_written_as_it_was_read` `cni::result::tests::newer_layouts_become_older_ones` |
//! | 2 overview | plugins run in the network namespace of the runtime | `scenarios::extras::macvlan_over_a_wire` |
//! | 2 parameters | a container ID is not empty, and starts with a letter or digit | `cni::request::tests::names_that_would_become_paths_are_refused` |
//! | 2 parameters | an interface name that cannot be used is an error | `cni::name::tests::interfaces_are_what_the_kernel_takes` `tenancy::request::an_interface_name_is_no_path_no_option_and_no_pattern` |
//! | 2 parameters | `CNI_PATH` lists the directories of plugins | `protocol::delegate_request::plugins_are_found_in_cni_path_then_in_bin_dir` |
//! | 2 errors | the exit status is 0 for success and another one for failure | `cni_spec::the_exit_status_goes_with_the_answer` |
//! | 2 errors | a failure prints an error | `cni_spec::the_exit_status_goes_with_the_answer` |
//! | 2 ADD | the interface `CNI_IFNAME` is made, or changed, in the namespace `CNI_NETNS` | `cni_spec::the_sandbox_of_every_interface_is_cni_netns` |
//! | 2 ADD | success prints a result | `protocol::result::results_from_0_3_0_have_every_address_with_its_interface` |
//! | 2 ADD | `prevResult` is passed through or modified | `chained_mode::a_plain_pod_behind_a_primary_gets_its_result_back_verbatim` `chained_mode::chained_behind_a_real_primary` |
//! | 2 ADD | an interface that exists already is an error | `cni_spec::add_of_an_interface_that_exists_is_an_error` `delegates::an_interface_that_takes_the_next_ones_name_fails_that_one_and_all_is_undone` |
//! | 2 ADD | no second ADD without a DEL | `teardown::interrupted_add::a_second_add_of_a_pod_that_has_its_networks_is_refused` |
//! | 2 ADD | its variables are required | `protocol::request::missing_variables_are_named_at_once` |
//! | 2 DEL | what ADD has made is removed | `chained_mode::chained_behind_a_real_primary` |
//! | 2 DEL | each plugin gets the result of ADD as `prevResult` | `protocol::delegate_request::requests_are_derived_as_libcni_does` |
//! | 2 DEL | without `prevResult` it succeeds | `runtime_quirks::del_with_a_prev_result_that_is_missing_or_of_another_version` |
//! | 2 DEL | it goes as far as it can, whatever is missing | `teardown::del::del_goes_past_failures_says_what_remains_and_finishes_the_rest_later` `teardown::del::del_of_a_namespace_that_is_gone` |
//! | 2 DEL | addresses are released though the namespace is gone | `teardown::del::del_of_a_namespace_that_is_gone` `plugins::link::tests::undo::a_failed_add_leaves_no_lease_and_del_gives_it_back` |
//! | 2 DEL | it can be repeated | `teardown::del::del_as_containerd_calls_it_twice` `teardown::without_record::del_without_add` |
//! | 2 DEL | the namespace is not required | `cni::request::tests::del_does_without_a_namespace` `runtime_quirks::del_with_an_empty_netns` |
//! | 2 CHECK | `prevResult` tells what is expected. Otherwise: the record of ADD does, which has every network's own result | `check::check_runs_each_delegates_own_with_its_own_result` |
//! | 2 CHECK | a plugin that comes later may have changed routes | `check::check_passes_with_real_plugins_and_a_moved_default_route` |
//! | 2 CHECK | what is missing of the result is an error | `check::check_names_what_has_changed` |
//! | 2 CHECK | what only a delegate knows of is its own CHECK's business | `check::check_runs_each_delegates_own_with_its_own_result` |
//! | 2 CHECK | it can follow at once on ADD | `runtime_quirks::check_right_after_add` |
//! | 2 CHECK | delegates are checked, and their errors returned | `check::check_runs_each_delegates_own_with_its_own_result` |
//! | 2 CHECK | a container that is unreachable is an error: its interface is down, or its default route is gone | `check::check_names_what_has_changed` `check::check_passes_with_real_plugins_and_a_moved_default_route` |
//! | 2 CHECK | no CHECK of a container without ADD. Otherwise: a pod without a record may be older than Braid, and its primary is checked | `check::check_in_another_namespace_or_without_a_record` |
//! | 2 CHECK | no CHECK if `disableCheck` is set | `check::check_is_switched_off_if_a_network_says_so` |
//! | 2 CHECK | a delegate gets the result of ADD | `check::check_runs_each_delegates_own_with_its_own_result` |
//! | 2 CHECK | its variables are those of ADD | `protocol::request::missing_variables_are_named_at_once` `protocol::delegate_request::the_environment_of_a_delegate_is_exact` |
//! | 2 STATUS | the exit status is 0 if ADD can be served | `status::status_is_the_primarys_own` |
//! | 2 STATUS | otherwise it is another one, with an error of code 50 or 51 | `status::status_is_the_primarys_own` `status::status_of_a_primary_that_is_not_there_yet_is_50_and_of_a_chained_braid_fine` |
//! | 2 STATUS | nothing relies on STATUS being called | `protocol::result::results_from_0_3_0_have_every_address_with_its_interface` |
//! | 2 STATUS | other operations go on after an error of STATUS | `cni_spec::add_and_del_go_on_after_an_error_of_status` |
//! | 2 STATUS | a delegate that ADD needs is asked, and its error returned | `status::status_is_the_primarys_own` |
//! | 2 VERSION | the answer lists the versions | `protocol::request::version_lists_every_version` |
//! | 2 VERSION | it needs `CNI_COMMAND` alone | `cni_spec::version_needs_cni_command_alone` |
//! | 2 GC | as much as possible of what is stale is removed | `teardown::gc::gc_tears_down_what_is_stale_and_keeps_what_lives` `teardown::gc::gc_gives_back_the_addresses_of_pods_whose_namespace_is_gone` |
//! | 2 GC | it continues after an error, and reports all | `cni_spec::gc_continues_after_errors_and_reports_all` `invalid_configuration::gc_tears_down_what_is_stale_and_says_what_it_could_not_do` |
//! | 2 GC | delegates get GC too | `teardown::gc::gc_of_each_network_has_the_list_that_it_may_trust` |
//! | 2 GC | it is no substitute for DEL: what is stale gets the DEL of its plugins | `teardown::gc::gc_tears_down_what_is_stale_and_keeps_what_lives` |
//! | 2 GC | the configuration has `cni.dev/valid-attachments` | `teardown::gc::gc_without_a_list_does_nothing` `cni::netconf::tests::gc_carries_the_list_under_both_names` |
//! | 2 GC | success prints nothing | `cni_spec::gc_continues_after_errors_and_reports_all` |
//! | 3 lifecycle | the namespace is there before any plugin | `protocol::request::a_namespace_that_is_none_is_refused` |
//! | 3 lifecycle | no two operations of one container at once | `load::calls_for_one_container_at_once` `npwg::attachments_are_made_and_removed_one_after_the_other` |
//! | 3 lifecycle | no GC while a pod is added | `teardown::gc::gc_does_not_touch_a_pod_that_is_being_added` |
//! | 3 lifecycle | different containers can be served at once, with locks on what they share | `load::calls_for_different_containers_do_not_wait_for_each_other` |
//! | 3 lifecycle | DEL follows an ADD that failed | `teardown::interrupted_add::an_add_that_fails_in_the_middle_is_undone_in_reverse_the_failing_one_included` |
//! | 3 lifecycle | DEL uses the configuration of ADD | `teardown::del::del_follows_the_record_whatever_the_configuration_says_now` |
//! | 3 lifecycle | pods keep the configuration that they were attached with | `primary_network::a_primary_that_rewrites_its_file_is_followed_and_pods_keep_theirs` |
//! | 3 parameters | a delegate gets container ID, namespace, interface name and arguments | `protocol::delegate_request::the_environment_of_a_delegate_is_exact` |
//! | 3 parameters | a delegate gets `CNI_PATH` | `protocol::delegate_request::the_environment_of_a_delegate_is_exact` |
//! | 3 parameters | capability arguments reach the plugins that declare them | `requested_values::capability_arguments_of_a_pods_network_are_there_on_add_and_del` |
//! | 3 adding | a missing executable is an error | `delegate::tests::a_plugin_that_is_missing_is_named_with_the_directories` `refusals::a_refused_plan_runs_no_plugin_and_leaves_nothing` |
//! | 3 adding | the first plugin gets no `prevResult`, another one that of the plugin before | `protocol::delegate_request::requests_are_derived_as_libcni_does` |
//! | 3 adding | the first error ends it | `teardown::interrupted_add::an_add_that_fails_in_the_middle_is_undone_in_reverse_the_failing_one_included` |
//! | 3 adding | the result is stored, for CHECK and DEL | `teardown::del::del_follows_the_record_whatever_the_configuration_says_now` |
//! | 3 deleting | plugins run in reverse, each with the final result of ADD | `protocol::delegate_request::requests_are_derived_as_libcni_does` |
//! | 3 deleting | a missing executable is an error | `teardown::del::del_with_a_plugin_that_is_gone_says_so_and_the_rest_is_torn_down` |
//! | 3 deleting | the first error ends it. Otherwise: the rest of the chain is deleted too, and all errors are returned | `teardown::del::a_plugin_of_a_chain_that_fails_does_not_keep_the_others_from_deleting` |
//! | 3 checking | attachment parameters and the final result are those of ADD | `check::check_runs_each_delegates_own_with_its_own_result` |
//! | 3 checking | a missing executable is an error | `cni_spec::check_ends_at_the_first_error` |
//! | 3 checking | the first error ends it | `cni_spec::check_ends_at_the_first_error` |
//! | 3 checking | with `disableCheck` it succeeds | `check::check_is_switched_off_if_a_network_says_so` |
//! | 3 collecting | a missing executable is an error | `cni_spec::gc_continues_after_errors_and_reports_all` |
//! | 3 collecting | every plugin gets GC, past errors | `cni_spec::gc_continues_after_errors_and_reports_all` |
//! | 3 deriving | `cniVersion` and `name` are the network's | `protocol::delegate_request::requests_are_derived_as_libcni_does` |
//! | 3 deriving | `runtimeConfig` has what the plugin declares and the runtime offers | `cni::netconf::tests::a_request_is_the_configuration_with_what_the_runtime_adds` |
//! | 3 deriving | `prevResult` is that of the operation, and there is none on the first ADD | `protocol::delegate_request::requests_are_derived_as_libcni_does` |
//! | 3 deriving | `capabilities` is not there | `cni::netconf::tests::a_request_is_the_configuration_with_what_the_runtime_adds` |
//! | 3 deriving | other keys are not changed | `protocol::delegate_request::requests_are_derived_as_libcni_does` `cni::netconf::tests::numbers_survive_digit_for_digit` |
//! | 4 protocol | a delegate gets the variables of the caller. Otherwise: of the runtime's environment only what plugins need | `protocol::delegate_request::the_environment_of_a_delegate_is_exact` `tenancy::host::nothing_of_the_environment_reaches_a_tenants_plugin` |
//! | 4 protocol | an IPAM plugin gets the whole configuration and returns what the plugin applies | `built_in::in_process::an_ipam_plugin_is_told_the_same_by_a_built_in_as_by_the_reference_plugin` `plugins::link::tests::bridge::a_gateway_that_ipam_leaves_out_is_the_first_address` |
//! | 4 execution | the executable is looked for in `CNI_PATH`. Then in `binDir` | `protocol::delegate_request::plugins_are_found_in_cni_path_then_in_bin_dir` |
//! | 4 execution | a delegate's standard error is the caller's. Otherwise: it is quoted in the error, since runtimes show nothing else | `protocol::result::output_that_is_no_result_is_an_error_that_quotes_it_or_stderr` |
//! | 4 execution | CHECK, DEL and GC are delegated too, and errors returned | `protocol::delegate_request::requests_are_derived_as_libcni_does` `cni_spec::gc_continues_after_errors_and_reports_all` `delegates::an_error_with_status_0_is_a_failure_of_every_verb` |
//! | 4 execution | a delegate whose ADD fails gets DEL before the failure is returned | `teardown::interrupted_add::an_add_that_fails_in_the_middle_is_undone_in_reverse_the_failing_one_included` `plugins::link::tests::undo::a_failed_add_leaves_no_lease_and_del_gives_it_back` |
//! | 5 ADD | the answer is JSON on standard output, and nothing else is | `protocol::result::nothing_but_the_protocol_is_on_stdout_with_every_log_on` |
//! | 5 ADD | it has the keys of the request's version | `cni::result::tests::every_layout_is_written_as_it_was_read` `cni::result::tests::the_newest_layout_is_understood` |
//! | 5 ADD | `sandbox` is the value of `CNI_NETNS` | `cni_spec::the_sandbox_of_every_interface_is_cni_netns` |
//! | 5 ADD | `ips[].interface` is an index of `interfaces` | `requested_values::an_address_of_an_extra_network_never_goes_without_an_interface` `cni::result::tests::dangling_indices_never_reach_another_attachment` |
//! | 5 ADD | `prevResult` is returned with what was changed, or as it is | `chained_mode::a_plain_pod_behind_a_primary_gets_its_result_back_verbatim` `chained_mode::chained_behind_a_real_primary` |
//! | 5 IPAM | an IPAM plugin returns neither `interfaces` nor `interface` | `plugins::ipam::host_local::tests::a_result_has_gateways_routes_and_dns` |
//! | 5 VERSION | `cniVersion` is that of the request, beside the supported ones | `protocol::request::version_lists_every_version` `cni::plugin::tests::version_lists_those_that_the_plugin_knows` |
//! | 5 error | an error has `cniVersion`, `code`, `msg` and, if there are any, `details` | `protocol::request::errors_come_in_the_version_of_the_request` `cni::error::tests::details_are_left_out_when_empty` `delegates::a_plugin_later_in_a_chain_that_disappears_leaves_the_rest_of_the_chain_to_be_undone` |
//! | 5 error | code 2 names key and value. Otherwise: no key is refused for being unknown, it is reported | `config::tests::unknown_keys_are_warnings_with_a_hint` |
//! | 5 error | code 3 says that no DEL is needed. Otherwise: Braid never says so, and passes a plugin's code on | `cni_spec::a_plugins_code_is_passed_on` |
//! | 5 error | code 4 names the variables | `protocol::request::missing_variables_are_named_at_once` |
//! | 5 error | codes 1, 5, 6 and 7 | `protocol::request::requests_that_cannot_be_read_have_the_codes_of_the_specification` `disk::del_does_not_trust_records_that_another_user_owns` |
//! | 5 error | code 11 for what passes | `primary_network::a_primary_that_is_not_there_yet_is_worth_another_try` |

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::node::{BRAID, NOTHING, Node, text};
use crate::source::test_exists;

/// The requirements of each section, counted in the specification. Examples are not counted, nor is
/// what a sentence repeats of another section.
const REQUIREMENTS: [(&str, usize); 25] = [
    ("1 format", 6),
    ("1 plugins", 5),
    ("1 versions", 2),
    ("2 overview", 1),
    ("2 parameters", 3),
    ("2 errors", 2),
    ("2 ADD", 6),
    ("2 DEL", 7),
    ("2 CHECK", 11),
    ("2 STATUS", 5),
    ("2 VERSION", 2),
    ("2 GC", 6),
    ("3 lifecycle", 7),
    ("3 parameters", 3),
    ("3 adding", 4),
    ("3 deleting", 3),
    ("3 checking", 4),
    ("3 collecting", 2),
    ("3 deriving", 5),
    ("4 protocol", 2),
    ("4 execution", 4),
    ("5 ADD", 5),
    ("5 IPAM", 1),
    ("5 VERSION", 1),
    ("5 error", 6),
];

/// A row of the table above: the section and the tests.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let lines = include_str!("cni_spec.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let [section, requirement, tests] = cells[..] else { panic!("no three cells: {line}") };
        assert!(requirement.len() > 5, "{line}");
        (section, tests.split('`').map(str::trim).filter(|name| !name.is_empty()).collect())
    };
    lines.filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).map(row).collect()
}

#[test]
fn every_requirement_has_a_test() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (section, tests) in rows() {
        *counts.entry(section).or_default() += 1;
        assert!(!tests.is_empty(), "section {section} has a row without a test");
        for test in tests {
            assert!(test_exists(test), "section {section}: there is no test {test}");
        }
    }
    assert_eq!(counts, BTreeMap::from(REQUIREMENTS));
}

/// Section 2, "Errors".
#[test]
fn the_exit_status_goes_with_the_answer() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    let status = |verb: &str, config: &Value| {
        let mut command = node.host().command(BRAID);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &pod.container)
            .env("CNI_NETNS", pod.netns_path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", node.plugin_path());
        let file = node.path("config");
        std::fs::write(&file, config.to_string()).unwrap();
        command.stdin(Stdio::from(std::fs::File::open(file).unwrap()));
        let output = command.output().unwrap();
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), printed)
    };
    let (code, result) = status("VERSION", &json!({"cniVersion": "1.1.0"}));
    assert_eq!((code, text(&result["cniVersion"])), (0, "1.1.0"));
    let nameless = json!({"cniVersion": "1.1.0", "type": "braid"});
    for verb in ["ADD", "CHECK", "STATUS", "GC"] {
        let (code, error) = status(verb, &nameless);
        assert_eq!((code, &error["code"]), (1, &json!(7)), "{verb}: {error}");
        assert!(!text(&error["msg"]).is_empty(), "{verb}: {error}");
    }
}

/// Section 2, "VERSION".
#[test]
fn version_needs_cni_command_alone() {
    let node = Node::new();
    let mut command = node.host().command(BRAID);
    let output = command.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).output();
    let printed: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert!(printed["supportedVersions"].as_array().unwrap().contains(&json!("1.1.0")));
}

/// Section 2, "ADD".
#[test]
fn add_of_an_interface_that_exists_is_an_error() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    pod.ip("link add data0 type veth peer name other");
    let outcome = pod.add(node.delegating()).networks("blue@data0").run();
    outcome.assert_error(7, ["data0"]);
    assert_eq!(node.calls_in_order(), NOTHING);
}

/// Section 2, "STATUS".
#[test]
fn add_and_del_go_on_after_an_error_of_status() {
    let node = Node::new();
    let mut config = node.delegating();
    config["delegates"][0]["cniVersion"] = json!("1.1.0");
    node.script("primary", json!({"STATUS": {"error": {"code": 50, "msg": "no addresses left"}}}));
    let status = node.call("STATUS", config.clone()).with(json!({"cniVersion": "1.1.0"}));
    status.run().assert_error(50, ["no addresses left"]);
    let pod = node.pod("team-a", "web");
    pod.add(config).run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["STATUS primary", "ADD primary eth0", "DEL primary eth0"]);
}

/// Section 3, "Checking an attachment".
#[test]
fn check_ends_at_the_first_error() {
    let node = Node::new();
    node.recorders(["first", "second", "third"]);
    let plugins = json!([{"type": "first"}, {"type": "second"}, {"type": "third"}]);
    node.define("team-a", "lan", json!({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins}));
    node.network("blue", json!({}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("lan,blue").run().assert_success();
    node.forget_calls();
    node.script("second", json!({"CHECK": {"error": {"code": 55, "msg": "port is gone"}}}));
    pod.check().run().assert_error(55, ["network \"team-a/lan\" on net1", "port is gone"]);
    let expected = ["CHECK primary eth0", "CHECK first net1", "CHECK second net1"];
    assert_eq!(node.calls_in_order(), expected);
    std::fs::remove_file(node.path("bin/first")).unwrap();
    pod.check().run().assert_error(7, ["plugin \"first\" is not installed"]);
}

/// Section 2, "GC", and section 3, "Garbage-collecting a network".
#[test]
fn gc_continues_after_errors_and_reports_all() {
    let node = Node::new();
    let mut config = node.delegating();
    config["delegates"][0]["cniVersion"] = json!("1.1.0");
    node.recorders(["first", "second"]);
    let plugins = json!([{"type": "first"}, {"type": "second"}]);
    node.define("team-a", "lan", json!({"cniVersion": "1.1.0", "name": "lan", "plugins": plugins}));
    node.network("blue", json!({"cniVersion": "1.1.0"}));
    let pod = node.pod("team-a", "web");
    pod.add(config.clone()).networks("lan,blue").run().assert_success();
    let attachment = json!({"containerID": pod.container, "ifname": "eth0"});
    let valid = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": [attachment]});
    let gc = || {
        node.forget_calls();
        node.call("GC", config.clone()).with(valid.clone()).run()
    };
    let collected = || {
        let mut calls = node.calls_in_order();
        calls.sort();
        calls
    };
    for kind in ["primary", "first"] {
        let error = json!({"code": 77, "msg": format!("{kind} is stuck")});
        node.script(kind, json!({"GC": {"error": error}}));
    }
    let (_, said) = gc().error();
    assert!(said.contains("primary is stuck") && said.contains("first is stuck"), "{said}");
    assert_eq!(collected(), ["GC blue", "GC first", "GC primary", "GC second"]);
    for kind in ["primary", "first"] {
        node.script(kind, json!({}));
    }
    let outcome = gc();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "");
    std::fs::remove_file(node.path("bin/first")).unwrap();
    gc().assert_error(7, ["plugin \"first\" is not installed"]);
    assert_eq!(collected(), ["GC blue", "GC primary", "GC second"]);
}

/// Section 5, "Error".
#[test]
fn a_plugins_code_is_passed_on() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    for code in [3, 5, 100, 999] {
        node.forget_calls();
        node.script("primary", json!({"ADD": {"error": {"code": code, "msg": "no such pod"}}}));
        pod.add(node.delegating()).run().assert_error(code, ["no such pod"]);
        assert_eq!(node.calls_in_order(), ["ADD primary eth0", "DEL primary eth0"], "{code}");
    }
}

/// Section 5, "ADD Success".
#[test]
fn the_sandbox_of_every_interface_is_cni_netns() {
    let node = Node::new();
    node.define("team-a", "lan", node.bridge("br-lan", "10.9.0.0/24"));
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    let result = pod.add(config).networks("lan").run().assert_success();
    let interfaces = result["interfaces"].as_array().unwrap();
    let inside = interfaces.iter().filter(|interface| interface["sandbox"].is_string());
    let inside: Vec<(&str, &str)> =
        inside.map(|one| (text(&one["name"]), text(&one["sandbox"]))).collect();
    let netns = pod.netns_path();
    assert_eq!(inside, [("eth0", netns.as_str()), ("net1", netns.as_str())]);
    pod.del().run().assert_success();
}
