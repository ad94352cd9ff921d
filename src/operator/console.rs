//! What a person, or a program, sees of a command: text or JSON, with colour where it helps.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::signal;

/// How long people wait in silence, and then for the next word.
const SILENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(10);

/// The width of help and tables where there is no terminal to ask.
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
}

/// What came of a command, to be shown.
pub(crate) trait View: Serialize {
    /// For people: whole lines.
    fn text(&self, look: &Look) -> String;

    /// What the command ends with.
    fn exit(&self) -> Exit {
        Exit::Done
    }
}

/// What the place can show where text goes.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether colours mean something there.
    pub colour: bool,
    /// Columns; `None` where nobody counts them, as in a file.
    pub width: Option<u16>,
}

/// A word's meaning, which a colour shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Good,
    Odd,
    Bad,
    Strong,
}

impl Look {
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

    /// A table without lines, its head in capitals, as kubectl's are.
    pub(crate) fn table<const N: usize>(&self, head: [&str; N], rows: Vec<[String; N]>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(head).add_rows(rows);
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// Where a command's output goes.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    error: &'a mut dyn Write,
    look: Look,
    format: Format,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("look", &self.look)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl<'a> Console<'a> {
    /// A console with `out` for what was asked for, which looks like `look`, and `error` for the rest.
    pub fn new(out: &'a mut dyn Write, error: &'a mut dyn Write, look: Look) -> Self {
        Self { out, error, look, format: Format::Table }
    }

    pub(crate) fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// Shows what came of a command.
    pub(crate) fn show(&mut self, view: &impl View) -> io::Result<Exit> {
        let text = match self.format {
            Format::Table => view.text(&self.look),
            Format::Json => serde_json::to_string_pretty(view)? + "\n",
        };
        self.text(&text)?;
        Ok(view.exit())
    }

    /// Does the work of `command`, and says in between that it goes on, where that takes longer than people
    /// wait in silence.
    pub(crate) fn attend<T: Send>(
        &mut self,
        command: &str,
        work: impl FnOnce() -> T + Send,
    ) -> io::Result<T> {
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
                        self.progress(&format!("braid {command}: still at work after {seconds} s"))?;
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
        let page = if self.look.colour { page.ansi().to_string() } else { page.to_string() };
        self.text(&page)
    }

    /// What clap has to say: a page that was asked for, or what is wrong with the command line.
    pub(crate) fn usage(&mut self, error: &clap::Error) -> Exit {
        let page = error.render();
        let page = if self.look.colour { page.ansi().to_string() } else { page.to_string() };
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
        let line = format!("{}: {error}\n", self.look.paint(Tone::Bad, "braid"));
        // Where nobody listens, the status says it.
        let _ = self.error.write_all(line.as_bytes());
        exit
    }

    /// The width to wrap help at.
    pub(crate) const fn help_width() -> usize {
        WIDTH as usize
    }
}
