//! Problems as other programs read them: GitHub's workflow commands, and SARIF 2.1.0.

use std::path::Path;

use serde_json::{Value, json};

use super::{Problem, Severity};

/// An annotation of the file for each problem (workflow commands of GitHub Actions).
pub(super) fn github(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let Problem { file, line, column, severity, message } = problem;
        let file = property(&file.to_string_lossy());
        format!("::{} file={file},line={line},col={column}::{}\n", word(*severity), data(message))
    };
    problems.iter().map(line).collect()
}

/// A message, in which a line must not end.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property, in which nothing that separates properties may stand either.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// A log of one run (OASIS SARIF 2.1.0).
pub(super) fn sarif(problems: &[Problem]) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "braid validate",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": [
                    {"id": "error", "shortDescription": {"text": "Braid refuses it"}},
                    {"id": "warning", "shortDescription": {"text": "It probably means something else"}},
                ],
            }},
            "columnKind": "unicodeCodePoints",
            "results": problems.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(problem: &Problem) -> Value {
    let Problem { file, line, column, severity, message } = problem;
    json!({
        "ruleId": word(*severity),
        "level": word(*severity),
        "message": {"text": message},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(file)},
            "region": {"startLine": line, "startColumn": column},
        }}],
    })
}

/// The reference to a file (RFC 3986): relative as it was named, or absolute.
fn uri(file: &Path) -> String {
    let mut uri = if file.is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in file.to_string_lossy().bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        uri += &if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            file: "conf/a, b:ä.yaml".into(),
            line: 3,
            column: 7,
            severity: Severity::Error,
            message: "100% wrong\nhere".to_owned(),
        }
    }

    #[test]
    fn a_problem_is_a_command_of_one_line() {
        let expected = "::error file=conf/a%2C b%3Aä.yaml,line=3,col=7::100%25 wrong%0Ahere\n";
        assert_eq!(github(&[problem()]), expected);
        assert_eq!(github(&[]), "");
    }

    #[test]
    fn a_run_without_problems_has_no_results_and_a_file_is_a_reference() {
        assert_eq!(sarif(&[])["runs"][0]["results"], json!([]));
        let log = sarif(&[problem()]);
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "conf/a%2C%20b%3A%C3%A4.yaml");
        assert_eq!(place["region"], json!({"startLine": 3, "startColumn": 7}));
        assert_eq!(uri(Path::new("/etc/cni")), "file:///etc/cni");
    }
}
