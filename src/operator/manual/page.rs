//! A man page: clap's sections, then those that man-pages(7) has and clap has not.

use std::fmt::Write as _;
use std::io;

use clap::Command;
use clap::builder::Resettable;

use super::STATUSES;

/// The page of a command, in roff.
pub(super) fn render(command: Command) -> io::Result<Vec<u8>> {
    let examples = examples(&command);
    let has_version = command.get_version().is_some();
    let has_commands = command.get_subcommands().any(|command| !command.is_hide_set());
    let command = command.after_help(Resettable::Reset).after_long_help(Resettable::Reset);
    let man = clap_mangen::Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(exit_status().into_bytes());
    page.extend(examples.into_bytes());
    if has_version {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

fn exit_status() -> String {
    let mut section = ".SH \"EXIT STATUS\"\n".to_owned();
    for (exit, meaning) in STATUSES {
        let _ = write!(section, ".TP\n{}\n{}\n", exit.status(), escaped(meaning));
    }
    section
}

/// What stands below a command's help, without its own heading.
fn examples(command: &Command) -> String {
    let below = command.get_after_long_help().or_else(|| command.get_after_help());
    let text = below.map(ToString::to_string).unwrap_or_default();
    let text = text.trim_start_matches("Examples:").trim_start_matches("Example:");
    let lines: Vec<String> = text.trim_matches('\n').lines().map(escaped).collect();
    if text.trim().is_empty() {
        return String::new();
    }
    format!(".SH EXAMPLES\n.nf\n{}\n.fi\n", lines.join("\n"))
}

/// A line that roff takes for text alone.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(command: Command) -> String {
        String::from_utf8(render(command).unwrap()).unwrap()
    }

    #[test]
    fn a_page_has_examples_and_exit_status_in_place_of_an_extra_section() {
        let command = Command::new("x").about("does it").after_help("Examples:\n  x -a \\\n    .b");
        let page = page(command);
        assert!(page.contains(".SH \"EXIT STATUS\"\n.TP\n0\n"), "{page}");
        assert!(page.contains(".SH EXAMPLES\n.nf\n  x \\-a \\e\n    .b\n.fi\n"), "{page}");
        assert!(!page.contains("EXTRA"), "{page}");
        assert_eq!(escaped(".b"), "\\&.b");
    }

    #[test]
    fn a_command_without_examples_has_no_section_for_them() {
        assert!(!page(Command::new("x")).contains("EXAMPLES"));
    }
}
