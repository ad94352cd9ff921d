//! What the configuration of `portmap` says, checked before anything is changed.

use cni::error::{Code, Error};
use cni::plugin::Call;
use linux::family::Family;

use super::conditions;
use super::mapping::{self, Mapping};
use crate::link::config::Keys;
use crate::rules::backend::Backend;
use crate::rules::iptables::check_chain_name;

/// The bit of a packet's mark by which it is masqueraded, unless the configuration names one.
const DEFAULT_BIT: u64 = 13;

/// The configuration of `portmap`.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) mappings: Vec<Mapping>,
    /// The backend that the configuration names, or that its words are for.
    pub(super) backend: Option<Backend>,
    /// Whether packets of the container's subnet and of the host itself are masqueraded.
    pub(super) snat: bool,
    /// Whether packets from everywhere are.
    pub(super) masquerades_all: bool,
    /// The bit of the mark.
    pub(super) mark_bit: u64,
    /// The chain that sets the mark instead of the plugin's own.
    pub(super) external_chain: Option<String>,
    conditions_v4: Vec<String>,
    conditions_v6: Vec<String>,
}

impl Config {
    /// Reads the configuration of a call.
    pub(super) fn read(call: &Call) -> Result<Self, Error> {
        let keys = Keys::of(call, &super::FACTS);
        let external_chain = keys.text("externalSetMarkChain")?.map(str::to_owned);
        if let Some(chain) = &external_chain {
            check_chain_name("externalSetMarkChain", chain)?;
        }
        let mark_bit = keys.number("markMasqBit", 31)?;
        if mark_bit.is_some() && external_chain.is_some() {
            let problem =
                "\"externalSetMarkChain\" and \"markMasqBit\" exclude each other: leave one out";
            return Err(Error::new(Code::CONFIG, problem));
        }
        let config = Self {
            mappings: mapping::read_all(call.runtime_config("portMappings"))?,
            backend: Backend::read(call.object(), "backend")?,
            snat: keys.value("snat").is_none() || keys.switch("snat")?,
            masquerades_all: keys.switch("masqAll")?,
            mark_bit: mark_bit.unwrap_or(DEFAULT_BIT),
            external_chain,
            conditions_v4: conditions::read(call.object(), "conditionsV4")?,
            conditions_v6: conditions::read(call.object(), "conditionsV6")?,
        };
        let backend = config.required_backend()?;
        Ok(Self { backend, ..config })
    }

    /// The words that packets of a family must match.
    pub(super) fn conditions(&self, family: Family) -> &[String] {
        match family {
            Family::V4 => &self.conditions_v4,
            Family::V6 => &self.conditions_v6,
        }
    }

    /// The mappings of a family.
    pub(super) fn of_family(&self, family: Family) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().filter(move |mapping| mapping.is_of(family))
    }

    /// The backend that is named, which must be the one that the other keys are for.
    fn required_backend(&self) -> Result<Option<Backend>, Error> {
        let words = [("conditionsV4", &self.conditions_v4), ("conditionsV6", &self.conditions_v6)];
        let of_words = words
            .into_iter()
            .filter_map(|(key, words)| conditions::backend_of(words).map(|backend| (key, backend)));
        let chain =
            self.external_chain.as_ref().map(|_| ("externalSetMarkChain", Backend::IpTables));
        let mut required = self.backend.map(|backend| ("backend", backend));
        for (key, backend) in of_words.chain(chain) {
            match required {
                Some((other, named)) if named != backend => {
                    let problem = format!(
                        "\"{key}\" is for the backend {}, and \"{other}\" for {}: leave one out",
                        backend.as_str(),
                        named.as_str()
                    );
                    return Err(Error::new(Code::CONFIG, problem));
                }
                Some(_) => {}
                None => required = Some((key, backend)),
            }
        }
        Ok(required.map(|(_, backend)| backend))
    }
}
