//! The chain of an attachment in the table `nat`, and a jump to it for each of its addresses. The
//! interface is not in the chain's name: two of one container in one network share the chain.

use ipnetwork::IpNetwork;
use linux::family::Family;

use super::Scope;
use crate::rules::iptables::{Chain, IpTables, Rule, create_chain, delete, delete_chain};
use crate::rules::name;
use crate::rules::owner::{Owner, families, host, subnet};
use crate::rules::program::{ProgramError, Programs};

const TABLE: &str = "nat";
const PARENT: &str = "POSTROUTING";

fn chain_of(owner: &Owner) -> String {
    name::chain("", &owner.network, &owner.container)
}

fn of_family(addresses: &[IpNetwork], family: Family) -> impl Iterator<Item = IpNetwork> {
    addresses.iter().copied().filter(move |address| Family::of(address.ip()) == family)
}

pub(super) fn add(
    programs: &Programs<'_>,
    owner: &Owner,
    addresses: &[IpNetwork],
) -> Result<(), ProgramError> {
    for family in families(addresses) {
        let of_family: Vec<IpNetwork> = of_family(addresses, family).collect();
        let tables = IpTables::new(programs, family);
        tables.transact(TABLE, |tables| plan(tables, owner, &of_family))?;
    }
    Ok(())
}

/// The rules of an address: its own subnet is not masqueraded, multicast neither.
fn rules(owner: &Owner, address: IpNetwork) -> [Rule; 3] {
    let chain = chain_of(owner);
    let comment = name::comment(&owner.network, &owner.container);
    let commented = ["-m", "comment", "--comment", comment.as_str()];
    let multicast = if address.is_ipv4() { "224.0.0.0/4" } else { "ff00::/8" };
    let (subnet, source) = (subnet(address).to_string(), host(address.ip()).to_string());
    let rule = |chain: &str, matched: &[&str], target: &str| {
        let words = matched.iter().copied().chain(commented).chain(["-j", target]);
        Rule::new(chain, words)
    };
    [
        rule(&chain, &["-d", &subnet], "ACCEPT"),
        rule(&chain, &["!", "-d", multicast], "MASQUERADE"),
        rule(PARENT, &["-s", &source], &chain),
    ]
}

fn plan(
    tables: IpTables<'_>,
    owner: &Owner,
    addresses: &[IpNetwork],
) -> Result<Vec<String>, ProgramError> {
    let name = chain_of(owner);
    let chain = tables.chain(TABLE, &name)?;
    let parent = tables.chain(TABLE, PARENT)?;
    // A jump of another attachment is none of these rules.
    let jumps = Chain { exists: true, rules: parent.jumps_to(&name).cloned().collect() };
    let mut lines: Vec<String> = if chain.exists { vec![] } else { vec![create_chain(&name)] };
    for address in addresses {
        let [local, masquerade, jump] = rules(owner, *address);
        for (there, rule) in [(&chain, local), (&chain, masquerade), (&jumps, jump)] {
            let line = rule.append();
            if !lines.contains(&line) && !tables.has(TABLE, there, &rule)? {
                lines.push(line);
            }
        }
    }
    Ok(lines)
}

/// The first address without its rules.
pub(super) fn missing(
    programs: &Programs<'_>,
    owner: &Owner,
    addresses: &[IpNetwork],
) -> Result<Option<IpNetwork>, ProgramError> {
    for family in families(addresses) {
        let tables = IpTables::new(programs, family);
        let chain = tables.chain(TABLE, &chain_of(owner))?;
        let parent = tables.chain(TABLE, PARENT)?;
        for address in of_family(addresses, family) {
            let [local, masquerade, jump] = rules(owner, address);
            for (there, rule) in [(&chain, local), (&chain, masquerade), (&parent, jump)] {
                if !tables.has(TABLE, there, &rule)? {
                    return Ok(Some(address));
                }
            }
        }
    }
    Ok(None)
}

/// Whether the container has a chain in the network, or a jump to it is left.
pub(super) fn has_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    let name = chain_of(owner);
    for family in Family::ALL {
        let tables = IpTables::new(programs, family);
        let is_left = tables.chain_if_usable(TABLE, &name)?.exists
            || tables.chain_if_usable(TABLE, PARENT)?.jumps_to(&name).next().is_some();
        if is_left {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn remove(programs: &Programs<'_>, scope: &Scope) -> Result<(), ProgramError> {
    IpTables::transact_in_each(programs, &scope.families, TABLE, |it| plan_removal(it, scope))
}

fn plan_removal(tables: IpTables<'_>, scope: &Scope) -> Result<Vec<String>, ProgramError> {
    let name = chain_of(&scope.owner);
    let chain = tables.chain_if_usable(TABLE, &name)?;
    let parent = tables.chain_if_usable(TABLE, PARENT)?;
    let is_meant = |shown: &str| {
        // Old releases named the subnet.
        let names = |address: &IpNetwork| {
            [host(address.ip()), subnet(*address)]
                .iter()
                .any(|source| shown.contains(&format!(" -s {source} ")))
        };
        scope.addresses.is_empty() || scope.addresses.iter().any(names)
    };
    let (gone, kept): (Vec<&String>, Vec<&String>) =
        parent.jumps_to(&name).partition(|shown| is_meant(shown));
    let mut lines: Vec<String> = gone.into_iter().map(|shown| delete(shown)).collect();
    if chain.exists && kept.is_empty() {
        lines.extend(delete_chain(&name));
    }
    Ok(lines)
}
