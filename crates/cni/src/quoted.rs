//! Text from outside, made safe to print: cut to a bound, control characters escaped, in quotes.
//!
//! For messages only. What is kept to be used again stays in its own type.

use std::fmt;

use serde_json::Value;

/// How many characters of a text are shown. A Kubernetes name is rarely longer.
const SHOWN: usize = 64;

/// A text as it appears in a message: at most 64 characters, escaped and in double quotes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quoted(String);

impl Quoted {
    /// `text` in quotes.
    pub fn text(text: &str) -> Self {
        Self(format!("{:?}", cut(text)))
    }

    /// A JSON value: a string in quotes, a number or literal as it was written, a list or object by
    /// its kind.
    pub fn value(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::text(text),
            Value::Array(_) => Self("a list".to_owned()),
            Value::Object(_) => Self("an object".to_owned()),
            literal => Self(cut(&literal.to_string())),
        }
    }
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn control_characters_and_quotes_are_escaped() {
        assert_eq!(
            Quoted::text("a\n\"\u{1b}[31m\u{202e}").to_string(),
            r#""a\n\"\u{1b}[31m\u{202e}""#
        );
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(Quoted::text(&"ä".repeat(64)).to_string(), format!("\"{}\"", "ä".repeat(64)));
        assert_eq!(Quoted::text(&"ä".repeat(65)).to_string(), format!("\"{}...\"", "ä".repeat(64)));
    }

    #[test]
    fn values_show_what_they_are() {
        let cases = [
            (json!("a"), "\"a\""),
            (json!(70000), "70000"),
            (json!(null), "null"),
            (json!(true), "true"),
            (json!([1]), "a list"),
            (json!({"a": 1}), "an object"),
        ];
        for (value, shown) in cases {
            assert_eq!(Quoted::value(&value).to_string(), shown);
        }
    }

    #[test]
    fn a_number_is_no_way_around_the_bound() {
        let value: Value = serde_json::from_str(&"1".repeat(5000)).unwrap();
        assert_eq!(Quoted::value(&value).to_string().len(), 67);
    }
}
