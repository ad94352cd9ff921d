//! What is generated from the commands' definition: completions, man pages, and `docs/cli.md`.

mod completion;
mod page;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use serde::Serialize;

use super::cli::Cli;
use super::console::{Console, Exit, OutputStyle, View};

/// Why a generated page could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManualError {
    /// A page could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The completions are no text.
    #[error("the completions are not UTF-8: {0}")]
    Encoding(#[from] std::string::FromUtf8Error),
}

/// The completions of a shell.
pub(super) fn completions(shell: Shell) -> Result<String, ManualError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "braid", &mut text);
    Ok(completion::with_names(shell, String::from_utf8(text)?))
}

/// The man pages that were written.
#[derive(Debug, Serialize)]
pub(super) struct Pages {
    pages: Vec<PathBuf>,
}

impl View for Pages {
    fn text(&self, _: &OutputStyle) -> String {
        self.pages.iter().map(|page| format!("{}\n", page.display())).collect()
    }
}

/// Writes one page for each command into a directory, which is made if it is missing.
pub(super) fn write_pages(directory: &Path) -> Result<Pages, ManualError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ManualError::Write { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    let mut pages = Vec::new();
    for command in commands() {
        let path = directory.join(format!("{}.1", command.get_name()));
        let page = page::render(command).map_err(failed(&path))?;
        std::fs::write(&path, page).map_err(failed(&path))?;
        pages.push(path);
    }
    Ok(Pages { pages })
}

/// `braid`, then each command under its page's name: `braid-list`.
fn commands() -> Vec<Command> {
    let program = command();
    let mut found = vec![program.clone()];
    collect(&program, "braid", &mut found);
    found
}

/// Not the commands that braid starts itself.
fn is_shown(command: &&Command) -> bool {
    command.get_name() != "help" && !command.is_hide_set()
}

fn collect(parent: &Command, name: &str, found: &mut Vec<Command>) {
    for command in parent.get_subcommands().filter(is_shown) {
        let name = format!("{name}-{}", command.get_name());
        // A page's name lives as long as the program, as clap wants it.
        let named: &'static str = Box::leak(name.clone().into_boxed_str());
        found.push(command.clone().name(named).bin_name(name.replace('-', " ")));
        collect(command, &name, found);
    }
}

/// The program's definition, complete: with the options that each command has from the program.
fn command() -> Command {
    let mut command = Cli::command().term_width(Console::help_width());
    command.build();
    command
}

/// `docs/cli.md`: every command with its page of help, and the exit statuses.
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    for (exit, meaning) in STATUSES {
        let _ = writeln!(page, "| {} | {meaning} |", exit.status());
    }
    page.push_str(TAIL);
    for command in commands() {
        let title = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        let help = command.term_width(Console::help_width()).render_long_help().to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## {title}\n\n```text\n{}\n```\n", lines.join("\n"));
    }
    page
}

const STATUSES: [(Exit, &str); 4] = [
    (Exit::Done, "done, and nothing is wrong"),
    (Exit::Failed, "it failed, or what it looked at has a fault"),
    (Exit::Usage, "the command line is not valid"),
    (Exit::NotYet, "not yet: something has to end first, and trying again later helps"),
];

const HEAD: &str = "\
# braid on the command line

Generated from the program by `braid man >docs/cli.md`; a test compares the two.

If `CNI_COMMAND` is set, Braid is the plugin that a runtime has started, and reads no arguments.
Everywhere else it is this tool. What was asked for goes to standard output, everything else to standard error.

`--output json` prints one JSON document. Its keys stay as they are within a major version; new ones may come.
Tables are for people and may change. Colour is used on a terminal alone, and not if `NO_COLOR` is set.

## Exit status

| Status | Meaning |
|---|---|
";

const TAIL: &str = "";
