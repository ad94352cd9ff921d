//! Which of the two programs keeps the rules, chosen as the reference plugins choose.

use cni::error::{Code, Error};
use cni::keys;
use cni::quoted::Quoted;
use linux::family::Family;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::iptables::IpTables;
use super::nftables::Nft;
use super::program::{ProgramError, Programs};

/// A program that keeps rules.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// iptables, and ip6tables for IPv6.
    IpTables,
    /// nft.
    NfTables,
}

impl Backend {
    /// Its name in a configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::IpTables => "iptables",
            Self::NfTables => "nftables",
        }
    }

    /// The backend that `key` names; none if the plugin may choose.
    pub(crate) fn read(object: &Map<String, Value>, key: &str) -> Result<Option<Self>, Error> {
        match keys::get(object, key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) if text == "iptables" => Ok(Some(Self::IpTables)),
            Some(Value::String(text)) if text == "nftables" => Ok(Some(Self::NfTables)),
            Some(other) => {
                let problem = format!(
                    "\"{key}\" must be \"iptables\" or \"nftables\", not {}",
                    Quoted::value(other)
                );
                Err(Error::new(Code::CONFIG, problem))
            }
        }
    }

    /// iptables, unless that does not work here and nft does.
    pub(crate) fn choose(programs: &Programs<'_>) -> Self {
        let is_iptables = IpTables::new(programs, Family::V4).probe().is_ok();
        if is_iptables || Nft::new(programs).probe().is_err() {
            Self::IpTables
        } else {
            Self::NfTables
        }
    }

    /// Whether it works here.
    pub(crate) fn probe(self, programs: &Programs<'_>) -> Result<(), ProgramError> {
        match self {
            Self::IpTables => IpTables::new(programs, Family::V4).probe(),
            Self::NfTables => Nft::new(programs).probe(),
        }
    }

    /// Removes rules of the backend that keeps them, or of both if that is not known.
    pub(crate) fn remove_rules(
        known: Option<Self>,
        programs: &Programs<'_>,
        remove_from: impl Fn(Self) -> Result<(), ProgramError>,
    ) -> Result<(), ProgramError> {
        let meant = |backend: &Self| known.is_none_or(|known| known == *backend);
        [Self::IpTables, Self::NfTables].into_iter().filter(meant).try_for_each(|backend| {
            backend.forgive(remove_from(backend), known.is_some(), programs)
        })
    }

    /// The outcome of removing rules, which may not be there. Without a mark that says that they
    /// are, a backend that does not work here has none: no DEL fails for it.
    pub(crate) fn forgive(
        self,
        removed: Result<(), ProgramError>,
        is_marked: bool,
        programs: &Programs<'_>,
    ) -> Result<(), ProgramError> {
        match removed {
            Err(error) if !is_marked && error.has_failed() && self.probe(programs).is_err() => {
                log::warn!("{} does not work here and has no rules: {error}", self.as_str());
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// STATUS: code 50 with what is missing.
    pub(crate) fn check(chosen: Option<Self>, programs: &Programs<'_>) -> Result<(), Error> {
        let backend = chosen.unwrap_or_else(|| Self::choose(programs));
        backend.probe(programs).map_err(|error| Error::new(Code::NOT_AVAILABLE, error))
    }
}
