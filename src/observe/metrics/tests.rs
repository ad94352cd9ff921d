use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

fn observation(verb: &'static str, outcome: Outcome, milliseconds: u64) -> Observation {
    Observation { verb, outcome, took: Duration::from_millis(milliseconds) }
}

fn success(path: &Path) -> Result<(), MetricsError> {
    count(path, observation("ADD", Outcome::Success, 12), |_| None)
}

fn sample(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().to_owned()
}

/// Reads the text as the format's description demands it, and says what is wrong.
fn hold_against_the_format(text: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let (mut kinds, mut helps): (HashMap<&str, &str>, HashSet<&str>) = Default::default();
    let (mut families, mut series): (Vec<&str>, HashSet<&str>) = Default::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or(format!("no text: {line}"))?;
            if !helps.insert(name) || help.contains('\\') {
                return Err(format!("a second help, or an escape: {line}"));
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or(format!("no type: {line}"))?;
            if !["counter", "gauge", "histogram"].contains(&kind)
                || kinds.insert(name, kind).is_some()
            {
                return Err(format!("a second type, or an unknown one: {line}"));
            }
            continue;
        }
        let (id, value) = line.rsplit_once(' ').ok_or(format!("no sample: {line}"))?;
        value.parse::<f64>().map_err(|_| format!("no number: {line}"))?;
        if !series.insert(id) {
            return Err(format!("twice: {line}"));
        }
        let (name, labels) = id.split_once('{').unwrap_or((id, "}"));
        for label in labels.strip_suffix('}').ok_or(format!("no end: {line}"))?.split(',') {
            let quoted = label.split_once('=').map(|(name, value)| {
                (name, value.len() > 1 && value.starts_with('"') && value.ends_with('"'))
            });
            if !label.is_empty() && !quoted.is_some_and(|(name, quoted)| quoted && is_name(name)) {
                return Err(format!("no label: {line}"));
            }
        }
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let family = name.strip_suffix(end)?;
            (kinds.get(family) == Some(&"histogram")).then_some(family)
        });
        let family = family.unwrap_or(name);
        if !is_name(name) || !kinds.contains_key(family) || !helps.contains(family) {
            return Err(format!("no name, help or type before it: {line}"));
        }
        if families.last() != Some(&family) {
            if families.contains(&family) {
                return Err(format!("the family is in two places: {line}"));
            }
            families.push(family);
        }
    }
    Ok(())
}

/// Buckets grow, and the last is the count.
fn hold_buckets_against_the_count(text: &str) {
    for verb in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
        let start = format!("braid_operation_duration_seconds_bucket{{verb=\"{verb}\",le=");
        let buckets: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with(&start))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(buckets.is_sorted(), "{verb}: {buckets:?}");
        let count =
            sample(text, &format!("braid_operation_duration_seconds_count{{verb=\"{verb}\"}}"));
        assert_eq!(buckets.last().unwrap().to_string(), count);
        assert!(text.contains(&format!("{start}\"+Inf\"}} {count}\n")));
    }
}

#[test]
fn the_text_is_in_the_format() {
    let mut counts = Counts::default();
    counts.add(observation("ADD", Outcome::Success, 12));
    counts.add(observation("ADD", Outcome::Refused, 1));
    counts.add(observation("DEL", Outcome::Failed, 200_000));
    counts.add(observation("VERSION", Outcome::Success, 1));
    counts.gauges = Census { primary: 2, extra: 3, orphans: 1, set_aside: 0 };
    let text = counts.to_string();
    assert_eq!(hold_against_the_format(&text), Ok(()));
    hold_buckets_against_the_count(&text);
    let expected = [
        ("braid_operations_total{verb=\"ADD\",outcome=\"success\"}", "1"),
        ("braid_operations_total{verb=\"ADD\",outcome=\"refused\"}", "1"),
        ("braid_operations_total{verb=\"GC\",outcome=\"success\"}", "0"),
        ("braid_operation_duration_seconds_bucket{verb=\"ADD\",le=\"0.01\"}", "1"),
        ("braid_operation_duration_seconds_bucket{verb=\"ADD\",le=\"0.025\"}", "2"),
        ("braid_operation_duration_seconds_sum{verb=\"ADD\"}", "0.013000"),
        ("braid_operation_duration_seconds_bucket{verb=\"DEL\",le=\"100\"}", "0"),
        ("braid_operation_duration_seconds_bucket{verb=\"DEL\",le=\"+Inf\"}", "1"),
        ("braid_attachments{role=\"extra\"}", "3"),
        ("braid_orphans", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(sample(&text, name), value, "{name}");
    }
    assert!(text.len() < 32 << 10 && text.starts_with(exposition::FIRST_LINE));
}

/// The tests' own reader can say no.
#[test]
fn what_is_not_in_the_format_is_noticed() {
    let head = "# HELP a b\n# TYPE a counter\n";
    for wrong in
        ["a 1", "a 1\na 2\n", "a x\n", "a{b} 1\n", "a{b=c} 1\n", "b 1\n", "a{b=\"c\" 1\n", "0a 1\n"]
    {
        assert!(hold_against_the_format(&format!("{head}{wrong}")).is_err(), "{wrong}");
    }
    assert_eq!(hold_against_the_format(&format!("{head}a{{b=\"c\",d=\"e\"}} 1\n")), Ok(()));
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(calls in prop::collection::vec((0usize..6, 0usize..4, 0u64..300_000), 0..40)) {
        let mut counts = Counts::default();
        for (verb, outcome, milliseconds) in calls {
            let verb = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"][verb];
            counts.add(observation(verb, Outcome::ALL[outcome], milliseconds));
        }
        let text = counts.to_string();
        hold_buckets_against_the_count(&text);
        prop_assert_eq!(text.parse::<Counts>(), Ok(counts));
    }

    #[test]
    fn no_text_is_a_panic(cut in 0usize..12_000, garbage in "\\PC{0,20}") {
        let text = Counts::default().to_string();
        let (before, after) = text.split_at(cut.min(text.len()));
        let _ = format!("{before}{garbage}{after}").parse::<Counts>();
        let _ = text.replace(" 0\n", &format!(" {}\n", u64::MAX)).parse::<Counts>().map(|mut counts| {
            counts.add(observation("ADD", Outcome::Success, 1));
            counts.to_string()
        });
    }
}

#[test]
fn no_count_is_lost_if_many_count_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("braid.prom");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..25).for_each(|_| success(&path).unwrap()));
        }
    });
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(sample(&text, "braid_operations_total{verb=\"ADD\",outcome=\"success\"}"), "200");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let names: HashSet<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["braid.prom", ".braid.prom.lock"].map(Into::into).into());
}

#[test]
fn what_is_not_ours_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("braid.prom");
    std::fs::write(&path, "node_load1 0.5\n").unwrap();
    let error = success(&path).unwrap_err();
    assert!(matches!(error, MetricsError::Foreign(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "node_load1 0.5\n");

    std::fs::remove_file(&path).unwrap();
    let target = dir.path().join("target");
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(matches!(success(&path).unwrap_err(), MetricsError::Foreign(_)));
    assert!(path.is_symlink() && std::fs::read_to_string(&target).unwrap().is_empty());

    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(success(&path).unwrap_err(), MetricsError::Foreign(_)));

    let elsewhere = dir.path().join("lock-is-a-link.prom");
    std::os::unix::fs::symlink(&target, dir.path().join(".lock-is-a-link.prom.lock")).unwrap();
    assert!(matches!(success(&elsewhere).unwrap_err(), MetricsError::File(_)));
    assert!(matches!(
        success(&dir.path().join("absent/x.prom")).unwrap_err(),
        MetricsError::File(_)
    ));
}

#[test]
fn a_broken_file_of_ours_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("braid.prom");
    success(&path).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let broken = [
        String::new(),
        whole.split_at(whole.len() / 2).0.to_owned(),
        whole.replace(" 1\n", " one\n"),
    ];
    for text in broken {
        std::fs::write(&path, &text).unwrap();
        success(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(sample(&text, "braid_operations_total{verb=\"ADD\",outcome=\"success\"}"), "1");
    }
}

#[test]
fn a_lock_is_waited_for_with_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("braid.prom");
    success(&path).unwrap();
    let held = File::open(dir.path().join(".braid.prom.lock")).unwrap();
    let _held = Flock::lock(held, FlockArg::LockExclusive).unwrap();
    let started = std::time::Instant::now();
    assert!(matches!(success(&path).unwrap_err(), MetricsError::Busy(_)));
    assert!(started.elapsed() >= LOCK_LIMIT);
}

/// Counts of Braid before it counted changes of running pods go on.
#[test]
fn a_file_without_attaches_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("braid.prom");
    success(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let is_old = |line: &&str| !line.contains("ATTACH") && !line.contains("DETACH");
    let old: String = text.lines().filter(is_old).map(|line| format!("{line}\n")).collect();
    assert!(old.len() < text.len());
    std::fs::write(&path, old).unwrap();
    count(&path, observation("ATTACH", Outcome::Refused, 3), |_| None).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for (verb, outcome) in [("ADD", "success"), ("ATTACH", "refused")] {
        let name = format!("braid_operations_total{{verb=\"{verb}\",outcome=\"{outcome}\"}}");
        assert_eq!(sample(&text, &name), "1");
    }
}
