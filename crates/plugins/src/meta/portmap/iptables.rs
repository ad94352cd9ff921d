//! A chain of the container in the table `nat`, which the shared chain `CNI-HOSTPORT-DNAT` leads to
//! for its ports. Two interfaces of one container in one network share it.

use std::collections::HashSet;

use linux::family::Family;

use super::mapping::{Mapping, Protocol};
use super::{Scope, Target};
use crate::rules::iptables::{Chain, IpTables, Rule, create_chain, delete, delete_chain};
use crate::rules::name;
use crate::rules::owner::{Owner, subnet};
use crate::rules::program::{ProgramError, Programs};

const TABLE: &str = "nat";
const DNAT: &str = "CNI-HOSTPORT-DNAT";
const SET_MARK: &str = "CNI-HOSTPORT-SETMARK";
const MASQUERADE: &str = "CNI-HOSTPORT-MASQ";

/// The most ports of one rule.
const PORTS: usize = 15;
/// Longest comment of a rule, in characters.
const MAX_COMMENT: usize = 255;

fn chain_of(owner: &Owner) -> String {
    name::chain("DN-", &owner.network, &owner.container)
}

pub(super) fn add(programs: &Programs<'_>, target: &Target<'_>) -> Result<(), ProgramError> {
    let tables = IpTables::new(programs, target.family());
    tables.transact(TABLE, |tables| plan(tables, target))
}

fn plan(tables: IpTables<'_>, target: &Target<'_>) -> Result<Vec<String>, ProgramError> {
    let mut plan = Plan { tables, lines: Vec::new() };
    if target.config.snat && target.config.external_chain.is_none() {
        plan.ensure(SET_MARK, &[set_mark(target)])?;
        plan.ensure(MASQUERADE, &[masquerade(target)])?;
        plan.ensure_first("POSTROUTING", &jump_to_masquerade())?;
    }
    plan.ensure(&chain_of(target.owner), &rules(target))?;
    plan.ensure(DNAT, &entries(target))?;
    for parent in ["PREROUTING", "OUTPUT"] {
        plan.ensure(parent, &[to_local(parent)])?;
    }
    Ok(plan.lines)
}

/// The lines of a transaction: chains before what leads to them.
struct Plan<'p> {
    tables: IpTables<'p>,
    lines: Vec<String>,
}

impl Plan<'_> {
    /// The chain has the rules, at its end if one is missing.
    fn ensure(&mut self, chain: &str, rules: &[Rule]) -> Result<(), ProgramError> {
        let there = self.tables.chain(TABLE, chain)?;
        if !there.exists {
            self.lines.push(create_chain(chain));
        }
        let mut seen = HashSet::new();
        for rule in rules {
            let line = rule.append();
            if seen.insert(line.clone()) && !self.tables.has(TABLE, &there, rule)? {
                self.lines.push(line);
            }
        }
        Ok(())
    }

    /// The chain has the rule, at its beginning if it is missing.
    fn ensure_first(&mut self, chain: &str, rule: &Rule) -> Result<(), ProgramError> {
        let there = self.tables.chain(TABLE, chain)?;
        if !self.tables.has(TABLE, &there, rule)? {
            self.lines.push(rule.insert());
        }
        Ok(())
    }
}

fn mark_of(target: &Target<'_>) -> String {
    let mark = 1_u64 << target.config.mark_bit;
    format!("{mark:#x}/{mark:#x}")
}

fn set_mark(target: &Target<'_>) -> Rule {
    let about = "CNI portfwd masquerade mark";
    let mark = mark_of(target);
    Rule::new(SET_MARK, ["-m", "comment", "--comment", about, "-j", "MARK", "--set-xmark", &mark])
}

fn masquerade(target: &Target<'_>) -> Rule {
    Rule::new(MASQUERADE, ["-m", "mark", "--mark", &mark_of(target), "-j", "MASQUERADE"])
}

fn jump_to_masquerade() -> Rule {
    let about = "CNI portfwd requiring masquerade";
    Rule::new("POSTROUTING", ["-m", "comment", "--comment", about, "-j", MASQUERADE])
}

fn to_local(parent: &str) -> Rule {
    Rule::new(parent, ["-m", "addrtype", "--dst-type", "LOCAL", "-j", DNAT])
}

/// The rules of the container's own chain: for each mapping those that mark packets to be
/// masqueraded, and the one that leads to the container.
fn rules(target: &Target<'_>) -> Vec<Rule> {
    let mappings = target.config.of_family(target.family());
    mappings.flat_map(|mapping| rules_of(target, mapping)).collect()
}

fn rules_of(target: &Target<'_>, mapping: &Mapping) -> Vec<Rule> {
    let chain = chain_of(target.owner);
    let mut matched: Vec<String> = Vec::new();
    if let Some(ip) = mapping.only_ip() {
        matched.extend(["-d".to_owned(), crate::rules::owner::host(ip).to_string()]);
    }
    let (protocol, port) = (mapping.protocol.as_str(), mapping.host_port.to_string());
    matched.extend(["-p", protocol, "-m", protocol, "--dport", &port].map(str::to_owned));
    let rule = |source: Option<&str>, end: &[&str]| {
        let from = source.into_iter().flat_map(|source| ["-s", source]);
        Rule::new(&chain, from.chain(matched.iter().map(String::as_str)).chain(end.iter().copied()))
    };
    let mark = target.config.external_chain.as_deref().unwrap_or(SET_MARK);
    let is_v4 = target.family() == Family::V4;
    let own = subnet(target.address).to_string();
    let mut rules = Vec::new();
    if target.config.snat {
        let source = Some(own.as_str()).filter(|_| !target.config.masquerades_all);
        rules.push(rule(source, &["-j", mark]));
        if is_v4 && !target.config.masquerades_all {
            rules.push(rule(Some("127.0.0.1/32"), &["-j", mark]));
        }
    }
    let to = format!("{}:{}", shown(target), mapping.container_port);
    rules.push(rule(None, &["-j", "DNAT", "--to-destination", &to]));
    rules
}

fn shown(target: &Target<'_>) -> String {
    bracketed(target.address.ip())
}

/// An address as it stands in front of a port.
fn bracketed(ip: std::net::IpAddr) -> String {
    if ip.is_ipv4() { ip.to_string() } else { format!("[{ip}]") }
}

/// The rules of the shared chain that lead to the container's: of each protocol, 15 ports in one.
fn entries(target: &Target<'_>) -> Vec<Rule> {
    let chain = chain_of(target.owner);
    let about = format!("dnat {}", name::comment(&target.owner.network, &target.owner.container));
    let about = shortened(&about);
    let conditions = target.config.conditions(target.family());
    let mut entries = Vec::new();
    for protocol in Protocol::ALL {
        let of_protocol = target.config.mappings.iter().filter(|it| it.protocol == protocol);
        let ports: Vec<String> = of_protocol.map(|it| it.host_port.to_string()).collect();
        for some in ports.chunks(PORTS) {
            let protocol = protocol.as_str();
            let (ports, matched) = (some.join(","), conditions.iter().map(String::as_str));
            let words = ["-p", protocol, "-m", "comment", "--comment", &about]
                .into_iter()
                .chain(["-m", "multiport", "--dports", &ports])
                .chain(matched)
                .chain(["-j", &chain]);
            entries.push(Rule::new(DNAT, words));
        }
    }
    entries
}

/// Names and IDs are ASCII.
fn shortened(comment: &str) -> String {
    if comment.len() <= MAX_COMMENT {
        return comment.to_owned();
    }
    comment.chars().take(MAX_COMMENT - 3).chain("...".chars()).collect()
}

/// What is missing of the container's rules.
pub(super) fn missing(
    programs: &Programs<'_>,
    target: &Target<'_>,
) -> Result<Option<String>, ProgramError> {
    let tables = IpTables::new(programs, target.family());
    let name = chain_of(target.owner);
    let parts = [(name.as_str(), rules(target)), (DNAT, entries(target))];
    for (chain, rules) in parts {
        let there = tables.chain(TABLE, chain)?;
        for rule in rules {
            if !tables.has(TABLE, &there, &rule)? {
                return Ok(Some(format!("a rule of chain {chain} that leads the host's ports")));
            }
        }
    }
    Ok(None)
}

pub(super) fn has_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    for family in Family::ALL {
        let tables = IpTables::new(programs, family);
        if tables.chain_if_usable(TABLE, &chain_of(owner))?.exists {
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
    if scope.is_shared {
        return Ok(own_rules(&chain, scope));
    }
    if !chain.exists {
        return Ok(Vec::new());
    }
    let parent = tables.chain(TABLE, DNAT)?;
    let entries = parent.jumps_to(&name).map(|rule| delete(rule));
    Ok(entries.chain(delete_chain(&name)).collect())
}

/// The rules that lead to the interface's addresses: the others serve the interface that stays,
/// too.
fn own_rules(chain: &Chain, scope: &Scope) -> Vec<String> {
    let leads_there = |rule: &&String| {
        let to = |ip: &std::net::IpAddr| format!(" --to-destination {}:", bracketed(*ip));
        scope.addresses.iter().any(|ip| rule.contains(&to(ip)))
    };
    chain.rules.iter().filter(leads_there).map(|rule| delete(rule)).collect()
}
