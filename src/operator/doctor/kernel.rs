//! Kinds of link that plugins make, and whether this kernel has them: as a module, or built in.

use std::path::Path;

use super::{Finding, ok, warn};

/// A kind of link, the module that has it, and a function that the kernel has if the module is
/// built in and listed nowhere.
struct Kind {
    name: &'static str,
    module: &'static str,
    function: &'static str,
}

const KINDS: [Kind; 8] = [
    Kind { name: "bridge", module: "bridge", function: "br_dev_newlink" },
    Kind { name: "macvlan", module: "macvlan", function: "macvlan_common_newlink" },
    Kind { name: "ipvlan", module: "ipvlan", function: "ipvlan_link_new" },
    Kind { name: "vlan", module: "8021q", function: "vlan_newlink" },
    Kind { name: "veth", module: "veth", function: "veth_newlink" },
    Kind { name: "dummy", module: "dummy", function: "dummy_setup" },
    Kind { name: "vrf", module: "vrf", function: "vrf_newlink" },
    Kind { name: "tun", module: "tun", function: "tun_setup" },
];

/// What the kernel says of itself, without a link being made.
pub(super) fn check() -> Finding {
    let release = read("/proc/sys/kernel/osrelease");
    let release = release.trim();
    let modules = Path::new("/lib/modules").join(release);
    let listed = read(modules.join("modules.builtin")) + &read(modules.join("modules.dep"));
    let is_module = |kind: &&Kind| {
        listed.contains(&format!("/{}.ko", kind.module))
            || Path::new("/sys/module").join(kind.module).exists()
    };
    let mut missing: Vec<&Kind> = KINDS.iter().filter(|kind| !is_module(kind)).collect();
    if !missing.is_empty() {
        let functions = read("/proc/kallsyms");
        missing.retain(|kind| !has_function(&functions, kind.function));
    }
    let names = |kinds: &mut dyn Iterator<Item = &Kind>| {
        kinds.map(|kind| kind.name).collect::<Vec<_>>().join(", ")
    };
    if missing.is_empty() {
        return ok("kernel", format!("{release} has {}", names(&mut KINDS.iter())));
    }
    let message = format!("{release} has not {}", names(&mut missing.into_iter()));
    warn("kernel", message, "harmless if no network needs them")
}

/// Lines are an address, a type, a name, and perhaps the module.
fn has_function(symbols: &str, function: &str) -> bool {
    symbols.lines().any(|line| line.split_ascii_whitespace().nth(2) == Some(function))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_by_its_whole_name() {
        let symbols = "0000 t veth_newlink_x\n0000 t macvlan_common_newlink\t[macvlan]\n";
        assert!(has_function(symbols, "macvlan_common_newlink"));
        assert!(!has_function(symbols, "veth_newlink"));
    }
}
