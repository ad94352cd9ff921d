//! The fields of a manifest that are texts. YAML reads `y`, `no`, `1` or `1e3` without quotes as a
//! boolean or a number, and its author meant a name.

use serde_json::Value;

use super::Annotations;

/// A field that is not of the type that it must have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path} is {found}: {remedy}")]
pub(crate) struct WrongField {
    path: String,
    found: &'static str,
    remedy: &'static str,
}

impl WrongField {
    /// Why `value` at `path` is not a text; `None` for a text, and for nothing.
    pub(crate) fn in_place_of_text(path: &str, value: &Value) -> Option<Self> {
        let (found, remedy) = match value {
            Value::Null | Value::String(_) => return None,
            Value::Bool(_) => {
                ("a boolean, as y, n, yes, no, on and off are in YAML", "put it in quotes")
            }
            Value::Number(_) => ("a number", "put it in quotes"),
            Value::Array(_) => ("a list", "it must be a text"),
            Value::Object(_) => ("an object", "it must be a text"),
        };
        Some(Self { path: path.to_owned(), found, remedy })
    }

    fn in_place_of_object(path: &str, value: &Value) -> Option<Self> {
        let found = match value {
            Value::Null | Value::Object(_) => return None,
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
        };
        Some(Self { path: path.to_owned(), found, remedy: "it must be an object" })
    }
}

/// The text at `path` (`metadata.name`); `None` if it is missing.
///
/// # Errors
/// [`WrongField`] for the field, or an object on the way to it, that is something else.
pub(super) fn text<'v>(manifest: &'v Value, path: &str) -> Result<Option<&'v str>, WrongField> {
    let Some(value) = at(manifest, path)? else { return Ok(None) };
    match WrongField::in_place_of_text(path, value) {
        Some(wrong) => Err(wrong),
        None => Ok(value.as_str()),
    }
}

/// `metadata.annotations`.
///
/// # Errors
/// [`WrongField`] for the first that is not a text.
pub(super) fn annotations(manifest: &Value) -> Result<Annotations, WrongField> {
    const PATH: &str = "metadata.annotations";
    let Some(value) = at(manifest, PATH)? else { return Ok(Annotations::new()) };
    if let Some(wrong) = WrongField::in_place_of_object(PATH, value) {
        return Err(wrong);
    }
    let read = |(key, value): (&String, &Value)| match WrongField::in_place_of_text(
        &annotation(key),
        value,
    ) {
        Some(wrong) => Err(wrong),
        None => Ok((key.clone(), value.as_str().unwrap_or_default().to_owned())),
    };
    value.as_object().into_iter().flatten().map(read).collect()
}

/// How an annotation is named in a message.
pub(crate) fn annotation(key: &str) -> String {
    format!("annotation {}", cni::error::one_line(key, 100))
}

/// Whether what Braid reads of a manifest of any kind has the types that it must have.
///
/// # Errors
/// [`WrongField`] for the first that has not.
pub(crate) fn check(manifest: &Value) -> Result<(), WrongField> {
    for path in ["kind", "metadata.name", "metadata.namespace"] {
        text(manifest, path)?;
    }
    annotations(manifest).map(drop)
}

/// The value at `path`, whose parts are objects.
fn at<'v>(manifest: &'v Value, path: &str) -> Result<Option<&'v Value>, WrongField> {
    let mut value = manifest;
    let mut behind = 0;
    for part in path.split('.') {
        let way = path.get(..behind).unwrap_or_default().trim_end_matches('.');
        if let Some(wrong) = WrongField::in_place_of_object(way, value) {
            return Err(wrong);
        }
        let Some(next) = value.get(part) else { return Ok(None) };
        value = next;
        behind += part.len() + 1;
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_that_yaml_reads_as_something_else_is_to_be_quoted() {
        let said = |yaml: &str| {
            let manifest: Value = serde_saphyr::from_str(yaml).unwrap();
            text(&manifest, "metadata.name")
                .map(|name| name.map(str::to_owned))
                .map_err(|wrong| wrong.to_string())
        };
        let boolean = "metadata.name is a boolean, as y, n, yes, no, on and off are in YAML: put \
                       it in quotes";
        for word in ["y", "n", "yes", "No", "on", "off", "true", "False"] {
            assert_eq!(
                said(&format!("metadata: {{name: {word}}}")).unwrap_err(),
                boolean,
                "{word}"
            );
        }
        for number in ["1", "-7", "1.10", "1e3", "0x1f"] {
            let number = said(&format!("metadata: {{name: {number}}}")).unwrap_err();
            assert_eq!(number, "metadata.name is a number: put it in quotes");
        }
        assert_eq!(said("metadata: {name: 'y'}").unwrap().as_deref(), Some("y"));
        assert_eq!(said("metadata: {name: '1'}").unwrap().as_deref(), Some("1"));
        for missing in
            ["metadata: {name: }", "metadata: {}", "metadata:", "{}", "metadata: {name: ~}"]
        {
            assert_eq!(said(missing).unwrap(), None, "{missing}");
        }
        assert_eq!(
            said("metadata: {name: [a]}").unwrap_err(),
            "metadata.name is a list: it must be a text"
        );
        assert_eq!(said("metadata: blue").unwrap_err(), "metadata is a text: it must be an object");
    }

    #[test]
    fn every_field_that_braid_reads_is_checked() {
        for (manifest, path) in [
            (json!({"kind": true}), "kind"),
            (json!({"metadata": {"name": 1}}), "metadata.name"),
            (json!({"metadata": {"namespace": false}}), "metadata.namespace"),
            (json!({"metadata": {"annotations": {"braid.io/x": 1}}}), "annotation braid.io/x"),
            (json!({"metadata": {"annotations": []}}), "metadata.annotations"),
        ] {
            let said = check(&manifest).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{path} is a")), "{said}");
        }
        check(&json!({"kind": "Pod", "metadata": {"annotations": {"a": "b", "c": null}}})).unwrap();
    }
}
