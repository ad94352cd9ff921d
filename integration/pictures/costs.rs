//! The chart of `scripts/bench --svg`, the figures that it is drawn of, and the table below it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{REPOSITORY, read};
use crate::node::{Node, text};
use crate::readme::page::table;

/// Each way that the chart shows, by its name in the figures, in words.
const WAYS: [(&str, &str); 6] = [
    ("direct", "the plugins alone"),
    ("multus", "Multus"),
    ("Multus thin", "Multus, thin"),
    ("Multus thick", "Multus, thick"),
    ("braid", "Braid, the same plugins"),
    ("in process", "Braid, its own plugins"),
];

/// The cases of the chart: those with a caption.
fn cases() -> Vec<Value> {
    let figures = fs::read_to_string(Path::new(REPOSITORY).join("docs/figures.json")).unwrap();
    let figures: Value = serde_json::from_str(&figures).unwrap();
    let cases = figures["cases"].as_array().unwrap().iter();
    let cases: Vec<Value> = cases.filter(|case| case.get("caption").is_some()).cloned().collect();
    assert!(cases.len() >= 3, "{cases:?}");
    cases
}

/// The shown ways of a case in order: words, and milliseconds of ADD and DEL.
fn ways(case: &Value) -> Vec<(&'static str, f64, f64)> {
    let all = case["ways"].as_array().unwrap();
    let of = |name: &str| all.iter().find(|way| way["name"] == name);
    let figure = |way: &Value, verb: &str| way[verb].as_f64().unwrap();
    let shown = WAYS.iter().filter_map(|(name, words)| {
        of(name).map(|way| (*words, figure(way, "add"), figure(way, "del")))
    });
    shown.collect()
}

#[test]
fn the_chart_is_drawn_of_the_figures() {
    let node = Node::new();
    let picture = node.path("costs");
    let output = Command::new(Path::new(REPOSITORY).join("scripts/bench"))
        .arg("--svg")
        .arg(Path::new(REPOSITORY).join("docs/figures.json"))
        .arg(picture.with_extension("svg"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["costs.svg", "costs-dark.svg"] {
        let drawn = fs::read_to_string(node.path(file)).unwrap();
        let again = "scripts/bench --svg docs/figures.json docs/pictures/costs.svg";
        assert_eq!(read(file), drawn, "{file} is of other figures: {again}");
    }
}

#[test]
fn the_table_below_the_chart_has_its_figures() {
    let mut expected = Vec::new();
    for case in cases() {
        for (at, (words, add, del)) in ways(&case).into_iter().enumerate() {
            let caption = if at == 0 { text(&case["caption"]) } else { "" };
            let figures = [add, del].map(|figure| format!("{figure:.1} ms"));
            expected.push([&[caption.to_owned(), words.to_owned()][..], &figures[..]].concat());
        }
    }
    assert_eq!(table("At a glance"), expected);
}

/// What stands between the tags of the chart's texts, in order.
fn texts(picture: &str) -> Vec<&str> {
    let lines = picture.lines().filter_map(|line| line.strip_prefix("<text ")?.split_once('>'));
    lines.map(|(_, rest)| rest.strip_suffix("</text>").unwrap()).collect()
}

/// The length of each bar, in order.
fn bars(picture: &str) -> Vec<f64> {
    let lines = picture.lines().filter(|line| line.starts_with("<rect "));
    let width = |line: &str| {
        let width = line.split("width=\"").nth(1).unwrap().split('"').next().unwrap();
        width.parse().unwrap()
    };
    lines.map(width).collect()
}

/// Every figure of the table is in the chart, beside its words, and its bar is as long as it says.
#[test]
fn the_chart_shows_each_figure_and_a_bar_for_it() {
    let picture = read("costs.svg");
    let (mut shown, mut lengths) = (texts(&picture).into_iter(), bars(&picture).into_iter());
    for case in cases() {
        assert_eq!(shown.next(), Some(text(&case["caption"])));
        assert_eq!([shown.next(), shown.next()], [Some("ADD"), Some("DEL")]);
        let mut scales = Vec::new();
        for (words, add, del) in ways(&case) {
            assert_eq!(shown.next(), Some(words));
            for figure in [add, del] {
                assert_eq!(shown.next(), Some(&*format!("{figure:.1} ms")));
                scales.push(lengths.next().unwrap() / figure);
            }
        }
        assert!(scales.iter().all(|it| (it / scales[0] - 1.0).abs() < 0.05), "{scales:?}");
        let source = shown.next().unwrap();
        assert!(source.starts_with(text(&case["date"])) && source.contains(" rounds"), "{source}");
    }
    assert_eq!((shown.next(), lengths.next()), (None, None));
}
