//! `docs/pictures/`: each picture has a dark one that is the same but for its colours, and says no
//! more than the program does. `UPDATE_PICTURES=1` writes the dark ones anew.

mod costs;
mod terminal;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The colours of the light pictures, each with that of the dark ones.
const COLOURS: [(&str, &str); 13] = [
    ("#1f2328", "#e6edf3"),
    ("#59636e", "#9198a1"),
    ("#8c959f", "#656c76"),
    ("#f6f8fa", "#151b23"),
    ("#d1d9e0", "#3d444d"),
    ("#0969da", "#4493f8"),
    ("#ddf4ff", "#121d2f"),
    ("#1a7f37", "#3fb950"),
    ("#dafbe1", "#12261e"),
    ("#bc4c00", "#db6d28"),
    ("#fff1e5", "#221a19"),
    ("#8250df", "#ab7df8"),
    ("#fbefff", "#211a2e"),
];

fn directory() -> PathBuf {
    Path::new(REPOSITORY).join("docs/pictures")
}

fn read(name: &str) -> String {
    fs::read_to_string(directory().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of the light pictures, without the ending.
fn names() -> Vec<String> {
    let entries = fs::read_dir(directory()).unwrap().flatten();
    let files = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        files.map(|file| file.strip_suffix(".svg").expect("an SVG").to_owned()).collect();
    names.retain(|name| !name.ends_with("-dark"));
    names.sort();
    names
}

/// Every `#rrggbb` of a picture.
fn colours(text: &str) -> BTreeSet<&str> {
    let found = text.match_indices('#').filter_map(|(at, _)| text.get(at..at + 7));
    found.filter(|word| word.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit())).collect()
}

#[test]
fn each_picture_is_light_and_dark() {
    let names = names();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        let light = read(&format!("{name}.svg"));
        let known: BTreeSet<&str> = COLOURS.iter().map(|(light, _)| *light).collect();
        let used = colours(&light);
        let unknown: Vec<&&str> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?} have no dark colour");
        let dark = COLOURS.iter().fold(light, |text, (light, dark)| text.replace(light, dark));
        let file = format!("{name}-dark.svg");
        if std::env::var_os("UPDATE_PICTURES").is_some() {
            fs::write(directory().join(&file), &dark).unwrap();
        }
        assert_eq!(read(&file), dark, "{file}: run with UPDATE_PICTURES=1");
    }
}

/// A picture that a reader cannot see is read to them.
#[test]
fn each_picture_has_a_title_and_a_description_and_is_well_formed() {
    for name in names() {
        let text = read(&format!("{name}.svg"));
        assert!(
            text.contains("<title id=\"title\">") && text.contains("<desc id=\"desc\">"),
            "{name}"
        );
        let mut parse = std::process::Command::new("python3");
        parse.args(["-c", "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])"]);
        let status = parse.arg(directory().join(format!("{name}.svg"))).status().unwrap();
        assert!(status.success(), "{name} is no XML");
    }
}

/// The picture of an ADD has the steps of the flow, each of which is a module of the program.
#[test]
fn the_picture_of_an_add_has_the_programs_steps() {
    let text = read("add.svg");
    let steps = ["request", "config", "pod", "selection", "definition", "policy", "plan", "attach"];
    let mut last = 0;
    for step in steps {
        let at = text.find(&format!(">{step}</text>")).unwrap_or_else(|| panic!("no {step}"));
        assert!(at > last, "{step} is out of order");
        last = at;
        let found =
            [crate::source::files_of(step), crate::source::files_of(&format!("cni::{step}"))];
        assert!(found.concat().iter().any(|file| file.exists()), "no module {step}");
    }
}

/// Every picture is shown somewhere, and in both.
#[test]
fn each_picture_is_on_a_page() {
    let mut pages = vec![PathBuf::from("README.md")];
    for directory in ["docs", "docs/cases", "docs/recipes"] {
        let entries = fs::read_dir(Path::new(REPOSITORY).join(directory)).unwrap().flatten();
        pages.extend(entries.map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    let pages: Vec<String> = pages
        .iter()
        .map(|page| fs::read_to_string(Path::new(REPOSITORY).join(page)).unwrap())
        .collect();
    for name in names() {
        for file in [format!("pictures/{name}.svg"), format!("pictures/{name}-dark.svg")] {
            assert!(pages.iter().any(|page| page.contains(&file)), "no page shows {file}");
        }
    }
}
