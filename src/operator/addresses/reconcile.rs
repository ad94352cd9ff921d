//! `braid addresses reconcile`: the addresses of pods that are gone or have ended, seen so twice,
//! are released.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::AddressesError;
use super::holder::HolderState;
use super::kept::KeptReservations;
use super::list::{Holder, Holders, table};
use super::release::{Released, release};
use super::reservations::{self, StaleReservation};
use super::store::{ApiOptions, Pools};
use crate::config;
use crate::operator::console::{Exit, OutputStyle, Tone, View};

/// The most entries, and reservations, that one run releases; the next run has the rest.
const MOST: usize = 20_000;
/// The most entries that are said and stay.
const MOST_REPORTED: usize = 1000;

/// What `braid addresses reconcile` is told.
#[derive(Args, Debug)]
pub(super) struct Reconcile {
    /// Say what is stale now, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The time between the two looks at an address (5m, 1h)
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = grace)]
    grace: Duration,
    #[command(flatten)]
    api: ApiOptions,
}

fn grace(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
        .ok_or_else(|| "must be seconds, or a number with one of the units s, m, h".to_owned())
}

/// What one look has found.
#[derive(Default)]
struct Survey {
    stale: Vec<Holder>,
    reservations: Vec<StaleReservation>,
    reported: Vec<Holder>,
    /// How many more there are than are reported.
    unreported: usize,
}

/// What became of what was stale.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reconciled {
    dry_run: bool,
    /// Released, or would be.
    released: Vec<Holder>,
    /// Reservations that are removed, or would be.
    reservations: Vec<StaleReservation>,
    /// Held by a running pod whose network status does not name the address.
    not_in_status: Vec<Holder>,
    /// How many more there are of these.
    not_listed: usize,
    failed: Vec<Failure>,
}

/// An address that could not be released.
#[derive(Debug, Serialize)]
struct Failure {
    /// The address and its pool, or the reservation's name.
    what: String,
    error: String,
}

impl Reconcile {
    pub(super) fn run(&self) -> Result<Reconciled, AddressesError> {
        let mut pools = self.api.pools()?;
        let first = Survey::take(&mut pools)?;
        if self.dry_run || first.is_clean() {
            return Ok(first.into_rehearsal(self.dry_run));
        }
        std::thread::sleep(self.grace);
        let second = Survey::take(&mut pools)?;
        Ok(second.seen_before(&first).release(&mut pools))
    }
}

impl Survey {
    fn take(pools: &mut Pools) -> Result<Self, AddressesError> {
        let mut known = Holders::new(pools)?;
        let (mut found, mut kept) = (Self::default(), KeptReservations::default());
        pools.each_pool(|pools, pool| {
            for holder in known.of(pools, &pool)? {
                kept.add(&holder);
                found.add(holder);
            }
            Ok(())
        })?;
        found.reservations = reservations::stale(pools, &mut known.pods, &kept, MOST)?;
        Ok(found)
    }

    fn add(&mut self, holder: Holder) {
        if holder.state.is_stale() && self.stale.len() < MOST {
            self.stale.push(holder);
        } else if holder.state == HolderState::NotInStatus {
            if self.reported.len() < MOST_REPORTED {
                self.reported.push(holder);
            } else {
                self.unreported += 1;
            }
        }
    }

    fn is_clean(&self) -> bool {
        self.stale.is_empty() && self.reservations.is_empty()
    }

    /// What `first` has seen too, and is unchanged.
    fn seen_before(mut self, first: &Self) -> Self {
        let identity =
            |it: &Holder| (it.pool.clone(), it.key.clone(), it.container.clone(), it.pod.clone());
        let before: std::collections::BTreeSet<_> = first.stale.iter().map(identity).collect();
        self.stale.retain(|holder| before.contains(&identity(holder)));
        let known: std::collections::BTreeMap<_, _> =
            first.reservations.iter().map(|it| (it.name.as_str(), it)).collect();
        self.reservations
            .retain(|it| known.get(it.name.as_str()).is_some_and(|before| it.is_same(before)));
        self
    }

    fn into_rehearsal(self, dry_run: bool) -> Reconciled {
        Reconciled {
            dry_run,
            released: self.stale,
            reservations: self.reservations,
            not_in_status: self.reported,
            not_listed: self.unreported,
            failed: Vec::new(),
        }
    }

    /// The entries first: an address is free again only once its reservation is gone too.
    fn release(self, pools: &mut Pools) -> Reconciled {
        let mut done = Reconciled {
            not_in_status: self.reported,
            not_listed: self.unreported,
            ..Reconciled::default()
        };
        for of_pool in self.stale.chunk_by(|one, other| one.pool == other.pool) {
            let outcomes = release(pools, of_pool);
            for (holder, outcome) in of_pool.iter().zip(outcomes) {
                let what = || format!("{} of pool {}", holder.place(), holder.pool);
                done.note(outcome, what, |done| done.released.push(holder.clone()));
            }
        }
        for reservation in self.reservations {
            let outcome = reservation.release(pools);
            let what = || format!("reservation {}", reservation.name);
            done.note(outcome, what, |done| done.reservations.push(reservation.clone()));
        }
        done
    }
}

impl Reconciled {
    fn note(
        &mut self,
        outcome: Released,
        what: impl FnOnce() -> String,
        is_done: impl FnOnce(&mut Self),
    ) {
        match outcome {
            Released::Done => is_done(self),
            Released::Changed => {}
            Released::Failed(error) => self.failed.push(Failure { what: what(), error }),
        }
    }
}

fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

impl View for Reconciled {
    fn text(&self, style: &OutputStyle) -> String {
        let mut text = String::new();
        if !self.released.is_empty() {
            text.push_str(&table(style, &self.released));
        }
        let verb = if self.dry_run { "would be released" } else { "released" };
        let entries = count(self.released.len(), "address", "addresses");
        let reservations = count(self.reservations.len(), "reservation", "reservations");
        text.push_str(&format!("{entries} and {reservations} {verb}\n"));
        if !self.not_in_status.is_empty() {
            let count = count(self.not_in_status.len() + self.not_listed, "address", "addresses");
            let sentence = format!(
                "not released: {count} of running pods whose network status does not name it"
            );
            text.push_str(&format!("{}\n", style.wrap(0, &sentence)));
            text.push_str(&table(style, &self.not_in_status));
        }
        for Failure { what, error } in &self.failed {
            let line = style.wrap(2, &format!("failed: {what}: {error}"));
            let rest = line.strip_prefix("failed").unwrap_or_default();
            text.push_str(&format!("{}{rest}\n", style.paint(Tone::Bad, "failed")));
        }
        text
    }

    fn exit(&self) -> Exit {
        if self.failed.is_empty() { Exit::Done } else { Exit::Failed }
    }
}
