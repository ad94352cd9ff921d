//! Carries allocations and releases out: the requests of all ranges at the same time, round by
//! round, with the waits between them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::plugin::Context;

use super::allocation::{Allocation, Pause, Refusal};
use super::release::Release;
use super::store::{AddressStore, Request, StoreError};

/// How long one round of requests may take.
const ROUND: Duration = Duration::from_secs(5);
/// For how long a store that cannot answer is asked again.
const OUTAGE: Duration = Duration::from_secs(10);
/// For how long addresses are tried.
const TRYING: Duration = Duration::from_secs(60);
/// The longest first wait after a lost race; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(4);
/// The longest wait after a lost race.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// The longest first wait after an outage; it doubles up to the second.
const FIRST_OUTAGE: Duration = Duration::from_millis(100);
const LONGEST_OUTAGE: Duration = Duration::from_millis(1600);
/// The most free addresses that those who have lost races spread over.
const MOST_SPREAD: u64 = 256;
/// How long is slept without a look at signals.
const SLICE: Duration = Duration::from_millis(50);

/// What is done before a place of a pool is written.
pub(crate) type BeforeWrite<'a> = dyn FnMut(&str, (u128, IpAddr)) -> Result<(), Error> + 'a;

/// Carries the allocations out, until all have their address.
///
/// # Errors
/// The first [`Error`]; what was written by then is to be taken back.
pub(crate) fn allocate(
    allocations: &mut [Allocation],
    store: &mut dyn AddressStore,
    context: &Context<'_>,
    before_write: &mut BeforeWrite<'_>,
) -> Result<(), Error> {
    let deadline = context.deadline.within(TRYING);
    let mut outage = Outage::default();
    loop {
        context.proceed()?;
        let mut open: Vec<&mut Allocation> =
            allocations.iter_mut().filter(|it| it.request().is_some()).collect();
        if open.is_empty() {
            return Ok(());
        }
        for allocation in &open {
            if let Some(place) = allocation.writes() {
                before_write(&allocation.wish().pool, place)?;
            }
        }
        let requests: Vec<Request> = open.iter().filter_map(|it| it.request()).collect();
        let answers = store.send(&requests, deadline.within(ROUND));
        let mut wait = Duration::ZERO;
        let mut said = None;
        for (allocation, answer) in open.iter_mut().zip(answers) {
            let pause = allocation.answer(answer).map_err(to_error)?;
            if let Pause::Lost(times) = pause {
                allocation.set_skip(skip(times));
            }
            wait = wait.max(length(&pause, outage.rounds));
            if let Pause::Outage(error, _) = pause {
                said = Some(error);
            }
        }
        outage.note(said, wait)?;
        sleep(wait, deadline, context)?;
    }
}

/// How long a pause is; `rounds` without an answer were before it.
fn length(pause: &Pause, rounds: u32) -> Duration {
    match pause {
        Pause::None => Duration::ZERO,
        Pause::Lost(times) | Pause::Contended(times) => grown(FIRST_WAIT, LONGEST_WAIT, *times),
        Pause::Outage(_, retry_after) => {
            let own = grown(FIRST_OUTAGE, LONGEST_OUTAGE, rounds);
            own.saturating_add(retry_after.unwrap_or_default())
        }
    }
}

/// Since when the store cannot answer.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
    rounds: u32,
}

impl Outage {
    /// Notes a round, with what the store said if it could not answer.
    fn note(&mut self, said: Option<StoreError>, wait: Duration) -> Result<(), Error> {
        let Some(error) = said else {
            *self = Self::default();
            return Ok(());
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        self.rounds = self.rounds.saturating_add(1);
        if since.elapsed().saturating_add(wait) > OUTAGE {
            return Err(to_error(error.into()));
        }
        Ok(())
    }
}

/// Carries the releases out, each step once.
///
/// # Errors
/// The first [`StoreError`]; what is left is to be tried again.
pub(crate) fn release(
    releases: &mut [Release],
    store: &mut dyn AddressStore,
    deadline: Deadline,
) -> Result<(), StoreError> {
    let mut failed = None;
    let mut open: Vec<&mut Release> = releases.iter_mut().collect();
    loop {
        open.retain(|it| it.request().is_some());
        if open.is_empty() {
            return failed.map_or(Ok(()), Err);
        }
        if deadline.remaining().is_zero() {
            let problem = "there was no time to give addresses back".to_owned();
            return Err(failed.unwrap_or(StoreError::Unavailable(problem)));
        }
        let requests: Vec<Request> = open.iter().filter_map(|it| it.request()).collect();
        let mut answers = store.send(&requests, deadline).into_iter();
        open.retain_mut(|release| match answers.next().map(|answer| release.answer(answer)) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                failed.get_or_insert(error);
                false
            }
            None => false,
        });
    }
}

/// The error of a call whose range gives no address.
pub(crate) fn to_error(refusal: Refusal) -> Error {
    let code = match &refusal {
        Refusal::Full { .. } | Refusal::Taken { .. } | Refusal::Lost { .. } => Code::TRY_AGAIN,
        Refusal::OtherRange { .. } => Code::CONFIG,
        Refusal::Store(error) => code_of(error),
        Refusal::TooLarge { .. } | Refusal::Unreadable { .. } => Code::IO,
    };
    Error::new(code, refusal)
}

/// The code of an error of the store.
pub(crate) fn code_of(error: &StoreError) -> Code {
    match error {
        StoreError::Throttled { .. } | StoreError::Unavailable(_) | StoreError::Stopped(_) => {
            Code::TRY_AGAIN
        }
        StoreError::NoKind(_) | StoreError::Refused(_) => Code::CONFIG,
        _ => Code::IO,
    }
}

/// How many free addresses are left to others after so many lost races: none after the first, which
/// may have been lost to one other alone; then any of the lowest 4, 16, and so on. Where 200 begin
/// at once, the last one has its address after seven or so.
pub(crate) fn skip(times: u32) -> usize {
    let spread = 4_u64.saturating_pow(times.saturating_sub(1)).min(MOST_SPREAD);
    usize::try_from(random() % spread).unwrap_or_default()
}

/// Between half of the full wait and all of it.
fn grown(first: Duration, longest: Duration, times: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(times.saturating_sub(1).min(16));
    let full = first.saturating_mul(doubled).min(longest);
    let share = u32::try_from(random() % 1024).unwrap_or_default();
    full / 2 + full.saturating_mul(share) / 2048
}

/// The standard library's hasher is keyed at random; no more than that is needed here.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// # Errors
/// Code 11 if the call is to end.
fn sleep(wait: Duration, deadline: Deadline, context: &Context<'_>) -> Result<(), Error> {
    let until = Instant::now() + wait.min(deadline.remaining());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        context.proceed()?;
        std::thread::sleep(left.min(SLICE));
    }
    if deadline.remaining().is_zero() {
        return Err(Error::new(Code::TRY_AGAIN, "the time for an address is over: try again"));
    }
    Ok(())
}
