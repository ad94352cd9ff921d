//! The kernel's side, which knows neither CNI nor Braid, in the words of the protocol.

use cni::error::{Code, Error};
use cni::family::Family;
use linux::netlink::InsideError;
use linux::netns::NetnsError;

/// The protocol's error for one of the kernel's side.
pub fn kernel_error(error: impl Into<InsideError>) -> Error {
    let error = error.into();
    let code = match &error {
        InsideError::Netns(NetnsError::Missing(_) | NetnsError::NotANamespace(_)) => {
            Code::ENVIRONMENT
        }
        InsideError::Netns(_) | InsideError::Netlink(_) => Code::IO,
    };
    Error::new(code, error)
}

/// The family as the kernel's side has it.
pub const fn kernel_family(family: Family) -> linux::family::Family {
    match family {
        Family::V4 => linux::family::Family::V4,
        Family::V6 => linux::family::Family::V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_that_is_no_namespaces_is_the_runtimes_mistake() {
        let path = || std::path::PathBuf::from("/run/netns/x");
        let code = |error: NetnsError| kernel_error(error).code;
        assert_eq!(code(NetnsError::Missing(path())), Code::ENVIRONMENT);
        assert_eq!(code(NetnsError::NotANamespace(path())), Code::ENVIRONMENT);
        assert_eq!(
            code(NetnsError::Io { path: path(), errno: nix::errno::Errno::EMFILE }),
            Code::IO
        );
    }
}
