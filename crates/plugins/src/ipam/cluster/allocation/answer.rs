//! What the answer to a request means for the allocation.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni::error::one_line;

use super::{Allocation, LARGE, Pause, Refusal, SAME, Step, TRIES};
use crate::ipam::cluster::choice;
use crate::ipam::cluster::entry::{self, Owner};
use crate::ipam::cluster::object::{Entry, Object, Reservation};
use crate::ipam::cluster::range::number;
use crate::ipam::cluster::store::{Kind, StoreError};

/// The most characters of what others wrote that are shown.
const MOST_SHOWN: usize = 253;

impl Allocation {
    /// Takes the answer to the request.
    ///
    /// # Errors
    /// [`Refusal`] if there will be no address; what was written by then is to be taken back.
    pub(crate) fn answer(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        match self.step {
            Step::Read => self.read(answer),
            Step::CreatePool => self.created(answer),
            Step::Reserve => self.reserved(answer),
            Step::ReadReservation => self.reservation_read(answer),
            Step::TakeReservation => self.taken_over(answer),
            Step::Write => self.written(answer),
            Step::Confirm => self.confirmed(answer),
            Step::GiveUp => self.given_up(answer),
            Step::Done => Ok(Pause::None),
        }
    }

    fn go(&mut self, step: Step) -> Result<Pause, Refusal> {
        self.step = step;
        Ok(Pause::None)
    }

    /// Reads the pool again, since it is not known what the last request has done.
    fn again(&mut self, error: StoreError) -> Result<Pause, Refusal> {
        let pause = pause(error)?;
        self.step = Step::Read;
        Ok(pause)
    }

    fn read(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        match answer {
            Ok(bytes) => {
                self.pool = decode(&bytes, Kind::Pool, &self.wish.pool)?;
                self.choose()
            }
            Err(StoreError::Missing(_)) => self.go(Step::CreatePool),
            Err(error) => pause(error),
        }
    }

    fn created(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        match answer {
            Ok(bytes) => {
                self.pool = decode(&bytes, Kind::Pool, &self.wish.pool)?;
                self.choose()
            }
            // Another node has made it.
            Err(StoreError::Conflict(_)) => self.go(Step::Read),
            Err(error) => self.again(error),
        }
    }

    /// Chooses an address in the pool that was read.
    fn choose(&mut self) -> Result<Pause, Refusal> {
        self.check_pool()?;
        let before = self.chosen.take();
        let mine = self.own_entry();
        if let Some((number, is_written)) = mine {
            self.chosen = Some(number);
            return self.go(match (self.wish.overlapping, is_written) {
                (true, _) => Step::ReadReservation,
                (false, true) => Step::Done,
                (false, false) => Step::Write,
            });
        }
        // It was reserved for a write that was not done: others were faster, or there was no
        // answer.
        if let Some(number) = before.filter(|_| self.reservation.is_some()) {
            self.chosen = Some(number);
            self.count_refusals(before);
            return self.go(if self.is_free(number) { Step::Write } else { Step::GiveUp });
        }
        self.tries = self.tries.saturating_add(1);
        if self.tries > TRIES {
            return Err(Refusal::Lost { pool: self.wish.pool.clone() });
        }
        let number = self.free()?;
        self.chosen = Some(number);
        self.count_refusals(before);
        self.go(if self.wish.overlapping { Step::Reserve } else { Step::Write })
    }

    /// A write that the server refuses although the address stays free will be refused for ever.
    fn count_refusals(&mut self, before: Option<u128>) {
        let is_again = std::mem::take(&mut self.was_refused) && before == self.chosen;
        self.same = if is_again { self.same.saturating_add(1) } else { 0 };
    }

    fn is_free(&self, number: u128) -> bool {
        let offset = self.pool.offset(self.wish.range.address(number));
        offset.is_some_and(|offset| !self.pool.entries.contains_key(&offset))
    }

    fn check_pool(&self) -> Result<(), Refusal> {
        let expected = self.wish.range.subnet();
        let is_same = self.pool.network().is_some_and(|found| {
            found.network() == expected.network() && found.prefix() == expected.prefix()
        });
        if !is_same {
            return Err(Refusal::OtherRange {
                pool: self.wish.pool.clone(),
                found: one_line(&self.pool.range, 64),
                expected: expected.to_string(),
            });
        }
        if self.pool.bytes > LARGE {
            log::warn!(
                "address pool \"{}\" has {} entries in {} KiB, which etcd limits to 1.5 MiB: use \
                 \"node_slice_size\", or several ranges",
                self.wish.pool,
                self.pool.entries.len(),
                self.pool.bytes >> 10
            );
        }
        Ok(())
    }

    /// The address of an entry that is ours or may be taken over, and whether it is written so.
    fn own_entry(&self) -> Option<(u128, bool)> {
        let owner = &self.wish.owner;
        let by_claim = self.wish.claim.as_deref().and_then(|claim| {
            let offset = entry::offset_of_claim(&self.pool, claim)?;
            self.pool.entries.get_key_value(&offset)
        });
        let find = |wanted: &dyn Fn(&Entry) -> bool| {
            self.pool.entries.iter().find(|(_, entry)| wanted(entry))
        };
        let found = by_claim
            .or_else(|| find(&|entry| owner.has(entry)))
            .or_else(|| find(&|entry| owner.may_take_over(entry)));
        let (offset, entry) = found?;
        let ip = self.pool.address(*offset)?;
        // One that the pod does not ask for, or that the range has no more, is left as it is.
        let fits = self.wish.range.contains(ip) && self.wish.asked.is_none_or(|asked| asked == ip);
        let is_written = owner.has(entry) && owner.may_take_over(entry);
        let is_kept = self.wish.claim.is_none() || by_claim.is_some();
        let is_reserved = self.reserved.contains(&number(ip));
        (fits && !is_reserved).then_some((number(ip), is_written && is_kept))
    }

    fn free(&self) -> Result<u128, Refusal> {
        let addresses = self.pool.entries.keys().filter_map(|offset| self.pool.address(*offset));
        let mut taken: BTreeSet<u128> = addresses.map(number).collect();
        if let Some(asked) = self.wish.asked {
            return self.asked(asked, &taken);
        }
        taken.extend(&self.reserved);
        let chosen = choice::next(&self.wish.range, self.wish.start, &taken, self.skip);
        chosen.ok_or_else(|| Refusal::Full {
            pool: self.wish.pool.clone(),
            range: self.wish.range.to_string(),
            used: taken.len(),
        })
    }

    fn asked(&self, asked: IpAddr, taken: &BTreeSet<u128>) -> Result<u128, Refusal> {
        if !taken.contains(&number(asked)) {
            return Ok(number(asked));
        }
        let entry = self.pool.offset(asked).and_then(|offset| self.pool.entries.get(&offset));
        let holder = entry.map(|entry| shown(&entry.podref)).unwrap_or_default();
        Err(Refusal::Taken { address: asked, holder })
    }

    fn reserved(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        match answer {
            Ok(bytes) => {
                self.reservation = Some(decode(&bytes, Kind::Reservation, &self.reserved_as())?);
                self.go(if self.is_written() { Step::Done } else { Step::Write })
            }
            Err(StoreError::Conflict(_)) => self.go(Step::ReadReservation),
            Err(error) if error.is_outage() => Ok(pause(error)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the pool as it was read has our entry already.
    fn is_written(&self) -> bool {
        let mine = self.own_entry();
        mine.is_some_and(|(number, is_written)| is_written && Some(number) == self.chosen)
    }

    fn reservation_read(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        let found: Reservation = match answer {
            Ok(bytes) => decode(&bytes, Kind::Reservation, &self.reserved_as())?,
            Err(StoreError::Missing(_)) => return self.go(Step::Reserve),
            Err(error) => return pause(error),
        };
        if !self.is_of_us(&found) {
            return self.reserved_by_another(&found);
        }
        let is_current =
            found.container == self.wish.owner.container && found.podref == self.wish.owner.podref;
        self.reservation = Some(found);
        self.go(match (is_current, self.is_written()) {
            (false, _) => Step::TakeReservation,
            (true, true) => Step::Done,
            (true, false) => Step::Write,
        })
    }

    /// Ours, or that of the pod whose place is taken: of its name, or of the claim's entry.
    fn is_of_us(&self, found: &Reservation) -> bool {
        let Owner { podref, interface, .. } = &self.wish.owner;
        let is_same =
            found.podref == *podref && (found.ifname == *interface || found.ifname.is_empty());
        let by_claim =
            self.wish.claim.as_deref().and_then(|claim| {
                self.pool.entries.get(&entry::offset_of_claim(&self.pool, claim)?)
            });
        is_same || by_claim.is_some_and(|entry| entry.podref == found.podref)
    }

    /// The address is taken, whatever the pool says.
    fn reserved_by_another(&mut self, found: &Reservation) -> Result<Pause, Refusal> {
        let Some(number) = self.chosen.take() else { return self.go(Step::Read) };
        let address = self.wish.range.address(number);
        let is_written = self.own_entry() == Some((number, true));
        if self.wish.asked == Some(address) || is_written {
            return Err(Refusal::Taken { address, holder: shown(&found.podref) });
        }
        self.reserved.insert(number);
        self.lost = self.lost.saturating_add(1);
        if self.lost == 1 {
            return self.choose();
        }
        // Others are at work in the same place: what they have by now is in the pool.
        self.step = Step::Read;
        self.bounded(Pause::Lost(self.lost))
    }

    fn taken_over(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        match answer {
            Ok(bytes) => {
                self.reservation = Some(decode(&bytes, Kind::Reservation, &self.reserved_as())?);
                self.go(if self.is_written() { Step::Done } else { Step::Write })
            }
            Err(StoreError::Conflict(_) | StoreError::Invalid(_) | StoreError::Missing(_)) => {
                self.lost = self.lost.saturating_add(1);
                self.step = Step::ReadReservation;
                self.bounded(Pause::Lost(self.lost))
            }
            Err(error) if error.is_outage() => {
                self.step = Step::ReadReservation;
                pause(error)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn written(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        match answer {
            Ok(_) => self.go(if self.wish.overlapping { Step::Confirm } else { Step::Done }),
            // Nothing was written: the same is written again.
            Err(StoreError::Conflict(_)) => {
                self.contended = self.contended.saturating_add(1);
                self.bounded(Pause::Contended(self.contended))
            }
            Err(StoreError::Invalid(said)) => {
                if self.same >= SAME {
                    return Err(StoreError::Invalid(said).into());
                }
                self.was_refused = true;
                self.lost = self.lost.saturating_add(1);
                self.step = Step::Read;
                self.bounded(Pause::Lost(self.lost))
            }
            // Removed meanwhile.
            Err(StoreError::Missing(_)) => self.go(Step::Read),
            Err(StoreError::TooLarge(said)) => Err(Refusal::TooLarge {
                pool: self.wish.pool.clone(),
                entries: self.pool.entries.len(),
                kib: self.pool.bytes >> 10,
                said,
            }),
            Err(error) => self.again(error),
        }
    }

    fn bounded(&self, pause: Pause) -> Result<Pause, Refusal> {
        if self.lost.max(self.contended) > TRIES {
            return Err(Refusal::Lost { pool: self.wish.pool.clone() });
        }
        Ok(pause)
    }

    fn confirmed(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        match answer {
            Ok(bytes) => {
                let found: Reservation = decode(&bytes, Kind::Reservation, &self.reserved_as())?;
                if self.is_of_us(&found) {
                    return self.go(Step::Done);
                }
                let address = self.wish.range.address(self.chosen.unwrap_or_default());
                Err(Refusal::Taken { address, holder: shown(&found.podref) })
            }
            // Taken for an orphan between the two writes. The pool is read again before it is made
            // anew, so that a reservation never stands for an entry that is gone.
            Err(StoreError::Missing(_)) => {
                self.reservation = None;
                self.lost = self.lost.saturating_add(1);
                self.step = Step::Read;
                self.bounded(Pause::None)
            }
            Err(error) => pause(error),
        }
    }

    /// Whatever the answer, the reservation is not ours any more or stays in the journal.
    fn given_up(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<Pause, Refusal> {
        if let Err(error) = answer
            && error.is_outage()
        {
            return pause(error);
        }
        self.reservation = None;
        self.chosen = None;
        self.go(Step::Read)
    }
}

/// The wait after an error that passes.
fn pause(error: StoreError) -> Result<Pause, Refusal> {
    match error {
        StoreError::Throttled { retry_after, .. } => Ok(Pause::Outage(error, retry_after)),
        StoreError::Unavailable(_) => Ok(Pause::Outage(error, None)),
        error => Err(error.into()),
    }
}

fn decode<T: Object>(bytes: &[u8], kind: Kind, name: &str) -> Result<T, Refusal> {
    T::decode(bytes).map_err(|problem| Refusal::Unreadable {
        what: format!("{} \"{name}\"", kind.noun()),
        problem,
    })
}

/// A pod's name in a message; what others wrote is shortened.
pub(crate) fn shown(podref: &str) -> String {
    if podref.is_empty() {
        return "a pod that it does not name".to_owned();
    }
    format!("pod {}", one_line(podref, MOST_SHOWN))
}
