//! The administrator's list of sysctls that networks may set: a regular expression for each, on
//! lines of their own.

use std::path::Path;

use cni::error::{Code, Error};
use cni::quoted::Quoted;
use linux::file::{FileError, is_missing, read_regular};
use regex_lite::Regex;

/// Where the reference plugin reads it.
const PATH: &str = "/etc/cni/tuning/allowlist.conf";

/// The largest that is read.
const MAX_BYTES: u64 = 64 << 10;

/// Whether the list has each of these keys, as they are written in the configuration. Without a
/// list, all are allowed.
///
/// # Errors
/// Code 7 for a key that it does not have and a line that is no expression, code 5 if the list
/// cannot be read.
pub(super) fn check<'k>(mut keys: impl Iterator<Item = &'k str>) -> Result<(), Error> {
    let path = Path::new(PATH);
    let bytes = match read_regular(path, MAX_BYTES) {
        Err(error) if is_missing(&error) => return Ok(()),
        outcome => {
            outcome.map_err(|error| Error::new(Code::IO, FileError::of("read", path)(error)))?
        }
    };
    let allowed = parse(&String::from_utf8_lossy(&bytes))?;
    match keys.find(|key| !allowed.iter().any(|expression| expression.is_match(key))) {
        None => Ok(()),
        Some(key) => {
            let key = Quoted::text(key);
            let problem =
                format!("sysctl {key} is not allowed on this node: {PATH} does not list it");
            Err(Error::new(Code::CONFIG, problem))
        }
    }
}

/// An expression may match anywhere in a key.
fn parse(text: &str) -> Result<Vec<Regex>, Error> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let expression = |(at, line): (usize, &str)| {
        Regex::new(line).map_err(|error| {
            let problem = format!("line {at} of {PATH} is no regular expression: {error}");
            Error::new(Code::CONFIG, problem)
        })
    };
    lines.filter(|(_, line)| !line.is_empty()).map(expression).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_expressions_and_a_wrong_one_is_named() {
        let allowed = parse("\n  ^net\\.ipv4\\.conf\\.IFNAME\\.  \n\nsomaxconn\n").unwrap();
        assert_eq!(allowed.len(), 2);
        assert!(allowed[1].is_match("net.core.somaxconn"));
        let error = parse("ok\n(").unwrap_err();
        assert!(error.msg.starts_with("line 2 of /etc/cni/tuning/allowlist.conf"), "{error}");
    }
}
