//! `conditionsV4` and `conditionsV6`: words of a rule that the administrator adds to those by which
//! packets reach an attachment's ports. They are words of iptables or of nftables.
//!
//! A word has a closed alphabet, so that none ends a line, a text in quotes or a command. Of
//! iptables, words that do something else than match are refused.

use cni::error::{Code, Error};
use cni::keys;
use cni::quoted::Quoted;
use serde_json::{Map, Value};

use crate::rules::backend::Backend;

/// The most words of a list, and the most bytes of one.
const MAX_WORDS: usize = 64;
const MAX_BYTES: usize = 128;

/// What a word may have beside letters and digits.
const PUNCTUATION: &[u8] = b"-_.,:/!=+@%*<>{}&|^~";

/// The options of iptables with one letter that match.
const MATCHING: &[&str] = &["-s", "-d", "-i", "-o", "-p", "-m"];

/// The options of iptables that do something else. An abbreviation is the same option.
const COMMANDS: &[&str] = &[
    "--append",
    "--check",
    "--delete",
    "--delete-chain",
    "--exact",
    "--flush",
    "--fragments",
    "--goto",
    "--help",
    "--insert",
    "--jump",
    "--line-numbers",
    "--list",
    "--list-rules",
    "--modprobe",
    "--new-chain",
    "--numeric",
    "--policy",
    "--rename-chain",
    "--replace",
    "--set-counters",
    "--table",
    "--verbose",
    "--version",
    "--wait",
    "--wait-interval",
    "--zero",
];

/// The words of the list at `key`, checked.
pub(super) fn read(object: &Map<String, Value>, key: &str) -> Result<Vec<String>, Error> {
    let Some(value) = keys::get(object, key) else { return Ok(Vec::new()) };
    let wrong = |found: &Value| {
        let found = Quoted::value(found);
        let problem = format!("\"{key}\" must be a list of texts, each one word, not {found}");
        Error::new(Code::CONFIG, problem)
    };
    let list = value.as_array().ok_or_else(|| wrong(value))?;
    if list.len() > MAX_WORDS {
        let problem = format!("\"{key}\" has {} words: {MAX_WORDS} are the most", list.len());
        return Err(Error::new(Code::CONFIG, problem));
    }
    let word = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(value));
    let words: Vec<String> = list.iter().map(word).collect::<Result<_, _>>()?;
    words.iter().try_for_each(|word| check(key, word))?;
    Ok(words)
}

fn check(key: &str, word: &str) -> Result<(), Error> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || PUNCTUATION.contains(&byte);
    let shown = Quoted::text(word);
    let problem = if word.is_empty() || word.len() > MAX_BYTES || !word.bytes().all(is_fit) {
        format!(
            "\"{key}\" has {shown}: a word has 1 to {MAX_BYTES} letters, digits and characters of \
             {}",
            String::from_utf8_lossy(PUNCTUATION)
        )
    } else if is_command(word) {
        format!("\"{key}\" has {shown}: only words that match packets may be added")
    } else {
        return Ok(());
    };
    Err(Error::new(Code::CONFIG, problem))
}

fn is_command(word: &str) -> bool {
    if word.starts_with("--") {
        let name = word.split('=').next().unwrap_or(word);
        return COMMANDS.iter().any(|command| command.starts_with(name));
    }
    word.starts_with('-') && !MATCHING.contains(&word)
}

/// Whose words they are, told as the reference does by the first one.
pub(super) fn backend_of(words: &[String]) -> Option<Backend> {
    let is_iptables = |word: &String| word.starts_with(['-', '!']);
    words.first().map(
        |first| {
            if is_iptables(first) { Backend::IpTables } else { Backend::NfTables }
        },
    )
}
