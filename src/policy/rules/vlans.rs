//! VLANs as a policy names them.

use std::str::FromStr;

/// VLANs one after the other, `100-199`, or a single one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vlans {
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Vlans {
    /// The VLANs from `first` to `last`; `None` if one is no VLAN that a frame can have.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        let id = |id: u64| u16::try_from(id).ok().filter(|id| (1..=4094).contains(id));
        Some(Self { first: id(first)?, last: id(last)? }).filter(|vlans| vlans.first <= vlans.last)
    }
}

impl FromStr for Vlans {
    type Err = NoVlans;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let id = |id: &str| id.trim().parse::<u64>().map_err(|_| NoVlans);
        Self::new(id(first)?, id(last)?).ok_or(NoVlans)
    }
}

/// A text that names no VLANs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoVlans;
