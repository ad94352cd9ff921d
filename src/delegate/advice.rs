//! What to do about the commonest failures of the reference plugins, whose own sentences say what went wrong and
//! no more. A sentence that is not known stays as it is.

/// Words of a plugin's sentence, and what to do. The first that fits counts.
const KNOWN: [(&str, &str); 12] = [
    (
        "no ip addresses available in range set",
        "widen the range in the definition; braid gc --dry-run names addresses that are held for nobody",
    ),
    (
        "requested ip address",
        "another pod has it, or the network does: ask for another, or leave \"ips\" out",
    ),
    ("failed to allocate all requested ips", "ask for one in the network's range, or leave \"ips\" out"),
    (
        "in cidr notation",
        "write the address with its prefix length, as in \"10.0.0.5/24\", in \"ips\" of the annotation or in the \
         definition",
    ),
    (
        "ipam plugin returned missing ip config",
        "give the \"ipam\" of the definition addresses, or ask for \"ips\" where it declares that capability",
    ),
    ("error dialing dhcp daemon", "start the daemon of the dhcp plugin on this node"),
    ("incompatible cni versions", "lower \"cniVersion\" in the definition, or have a newer plugin installed"),
    ("prevresult", BEHIND),
    ("must be called as chained plugin", BEHIND),
    ("already exists but is not a bridge", "choose another name for \"bridge\" in the definition"),
    (
        "failed to create macvlan: device or resource busy",
        "a bridge, a bond or an ipvlan has its \"master\": name another in the definition",
    ),
    (
        "failed to create ipvlan: device or resource busy",
        "a bridge, a bond or a macvlan has its \"master\": name another in the definition",
    ),
];

const BEHIND: &str = "put it behind the plugin that makes the interface, in \"plugins\" of the definition";

/// What to do about a plugin's sentence, as the end of it; empty if nobody knows.
pub(super) fn behind(sentence: &str) -> String {
    let sentence = sentence.to_ascii_lowercase();
    let known = KNOWN.iter().find(|(words, _)| sentence.contains(words));
    known.map(|(_, advice)| format!("; {advice}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_sentence_gets_its_advice_and_no_other_does() {
        let full =
            "failed to allocate for range 0: no IP addresses available in range set: 10.0.0.5-10.0.0.5";
        assert!(behind(full).starts_with("; widen the range"));
        assert!(behind("Required prevResult missing").contains("\"plugins\""));
        assert_eq!(behind("the switch is away"), "");
    }

    /// What plugins' sentences are found by is in lower case, and what is added would be no success on DEL.
    #[test]
    fn every_line_can_be_used() {
        for (words, advice) in KNOWN {
            assert_eq!(words, words.to_ascii_lowercase());
            let ends_well = !advice.ends_with('.') && !advice.contains("not found");
            assert!(ends_well && behind(words).ends_with(advice), "{words}");
        }
    }
}
