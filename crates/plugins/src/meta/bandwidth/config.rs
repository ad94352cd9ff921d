//! The configuration of bandwidth: its own keys, or the capability `bandwidth`.

use cni::error::{Code, Error};
use cni::plugin::Call;
use linux::netlink::{PacketClock, TokenBucket};

use crate::link::config::{Keys, wrong_type};

/// Bits in a byte.
const BITS: u64 = 8;

/// A burst is smaller, in bytes.
const MAX_BURST: u64 = u32::MAX as u64;

/// A packet waits 25 ms at most: a fortieth of a second.
const WAITS_IN_A_SECOND: u64 = 40;

/// The limits of an attachment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Of what the container receives.
    pub(super) ingress: Option<TokenBucket>,
    /// Of what it sends.
    pub(super) egress: Option<TokenBucket>,
}

impl Limits {
    /// If one of the keys is in the configuration, the runtime's word does not count.
    pub(super) fn read(call: &Call) -> Result<Self, Error> {
        let own = Keys::of(call, &super::FACTS);
        let keys = match call.runtime_config("bandwidth") {
            Some(value) if !super::FACTS.keys.iter().any(|key| own.value(key.name).is_some()) => {
                let object = value.as_object();
                Keys::inside(
                    object
                        .ok_or_else(|| wrong_type("runtimeConfig.bandwidth", "an object", value))?,
                )
            }
            _ => own,
        };
        let limit = |rate, burst| read_limit(keys, rate, burst);
        let (ingress, egress) =
            (limit("ingressRate", "ingressBurst")?, limit("egressRate", "egressBurst")?);
        if ingress.is_none() && egress.is_none() {
            return Ok(Self::default());
        }
        let clock = PacketClock::read().map_err(|error| Error::new(Code::IO, error))?;
        let bucket = |limit: Option<Limit>| limit.map(|limit| limit.bucket(clock));
        Ok(Self { ingress: bucket(ingress), egress: bucket(egress) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}

/// A rate in bytes a second and a burst in bytes.
#[derive(Clone, Copy, Debug)]
struct Limit {
    rate: u64,
    burst: u32,
}

impl Limit {
    fn bucket(self, clock: PacketClock) -> TokenBucket {
        let fill = u128::from(self.burst) * 1_000_000 / u128::from(self.rate.max(1));
        let waiting = u32::try_from(self.rate / WAITS_IN_A_SECOND).unwrap_or(u32::MAX);
        TokenBucket {
            rate: self.rate,
            limit: waiting.saturating_add(self.burst),
            buffer: clock.ticks(u32::try_from(fill).unwrap_or(u32::MAX)),
        }
    }
}

fn read_limit(keys: Keys<'_>, rate_key: &str, burst_key: &str) -> Result<Option<Limit>, Error> {
    let refuse = |problem: String| Err(Error::new(Code::CONFIG, problem));
    let is_set = |number: &u64| *number != 0;
    let rate = keys.number(rate_key, u64::MAX)?.filter(is_set);
    let burst = keys.number(burst_key, u64::MAX)?.filter(is_set);
    let (rate, burst) = match (rate, burst) {
        (None, None) => return Ok(None),
        (Some(rate), Some(burst)) => (rate / BITS, burst / BITS),
        (Some(_), None) => {
            return refuse(format!("\"{rate_key}\" needs \"{burst_key}\" beside it"));
        }
        (None, Some(_)) => {
            return refuse(format!("\"{burst_key}\" needs \"{rate_key}\" beside it"));
        }
    };
    if rate == 0 || burst == 0 {
        return refuse(format!("\"{rate_key}\" and \"{burst_key}\" must be at least 8 bits"));
    }
    match u32::try_from(burst).ok().filter(|_| burst < MAX_BURST) {
        Some(burst) => Ok(Some(Limit { rate, burst })),
        None => refuse(format!("\"{burst_key}\" must be less than 4 GiB, in bits")),
    }
}
