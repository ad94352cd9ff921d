//! `macspoofchk` of bridge: frames that the container sends from another hardware address than its
//! own are dropped, by rules of nftables in the bridge family.

use cni::error::{Code, Error};
use cni::plugin::{Call, Context};
use serde_json::{Value, json};

use super::check::drift;
use super::config::Keys;
use crate::rules::backend::Backend;
use crate::rules::mark::{Mark, Marks};
use crate::rules::nftables::{MAX_COMMENT, Nft, NftRule, Script};
use crate::rules::owner::Owner;
use crate::rules::program::{ProgramError, Programs};

const MARKS: &str = "macspoofchk";
const KEY: &str = "macspoofchk";
const PARENT: &str = "bridge nat PREROUTING";

/// What is checked: the host's end of the pair, and the address that frames from there may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port<'a> {
    /// The name of the end on the host.
    pub(crate) name: &'a str,
    /// The container's hardware address.
    pub(crate) mac: &'a str,
}

/// Whether the network asks for it. An attachment whose names are too long for a comment is
/// refused.
pub(crate) fn read(keys: Keys<'_>, call: &Call) -> Result<bool, Error> {
    let is_asked = keys.switch(KEY)?;
    let length = match &call.sandbox {
        Some(_) => comment(&Owner::of(call)?).len(),
        None => 0,
    };
    if is_asked && length > MAX_COMMENT {
        let problem = format!(
            "\"{KEY}\" cannot serve a container ID as long as this one: nftables has comments of \
             {MAX_COMMENT} bytes"
        );
        return Err(Error::new(Code::ENVIRONMENT, problem));
    }
    Ok(is_asked)
}

fn instance(owner: &Owner) -> String {
    format!("{}-{}", owner.container, owner.interface)
}

fn comment(owner: &Owner) -> String {
    format!("{KEY}-{}", instance(owner))
}

/// The chain that the host's end leads to, and the one that it jumps to.
fn chains(owner: &Owner) -> [String; 2] {
    let chain = format!("cni-br-iface-{}", instance(owner));
    let checked = format!("{chain}-mac");
    [chain, checked]
}

/// Makes the rules. What is there after a failure, [`undo`] removes.
pub(crate) fn add(call: &Call, context: &Context<'_>, port: Port<'_>) -> Result<(), Error> {
    let owner = Owner::of(call)?;
    Marks::of(MARKS, call).put(&owner, &Mark::default())?;
    let programs = Programs::of(call, context);
    let added = Nft::new(&programs).transact(Script::Json, |nft| plan(nft, &owner, port));
    added.map_err(about)
}

fn plan(nft: Nft<'_>, owner: &Owner, port: Port<'_>) -> Result<String, ProgramError> {
    let [chain, checked] = chains(owner);
    let comment = comment(owner);
    let rule = |chain: &str, statements: Value| {
        let rule = json!({"family": "bridge", "table": "nat", "chain": chain, "expr": statements, "comment": comment});
        json!({"add": {"rule": rule}})
    };
    let from_port =
        json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": port.name}});
    let from_mac = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ether", "field": "saddr"}}, "right": port.mac}});
    let base = json!({
        "family": "bridge", "table": "nat", "name": "PREROUTING", "type": "filter",
        "hook": "prerouting", "prio": -300, "policy": "accept",
    });
    let mut commands = vec![
        json!({"add": {"table": {"family": "bridge", "name": "nat"}}}),
        json!({"add": {"chain": base}}),
        on_chain("add", &chain),
        on_chain("add", &checked),
        on_chain("flush", &chain),
        on_chain("flush", &checked),
    ];
    commands.extend(own_rules(nft, owner)?.iter().map(deletion));
    commands.extend([
        rule("PREROUTING", json!([from_port, {"jump": {"target": chain}}])),
        rule(&chain, json!([{"jump": {"target": checked}}])),
        rule(&checked, json!([from_mac, {"return": null}])),
        rule(&checked, json!([{"drop": null}])),
    ]);
    Ok(json!({"nftables": commands}).to_string())
}

fn on_chain(command: &str, chain: &str) -> Value {
    json!({command: {"chain": {"family": "bridge", "table": "nat", "name": chain}}})
}

fn own_rules(nft: Nft<'_>, owner: &Owner) -> Result<Vec<NftRule>, ProgramError> {
    let comment = comment(owner);
    let mut rules = nft.rules_if_usable(&format!("chain {PARENT}"))?;
    rules.retain(|rule| rule.comment == comment);
    Ok(rules)
}

fn deletion(rule: &NftRule) -> Value {
    let rule =
        json!({"family": "bridge", "table": "nat", "chain": "PREROUTING", "handle": rule.handle});
    json!({"delete": {"rule": rule}})
}

/// Whether the rules are there.
pub(crate) fn check(call: &Call, context: &Context<'_>, port: Port<'_>) -> Result<(), Error> {
    let owner = Owner::of(call)?;
    let [chain, _] = chains(&owner);
    let programs = Programs::of(call, context);
    let rules = own_rules(Nft::new(&programs), &owner).map_err(about)?;
    if rules.iter().any(|rule| rule.mentions(port.name) && rule.mentions(&chain)) {
        return Ok(());
    }
    let name = port.name;
    Err(drift(format!("the rule that checks the hardware address of frames from {name:?} is gone")))
}

/// Whether the attachment has rules.
pub(crate) fn has_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    Ok(!own_rules(Nft::new(programs), owner)?.is_empty())
}

/// STATUS: whether nft is there, which makes the rules.
pub(crate) fn status(call: &Call, context: &Context<'_>) -> Result<(), Error> {
    let probed = Nft::new(&Programs::of(call, context)).probe();
    probed.map_err(|error| Error::new(Code::NOT_AVAILABLE, error))
}

/// Removes what an ADD that failed has made.
pub(crate) fn undo(call: &Call) {
    let undone = Owner::of(call)
        .and_then(|owner| release(&Marks::of(MARKS, call), &owner, &Programs::for_undo(call)));
    if let Err(error) = undone {
        log::warn!("rules for hardware addresses of a failed ADD stay: {error}");
    }
}

/// DEL: removes the rules of the attachment, those of a reference plugin too.
pub(crate) fn del(keys: Keys<'_>, call: &Call, context: &Context<'_>) -> Result<(), Error> {
    let owner = Owner::of(call)?;
    let marks = Marks::of(MARKS, call);
    if matches!(keys.switch(KEY), Ok(true)) || marks.get(&owner).is_some() {
        release(&marks, &owner, &Programs::of(call, context))?;
    }
    Ok(())
}

/// GC: removes the rules of attachments that are gone.
pub(crate) fn gc(call: &Call, context: &Context<'_>) -> Result<(), Error> {
    let marks = Marks::of(MARKS, call);
    let programs = Programs::of(call, context);
    for (owner, _) in marks.stale(call)? {
        log::info!("rules for hardware addresses of {} go: it is gone", owner.container);
        release(&marks, &owner, &programs)?;
    }
    Ok(())
}

fn release(marks: &Marks, owner: &Owner, programs: &Programs<'_>) -> Result<(), Error> {
    let is_marked = marks.get(owner).is_some();
    let removed = Nft::new(programs).transact(Script::Json, |nft| {
        let rules = own_rules(nft, owner)?;
        if rules.is_empty() && !is_marked {
            return Ok(String::new());
        }
        Ok(removal(&rules, owner))
    });
    match Backend::NfTables.forgive(removed, is_marked, programs) {
        Err(error) if !error.is_missing() => return Err(about(error)),
        _ => {}
    }
    marks.remove(owner)
}

/// A chain that is missing cannot be deleted: each is made first, which changes nothing if it is
/// there.
fn removal(rules: &[NftRule], owner: &Owner) -> String {
    let chains = chains(owner);
    let mut commands = vec![json!({"add": {"table": {"family": "bridge", "name": "nat"}}})];
    commands.extend(chains.iter().map(|chain| on_chain("add", chain)));
    commands.extend(rules.iter().map(deletion));
    commands.extend(chains.iter().map(|chain| on_chain("flush", chain)));
    commands.extend(chains.iter().map(|chain| on_chain("delete", chain)));
    json!({"nftables": commands}).to_string()
}

fn about(error: ProgramError) -> Error {
    Error::from(error).about(KEY)
}
