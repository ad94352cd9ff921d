//! What a snapshot becomes when a running pod gets a network or loses one, and how a link is known
//! again whose name misleads.

use super::{SeenRoute, Snapshot};
use cni::family::Family;
use cni::name::InterfaceName;
use linux::netlink::Link;

impl Snapshot {
    /// This snapshot with what `now` shows of the interfaces `added`. Of the others it stays as it
    /// is: what has drifted there does not become what is expected. In the families of `moved` the
    /// default routes are those of now.
    #[must_use]
    pub fn grown(&self, now: &Self, added: &[&InterfaceName], moved: &[Family]) -> Self {
        let is_added = |name: &str| added.iter().any(|interface| interface.as_str() == name);
        let through_added = |route: &&SeenRoute| route.interface.as_deref().is_some_and(is_added);
        let mut grown = self.clone();
        grown.links.retain(|link| !is_added(&link.name));
        grown.links.extend(now.links.iter().filter(|link| is_added(&link.name)).cloned());
        let stays = |route: &SeenRoute| !moved.contains(&route.family) && !through_added(&route);
        grown.default_routes.retain(stays);
        let routes = now.default_routes.iter();
        let comes = |route: &&SeenRoute| moved.contains(&route.family) || through_added(route);
        grown.default_routes.extend(routes.filter(comes).cloned());
        grown.closed_to_routers.extend(now.closed_to_routers.iter().cloned());
        grown.removed_routes.extend(now.removed_routes.iter().cloned());
        grown.replaced_routes.retain(|route| !moved.contains(&route.family));
        grown.replaced_routes.extend(now.replaced_routes.iter().cloned());
        grown.kept_routes.extend(now.kept_routes.iter().copied());
        grown
    }

    /// This snapshot without an interface.
    #[must_use]
    pub fn without(&self, interface: &InterfaceName) -> Self {
        let name = interface.as_str();
        let mut rest = self.clone();
        rest.links.retain(|link| link.name != name);
        rest.default_routes.retain(|route| !route.is_through(interface));
        rest.advertised.retain(|route| !route.is_through(interface));
        rest.closed_to_routers.retain(|closed| closed != name);
        rest.removed_routes.retain(|removed| removed.interface != name);
        rest
    }

    /// This snapshot with these default routes of a family: those of them that had to make way have
    /// come back, and the cluster's networks need no routes of their own any more.
    #[must_use]
    pub fn with_default_routes(&self, family: Family, routes: Vec<SeenRoute>) -> Self {
        let mut with = self.clone();
        with.replaced_routes.retain(|route| !routes.contains(route));
        with.default_routes.retain(|route| route.family != family);
        with.default_routes.extend(routes);
        with.kept_routes.retain(|kept| Family::of(kept.ip()) != family);
        with
    }

    /// The link that had the name `name` then, if it has another one now and something else stands
    /// under its name: KubeVirt's bridge binding renames the interface, gives it to the virtual
    /// machine, and leaves a dummy with the name and the addresses.
    pub fn stood_in_for<'n>(&self, now: &'n Self, name: &str) -> Option<&'n Link> {
        now.link(name)?;
        self.renamed(now, name)
    }

    /// The link that had the name `name` then, if it has another one now.
    pub fn renamed<'n>(&self, now: &'n Self, name: &str) -> Option<&'n Link> {
        let then = self.link(name)?;
        let has_its_name = |link: &Link| self.link(&link.name).is_some_and(|it| is_same(it, link));
        now.links.iter().find(|link| is_same(then, link) && !has_its_name(link))
    }
}

/// Whether two links of one namespace are the same. The kernel gives the number of one that is gone
/// to another at times, which has another link below it, or another end.
fn is_same(then: &Link, now: &Link) -> bool {
    let is_same_parent = match (then.parent, now.parent) {
        (Some(then), Some(now)) => then == now,
        // Records of Braid before 0.2 have none.
        _ => true,
    };
    then.index == now.index && is_same_parent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, parent: Option<u32>) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: None,
            mtu: Some(1500),
            up: true,
            parent,
            addresses: Vec::new(),
        }
    }

    fn route(interface: &str) -> SeenRoute {
        SeenRoute {
            family: Family::V4,
            interface: Some(interface.to_owned()),
            gateway: Some("10.0.0.1".parse().unwrap()),
        }
    }

    fn snapshot(links: &[Link], routes: &[&str]) -> Snapshot {
        Snapshot {
            links: links.to_vec(),
            default_routes: routes.iter().map(|name| route(name)).collect(),
            ..Snapshot::default()
        }
    }

    fn name(name: &str) -> InterfaceName {
        name.parse().unwrap()
    }

    #[test]
    fn what_has_drifted_is_not_expected_once_the_pod_has_grown() {
        let then = snapshot(&[link(2, "eth0", Some(7))], &["eth0"]);
        let now = snapshot(&[link(3, "net1", Some(9))], &["net1"]);
        let grown = then.grown(&now, &[&name("net1")], &[]);
        assert_eq!(grown.links, [link(2, "eth0", Some(7)), link(3, "net1", Some(9))]);
        assert_eq!(grown.default_routes, [route("eth0"), route("net1")]);
        let moved = then.grown(&now, &[&name("net1")], &[Family::V4]);
        assert_eq!(moved.default_routes, [route("net1")]);
    }

    #[test]
    fn what_is_without_an_interface_is_what_it_was_before() {
        let then = snapshot(&[link(2, "eth0", Some(7))], &["eth0"]);
        let now = snapshot(&[link(3, "net1", Some(9))], &["net1"]);
        let grown = then.grown(&now, &[&name("net1")], &[]);
        assert_eq!(grown.without(&name("net1")), then);
    }

    #[test]
    fn a_default_route_that_has_come_back_has_made_way_no_longer() {
        let v6 = SeenRoute { family: Family::V6, ..route("eth0") };
        let moved = Snapshot {
            default_routes: vec![route("net1"), v6.clone()],
            replaced_routes: vec![route("eth0"), route("net2")],
            kept_routes: vec!["10.96.0.0/12".parse().unwrap(), "fd00::/64".parse().unwrap()],
            ..Snapshot::default()
        };
        let back = moved.with_default_routes(Family::V4, vec![route("eth0")]);
        assert_eq!(back.default_routes, [v6, route("eth0")]);
        assert_eq!(back.replaced_routes, [route("net2")]);
        assert_eq!(back.kept_routes, ["fd00::/64".parse().unwrap()]);
    }

    #[test]
    fn a_link_is_known_again_by_its_number_and_its_other_end() {
        let then = snapshot(&[link(3, "pod16477688c0e", Some(9))], &[]);
        let dummy = link(5, "pod16477688c0e", None);
        let found = |links: &[Link]| {
            let now = snapshot(links, &[]);
            then.stood_in_for(&now, "pod16477688c0e").map(|link| link.name.clone())
        };
        let renamed = link(3, "16477688c0e-nic", Some(9));
        assert_eq!(found(&[dummy.clone(), renamed.clone()]).as_deref(), Some("16477688c0e-nic"));
        assert_eq!(found(&[dummy.clone(), link(3, "other", Some(8))]), None, "another's number");
        assert_eq!(found(&[renamed]), None, "nothing has its name");
        assert_eq!(found(&[dummy]), None);
    }
}
