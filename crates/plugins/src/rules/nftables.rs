//! nftables: listing chains as JSON, and changing the ruleset in one transaction, which `nft -f -`
//! carries out whole or not at all.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::program::{ProgramError, Programs};

const PROGRAM: &str = "nft";

/// How often a transaction is planned anew if another process has changed the chain meanwhile.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(5);

/// Longest comment of a rule, in bytes (libnftnl's bound).
pub(crate) const MAX_COMMENT: usize = 128;

/// The oldest release that the reference plugins use.
const OLDEST: [u32; 3] = [1, 0, 1];

/// The ruleset of the calling thread's namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nft<'p> {
    programs: &'p Programs<'p>,
}

/// The language of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Script {
    /// nft's own.
    Text,
    /// JSON, in which any name can be written.
    Json,
}

/// A rule as the kernel shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NftRule {
    /// The chain that it is in.
    pub(crate) chain: String,
    /// Its number in its table.
    pub(crate) handle: u64,
    /// Its comment; empty without one.
    pub(crate) comment: String,
    /// Its statements, in nft's JSON.
    pub(crate) statements: Value,
}

impl NftRule {
    /// Whether a text, such as an address, is a value in one of its statements.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        mentions(&self.statements, text)
    }
}

fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(it) => it == text,
        Value::Array(list) => list.iter().any(|it| mentions(it, text)),
        Value::Object(object) => object.values().any(|it| mentions(it, text)),
        _ => false,
    }
}

impl<'p> Nft<'p> {
    /// The ruleset.
    pub(crate) fn new(programs: &'p Programs<'p>) -> Self {
        Self { programs }
    }

    /// Whether it works here, and is new enough.
    pub(crate) fn probe(self) -> Result<(), ProgramError> {
        let printed = self.programs.run(PROGRAM, &["--version"], "")?;
        let printed = String::from_utf8_lossy(&printed);
        if version(&printed).is_none_or(|version| version < OLDEST) {
            let reason = format!("it is no release from 1.0.1 on: {}", printed.trim());
            return Err(ProgramError::NotRun { name: PROGRAM, reason });
        }
        let table = "add table inet cni_plugins_masquerade\n";
        self.programs.run(PROGRAM, &["--check", "-f", "-"], table).map(drop)
    }

    /// The rules of a chain (`chain inet <table> <chain>`), or of a table (`table ip <table>`);
    /// none if it is missing.
    pub(crate) fn rules(self, place: &str) -> Result<Vec<NftRule>, ProgramError> {
        let words = ["--json", "list"].into_iter().chain(place.split(' '));
        let printed = match self.programs.run(PROGRAM, &words.collect::<Vec<_>>(), "") {
            Err(error) if error.says("No such file or directory") => return Ok(Vec::new()),
            outcome => outcome?,
        };
        read_rules(&printed)
    }

    /// The same, and none if the program is not installed or the kernel has no nftables.
    pub(crate) fn rules_if_usable(self, place: &str) -> Result<Vec<NftRule>, ProgramError> {
        match self.rules(place) {
            Err(error) if error.is_missing() || error.says("not supported") => Ok(Vec::new()),
            outcome => outcome,
        }
    }

    /// Carries out the script that `plan` makes of what it reads, all or nothing of it. It plans
    /// anew if another process has changed the ruleset between reading and writing.
    pub(crate) fn transact(
        self,
        language: Script,
        plan: impl Fn(Self) -> Result<String, ProgramError>,
    ) -> Result<(), ProgramError> {
        let arguments: &[&str] = match language {
            Script::Text => &["-f", "-"],
            Script::Json => &["-j", "-f", "-"],
        };
        let mut script = plan(self)?;
        for attempt in 0..TRIES {
            if script.is_empty() {
                return Ok(());
            }
            let error = match self.programs.run(PROGRAM, arguments, &script) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if !error.has_failed() {
                return Err(error);
            }
            sleep(PAUSE * attempt);
            let again = plan(self)?;
            if again == script && attempt > 1 {
                return Err(error);
            }
            script = again;
        }
        self.programs.run(PROGRAM, arguments, &script).map(drop)
    }
}

/// The three numbers of `nftables v1.0.6 (Lester Gooch #5)`.
fn version(printed: &str) -> Option<[u32; 3]> {
    let word = printed.split_whitespace().find_map(|word| word.strip_prefix('v'))?;
    let mut parts = word.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?])
}

fn read_rules(printed: &[u8]) -> Result<Vec<NftRule>, ProgramError> {
    let unreadable = |reason: String| ProgramError::Unreadable { name: PROGRAM, reason };
    let value: Value =
        serde_json::from_slice(printed).map_err(|error| unreadable(error.to_string()))?;
    let list = value.get("nftables").and_then(Value::as_array);
    let list = list.ok_or_else(|| unreadable("it has no list \"nftables\"".to_owned()))?;
    let rules = list.iter().filter_map(|entry| entry.get("rule"));
    let read = |rule: &Value| {
        Some(NftRule {
            chain: rule.get("chain")?.as_str()?.to_owned(),
            handle: rule.get("handle")?.as_u64()?,
            comment: rule.get("comment").and_then(Value::as_str).unwrap_or_default().to_owned(),
            statements: rule.get("expr")?.clone(),
        })
    };
    let no_rule = || unreadable("a rule has no chain, no handle or no statements".to_owned());
    rules.map(|rule| read(rule).ok_or_else(no_rule)).collect()
}

/// The rules of a listing, each as its chain, handle, comment and statements.
///
/// # Errors
/// Why it is none.
pub fn read_nft_listing(printed: &[u8]) -> Result<Vec<(String, u64, String, Value)>, String> {
    let rules = read_rules(printed).map_err(|error| error.to_string())?;
    Ok(rules.into_iter().map(|it| (it.chain, it.handle, it.comment, it.statements)).collect())
}

/// A text in quotes as nft reads it. It knows no escapes: what would end the text is left out.
pub(crate) fn quote(text: &str) -> String {
    let is_fit = |character: &char| *character != '"' && !character.is_control();
    format!("\"{}\"", text.chars().filter(is_fit).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("nftables v1.0.6 (Lester Gooch #5)\n"), Some([1, 0, 6]));
        assert_eq!(version("nftables v1.1 (x)"), Some([1, 1, 0]));
        assert_eq!(version("nft"), None);
    }

    #[test]
    fn rules_are_read_with_their_comments() {
        let printed = r#"{"nftables": [{"metainfo": {}}, {"chain": {"name": "c"}},
            {"rule": {"chain": "c", "handle": 7, "comment": "x", "expr": [{"dnat": {"addr": "10.0.0.1", "port": 80}}]}},
            {"rule": {"chain": "c", "handle": 8, "expr": []}}]}"#;
        let rules = read_rules(printed.as_bytes()).unwrap();
        assert_eq!((rules[0].handle, rules[0].comment.as_str()), (7, "x"));
        assert!(rules[0].mentions("10.0.0.1") && !rules[0].mentions("10.0.0.10"));
        assert_eq!((rules[1].handle, rules[1].comment.as_str()), (8, ""));
        for printed in ["", "{}", "[]", r#"{"nftables": [{"rule": {}}]}"#] {
            assert!(read_rules(printed.as_bytes()).is_err(), "{printed}");
        }
    }

    #[test]
    fn nothing_leaves_its_quotes() {
        assert_eq!(quote("a\"; flush ruleset\n"), "\"a; flush ruleset\"");
    }
}
