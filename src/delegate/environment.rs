//! The environment that plugins get.

use std::ffi::OsString;
use std::path::PathBuf;

use cni::request::{Command, Environment, Sandbox};
use plugins::caller::BRAID_VARIABLE;

use super::Target;

/// Variables of a process.
pub(super) type Variables = Vec<(OsString, OsString)>;

/// What every delegate gets: of our own environment `PATH` and the variables named in `pass`, and
/// how deep it is in Braid.
pub(super) fn of_delegates(path: &[PathBuf], ours: &Environment, pass: &[String]) -> Variables {
    let reserved =
        |name: &str| name.starts_with("CNI_") || name == BRAID_VARIABLE || name == "PATH";
    let passed = pass
        .iter()
        .filter(|name| !reserved(name))
        .filter_map(|name| Some((name.into(), ours.get(name)?.to_owned())));
    let mut environment: Variables = passed.collect();
    environment.sort();
    environment.dedup_by(|a, b| a.0 == b.0);
    let search =
        ours.get("PATH").map_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into(), ToOwned::to_owned);
    environment.push(("PATH".into(), search));
    environment.push((BRAID_VARIABLE.into(), "1".into()));
    // A directory with a colon in its name cannot be listed; it stays out rather than split in two.
    let listable = path.iter().filter(|dir| std::env::join_paths([dir]).is_ok());
    environment.push(("CNI_PATH".into(), std::env::join_paths(listable).unwrap_or_default()));
    environment
}

/// What a plugin hands on to one that it delegates to: all of its own but the parameters of the
/// call (CNI 1.1.0, section 4).
pub(super) fn handed_on(ours: &Environment) -> Variables {
    let of_call = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"];
    let kept = ours.iter().filter(|(name, _)| !of_call.iter().any(|of_call| name == of_call));
    kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `base` with the parameters of a call (CNI 1.1.0, section 2).
pub(super) fn of_call(base: &Variables, command: Command, target: Option<Target<'_>>) -> Variables {
    let mut environment = base.clone();
    let mut set = |name: &str, value: &str| environment.push((name.into(), value.into()));
    set("CNI_COMMAND", command.as_str());
    if let Some(target) = target {
        set("CNI_CONTAINERID", target.container.as_str());
        set("CNI_NETNS", target.netns);
        set("CNI_IFNAME", target.interface.as_str());
        set("CNI_ARGS", target.args.as_str());
    }
    environment
}

impl<'a> From<&'a Sandbox> for Target<'a> {
    fn from(sandbox: &'a Sandbox) -> Self {
        let Sandbox { container, netns, interface, args } = sandbox;
        Self { container, netns, interface, args }
    }
}
