//! `braid list` and `braid show`: what is attached, and whether the kernel agrees.

use clap::Args;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::CommandError;
use super::console::{Exit, OutputStyle, Tone, View};
use super::node::{Node, NodeOptions};
use super::records::{self, Attached, Entry, Kernel, Records, Unreadable};
use crate::ledger::{LedgerError, Listed};

/// The columns of the list.
const HEAD: [&str; 6] = ["POD", "INTERFACE", "NETWORK", "ADDRESSES", "AGE", "KERNEL"];
/// A line of it.
type Row = [String; 6];

/// The most pods that a message names.
const SUGGESTIONS: usize = 3;
/// How many letters of a pod's name may be wrong.
const TYPING_ERRORS: usize = 2;

/// What `braid list` is told.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only the pods of this namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    node: NodeOptions,
}

/// What `braid show` is told.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The container's ID, or enough of its beginning; or a pod, as namespace/name
    container: String,
    #[command(flatten)]
    node: NodeOptions,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRecord {
    /// No record is of that container.
    #[error(
        "no record of \"{wanted}\": it asked for nothing, is gone, or runs on another node; {}",
        suggestion(pods)
    )]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The pods that have a record, and are meant perhaps.
        pods: Vec<String>,
    },
    /// Its sandbox is gone.
    #[error("the sandbox of \"{0}\" is gone: braid gc tears down what is left")]
    Gone(String),
    /// Several begin so.
    #[error("\"{0}\" is the beginning of several: {1}")]
    Several(String, String),
}

/// The whole ledger, as a table shows it. As JSON, each record is read again and written with all
/// that is recorded of it: no two are in memory at a time.
#[derive(Debug)]
pub(super) struct Listing {
    all: Records,
    records: Vec<Item>,
    orphans: Vec<Item>,
    unreadable: Vec<Unreadable>,
}

/// An entry, and the record that it is of.
#[derive(Debug)]
struct Item {
    entry: Entry,
    listed: Listed,
}

impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut listing = serializer.serialize_struct("Listing", 3)?;
        listing.serialize_field("records", &Whole { rows: &self.records, all: &self.all })?;
        listing.serialize_field("orphans", &Whole { rows: &self.orphans, all: &self.all })?;
        listing.serialize_field("unreadable", &self.unreadable)?;
        listing.end()
    }
}

/// Entries with all that is recorded of them.
struct Whole<'a> {
    rows: &'a [Item],
    all: &'a Records,
}

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = |row: &Item| row.entry.clone().completed(self.all, &row.listed);
        serializer.collect_seq(self.rows.iter().map(whole))
    }
}

impl List {
    /// The ledger's records.
    pub(super) fn run(&self) -> Result<Listing, CommandError> {
        let node = Node::find_for_teardown(&self.node)?;
        let mut all = Records::read(&node.ledger())?;
        let mut unreadable = std::mem::take(&mut all.unreadable);
        let wanted = all.only(|listed| {
            let namespace = listed.header().pod.split('/').next();
            self.namespace.is_none() || namespace == self.namespace.as_deref()
        });
        let mut row = |listed: &Listed| match wanted.open_outline(listed) {
            Ok(record) => record.map(|record| Item {
                entry: Entry::of(&record).without_results(),
                listed: listed.clone(),
            }),
            Err(error) => {
                unreadable.push(Unreadable::of(error));
                None
            }
        };
        let records = wanted.live.iter().filter_map(&mut row).collect();
        let orphans = wanted.orphans.iter().filter_map(&mut row).collect();
        Ok(Listing { all: wanted, records, orphans, unreadable })
    }
}

impl View for Listing {
    fn text(&self, style: &OutputStyle) -> String {
        let entries = || self.records.iter().map(|row| &row.entry);
        let rows = entries().flat_map(|entry| rows(entry, |it| it.kernel.word()));
        let orphans = self.orphans.iter().flat_map(|row| rows_of_orphan(&row.entry));
        let rows: Vec<_> = rows.chain(orphans).collect();
        let mut text = match rows.as_slice() {
            [] => "nothing is attached\n".to_owned(),
            _ if style.fits(HEAD, &rows) => style.table(HEAD, rows),
            rows => grouped(rows, style),
        };
        text.push_str(&drift(entries(), style));
        for Unreadable { file, problem } in &self.unreadable {
            text.push_str(&format!(
                "{}: {}: {problem}\n",
                style.paint(Tone::Bad, "unreadable"),
                file.display()
            ));
        }
        text
    }

    /// An orphan is no difference: it is known, shown, and tried again by GC.
    fn exit(&self) -> Exit {
        if all_agree(self.records.iter().map(|row| &row.entry)) && self.unreadable.is_empty() {
            Exit::Done
        } else {
            Exit::Failed
        }
    }
}

fn all_agree<'e>(mut entries: impl Iterator<Item = &'e Entry>) -> bool {
    entries.all(|entry| matches!(entry.kernel, Kernel::Agrees | Kernel::Unfinished))
}

/// What is left of a record, and what its living pod lacks.
fn rows(entry: &Entry, kernel: impl Fn(&Attached) -> &'static str) -> Vec<Row> {
    let is_shown = |it: &&Attached| it.state != "gone" || it.kernel == Kernel::TornDown;
    let shown = entry.attachments.iter().filter(is_shown);
    shown
        .map(|attachment| {
            [
                entry.pod.clone(),
                attachment.interface.clone(),
                attachment.name.clone(),
                attachment.address_list(),
                entry.age(),
                kernel(attachment).to_owned(),
            ]
        })
        .collect()
}

fn rows_of_orphan(entry: &Entry) -> Vec<Row> {
    rows(entry, |_| "orphan")
}

/// The attachments of each pod below its name, if a line has no room for both.
fn grouped(rows: &[Row], style: &OutputStyle) -> String {
    let mut text = String::new();
    for of_pod in rows.chunk_by(|one, other| one.first() == other.first()) {
        let pod = of_pod.first().and_then(|row| row.first());
        text.push_str(&format!("{}\n", style.paint(Tone::Strong, pod.map_or("", String::as_str))));
        for [_, interface, network, addresses, age, kernel] in of_pod {
            let line = format!("{interface:<9} {network}, {age} old, {kernel}: {addresses}");
            text.push_str(&format!("  {}\n", style.wrap(12, &line)));
        }
    }
    text
}

/// What differs, below the table.
fn drift<'e>(entries: impl Iterator<Item = &'e Entry>, style: &OutputStyle) -> String {
    let odd = entries.filter(|entry| entry.kernel != Kernel::Agrees);
    odd.map(|entry| {
        let (pod, container, drift) = (&entry.pod, entry.short_container(), entry.drift.join("; "));
        let line = style.wrap(2, &format!("{}: {pod} ({container}): {drift}", entry.kernel.word()));
        let rest = line.strip_prefix(entry.kernel.word()).unwrap_or_default();
        format!("{}{rest}\n", entry.kernel.painted(style))
    })
    .collect()
}

/// The records of one container or pod.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    records: Vec<Entry>,
    orphans: Vec<Entry>,
}

impl Show {
    pub(super) fn run(&self) -> Result<Shown, CommandError> {
        let node = Node::find_for_teardown(&self.node)?;
        let found = Selected::of(&self.container, &Records::read(&node.ledger())?)?;
        let entry = |listed: &Listed| -> Result<Option<Entry>, LedgerError> {
            let record = found.open_outline(listed)?;
            Ok(record.map(|record| Entry::of(&record).completed(&found, listed)))
        };
        let entries = |all: &[Listed]| -> Result<Vec<Entry>, LedgerError> {
            all.iter().map(entry).filter_map(Result::transpose).collect()
        };
        Ok(Shown { records: entries(&found.live)?, orphans: entries(&found.orphans)? })
    }
}

/// The records that a person means.
pub(super) struct Selected;

impl Selected {
    /// Those of one container, or of one pod.
    ///
    /// # Errors
    /// [`NoRecord`].
    pub(super) fn of(wanted: &str, records: &Records) -> Result<Records, NoRecord> {
        let found = records.only(|listed| {
            let (pod, key) = (&listed.header().pod, &listed.header().key);
            pod == wanted || (!wanted.is_empty() && key.container.as_str().starts_with(wanted))
        });
        let pods = near(wanted, records.live.iter().chain(&records.orphans));
        let all = found.live.iter().chain(&found.orphans);
        let mut containers: Vec<&str> =
            all.map(|listed| listed.header().key.container.as_str()).collect();
        containers.sort_unstable();
        containers.dedup();
        match containers.as_slice() {
            [] => Err(NoRecord::Unknown { wanted: wanted.to_owned(), pods }),
            [_] => Ok(found),
            // A pod may have had several sandboxes; a beginning must not mean several pods.
            _ if wanted.contains('/') => Ok(found),
            several => Err(NoRecord::Several(wanted.to_owned(), several.join(", "))),
        }
    }
}

/// The pods that a word may mean: those of that name in any namespace, else those whose name begins
/// so, as a Deployment's do, else those that are written nearly so.
fn near<'r>(wanted: &str, records: impl Iterator<Item = &'r Listed>) -> Vec<String> {
    let mut pods: Vec<&str> = records.map(|listed| listed.header().pod.as_str()).collect();
    pods.sort_unstable();
    pods.dedup();
    let meant = name_of(wanted);
    let is_same = |pod: &&str| name_of(pod) == meant;
    let begins_so = |pod: &&str| !meant.is_empty() && name_of(pod).starts_with(meant);
    let is_near = |pod: &&str| strsim::damerau_levenshtein(pod, wanted) <= TYPING_ERRORS;
    let ways: [&dyn Fn(&&str) -> bool; 3] = [&is_same, &begins_so, &is_near];
    let found =
        ways.iter().map(|is_meant| pods.iter().copied().filter(is_meant).collect::<Vec<_>>());
    let found = found.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
    found.into_iter().take(SUGGESTIONS).map(str::to_owned).collect()
}

/// The pod's name without its namespace.
fn name_of(pod: &str) -> &str {
    pod.rsplit('/').next().unwrap_or_default()
}

fn suggestion(pods: &[String]) -> String {
    match pods {
        [] => "braid list shows what there is".to_owned(),
        pods => format!("did you mean \"{}\"?", pods.join("\" or \"")),
    }
}

impl View for Shown {
    fn text(&self, style: &OutputStyle) -> String {
        let records = self.records.iter().map(|entry| page(entry, style, "record"));
        let orphans = self.orphans.iter().map(|entry| page(entry, style, "orphan"));
        records.chain(orphans).collect::<Vec<_>>().join("\n")
    }

    fn exit(&self) -> Exit {
        if all_agree(self.records.iter()) { Exit::Done } else { Exit::Failed }
    }
}

fn page(entry: &Entry, style: &OutputStyle, kind: &str) -> String {
    let mode = match entry.mode {
        crate::ledger::Mode::Delegating => "delegating",
        crate::ledger::Mode::Chained => "chained",
    };
    let mut lines = vec![
        ("pod", entry.pod.clone()),
        ("container", entry.container.clone()),
        ("network", format!("{} on {}, {mode} ({kind})", entry.network, entry.interface)),
        ("attached", format!("{} ({} ago)", records::time(entry.created), entry.age())),
        ("namespace", entry.netns.clone()),
        ("kernel", entry.kernel.painted(style)),
    ];
    lines.extend(entry.drift.iter().map(|sentence| ("", style.wrap(11, sentence))));
    lines.extend(
        entry.failing_since.map(|since| ("DEL fails", format!("since {}", records::time(since)))),
    );
    let mut text: String =
        lines.iter().map(|(name, value)| format!("{name:<11}{value}\n")).collect();
    text.push('\n');
    let rows = entry.attachments.iter().map(attachment_row).collect();
    text + &style.table(
        ["INTERFACE", "NETWORK", "ROLE", "FROM", "STATE", "PLUGINS", "CNI", "ADDRESSES", "MAC"],
        rows,
    )
}

fn attachment_row(attachment: &Attached) -> [String; 9] {
    let role = match attachment.role {
        crate::plan::Role::Primary => "primary",
        crate::plan::Role::Extra => "extra",
    };
    [
        attachment.interface.clone(),
        attachment.name.clone(),
        role.to_owned(),
        attachment.source.to_owned(),
        attachment.state.to_owned(),
        attachment.plugins.join(", "),
        attachment.version.to_string(),
        attachment.address_list(),
        attachment.mac.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: &str, network: &str, addresses: &str) -> Row {
        [pod, "net1", network, addresses, "12d", "agrees"].map(str::to_owned)
    }

    fn shown(rows: Vec<Row>) -> String {
        let style = OutputStyle { colour: false, width: Some(80), attended: false };
        if style.fits(HEAD, &rows) { style.table(HEAD, rows) } else { grouped(&rows, &style) }
    }

    #[test]
    fn a_line_of_the_list_has_at_most_80_columns() {
        let few = shown(vec![row(
            "team-a/web-7d4b9c6f5-x2x9z",
            "team-a/blue",
            "10.30.0.2/24, fd00:30::2/64",
        )]);
        let many = shown(vec![
            row(
                "payments-production/checkout-7d4b9c6f5-x2x9z",
                "payments-production/storage",
                "10.30.0.2/24",
            ),
            row(
                "payments-production/checkout-7d4b9c6f5-x2x9z",
                "blue",
                "10.31.0.2/24, fd00:31:0:4:5:6:7:8/64",
            ),
        ]);
        for text in [&few, &many] {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
        assert!(few.starts_with("POD "), "{few}");
        assert_eq!(many.matches("payments-production/checkout").count(), 1, "{many}");
        assert!(
            many.contains(
                "\n  net1      payments-production/storage, 12d old, agrees: 10.30.0.2/24\n"
            ),
            "{many}"
        );
    }
}
