//! What `explain`, `doctor` and `list` print on a terminal, as pictures: drawn of the real output,
//! with its colours. `UPDATE_PICTURES=1` writes them anew.

use std::fmt::Write;
use std::fs;

use super::{directory, read};
use crate::readme::machine::Machine;
use crate::readme::page::{block, blocks};
use crate::readme::{primary, start};

/// In tenths of a pixel: a character.
const CHARACTER: usize = 78;
/// In pixels: a line, and the room around.
const LINE: usize = 19;
const MARGIN: usize = 20;
/// The bar above the text.
const BAR: usize = 34;

/// A run of text in one colour.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Span {
    text: String,
    colour: &'static str,
    is_bold: bool,
}

/// What `command` prints on a terminal of so many columns, with its control sequences. On a slow
/// machine it says on standard error that it is still at work.
fn printed(machine: &Machine, command: &str, columns: u32) -> String {
    let command = format!("stty cols {columns}; PATH=/opt/cni/bin:$PATH; {command} 2>/dev/null");
    let output = machine.sh(&format!("script -qec '{command}' /dev/null"));
    output.replace("\r\n", "\n")
}

/// The lines, each as its runs. Sequences are of colours alone (ECMA-48, SGR).
fn lines(output: &str) -> Vec<Vec<Span>> {
    let (mut colour, mut is_bold) = ("#1f2328", false);
    let mut lines = Vec::new();
    for line in output.lines() {
        let mut spans = Vec::new();
        for (at, part) in line.split("\u{1b}[").enumerate() {
            let text = if at == 0 { part } else { styled(part, &mut colour, &mut is_bold) };
            if !text.is_empty() {
                spans.push(Span { text: text.to_owned(), colour, is_bold });
            }
        }
        lines.push(spans);
    }
    lines
}

/// Reads a sequence, and returns the text behind it.
fn styled<'t>(part: &'t str, colour: &mut &'static str, is_bold: &mut bool) -> &'t str {
    let (codes, text) = part.split_once('m').unwrap();
    for code in codes.split(';') {
        match code {
            "" | "0" => (*colour, *is_bold) = ("#1f2328", false),
            "1" => *is_bold = true,
            "31" | "33" => *colour = "#bc4c00",
            "32" => *colour = "#1a7f37",
            _ => panic!("no colour for {code}"),
        }
    }
    text
}

/// The output as on the machine that the README shows: its kernel, and a pod that is 2 minutes old.
fn as_shown(output: &str) -> String {
    let shown = block("screen", "look").text.lines().find(|line| line.contains("   kernel "));
    let shown = shown.unwrap().strip_prefix("ok").unwrap();
    let mut text = String::new();
    let mut is_kernels = false;
    for line in output.lines() {
        let was_kernels = is_kernels;
        is_kernels = line.contains("kernel        ") || was_kernels && line.contains("harmless");
        if is_kernels && !was_kernels {
            writeln!(text, "\u{1b}[32mok\u{1b}[0m{shown}").unwrap();
        } else if !is_kernels {
            writeln!(text, "{}", with_age(line)).unwrap();
        }
    }
    text
}

/// An age of seconds in a column of its own.
fn with_age(line: &str) -> String {
    let ages = (0..60).map(|seconds| format!(" {seconds}s "));
    ages.fold(line.to_owned(), |line, age| {
        line.replace(&age, &format!("{:<width$}", " 2m ", width = age.len()))
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A terminal's window with a command and what it has printed.
fn draw(command: &str, output: &str) -> String {
    let prompt = [
        Span { text: "$ ".into(), colour: "#59636e", is_bold: false },
        Span { text: command.into(), colour: "#1f2328", is_bold: true },
    ];
    let mut all = vec![prompt.to_vec()];
    all.extend(lines(output));
    let length = |line: &Vec<Span>| line.iter().map(|span| span.text.chars().count()).sum();
    let columns: usize = all.iter().map(length).max().unwrap_or_default();
    let width = (columns * CHARACTER).div_ceil(10) + 2 * MARGIN;
    let height = BAR + all.len() * LINE + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', \
         monospace\" font-size=\"13\">\n<title id=\"title\">{}</title>\n<desc id=\"desc\">What the \
         command prints on a terminal.</desc>\n<rect x=\"0.5\" y=\"0.5\" width=\"{}\" \
         height=\"{}\" rx=\"8\" fill=\"#f6f8fa\" stroke=\"#d1d9e0\"/>\n",
        escaped(command),
        width - 1,
        height - 1
    );
    for at in 0..3 {
        let x = MARGIN + at * 16;
        writeln!(svg, "<circle cx=\"{x}\" cy=\"17\" r=\"5\" fill=\"#d1d9e0\"/>").unwrap();
    }
    for (at, line) in all.iter().enumerate() {
        let y = BAR + (at + 1) * LINE - 5;
        write!(svg, "<text x=\"{MARGIN}\" y=\"{y}\" xml:space=\"preserve\">").unwrap();
        for Span { text, colour, is_bold } in line {
            let weight = if *is_bold { " font-weight=\"600\"" } else { "" };
            write!(svg, "<tspan fill=\"{colour}\"{weight}>{}</tspan>", escaped(text)).unwrap();
        }
        svg.push_str("</text>\n");
    }
    svg + "</svg>\n"
}

/// On the machine of the README, with its network and its pod.
#[test]
fn the_pictures_of_a_terminal_are_what_the_commands_print() {
    let machine = Machine::new();
    machine.node.write("etc/containerd/config.toml", "version = 2\n");
    machine.sh("scripts/build");
    primary(&machine);
    machine.sh("target/dist/braid install");
    let lan =
        blocks("definition").into_iter().find(|block| block.yaml()[0]["metadata"]["name"] == "lan");
    machine.node.write("net.d/braid.d/lan.yaml", &lan.unwrap().text);
    machine.node.write("repo/web.yaml", &block("pod", "short").text);
    let web = start(&machine, "short");
    for (name, command) in
        [("explain", "braid explain web.yaml"), ("doctor", "braid doctor"), ("list", "braid list")]
    {
        let drawn = draw(command, &as_shown(&printed(&machine, command, 110)));
        let file = format!("terminal-{name}.svg");
        if std::env::var_os("UPDATE_PICTURES").is_some() {
            fs::write(directory().join(&file), &drawn).unwrap();
        }
        assert_eq!(read(&file), drawn, "{file}: run with UPDATE_PICTURES=1");
    }
    web.del();
}

#[test]
fn colours_are_those_of_the_terminal() {
    let spans = lines("\u{1b}[32mok\u{1b}[0m  a\n\u{1b}[1m\u{1b}[31mfail\u{1b}[0m");
    let span = |text: &str, colour, is_bold| Span { text: text.into(), colour, is_bold };
    assert_eq!(spans[0], [span("ok", "#1a7f37", false), span("  a", "#1f2328", false)]);
    assert_eq!(spans[1], [span("fail", "#bc4c00", true)]);
    assert_eq!(with_age("lan  3s   agrees"), "lan  2m   agrees");
    assert_eq!(with_age("lan  12s  agrees"), "lan  2m   agrees");
}
