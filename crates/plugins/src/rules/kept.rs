//! Reading whether an attachment has rules, for a proof that it has none.

use std::fmt;
use std::path::PathBuf;

use cni::deadline::Deadline;
use cni::error::Error;

use super::owner::Owner;
use super::program::{ProgramError, Programs};

/// What keeps rules of an attachment that can be looked up, in the namespace of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keeper {
    /// `ipMasq` of bridge and ptp.
    Masquerade,
    /// `macspoofchk` of bridge.
    SpoofCheck,
    /// The plugin portmap.
    PortMap,
    /// The plugin firewall, whose rules name an address and no container.
    Firewall,
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Masquerade => "ipMasq",
            Self::SpoofCheck => "macspoofchk",
            Self::PortMap => "portmap",
            Self::Firewall => "firewall, for an address that is no other attachment's",
        })
    }
}

/// An attachment, by what the names of its rules are made of.
#[derive(Clone, Copy, Debug)]
pub struct Attached<'a> {
    /// The network's name.
    pub network: &'a str,
    /// The container's ID.
    pub container: &'a str,
    /// The interface in it.
    pub interface: &'a str,
}

/// Whether an attachment has rules, of either backend and either family, made by a built-in or a
/// reference plugin. `programs` are the directories of `PATH`. A program that is in none has made
/// none.
///
/// # Errors
/// [`Error`] if a program fails or its listing cannot be read: then it is not known.
pub fn has_rules(
    keeper: Keeper,
    attached: Attached<'_>,
    programs: &[PathBuf],
    deadline: Deadline,
) -> Result<bool, Error> {
    let programs = Programs::at(programs, deadline);
    let owner = Owner {
        network: attached.network.to_owned(),
        container: attached.container.to_owned(),
        interface: attached.interface.to_owned(),
    };
    let read: fn(&Programs<'_>, &Owner) -> Result<bool, ProgramError> = match keeper {
        Keeper::Masquerade => crate::link::masquerade::has_rules,
        Keeper::SpoofCheck => crate::link::spoof_check::has_rules,
        Keeper::PortMap => crate::meta::portmap::has_rules,
        Keeper::Firewall => crate::meta::firewall::may_have_rules,
    };
    Ok(read(&programs, &owner)?)
}
