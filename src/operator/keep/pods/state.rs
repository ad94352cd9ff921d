//! What is known of the node's pods: their names, a digest of the annotation that they have got,
//! and the text of those that are still to be got. Pure.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::kube::PodNetworks;
use crate::selection::MAX_ANNOTATION_BYTES;

/// As many bytes of annotations as wait to be done. What has no room is listed again later.
const MAX_BYTES: usize = 4 << 20;
/// How soon a list is wanted again for what had no room.
const LIST_AGAIN: Duration = Duration::from_secs(30);
/// The first wait after a failure; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait after a failure, and for a sandbox, which the pod's own events tell of.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// How often one pod is changed for long, and for how long it may be changed more often: a tenant
/// who writes an annotation a hundred times a second costs the node and the API no more than that.
const EVERY: Duration = Duration::from_secs(2);
const BURST: Duration = Duration::from_secs(8);
/// How many pods of one namespace are changed at once: a tenant whose plugins hang holds up no
/// other.
const OF_NAMESPACE: usize = 2;
/// How long a worker sleeps if nothing is due.
const IDLE: Duration = Duration::from_secs(1);

/// The pods of the node.
#[derive(Debug, Default)]
pub(super) struct Pods {
    pods: HashMap<String, Pod>,
    /// The UIDs of a list under way.
    listed: Option<HashSet<String>>,
    /// The pods that have extra networks, while a list is under way.
    with_extras: Option<HashSet<String>>,
    bytes: usize,
    /// When a list is wanted: there was no room for an annotation.
    list_due: Option<Instant>,
    is_stopping: bool,
}

/// One pod.
#[derive(Debug)]
struct Pod {
    /// `namespace/name`.
    name: String,
    /// The digest of the annotation that it has got.
    settled: Option<u64>,
    /// The annotation that it is to get.
    wanted: Option<String>,
    is_busy: bool,
    failures: u32,
    /// The digest of the annotation that has failed last.
    failed: Option<u64>,
    due: Instant,
    /// When its changes have the pace of [`EVERY`] again.
    paced: Instant,
    /// The digest of what was said of its last failure.
    said: u64,
}

impl Pod {
    fn namespace(&self) -> &str {
        self.name.split_once('/').map_or("", |(namespace, _)| namespace)
    }
}

/// What is to be done for a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Job {
    pub(super) uid: String,
    /// `namespace/name`.
    pub(super) pod: String,
    pub(super) networks: String,
    /// Whether it has failed before, so that the status may be old.
    pub(super) is_retry: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The pod has what it wants.
    Settled,
    /// It has no sandbox yet.
    Absent,
    /// It could not be done.
    Failed,
}

impl Pods {
    /// A list begins. `with_extras` are the pods that have extra networks, if that is known.
    pub(super) fn begin_list(&mut self, with_extras: Option<HashSet<String>>) {
        self.listed = Some(HashSet::new());
        self.with_extras = with_extras;
        self.list_due = None;
    }

    /// The list has ended: pods that were not in it are gone.
    pub(super) fn end_list(&mut self) {
        self.with_extras = None;
        if let Some(listed) = self.listed.take() {
            let gone: Vec<String> =
                self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
            gone.iter().for_each(|uid| self.remove(uid));
            self.pods.shrink_to_fit();
        }
    }

    /// A pod, as it is now.
    pub(super) fn see(&mut self, mut seen: PodNetworks, now: Instant) {
        truncate(&mut seen.networks);
        if let Some(listed) = &mut self.listed {
            listed.insert(seen.uid.clone());
        }
        if seen.is_left_alone {
            return self.remove(&seen.uid);
        }
        let (name, uid) = (format!("{}/{}", seen.namespace, seen.name), seen.uid);
        let has_nothing = seen.networks.trim().is_empty()
            && self.with_extras.as_ref().is_some_and(|pods| !pods.contains(&name));
        let digest = digest(&seen.networks);
        let pod = self.pods.entry(uid.clone()).or_insert_with(|| Pod {
            name,
            settled: has_nothing.then_some(digest),
            wanted: None,
            is_busy: false,
            failures: 0,
            failed: None,
            due: now,
            paced: now,
            said: 0,
        });
        let is_known = match &pod.wanted {
            Some(wanted) => *wanted == seen.networks,
            None => pod.settled == Some(digest),
        };
        if is_known {
            // A sandbox may have come.
            pod.due = pod.due.min(now + FIRST_WAIT);
            return;
        }
        self.bytes -= pod.wanted.take().map_or(0, |text| text.len());
        if pod.failed != Some(digest) {
            let earliest = pod.paced.checked_sub(BURST).unwrap_or(now);
            (pod.failures, pod.failed, pod.due) = (0, None, earliest.max(now));
        }
        pod.settled = None;
        self.keep(&uid, seen.networks, now);
    }

    /// Keeps the annotation that a pod is to get, if there is room. Longer ones make way, so that
    /// the long annotations of one tenant keep no other's from being followed.
    fn keep(&mut self, uid: &str, text: String, now: Instant) {
        let is_longer = |pod: &Pod| {
            let length = pod.wanted.as_ref().map_or(0, String::len);
            Some(length).filter(|length| !pod.is_busy && *length > text.len())
        };
        while self.bytes + text.len() > MAX_BYTES {
            self.list_due.get_or_insert(now + LIST_AGAIN);
            let longest = self.pods.values_mut().filter_map(|pod| Some((is_longer(pod)?, pod)));
            let Some((length, pod)) = longest.max_by_key(|(length, _)| *length) else { return };
            pod.wanted = None;
            self.bytes -= length;
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            self.bytes += text.len();
            pod.wanted = Some(text);
        }
    }

    /// A pod is gone: the rest is DEL's.
    pub(super) fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.bytes -= pod.wanted.map_or(0, |text| text.len());
        }
    }

    /// Whether there is room for what had none.
    pub(super) fn wants_list(&self, now: Instant) -> bool {
        self.list_due.is_some_and(|due| now >= due)
    }

    /// What is due, the longest waiting first; or how long to wait for something.
    pub(super) fn take(&mut self, now: Instant) -> Result<Job, Duration> {
        let mut busy: HashMap<String, usize> = HashMap::new();
        for pod in self.pods.values().filter(|pod| pod.is_busy) {
            *busy.entry(pod.namespace().to_owned()).or_default() += 1;
        }
        let has_turn = |pod: &Pod| busy.get(pod.namespace()).is_none_or(|it| *it < OF_NAMESPACE);
        let waiting = self.pods.iter_mut().filter(|(_, pod)| !pod.is_busy && pod.wanted.is_some());
        let waiting = waiting.filter(|(_, pod)| has_turn(pod));
        let Some((uid, pod)) = waiting.min_by_key(|(_, pod)| pod.due) else { return Err(IDLE) };
        if pod.due > now {
            return Err((pod.due - now).min(IDLE));
        }
        pod.is_busy = true;
        pod.paced = pod.paced.max(now) + EVERY;
        Ok(Job {
            uid: uid.clone(),
            pod: pod.name.clone(),
            networks: pod.wanted.clone().unwrap_or_default(),
            is_retry: pod.failures > 0,
        })
    }

    /// Notes what came of a job. Returns whether it has to be told of: a failure is told of once.
    pub(super) fn finish(
        &mut self,
        job: &Job,
        outcome: Outcome,
        sentences: &[String],
        now: Instant,
    ) -> bool {
        let Some(pod) = self.pods.get_mut(&job.uid) else { return outcome != Outcome::Absent };
        pod.is_busy = false;
        let is_current = pod.wanted.as_ref() == Some(&job.networks);
        match outcome {
            Outcome::Settled => {
                pod.settled = Some(digest(&job.networks));
                (pod.failures, pod.failed, pod.said) = (0, None, 0);
                if is_current {
                    self.bytes -= pod.wanted.take().map_or(0, |text| text.len());
                }
                true
            }
            Outcome::Absent | Outcome::Failed => {
                if is_current {
                    let factor = 2_u32.saturating_pow(pod.failures.min(16));
                    pod.due = now + FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
                    pod.failures = pod.failures.saturating_add(1);
                    pod.failed = Some(digest(&job.networks));
                }
                let said = digest(&sentences.join("\n"));
                outcome == Outcome::Failed && std::mem::replace(&mut pod.said, said) != said
            }
        }
    }

    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Of an annotation that is too long no more is kept than shows that.
fn truncate(text: &mut String) {
    if text.len() > MAX_ANNOTATION_BYTES {
        let end = (0..=MAX_ANNOTATION_BYTES + 1).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        while text.len() <= MAX_ANNOTATION_BYTES {
            text.push(' ');
        }
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, networks: &str) -> PodNetworks {
        PodNetworks {
            namespace: "team-a".to_owned(),
            name: format!("pod-{uid}"),
            uid: uid.to_owned(),
            networks: networks.to_owned(),
            is_left_alone: false,
        }
    }

    fn listed(pods: &mut Pods, seen: &[PodNetworks], now: Instant) {
        pods.begin_list(Some(HashSet::from(["team-a/pod-old".to_owned()])));
        seen.iter().for_each(|pod| pods.see(pod.clone(), now));
        pods.end_list();
    }

    #[test]
    fn what_asks_for_nothing_and_has_nothing_costs_nothing() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        listed(&mut pods, &[pod("a", ""), pod("old", ""), pod("b", "blue")], now);
        let mut due: Vec<String> =
            std::iter::from_fn(|| pods.take(now).ok()).map(|job| job.uid).collect();
        due.sort();
        assert_eq!(due, ["b", "old"]);
    }

    #[test]
    fn a_pod_is_done_again_once_its_annotation_changes() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        listed(&mut pods, &[pod("a", "blue")], now);
        let job = pods.take(now).unwrap();
        pods.see(pod("a", "blue"), now);
        assert!(pods.take(now).is_err(), "it is under way");
        assert!(pods.finish(&job, Outcome::Settled, &[], now));
        listed(&mut pods, &[pod("a", "blue")], now);
        assert!(pods.take(now).is_err() && pods.bytes == 0, "a list brings no news");
        pods.see(pod("a", "blue,red"), now);
        assert_eq!(pods.take(now).unwrap().networks, "blue,red");
    }

    /// What changes while a pod is being changed is done afterwards.
    #[test]
    fn a_change_during_a_change_is_not_lost() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        pods.see(pod("a", "blue"), now);
        let job = pods.take(now).unwrap();
        pods.see(pod("a", "red"), now);
        pods.finish(&job, Outcome::Settled, &[], now);
        let job = pods.take(now).unwrap();
        assert_eq!(job.networks, "red");
        pods.see(pod("a", "blue"), now);
        pods.finish(&job, Outcome::Failed, &[], now);
        assert_eq!(pods.take(now).unwrap().networks, "blue", "a new wish does not wait");
    }

    #[test]
    fn a_pod_that_fails_waits_longer_and_longer_and_holds_up_no_other() {
        let (mut pods, mut now) = (Pods::default(), Instant::now());
        pods.see(pod("a", "blue"), now);
        let said = ["it is broken".to_owned()];
        let mut waits = Vec::new();
        for round in 0..12 {
            let job = pods.take(now).unwrap();
            assert_eq!(job.is_retry, round > 0);
            assert_eq!(pods.finish(&job, Outcome::Failed, &said, now), round == 0, "told once");
            pods.see(pod("b", &round.to_string()), now);
            let other = pods.take(now).unwrap();
            assert_eq!(other.uid, "b");
            pods.finish(&other, Outcome::Settled, &[], now);
            let due = pods.pods["a"].due;
            waits.push(due - now);
            now = due;
        }
        assert_eq!((waits[0], waits[1]), (FIRST_WAIT, FIRST_WAIT * 2));
        assert_eq!(waits.last(), Some(&LONGEST_WAIT));
    }

    #[test]
    fn what_has_gone_and_what_is_being_deleted_is_left_alone() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        for uid in ["a", "b", "c"] {
            pods.see(pod(uid, "blue"), now);
        }
        pods.remove("a");
        pods.see(PodNetworks { is_left_alone: true, ..pod("b", "blue") }, now);
        listed(&mut pods, &[], now);
        assert!(pods.take(now).is_err() && pods.bytes == 0 && pods.pods.is_empty());
    }

    /// 250 pods with the longest annotations have no more than their share.
    #[test]
    fn what_waits_is_bounded_and_what_had_no_room_is_listed_again() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        for number in 0..250 {
            pods.see(pod(&number.to_string(), &"x".repeat(1 << 20)), now);
        }
        assert!(pods.bytes <= MAX_BYTES && pods.pods.len() == 250);
        assert!(!pods.wants_list(now) && pods.wants_list(now + LIST_AGAIN));
        let job = pods.take(now).unwrap();
        assert_eq!(job.networks.len(), MAX_ANNOTATION_BYTES + 1, "enough to be refused");
    }

    /// The long annotations of one tenant hold up no other, and cost no more for being listed
    /// again and again.
    #[test]
    fn a_long_annotation_that_fails_makes_way_for_a_shorter_one() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        let long = |number: u32| pod(&number.to_string(), &"x".repeat(60_000));
        for number in 0..100 {
            pods.see(long(number), now);
        }
        while let Ok(job) = pods.take(now) {
            pods.finish(&job, Outcome::Failed, &[], now);
        }
        pods.see(pod("other", "blue"), now);
        assert_eq!(pods.take(now).unwrap().uid, "other");
        assert!(pods.bytes <= MAX_BYTES && pods.bytes > MAX_BYTES - 2 * 60_000);
        let failed = pods.pods.values().filter(|pod| pod.failed.is_some()).count();
        for number in 0..100 {
            pods.see(long(number), now);
        }
        let mut again = 0;
        while let Ok(job) = pods.take(now) {
            pods.finish(&job, Outcome::Failed, &[], now);
            again += 1;
        }
        assert!(failed > 50 && again <= 100 - failed, "{again} and {failed}");
    }

    /// A tenant who changes an annotation all the time.
    #[test]
    fn one_pod_is_changed_at_a_pace_and_a_few_changes_at_once() {
        let (mut pods, begin) = (Pods::default(), Instant::now());
        let mut done = 0;
        for tick in 0..1000 {
            let now = begin + Duration::from_millis(10) * tick;
            pods.see(pod("a", &tick.to_string()), now);
            if let Ok(job) = pods.take(now) {
                pods.finish(&job, Outcome::Settled, &[], now);
                done += 1;
            }
            if tick == 3 {
                assert_eq!(done, 4, "a few changes do not wait");
            }
        }
        assert!((8..=10).contains(&done), "{done} changes in ten seconds");
        pods.see(pod("a", "last"), begin + Duration::from_secs(10));
        let job = pods.take(begin + Duration::from_secs(14)).unwrap();
        assert_eq!(job.networks, "last");
    }

    #[test]
    fn a_namespace_has_no_more_than_its_share_of_the_workers() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        for uid in ["a", "b", "c"] {
            pods.see(pod(uid, "blue"), now);
        }
        let first = pods.take(now).unwrap();
        pods.take(now).unwrap();
        assert!(pods.take(now).is_err(), "two hang");
        let other = PodNetworks { namespace: "team-b".to_owned(), ..pod("other", "blue") };
        pods.see(other, now);
        assert_eq!(pods.take(now).unwrap().uid, "other");
        pods.finish(&first, Outcome::Settled, &[], now);
        assert_eq!(pods.take(now).unwrap().pod.split_once('/').unwrap().0, "team-a");
    }

    #[test]
    fn too_long_an_annotation_is_tried_once_for_all_its_events() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        let seen = pod("a", &"x".repeat(1 << 20));
        pods.see(seen.clone(), now);
        let job = pods.take(now).unwrap();
        pods.finish(&job, Outcome::Failed, &[], now);
        pods.see(seen, now);
        assert!(pods.take(now).is_err());
    }
}
