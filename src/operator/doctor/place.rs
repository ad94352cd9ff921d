//! Braid's place in the runtime's directory, and who takes it away again.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Finding, fail, ok, warn};
use crate::conf_file::{self, ConfFileError};
use crate::multus::cache;
use crate::operator::fault::Fault;
use crate::operator::install::{self, MULTUS};
use crate::operator::installation::{InstallMode, Installation};
use crate::operator::runtime::Runtime;

/// Braid is not installed: it never was, or it was removed.
pub(super) fn nowhere(runtime: &Runtime) -> Finding {
    let directory = runtime.conf_dir.display();
    if let Some((_, error)) = Installation::unreadable(&runtime.conf_dir).into_iter().find(is_ours)
    {
        let message = format!("braid's own file cannot be read: {error}");
        return fail("installation", message, "repair it, or remove it and run braid install");
    }
    if let Some(file) = renamed(runtime) {
        return fail(
            "installation",
            format!("cilium has renamed braid's file to {}", file.display()),
            "set cni.exclusive to false in cilium's chart, or run braid install --mode \
             chained-file if the runtime reads such files",
        );
    }
    if let Some(file) = lost_entry(runtime) {
        return fail(
            "installation",
            format!(
                "the primary's daemon has rewritten {} and dropped braid's entry",
                file.display()
            ),
            "run braid install --mode chained-file if the runtime reads such files, or --mode \
             delegating",
        );
    }
    if let Some(multus) = Installation::all(&runtime.conf_dir, &MULTUS).first() {
        let message = format!(
            "multus stands in {}, and braid in no file of {directory}",
            multus.file.display()
        );
        return fail("installation", message, "run braid migrate multus to move to braid");
    }
    fail(
        "installation",
        format!("no configuration in {directory} has braid in it"),
        "run braid install",
    )
}

fn is_ours((file, _): &(PathBuf, ConfFileError)) -> bool {
    file.file_name() == Some(OsStr::new(install::FILE))
}

/// Braid's file under the name that Cilium gives to those of others.
fn renamed(runtime: &Runtime) -> Option<PathBuf> {
    let files = conf_file::list(&runtime.conf_dir, &["cilium_bak"]).ok()?;
    files.into_iter().find(|file| !Installation::in_file(file, &["braid"]).is_empty())
}

/// The file that Braid was chained in, and that has lost its entry.
fn lost_entry(runtime: &Runtime) -> Option<PathBuf> {
    let backups = conf_file::list(&runtime.conf_dir, &[install::BACKUP]).ok()?;
    let files = backups.into_iter().map(|backup| backup.with_extension(""));
    files.into_iter().find(|file| Installation::in_file(file, &["braid"]).is_empty())
}

/// A runtime that attaches more than the first file attaches the primary a second time if Braid
/// delegates, and a network that no pod has asked for if it is chained.
pub(super) fn beside(runtime: &Runtime) -> Option<Finding> {
    let files = conf_file::list(&runtime.conf_dir, &conf_file::EXTENSIONS).ok()?;
    let beside = runtime.attached_beside_first(&files);
    if beside.is_empty() {
        return None;
    }
    let named: Vec<_> = beside.iter().map(|file| file.display().to_string()).collect();
    let message = format!(
        "the runtime attaches {} to every pod, too: its max_conf_num is not 1",
        named.join(", ")
    );
    Some(warn(
        "order",
        message,
        "set max_conf_num = 1 in the runtime's configuration, and restart it",
    ))
}

/// A runtime takes the first file of the directory.
pub(super) fn order(
    place: &Installation,
    runtime: &Runtime,
    root: &Path,
    faults: &[Fault],
) -> Finding {
    if let Some(Fault::NotFirst { first, .. }) =
        faults.iter().find(|it| matches!(it, Fault::NotFirst { .. }))
    {
        let message = format!("the runtime reads {} first, and not braid's file", first.display());
        fail("order", message, "rename one of the two, so that braid's sorts first")
    } else if let Some(fault) = faults.iter().find(|it| matches!(it, Fault::NotAppended { .. })) {
        fail(
            "order",
            fault.to_string(),
            "until then pods start without the networks that they ask for",
        )
    } else if place.stance == InstallMode::ChainedFile {
        sub_directory(runtime, root)
    } else {
        ok("order", "the runtime reads braid's file first")
    }
}

/// Files of the runtime's that cannot be read: containerd takes no other one while such a file is
/// first.
pub(super) fn unreadable(runtime: &Runtime) -> Vec<Finding> {
    let problems =
        Installation::unreadable(&runtime.conf_dir).into_iter().filter(|it| !is_ours(it));
    let finding = |(_, error): (PathBuf, ConfFileError)| {
        let message = format!("cannot be read: {error}");
        warn("files", message, "repair or remove it: whether braid stands in it is not known")
    };
    problems.map(finding).collect()
}

fn sub_directory(runtime: &Runtime, root: &Path) -> Finding {
    const ADVICE: &str = "use containerd 2.1 or CRI-O 1.33, or newer, or run braid uninstall, then \
                          braid install with another --mode";
    match runtime.reads_sub_directories(root) {
        Some(true) => {
            ok("order", "the entry is a file of its own, and the runtime reads such files")
        }
        Some(false) => fail(
            "order",
            "the entry is a file of its own, and this runtime is too old to read it",
            ADVICE,
        ),
        None => warn(
            "order",
            "the entry is a file of its own, and whether the runtime reads such files is not known",
            "see that it is containerd 2.1 or CRI-O 1.33, or newer: older ones ignore it silently",
        ),
    }
}

/// What is left of Multus.
pub(super) fn multus(runtime: &Runtime, state_dir: &Path) -> Vec<Finding> {
    let files = Installation::all(&runtime.conf_dir, &MULTUS).into_iter();
    let mut findings: Vec<Finding> = files
        .map(|place| {
            let message =
                format!("{} is multus's, and is there beside braid's", place.file.display());
            warn(
                "multus",
                message,
                "stop its DaemonSet, which writes it, then run braid migrate multus",
            )
        })
        .collect();
    if let Some(directory) = cache::any(state_dir) {
        let count = cache::count(&directory);
        let message = format!(
            "{count} containers are remembered in {} and torn down by it",
            directory.display()
        );
        findings.push(ok("multus", message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_attaches_beside_braid_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["00-braid.conflist", "10-primary.conflist", "20-more.conf", "braid.kubeconfig"]
        {
            std::fs::write(directory.path().join(file), "{}").unwrap();
        }
        let runtime = |max_conf_num| Runtime {
            conf_dir: directory.path().to_owned(),
            max_conf_num,
            ..Runtime::unknown(None)
        };
        for fit in [None, Some(1)] {
            assert!(beside(&runtime(fit)).is_none(), "{fit:?}");
        }
        let two = beside(&runtime(Some(2))).unwrap();
        let file = directory.path().join("10-primary.conflist");
        let message = format!(
            "the runtime attaches {} to every pod, too: its max_conf_num is not 1",
            file.display()
        );
        assert_eq!((two.message, two.level), (message, super::super::finding::Level::Warn));
        assert!(two.advice.unwrap().starts_with("set max_conf_num = 1"));
        let all = beside(&runtime(Some(0))).unwrap();
        assert!(
            all.message.contains("10-primary.conflist, ") && all.message.contains("20-more.conf")
        );
    }
}
