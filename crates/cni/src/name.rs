//! The name of an interface in the sandbox (`CNI_IFNAME`): a name that exists is a valid name, and
//! safe in a path.

use crate::checked_text;

/// Longest interface name, in bytes: the kernel's `IFNAMSIZ` without the terminating zero.
const MAX_INTERFACE: usize = 15;

/// What an interface's name must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameRule {
    /// The kernel's limit.
    #[error("must be an interface name of 1 to 15 bytes")]
    Length,
    /// What the kernel refuses, takes for a pattern, or cannot be typed.
    #[error("must be an interface name: visible ASCII characters without '/', ':' and '%'")]
    Characters,
    /// A tool takes the first for an option; a plugin that makes a path of a sysctl's name would
    /// leave out the second, in front or behind (`eth0.`), and reach another interface's.
    #[error("must be an interface name that does not begin with '-' or '.', nor end with '.'")]
    Ends,
    /// Names that mean something else: the loopback, or a directory in /proc/sys/net/ipv4/conf.
    #[error(
        "must not be \".\", \"..\", \"lo\", \"all\" or \"default\", which have a meaning of their \
         own"
    )]
    Reserved,
}

checked_text!(
    /// The name of a network interface in the pod (`CNI_IFNAME`): what the kernel takes, less what
    /// it would take for something else.
    InterfaceName,
    InvalidInterfaceName,
    "interface",
    NameRule,
    check_interface
);

impl InterfaceName {
    /// Reads a name, or `lo`: runtimes call the plugin `loopback` for it, and no other.
    pub(crate) fn parse_loopback(text: &str) -> Result<Self, InvalidInterfaceName> {
        if text == "lo" { Ok(Self(text.to_owned())) } else { text.parse() }
    }
}

fn check_interface(text: &str) -> Result<(), NameRule> {
    if text.is_empty() || text.len() > MAX_INTERFACE {
        return Err(NameRule::Length);
    }
    // '%' is a pattern to the kernel: "net%d" would come back as "net0".
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"/:%".contains(&byte)) {
        return Err(NameRule::Characters);
    }
    if [".", "..", "lo", "all", "default"].contains(&text) {
        return Err(NameRule::Reserved);
    }
    if text.starts_with(['-', '.']) || text.ends_with('.') {
        return Err(NameRule::Ends);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_what_the_kernel_takes() {
        for text in ["a", "net1", "eth0.100", "data-0_x", "lo0", "alls", "a@b", "exactly15bytes_"] {
            assert_eq!(text.parse::<InterfaceName>().unwrap().as_str(), text);
        }
        let cases = [
            ("", NameRule::Length),
            ("sixteen-bytes-xx", NameRule::Length),
            ("a/b", NameRule::Characters),
            ("a:b", NameRule::Characters),
            ("net%d", NameRule::Characters),
            ("a b", NameRule::Characters),
            ("a\t", NameRule::Characters),
            ("a\0", NameRule::Characters),
            ("a\u{7f}", NameRule::Characters),
            ("ä", NameRule::Characters),
            ("-rf", NameRule::Ends),
            (".all", NameRule::Ends),
            ("all.", NameRule::Ends),
            ("eth0..", NameRule::Ends),
            (".", NameRule::Reserved),
            ("..", NameRule::Reserved),
            ("lo", NameRule::Reserved),
            ("all", NameRule::Reserved),
            ("default", NameRule::Reserved),
        ];
        for (text, rule) in cases {
            assert_eq!(text.parse::<InterfaceName>().unwrap_err().rule, rule, "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_value_and_the_rule() {
        assert_eq!(
            "lo".parse::<InterfaceName>().unwrap_err().to_string(),
            "interface \"lo\": must not be \".\", \"..\", \"lo\", \"all\" or \"default\", \
             which have a meaning of their own"
        );
        assert!(serde_json::from_str::<InterfaceName>("\"lo\"").is_err());
    }
}
