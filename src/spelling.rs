//! Which known word a misspelt one was probably meant to be.

/// The known key that `word` was probably meant to be, if one is close: a slip of one letter, or of
/// every third one. Between short words two letters are no slip: `dns` is not `ips`, and `mtu` not
/// `mac`.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect::<String>().to_ascii_lowercase();
    known
        .into_iter()
        .map(|key| (strsim::damerau_levenshtein(&word, &key.to_ascii_lowercase()), key))
        .filter(|(distance, key)| *distance <= (word.len().min(key.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// All of `known`, those first that are most like `word`.
pub(crate) fn by_nearness<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_by_key(|key| (strsim::damerau_levenshtein(word, key), *key));
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_near() {
        assert_eq!(nearest("defaultroute", ["default-route", "ips"]), Some("default-route"));
        assert_eq!(nearest("entirely-else", ["default-route", "ips"]), None);
    }

    #[test]
    fn words_that_are_merely_short_are_no_typos() {
        let keys = [
            "name",
            "namespace",
            "ips",
            "mac",
            "interface",
            "cni-args",
            "portMappings",
            "bandwidth",
        ];
        for word in ["dns", "mtu", "type", "mode", "vlan", "ipam", "gateway", "", "x"] {
            assert_eq!(nearest(word, keys), None, "{word}");
        }
        let typos = [
            ("ip", "ips"),
            ("MAC-", "mac"),
            ("nmae", "name"),
            ("interfcae", "interface"),
            ("cniArgs", "cni-args"),
        ];
        for (word, meant) in typos {
            assert_eq!(nearest(word, keys), Some(meant), "{word}");
        }
    }
}
