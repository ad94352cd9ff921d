//! Two rules for each address in the shared chain `CNI-FORWARD` of the table `filter`, behind those
//! of the administrator. They name no container.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use linux::family::Family;

use crate::rules::iptables::{Chain, IpTables, Rule, create_chain, delete};
use crate::rules::owner::{families, host};
use crate::rules::program::{ProgramError, Programs};

pub(super) const TABLE: &str = "filter";
pub(super) const FORWARD: &str = "FORWARD";
const OWN: &str = "CNI-FORWARD";

/// The lines of a transaction, and the chains as they were before it.
pub(super) struct Plan<'p> {
    tables: IpTables<'p>,
    chains: HashMap<String, Chain>,
    pub(super) lines: Vec<String>,
}

impl<'p> Plan<'p> {
    pub(super) fn new(tables: IpTables<'p>) -> Self {
        Self { tables, chains: HashMap::new(), lines: Vec::new() }
    }

    fn read(&mut self, name: &str) -> Result<Chain, ProgramError> {
        if let Some(chain) = self.chains.get(name) {
            return Ok(chain.clone());
        }
        let chain = self.tables.chain(TABLE, name)?;
        self.chains.insert(name.to_owned(), chain.clone());
        Ok(chain)
    }

    /// The chain is there.
    pub(super) fn ensure_chain(&mut self, name: &str) -> Result<(), ProgramError> {
        if !self.read(name)?.exists {
            self.lines.push(create_chain(name));
        }
        Ok(())
    }

    /// The rule is there, first in its chain if it was missing.
    pub(super) fn ensure_first(&mut self, rule: &Rule) -> Result<(), ProgramError> {
        self.ensure(rule, rule.insert())
    }

    /// The rule is there, last in its chain if it was missing.
    pub(super) fn ensure_last(&mut self, rule: &Rule) -> Result<(), ProgramError> {
        self.ensure(rule, rule.append())
    }

    fn ensure(&mut self, rule: &Rule, line: String) -> Result<(), ProgramError> {
        let chain = self.read(rule.chain())?;
        if !self.lines.contains(&line) && !self.tables.has(TABLE, &chain, rule)? {
            self.lines.push(line);
        }
        Ok(())
    }
}

fn to_own() -> Rule {
    let about = "CNI firewall plugin rules";
    Rule::new(FORWARD, ["-m", "comment", "--comment", about, "-j", OWN])
}

fn to_admin(admin_chain: &str) -> Rule {
    let about = "CNI firewall plugin admin overrides";
    Rule::new(OWN, ["-m", "comment", "--comment", about, "-j", admin_chain])
}

/// The rules of an address: answers to it, and what it sends.
fn rules(ip: IpAddr) -> [Rule; 2] {
    let ip = host(ip).to_string();
    let answers = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"];
    [
        Rule::new(OWN, ["-d", &ip].into_iter().chain(answers).chain(["-j", "ACCEPT"])),
        Rule::new(OWN, ["-s", &ip, "-j", "ACCEPT"]),
    ]
}

fn of_family(addresses: &[IpNetwork], family: Family) -> impl Iterator<Item = IpAddr> {
    let ips = addresses.iter().map(IpNetwork::ip);
    ips.filter(move |ip| Family::of(*ip) == family)
}

pub(super) fn add(
    programs: &Programs<'_>,
    admin_chain: &str,
    addresses: &[IpNetwork],
) -> Result<(), ProgramError> {
    for family in families(addresses) {
        let tables = IpTables::new(programs, family);
        let ips: Vec<IpAddr> = of_family(addresses, family).collect();
        tables.transact(TABLE, |tables| plan(tables, admin_chain, &ips))?;
    }
    Ok(())
}

fn plan(
    tables: IpTables<'_>,
    admin_chain: &str,
    ips: &[IpAddr],
) -> Result<Vec<String>, ProgramError> {
    let mut plan = Plan::new(tables);
    plan.ensure_chain(OWN)?;
    plan.ensure_chain(admin_chain)?;
    plan.ensure_first(&to_own())?;
    plan.ensure_first(&to_admin(admin_chain))?;
    let own = plan.read(OWN)?;
    for ip in ips {
        for rule in rules(*ip) {
            // A chain that does not name the address needs no second look.
            let line = rule.append();
            let is_there = own.names(&host(*ip).to_string()) && tables.has(TABLE, &own, &rule)?;
            if !is_there && !plan.lines.contains(&line) {
                plan.lines.push(line);
            }
        }
    }
    Ok(plan.lines)
}

/// The first address without its rules, or without the way to them.
pub(super) fn missing(
    programs: &Programs<'_>,
    admin_chain: &str,
    addresses: &[IpNetwork],
) -> Result<Option<IpAddr>, ProgramError> {
    for family in families(addresses) {
        let tables = IpTables::new(programs, family);
        let (forward, own) = (tables.chain(TABLE, FORWARD)?, tables.chain(TABLE, OWN)?);
        let is_led = tables.has(TABLE, &forward, &to_own())?
            && tables.has(TABLE, &own, &to_admin(admin_chain))?;
        for ip in of_family(addresses, family) {
            for rule in rules(ip) {
                if !is_led || !tables.has(TABLE, &own, &rule)? {
                    return Ok(Some(ip));
                }
            }
        }
    }
    Ok(None)
}

pub(super) fn remove(programs: &Programs<'_>, ips: &[IpAddr]) -> Result<(), ProgramError> {
    for family in Family::ALL {
        let ips: Vec<IpAddr> = ips.iter().copied().filter(|ip| Family::of(*ip) == family).collect();
        if !ips.is_empty() {
            let tables = IpTables::new(programs, family);
            tables.transact(TABLE, |tables| plan_removal(tables, &ips))?;
        }
    }
    Ok(())
}

fn plan_removal(tables: IpTables<'_>, ips: &[IpAddr]) -> Result<Vec<String>, ProgramError> {
    let own = tables.chain_if_usable(TABLE, OWN)?;
    let meant: Vec<String> = ips.iter().flat_map(|ip| rules(*ip)).map(|it| it.append()).collect();
    Ok(own.rules.iter().filter(|rule| meant.contains(rule)).map(|rule| delete(rule)).collect())
}

/// The addresses that the chain has rules of, by any program.
pub(super) fn addressed(programs: &Programs<'_>) -> Result<Vec<IpAddr>, ProgramError> {
    let mut found = Vec::new();
    for family in Family::ALL {
        let own = IpTables::new(programs, family).chain_if_usable(TABLE, OWN)?;
        found.extend(own.rules.iter().filter_map(|rule| address_of(rule)));
    }
    Ok(found)
}

fn address_of(rule: &str) -> Option<IpAddr> {
    let mut words = rule.split_whitespace().skip_while(|word| !matches!(*word, "-s" | "-d"));
    Some(words.nth(1)?.parse::<IpNetwork>().ok()?.ip())
}
