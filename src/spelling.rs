//! Which known word a misspelt one was probably meant to be.

/// The known key that `word` was probably meant to be, if one is close.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect::<String>().to_ascii_lowercase();
    known
        .into_iter()
        .map(|key| (strsim::damerau_levenshtein(&word, &key.to_ascii_lowercase()), key))
        .filter(|(distance, key)| *distance <= 2.max(key.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// All of `known`, those first that are most like `word`.
pub(crate) fn by_nearness<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
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
}
