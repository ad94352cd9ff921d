//! What a person, or a program, sees of a command: text or JSON, with colour if it helps.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use linux::signal;

/// How long people wait in silence, and then for the next word.
const SILENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(10);

/// The width of help and tables if there is no terminal to ask.
const WIDTH: u16 = 100;

/// How a command ends; `docs/cli.md` documents the numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Done, and nothing is wrong.
    Done,
    /// It failed, or what it looked at has a fault.
    Failed,
    /// The command line is not valid.
    Usage,
    /// Not yet: something has to end first, and trying again later helps.
    NotYet,
}

impl Exit {
    /// The status that the process ends with.
    pub const fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotYet => 3,
        }
    }
}

/// The form of a command's output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document.
    Json,
    /// validate: annotations of a workflow of GitHub.
    #[value(hide = true)]
    Github,
    /// validate: a SARIF 2.1.0 log.
    #[value(hide = true)]
    Sarif,
}

/// What came of a command, to be shown.
pub(crate) trait View: Serialize {
    /// For people: whole lines.
    fn text(&self, style: &OutputStyle) -> String;

    /// What the command ends with.
    fn exit(&self) -> Exit {
        Exit::Done
    }

    /// In a format that few commands have; `None` for one that this one has not.
    fn in_format(&self, _: Format) -> Option<String> {
        None
    }
}

/// What the place that text goes to can show.
#[derive(Clone, Copy, Debug)]
pub struct OutputStyle {
    /// Whether colours mean something there.
    pub colour: bool,
    /// Columns; `None` if the output is not a terminal.
    pub width: Option<u16>,
    /// Whether a person watches the output.
    pub attended: bool,
}

/// A word's meaning, which a colour shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Good,
    Odd,
    Bad,
    Strong,
}

impl OutputStyle {
    /// What the standard output and the standard error of this process can show.
    pub fn of_process() -> Self {
        let terminal = io::stdout().is_terminal();
        let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = terminal.then(terminal_size::terminal_size).flatten();
        Self {
            colour: terminal && !colourless,
            width: width.map(|(width, _)| width.0),
            attended: io::stderr().is_terminal(),
        }
    }

    /// `text` in the colour of its meaning.
    pub(crate) fn paint(&self, tone: Tone, text: impl Display) -> String {
        let style = match tone {
            Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Tone::Odd => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
            Tone::Strong => Style::new().bold(),
        };
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    /// `text`, broken between words where the terminal's line ends; what follows begins at the same
    /// column as the first line does, after `margin` others.
    pub(crate) fn wrap(&self, margin: usize, text: &str) -> String {
        let room = self.width.map(|width| usize::from(width).saturating_sub(margin));
        // In less than that, every word would stand alone.
        let Some(room) = room.filter(|room| *room >= 20) else { return text.to_owned() };
        let (mut wrapped, mut used) = (String::new(), 0);
        for word in text.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                wrapped.push_str(&format!("\n{:margin$}", ""));
                used = 0;
            } else if used > 0 {
                wrapped.push(' ');
                used += 1;
            }
            wrapped.push_str(word);
            used += length;
        }
        wrapped
    }

    /// Whether a table fits without a word that is broken.
    pub(crate) fn fits<const N: usize>(&self, head: [&str; N], rows: &[[String; N]]) -> bool {
        let words = longest_words(head, rows);
        let least: usize = words.iter().map(|width| usize::from(width + GAP)).sum();
        self.width.is_none_or(|width| least <= usize::from(width + GAP))
    }

    /// A table without lines, its head in capitals, as kubectl's are. One that does not fit has a
    /// line for each cell.
    pub(crate) fn table<const N: usize>(&self, head: [&str; N], rows: Vec<[String; N]>) -> String {
        let longest_words = longest_words(head, &rows);
        if !self.fits(head, &rows) {
            return stacked(head, &rows);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(head).add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            // A name that is broken cannot be copied.
            for (column, longest) in table.column_iter_mut().zip(longest_words) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(longest + GAP)));
            }
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// The space between two columns.
const GAP: u16 = 2;

/// Each row as lines of its own, a cell a line.
fn stacked<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let margin = head.iter().map(|title| title.len()).max().unwrap_or_default();
    let row = |row: &[String; N]| -> String {
        head.iter().zip(row).map(|(title, cell)| format!("{title:<margin$}  {cell}\n")).collect()
    };
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// The longest word of each column.
fn longest_words<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> [u16; N] {
    let longest =
        |cell: &str| cell.split(' ').map(|word| word.chars().count()).max().unwrap_or_default();
    let mut widths = head.map(longest);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = longest(cell).max(*width);
        }
    }
    widths.map(|width| u16::try_from(width).unwrap_or(u16::MAX - GAP))
}

/// Where a command's output goes.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    error: &'a mut dyn Write,
    style: OutputStyle,
    format: Format,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("style", &self.style)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl<'a> Console<'a> {
    /// A console with `out` for what was asked for, in this style, and `error` for the rest.
    pub fn new(out: &'a mut dyn Write, error: &'a mut dyn Write, style: OutputStyle) -> Self {
        Self { out, error, style, format: Format::Table }
    }

    pub(crate) fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// Shows what came of a command.
    pub(crate) fn show(&mut self, view: &impl View) -> io::Result<Exit> {
        match self.format {
            Format::Table => self.text(&view.text(&self.style)).map(drop)?,
            Format::Json => self.json(view)?,
            special => match view.in_format(special) {
                Some(text) => self.text(&text).map(drop)?,
                None => return Err(io::Error::other("this command has no such --output")),
            },
        }
        Ok(view.exit())
    }

    /// Written as it is made: a node's whole ledger does not fit into memory.
    fn json(&mut self, view: &impl Serialize) -> io::Result<()> {
        let mut out = BufWriter::new(&mut *self.out);
        serde_json::to_writer_pretty(&mut out, view)?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Does the work of `command`, and says in between that it goes on, if that takes longer
    /// than people wait in silence; progress is shown on a terminal alone.
    pub(crate) fn attend<T: Send>(
        &mut self,
        command: &str,
        work: impl FnOnce() -> T + Send,
    ) -> io::Result<T> {
        if !self.style.attended {
            return Ok(work());
        }
        signal::keep_children()?;
        let (done, outcome) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || done.send(work()));
            let started = Instant::now();
            let mut pause = SILENCE;
            loop {
                match outcome.recv_timeout(pause) {
                    Ok(outcome) => return Ok(outcome),
                    Err(RecvTimeoutError::Timeout) => {
                        let seconds = started.elapsed().as_secs();
                        self.progress(&format!(
                            "braid {command}: still at work after {seconds} s"
                        ))?;
                        pause = AGAIN;
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(io::Error::other("the work has broken off"));
                    }
                }
            }
        })
    }

    /// Says how far a long command has come, beside its output.
    pub(crate) fn progress(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.error, "{line}")
    }

    /// Writes text as it is, whatever the format.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<Exit> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(Exit::Done)
    }

    /// The page of help.
    pub(crate) fn help(&mut self, mut command: clap::Command) -> io::Result<Exit> {
        let page = command.render_long_help();
        let page = if self.style.colour { page.ansi().to_string() } else { page.to_string() };
        self.text(&page)
    }

    /// What clap has to say: a page that was asked for, or what is wrong with the command line.
    pub(crate) fn usage(&mut self, error: &clap::Error) -> Exit {
        let page = error.render();
        let page = if self.style.colour { page.ansi().to_string() } else { page.to_string() };
        let to: &mut dyn Write = if error.use_stderr() { self.error } else { self.out };
        let written = to.write_all(page.as_bytes()).and_then(|()| to.flush());
        match written {
            Ok(()) if !error.use_stderr() => Exit::Done,
            Ok(()) => Exit::Usage,
            Err(_) => Exit::Failed,
        }
    }

    /// Says why a command came to nothing.
    pub(crate) fn failed(&mut self, error: &impl Display, exit: Exit) -> Exit {
        let line = format!("{}: {error}\n", self.style.paint(Tone::Bad, "braid"));
        // If the output is closed, the exit status still tells.
        let _ = self.error.write_all(line.as_bytes());
        exit
    }

    /// The width to wrap help at.
    pub(crate) const fn help_width() -> usize {
        WIDTH as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(width: Option<u16>) -> OutputStyle {
        OutputStyle { colour: false, width, attended: false }
    }

    #[test]
    fn sentences_break_between_words_and_keep_their_margin() {
        let text = "one two three four five six seven";
        assert_eq!(look(Some(26)).wrap(4, text), "one two three four\n    five six seven");
        assert_eq!(look(None).wrap(4, text), text);
        assert_eq!(look(Some(10)).wrap(4, text), text, "there is no room to break anything");
        let long = "a-name-that-is-longer-than-the-line end";
        assert_eq!(look(Some(24)).wrap(2, long), "a-name-that-is-longer-than-the-line\n  end");
    }

    #[test]
    fn no_name_in_a_table_is_broken() {
        let rows = || {
            vec![[
                "team-alpha/web-7d4b9c6f5-x2x9z".to_owned(),
                "10.30.0.2/24, fd00:30::2/64".to_owned(),
            ]]
        };
        let table = |width| look(width).table(["POD", "ADDRESSES"], rows());
        let whole = "POD                             ADDRESSES\nteam-alpha/web-7d4b9c6f5-x2x9z  \
                     10.30.0.2/24, fd00:30::2/64\n";
        assert_eq!(table(None), whole);
        assert_eq!(table(Some(120)), whole);
        let broken = "POD                             ADDRESSES\nteam-alpha/web-7d4b9c6f5-x2x9z  \
                      10.30.0.2/24,\n                                fd00:30::2/64\n";
        assert_eq!(table(Some(50)), broken);
        let stacked =
            "POD        team-alpha/web-7d4b9c6f5-x2x9z\nADDRESSES  10.30.0.2/24, fd00:30::2/64\n";
        assert_eq!(table(Some(40)), stacked);
    }
}
