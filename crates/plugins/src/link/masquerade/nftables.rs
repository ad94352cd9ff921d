//! One rule for each address in a chain that all attachments share. Comments say whose a rule is.

use ipnetwork::IpNetwork;

use crate::rules::name::short_hash;
use crate::rules::nftables::{MAX_COMMENT, Nft, NftRule, Script, quote};
use crate::rules::owner::{Owner, subnet};
use crate::rules::program::{ProgramError, Programs};

const TABLE: &str = "inet cni_plugins_masquerade";
const CHAIN: &str = "inet cni_plugins_masquerade masq_checks";
const ABOUT_TABLE: &str = "Masquerading for plugins from github.com/containernetworking/plugins";
const ABOUT_CHAIN: &str =
    "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet";

/// What the comments of an attachment's rules begin with.
fn prefix(owner: &Owner) -> String {
    let instance = format!("{}:{}", owner.interface, owner.container);
    format!("{}-{}", short_hash(&owner.network, 16), short_hash(&instance, 16))
}

fn comment(owner: &Owner) -> String {
    let Owner { network, container, interface } = owner;
    let text = format!("{}, net: {network}, if: {interface}, id: {container}", prefix(owner));
    // All of it is ASCII.
    text.chars().filter(|character| *character != '"').take(MAX_COMMENT).collect()
}

pub(super) fn add(
    programs: &Programs<'_>,
    owner: &Owner,
    addresses: &[IpNetwork],
) -> Result<(), ProgramError> {
    let nft = Nft::new(programs);
    let with_comments =
        nft.transact(Script::Text, |nft| plan(nft, owner, addresses, Comments::OnObjects));
    match with_comments {
        // Older kernels and programs have no comments of tables and chains.
        Err(error) if error.has_failed() => {
            nft.transact(Script::Text, |nft| plan(nft, owner, addresses, Comments::OnRules))
        }
        outcome => outcome,
    }
}

/// What has comments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comments {
    OnObjects,
    OnRules,
}

fn plan(
    nft: Nft<'_>,
    owner: &Owner,
    addresses: &[IpNetwork],
    comments: Comments,
) -> Result<String, ProgramError> {
    let about = |text: &str| match comments {
        Comments::OnObjects => format!(" {{ comment {} ; }}", quote(text)),
        Comments::OnRules => String::new(),
    };
    let mut script = format!(
        "add table {TABLE}{}\nadd chain {CHAIN}{}\n\
         add chain {TABLE} postrouting {{ type nat hook postrouting priority 100 ; }}\n\
         flush chain {TABLE} postrouting\n\
         add rule {TABLE} postrouting ip daddr == 224.0.0.0/4 return\n\
         add rule {TABLE} postrouting ip6 daddr == ff00::/8 return\n\
         add rule {TABLE} postrouting goto masq_checks\n",
        about(ABOUT_TABLE),
        about(ABOUT_CHAIN),
    );
    script.push_str(&deletions(&own_rules(nft, owner)?));
    for address in addresses {
        let (ip, subnet, comment) = (address.ip(), subnet(*address), quote(&comment(owner)));
        let family = if ip.is_ipv4() { "ip" } else { "ip6" };
        script.push_str(&format!(
            "add rule {CHAIN} {family} saddr == {ip} {family} daddr != {subnet} masquerade \
             comment {comment}\n"
        ));
    }
    Ok(script)
}

fn own_rules(nft: Nft<'_>, owner: &Owner) -> Result<Vec<NftRule>, ProgramError> {
    let prefix = prefix(owner);
    let mut rules = nft.rules_if_usable(&format!("chain {CHAIN}"))?;
    rules.retain(|rule| rule.comment.starts_with(&prefix));
    Ok(rules)
}

fn deletions(rules: &[NftRule]) -> String {
    let line = |rule: &NftRule| format!("delete rule {CHAIN} handle {}\n", rule.handle);
    rules.iter().map(line).collect()
}

/// The first address without its rule.
pub(super) fn missing(
    programs: &Programs<'_>,
    owner: &Owner,
    addresses: &[IpNetwork],
) -> Result<Option<IpNetwork>, ProgramError> {
    let rules = own_rules(Nft::new(programs), owner)?;
    let has = |address: &&IpNetwork| {
        let ip = address.ip().to_string();
        rules.iter().any(|rule| rule.mentions(&ip))
    };
    Ok(addresses.iter().find(|address| !has(address)).copied())
}

pub(super) fn has_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    Ok(!own_rules(Nft::new(programs), owner)?.is_empty())
}

pub(super) fn remove(programs: &Programs<'_>, owner: &Owner) -> Result<(), ProgramError> {
    let plan = |nft| Ok(deletions(&own_rules(nft, owner)?));
    Nft::new(programs).transact(Script::Text, plan)
}
