use super::*;

fn default_route(family: Family, gateway: &str) -> Object {
    let link = Some(RouteLink::Up("net1".to_owned()));
    Object::Route { family, destination: None, gateway: gateway.parse().ok(), link }
}

fn sentence(operation: Operation, object: Object, errno: Errno) -> String {
    NetlinkError { operation, object, errno: errno.into() }.to_string()
}

#[test]
fn the_refusals_that_people_meet_are_translated() {
    let v4 = || default_route(Family::V4, "10.9.0.1");
    let v6 = || default_route(Family::V6, "fd00::1");
    let disabled = "cannot add the IPv6 default route via fd00::1 on interface \"net1\": is IPv6 \
                    enabled in the kernel and not disabled by sysctl \
                    net.ipv6.conf.net1.disable_ipv6?";
    let cases = [
        (
            sentence(Operation::Add, v4(), Errno::ENETUNREACH),
            "cannot add the IPv4 default route via 10.9.0.1 on interface \"net1\": gateway \
             10.9.0.1 is in no subnet of the interface (ENETUNREACH)"
                .to_owned(),
        ),
        (sentence(Operation::Add, v6(), Errno::EACCES), format!("{disabled} (EACCES)")),
        (sentence(Operation::Add, v6(), Errno::EOPNOTSUPP), format!("{disabled} (EOPNOTSUPP)")),
        (
            sentence(Operation::Delete, v4(), Errno::EPERM),
            "cannot delete the IPv4 default route via 10.9.0.1 on interface \"net1\": needs \
             CAP_NET_ADMIN (EPERM)"
                .to_owned(),
        ),
        (
            sentence(Operation::Find, Object::Link("a\n".into()), Errno::ENODEV),
            "cannot look up interface \"a\\n\": the interface is gone (ENODEV)".to_owned(),
        ),
        (
            sentence(Operation::List, Object::Links, Errno::EBUSY),
            "cannot list the interfaces: EBUSY: Device or resource busy".to_owned(),
        ),
    ];
    for (sentence, expected) in cases {
        assert_eq!(sentence, expected);
    }
}

#[test]
fn an_error_without_errno_tells_its_own_reason() {
    let errno = io::Error::new(io::ErrorKind::TimedOut, "too late");
    let error = NetlinkError { operation: Operation::Open, object: Object::Socket, errno };
    assert_eq!(error.to_string(), "cannot open a netlink socket: too late");
}

#[test]
fn no_error_reads_like_success_to_a_runtime() {
    for raw in 1..134 {
        for object in
            [Object::Links, default_route(Family::V6, "fd00::1"), default_route(Family::V4, "")]
        {
            let text = sentence(Operation::Delete, object, Errno::from_raw(raw)).to_lowercase();
            assert!(!text.contains("not found") && !text.contains("no such file"), "{text}");
        }
    }
}

#[test]
fn a_long_name_is_cut() {
    assert!(sentence(Operation::Find, Object::Link("é".repeat(5000)), Errno::EPERM).len() < 250);
}
