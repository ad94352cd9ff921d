//! What to do about the commonest failures of plugins, whose own sentences say what went wrong and
//! no more. A sentence that is not known stays as it is.

use plugins::facts;

/// What to do about a plugin's sentence, as the end of it; empty if it is not known.
pub(super) fn behind(sentence: &str) -> String {
    let sentence = sentence.to_ascii_lowercase();
    let known = facts::failures().find(|(words, _)| sentence.contains(words));
    known.map(|(_, advice)| format!("; {advice}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_sentence_gets_its_advice_and_no_other_does() {
        let full = "failed to allocate for range 0: no IP addresses available in range set: \
                    10.0.0.5-10.0.0.5";
        assert!(behind(full).starts_with("; widen the range"));
        assert!(behind("Required prevResult missing").contains("\"plugins\""));
        assert_eq!(behind("the switch is away"), "");
    }

    /// What plugins' sentences are found by is in lower case, and what is added would be no success
    /// on DEL.
    #[test]
    fn every_line_can_be_used() {
        for (words, advice) in facts::failures() {
            assert_eq!(words, words.to_ascii_lowercase());
            let ends_well = !advice.ends_with('.') && !advice.contains("not found");
            assert!(ends_well && behind(words).ends_with(advice), "{words}");
        }
    }
}
