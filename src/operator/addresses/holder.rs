//! Whether what holds an address is still there. Pure.

use std::net::IpAddr;

use serde::Serialize;

use crate::kube::PodState;
use crate::pod::name::Namespace;

/// What is known of the pod that an entry names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Presence {
    /// It exists.
    Present(PodState),
    /// There is no such pod.
    Absent,
}

/// What an entry of a pool is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HolderState {
    /// The pod runs, and its network status names the address.
    InUse,
    /// The pod is being started, or its node is silent.
    Starting,
    /// The pod runs, and its network status does not name the address.
    NotInStatus,
    /// It is kept for a pod of this name, or by a claim.
    Kept,
    /// There is no such pod.
    PodGone,
    /// The pod has ended.
    PodEnded,
    /// The entry names no pod.
    #[default]
    Unknown,
}

impl HolderState {
    /// The state of an entry for `address`, which is kept or not.
    pub(super) fn of(presence: Option<&Presence>, address: Option<IpAddr>, is_kept: bool) -> Self {
        match presence {
            Some(Presence::Present(PodState::Starting)) => Self::Starting,
            Some(Presence::Present(PodState::Running(named))) => {
                let is_named =
                    address.zip(named.as_ref()).is_some_and(|(it, all)| all.contains(&it));
                if is_named { Self::InUse } else { Self::NotInStatus }
            }
            _ if is_kept => Self::Kept,
            Some(Presence::Present(PodState::Ended)) => Self::PodEnded,
            Some(Presence::Absent) => Self::PodGone,
            None => Self::Unknown,
        }
    }

    /// Whether nothing holds the address any more.
    pub(super) fn is_stale(self) -> bool {
        matches!(self, Self::PodGone | Self::PodEnded)
    }

    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::Starting => "starting",
            Self::NotInStatus => "not in status",
            Self::Kept => "kept",
            Self::PodGone => "pod gone",
            Self::PodEnded => "pod ended",
            Self::Unknown => "unknown",
        }
    }
}

/// Namespace and name of a `podref`; `None` if no pod can have them.
pub(super) fn pod_of(podref: &str) -> Option<(Namespace, String)> {
    let (namespace, name) = podref.split_once('/')?;
    Some((namespace.parse().ok()?, name.to_owned())).filter(|(_, name)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entry_of_a_pod_that_is_gone_or_has_ended_is_stale() {
        let ours: IpAddr = "10.9.0.7".parse().unwrap();
        let running = |named| Presence::Present(PodState::Running(named));
        let starting = Presence::Present(PodState::Starting);
        let ended = Presence::Present(PodState::Ended);
        for (presence, is_kept, expected) in [
            (Some(&starting), false, HolderState::Starting),
            (Some(&running(Some(vec![ours]))), false, HolderState::InUse),
            (Some(&running(Some(Vec::new()))), false, HolderState::NotInStatus),
            (Some(&running(None)), false, HolderState::NotInStatus),
            (Some(&ended), false, HolderState::PodEnded),
            (Some(&ended), true, HolderState::Kept),
            (Some(&Presence::Absent), false, HolderState::PodGone),
            (Some(&Presence::Absent), true, HolderState::Kept),
            (None, false, HolderState::Unknown),
        ] {
            let state = HolderState::of(presence, Some(ours), is_kept);
            assert_eq!(state, expected, "{presence:?}");
            assert_eq!(
                state.is_stale(),
                matches!(expected, HolderState::PodEnded | HolderState::PodGone)
            );
        }
    }

    #[test]
    fn a_podref_is_a_namespace_and_a_name() {
        assert_eq!(pod_of("shop/web"), Some(("shop".parse().unwrap(), "web".to_owned())));
        for text in ["", "web", "/web", "shop/", "S!/web"] {
            assert_eq!(pod_of(text), None, "{text}");
        }
    }
}
