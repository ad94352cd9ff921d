//! The scenarios of the user's book, on real plugins and with packets wherever packets can show
//! them, and each of the reference plugins as an extra network: on Debian's plugins, and on those
//! that are built in.

mod extra_networks;
mod named;

/// Makes each scenario of a module a test on Debian's plugins, and one on the built-in plugins.
macro_rules! on_both_kinds_of_plugins {
    ($module:ident: $($scenario:ident),+ $(,)?) => {
        $(
            #[test]
            fn $scenario() {
                $crate::scenarios::$module::$scenario(&$crate::node::Node::new());
            }
        )+

        mod built_in {
            $(
                #[test]
                fn $scenario() {
                    $crate::scenarios::$module::$scenario(&$crate::node::Node::of_built_ins());
                }
            )+
        }
    };
}

on_both_kinds_of_plugins!(
    named:
    control_and_operation_data_apart_from_application_data,
    a_network_of_its_own_per_tenant,
    a_pod_between_two_networks,
    an_unusual_protocol,
    a_chain_of_primary_plugins_with_braid_last,
    a_chain_of_primary_plugins_with_braid_first,
);

mod extras {
    on_both_kinds_of_plugins!(
        extra_networks:
        macvlan_over_a_wire,
        ptp_through_the_node,
        static_addresses_by_the_ips_capability,
        chosen_addresses_from_host_local,
        a_mac_by_tuning,
        a_port_of_the_node_by_portmap,
        a_rate_by_bandwidth,
        the_kubelets_host_ports_are_the_primarys_alone,
        a_default_route_through_an_extra_network,
        a_default_route_of_one_family_leaves_the_other,
    );
}
