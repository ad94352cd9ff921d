use proptest::prelude::*;

use super::*;
use crate::device::message::{CdiDevice, ClaimResource};

fn devices(resource: &str, ids: &[&str]) -> ContainerDevices {
    let device_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    ContainerDevices { resource_name: resource.to_owned(), device_ids }
}

fn claim(class: &str, driver: &str, names: &[&str]) -> DynamicResource {
    let cdi_devices = names.iter().map(|name| CdiDevice { name: (*name).to_owned() }).collect();
    let claim_resources = vec![ClaimResource { cdi_devices, driver_name: driver.to_owned() }];
    DynamicResource { class_name: class.to_owned(), claim_resources }
}

fn container(
    devices: Vec<ContainerDevices>,
    dynamic_resources: Vec<DynamicResource>,
) -> ContainerResources {
    ContainerResources { devices, dynamic_resources }
}

fn allocation(containers: &[ContainerResources]) -> Allocation {
    Allocation::new("shop/cart".to_owned(), containers)
}

fn take_all(allocation: &mut Allocation, resource: &str) -> Vec<String> {
    std::iter::from_fn(|| allocation.take(resource).ok()).collect()
}

#[test]
fn devices_come_in_the_pods_order_and_once() {
    let mut allocation = allocation(&[
        container(vec![devices("a.b/x", &["2", "1"]), devices("a.b/x", &["7"])], vec![]),
        container(vec![devices("a.b/y", &["1"]), devices("a.b/x", &["1", "0"])], vec![]),
    ]);
    assert_eq!(take_all(&mut allocation, "a.b/x"), ["2", "1", "7", "0"]);
    assert_eq!(take_all(&mut allocation, "a.b/y"), ["1"]);
}

#[test]
fn an_exhausted_resource_says_how_many_there_were() {
    let mut allocation = allocation(&[container(vec![devices("a.b/x", &["1"])], vec![])]);
    allocation.take("a.b/x").unwrap();
    let error = allocation.take("a.b/x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the pod has 1 of resource \"a.b/x\", and its networks ask for 2 or more; raise the \
         resource in \"limits\" of its containers, or leave a network out"
    );
    assert_eq!(error.to_protocol().code, Code::CONFIG);
}

#[test]
fn a_resource_that_the_pod_does_not_have_is_no_exhausted_one() {
    let mut some = allocation(&[container(
        vec![devices("a.b/x", &["1", "2"]), devices("a.b/y", &["1"])],
        vec![],
    )]);
    assert_eq!(
        some.take("a.b/z").unwrap_err().to_string(),
        "the pod has no device of resource \"a.b/z\", it has 2 of \"a.b/x\", 1 of \"a.b/y\"; add \
         the resource to \"limits\" of one of its containers, or correct \
         \"k8s.v1.cni.cncf.io/resourceName\" in the definition"
    );
    let error = allocation(&[]).take("a.b/z").unwrap_err();
    assert!(error.to_string().contains("it has none at all;"), "{error}");
    assert!(matches!(some.take("../x").unwrap_err(), DeviceError::Name(_)));
}

#[test]
fn a_device_asked_for_by_name_is_the_pods_own_and_goes_once() {
    let mut allocation = allocation(&[container(vec![devices("a.b/x", &["1", "2"])], vec![])]);
    allocation.take_specific("a.b/x", "2").unwrap();
    assert!(matches!(
        allocation.take_specific("a.b/x", "2").unwrap_err(),
        DeviceError::Given { .. }
    ));
    let foreign = allocation.take_specific("a.b/x", "3").unwrap_err().to_string();
    assert!(
        foreign.contains("device \"3\"") && foreign.contains("given it \"1\", \"2\""),
        "{foreign}"
    );
    assert!(matches!(
        allocation.take_specific("a.b/y", "1").unwrap_err(),
        DeviceError::NotAllocated { .. }
    ));
    assert_eq!(take_all(&mut allocation, "a.b/x"), ["1"]);
}

#[test]
fn one_pci_device_in_two_resources_is_one_device() {
    let mut allocation = allocation(&[container(
        vec![
            devices("a.b/x", &["0000:AF:00.1"]),
            devices("a.b/y", &["0000:af:00.1", "0000:af:00.2"]),
        ],
        vec![],
    )]);
    assert_eq!(allocation.take("a.b/x").unwrap(), "0000:AF:00.1");
    assert_eq!(take_all(&mut allocation, "a.b/y"), ["0000:af:00.2"]);
}

#[test]
fn claims_are_found_by_class_driver_and_kind() {
    for resource in ["sf-class", "nic.example.com", "example.com/nic"] {
        let claim =
            claim("sf-class", "nic.example.com", &["example.com/nic=sf1", "example.com/nic=sf2"]);
        let mut allocation = allocation(&[container(vec![], vec![claim])]);
        assert_eq!(take_all(&mut allocation, resource), ["sf1", "sf2"], "{resource}");
    }
}

#[test]
fn a_claim_that_containers_share_has_its_devices_once_under_all_names() {
    let shared = || claim("", "nic.example.com", &["example.com/nic=sf1"]);
    let mut allocation =
        allocation(&[container(vec![], vec![shared()]), container(vec![], vec![shared()])]);
    assert_eq!(take_all(&mut allocation, "nic.example.com"), ["sf1"]);
    assert!(matches!(
        allocation.take("example.com/nic").unwrap_err(),
        DeviceError::Exhausted { .. }
    ));
}

#[test]
fn a_name_that_is_none_of_cdi_is_left_out() {
    let claim = claim("", "nic.example.com", &["", "sf1", "a/b=c=d", "example.com/nic=sf2"]);
    let mut allocation = allocation(&[container(vec![], vec![claim])]);
    assert_eq!(take_all(&mut allocation, "nic.example.com"), ["sf2"]);
}

#[test]
fn a_long_list_is_cut() {
    assert_eq!(list((0..10).map(|n| n.to_string())), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
}

proptest! {
    #[test]
    fn no_device_goes_twice_and_none_is_lost(
        pools in prop::collection::vec(prop::collection::vec(0u8..6, 0..6), 1..4),
        asked in prop::collection::vec(0usize..4, 0..24),
    ) {
        let ids = |pool: &[u8]| pool.iter().map(|id| format!("d{id}")).collect::<Vec<_>>();
        let containers: Vec<_> = pools.iter().enumerate().map(|(at, pool)| {
            let ids = ids(pool);
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            container(vec![devices(&format!("a.b/p{}", at % 2), &ids)], vec![])
        }).collect();
        let mut allocation = allocation(&containers);
        let mut given = std::collections::BTreeSet::new();
        for pool in asked {
            let resource = format!("a.b/p{}", pool % 2);
            match allocation.take(&resource) {
                Ok(id) => prop_assert!(given.insert((resource, id))),
                Err(DeviceError::Exhausted { allocated, .. }) => {
                    prop_assert_eq!(given.iter().filter(|(name, _)| *name == resource).count(), allocated);
                }
                Err(DeviceError::NotAllocated { .. }) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
