//! Rules in chains that all attachments share, in a table of each family. Their comment is the
//! container's ID; the interface is told by the address that they lead to.

use std::fmt::Write;
use std::net::IpAddr;

use linux::family::Family;
use serde_json::Value;

use super::mapping::Mapping;
use super::{Scope, Target};
use crate::rules::nftables::{Nft, NftRule, Script, quote};
use crate::rules::owner::Owner;
use crate::rules::program::{ProgramError, Programs};

const TABLE: &str = "cni_hostport";
const ABOUT_TABLE: &str = "CNI portmap plugin";
const PORTS: &str = "hostports";
/// Releases 1.6 to 1.8 of the reference have the ports of single addresses there.
const PORTS_OF_ADDRESSES: &str = "hostip_hostports";
const MASQUERADING: &str = "masquerading";

/// The family's word in a rule, and in front of its table.
const fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn chain(family: Family, chain: &str) -> String {
    format!("{} {TABLE} {chain}", word(family))
}

pub(super) fn add(programs: &Programs<'_>, target: &Target<'_>) -> Result<(), ProgramError> {
    let nft = Nft::new(programs);
    let with_comment = nft.transact(Script::Text, |nft| plan(nft, target, true));
    match with_comment {
        // Older kernels and programs have no comments of tables.
        Err(error) if error.has_failed() => {
            nft.transact(Script::Text, |nft| plan(nft, target, false))
        }
        outcome => outcome,
    }
}

fn plan(nft: Nft<'_>, target: &Target<'_>, has_comment: bool) -> Result<String, ProgramError> {
    let about = if has_comment {
        format!(" {{ comment {} ; }}", quote(ABOUT_TABLE))
    } else {
        String::new()
    };
    let scope = Scope {
        owner: target.owner.clone(),
        families: vec![target.family()],
        addresses: vec![target.address.ip()],
        is_shared: false,
    };
    let family = target.family();
    let mut script = format!("add table {} {TABLE}{about}\n", word(family));
    script.push_str(&shared_chains(target));
    script.push_str(&deletions(nft, family, &scope)?);
    for mapping in target.config.of_family(family) {
        script.push_str(&port_rule(target, mapping));
    }
    if target.config.snat {
        script.push_str(&masquerading_rules(target));
    }
    Ok(script)
}

/// What all attachments share, made anew by each: the conditions are those of the last one.
fn shared_chains(target: &Target<'_>) -> String {
    let family = target.family();
    let chain = |name| chain(family, name);
    let conditions = target.config.conditions(family).join(" ");
    let all = chain("hostports_all");
    let mut script = format!(
        "add chain {}\nadd chain {}\nadd chain {all}\nflush chain {all}\n\
         add rule {all} jump {PORTS_OF_ADDRESSES}\nadd rule {all} jump {PORTS}\n",
        chain(PORTS),
        chain(PORTS_OF_ADDRESSES),
    );
    for hook in ["prerouting", "output"] {
        let chain = chain(hook);
        let _ = write!(
            script,
            "add chain {chain} {{ type nat hook {hook} priority -100 ; }}\nflush chain {chain}\n\
             add rule {chain} {conditions} fib daddr type local jump hostports_all\n"
        );
    }
    if target.config.snat {
        let chain = chain(MASQUERADING);
        let _ =
            writeln!(script, "add chain {chain} {{ type nat hook postrouting priority 100 ; }}");
    }
    script
}

fn comment(target: &Target<'_>) -> String {
    quote(&target.owner.container)
}

fn port_rule(target: &Target<'_>, mapping: &Mapping) -> String {
    let family = target.family();
    let only = mapping.only_ip().map(|ip| format!("{} daddr {ip} ", word(family)));
    let ip = target.address.ip();
    let to = match family {
        Family::V4 => format!("{ip}:{}", mapping.container_port),
        Family::V6 => format!("[{ip}]:{}", mapping.container_port),
    };
    format!(
        "add rule {} {}{} dport {} dnat to {to} comment {}\n",
        chain(family, PORTS),
        only.unwrap_or_default(),
        mapping.protocol,
        mapping.host_port,
        comment(target)
    )
}

fn masquerading_rules(target: &Target<'_>) -> String {
    let family = target.family();
    let (word, ip, comment) = (word(family), target.address.ip(), comment(target));
    let everywhere = if family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
    let sources = match (target.config.masquerades_all, family) {
        (true, _) => vec![everywhere.to_owned()],
        (false, Family::V4) => vec![ip.to_string(), "127.0.0.1".to_owned()],
        (false, Family::V6) => vec![ip.to_string()],
    };
    let rule = |source: &String| {
        let chain = chain(family, MASQUERADING);
        format!(
            "add rule {chain} {word} saddr {source} {word} daddr {ip} masquerade comment \
             {comment}\n"
        )
    };
    sources.iter().map(rule).collect()
}

/// The lines that delete the rules of the scope in a family.
fn deletions(nft: Nft<'_>, family: Family, scope: &Scope) -> Result<String, ProgramError> {
    let mut lines = String::new();
    for rule in own_rules(nft, family, &scope.owner)?.iter().filter(|rule| is_meant(rule, scope)) {
        let _ =
            writeln!(lines, "delete rule {} handle {}", chain(family, &rule.chain), rule.handle);
    }
    Ok(lines)
}

/// The rules of the container: the comments name no network and no interface.
fn own_rules(nft: Nft<'_>, family: Family, owner: &Owner) -> Result<Vec<NftRule>, ProgramError> {
    let mut rules = nft.rules_if_usable(&format!("table {} {TABLE}", word(family)))?;
    rules.retain(|rule| {
        let is_shared = [PORTS, PORTS_OF_ADDRESSES, MASQUERADING].contains(&rule.chain.as_str());
        is_shared && rule.comment == owner.container
    });
    Ok(rules)
}

fn is_meant(rule: &NftRule, scope: &Scope) -> bool {
    let leads_there = |ip: &IpAddr| rule.mentions(&ip.to_string());
    scope.addresses.is_empty() || scope.addresses.iter().any(leads_there)
}

/// Whether the container has rules, in any network.
pub(super) fn has_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    let nft = Nft::new(programs);
    for family in Family::ALL {
        if !own_rules(nft, family, owner)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn remove(programs: &Programs<'_>, scope: &Scope) -> Result<(), ProgramError> {
    Nft::new(programs).transact(Script::Text, |nft| {
        scope.families.iter().map(|family| deletions(nft, *family, scope)).collect()
    })
}

/// What is missing of the container's rules.
pub(super) fn missing(
    programs: &Programs<'_>,
    target: &Target<'_>,
) -> Result<Option<String>, ProgramError> {
    let (nft, family) = (Nft::new(programs), target.family());
    let rules = own_rules(nft, family, target.owner)?;
    let (back, ports): (Vec<_>, Vec<_>) =
        rules.into_iter().partition(|rule| rule.chain == MASQUERADING);
    for mapping in target.config.of_family(family) {
        if !ports.iter().any(|rule| leads(rule, target.address.ip(), mapping)) {
            let what =
                format!("the rule that leads {} port {}", mapping.protocol, mapping.host_port);
            return Ok(Some(what));
        }
    }
    if !target.config.snat {
        return Ok(None);
    }
    let ip = target.address.ip().to_string();
    let is_masqueraded = back.iter().any(|rule| rule.mentions(&ip));
    Ok((!is_masqueraded).then(|| "the rule that masquerades what goes back".to_owned()))
}

/// Whether a rule leads the mapping's port to the address.
fn leads(rule: &NftRule, ip: IpAddr, mapping: &Mapping) -> bool {
    let statements = rule.statements.as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |key: &'static str| statements.iter().filter_map(move |statement| statement.get(key));
    let is_target = |dnat: &Value| {
        dnat.get("addr").and_then(Value::as_str) == Some(&ip.to_string())
            && dnat.get("port").and_then(Value::as_u64) == Some(mapping.container_port.into())
    };
    let is_port = |matched: &Value| {
        matched.get("right").and_then(Value::as_u64) == Some(mapping.host_port.into())
    };
    of("dnat").any(is_target)
        && of("match").any(is_port)
        && rule.mentions(mapping.protocol.as_str())
}
