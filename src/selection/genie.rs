//! CNI-Genie's annotation `cni`: `calico`, or `calico,weave`. Each word is a network of the node's
//! conf directory, by its name or by the type of its first plugin; the first one is the primary.

use super::error::{Element, Refusal, Rule, SelectionError};
use super::{Limits, MAX_ANNOTATION_BYTES};
use cni::netconf::NetworkName;
use cni::quoted::Quoted;

/// Reads the annotation. A blank one asks for nothing.
///
/// # Errors
/// [`SelectionError`] for the first rule that is broken.
pub fn parse(annotation: &str, limits: Limits) -> Result<Vec<NetworkName>, SelectionError> {
    if annotation.len() > MAX_ANNOTATION_BYTES {
        return Err(SelectionError::TooLong { bytes: annotation.len() });
    }
    if annotation.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    // The primary is no network that is asked for on top.
    let most = limits.networks.saturating_add(1);
    if annotation.split(',').nth(most).is_some() {
        return Err(SelectionError::TooMany { limit: most });
    }
    annotation
        .split(',')
        .enumerate()
        .map(|(position, word)| element(position, word.trim_ascii()))
        .collect()
}

/// The names of networks and the types of plugins have the same characters.
fn element(position: usize, word: &str) -> Result<NetworkName, SelectionError> {
    let refusal = Refusal::element(Quoted::text(word), Rule::NodeNetwork);
    word.parse().map_err(|_| Element { position, network: None }.refuse(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let names = parse(text, Limits { networks: 2, ..Limits::default() })
            .map_err(|error| error.to_string())?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn words_are_names_of_networks_or_types_of_plugins() {
        assert_eq!(read("calico").unwrap(), ["calico"]);
        assert_eq!(
            read(" weave-net , k8s_pod.Network ").unwrap(),
            ["weave-net", "k8s_pod.Network"]
        );
        assert_eq!(read(" \n").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn other_words_are_refused() {
        for word in ["../x", "/etc/x", "-x", ".x", "a b", "a\nb", "a\0", "", "{\"a\": 1}"] {
            let said = read(&format!("calico,{word}")).unwrap_err();
            assert!(said.starts_with("element 2 is \""), "{word}: {said}");
        }
        assert!(read("a,b,c,d").unwrap_err().contains("more than 3 networks"));
        assert!(read(&"a".repeat(65_537)).unwrap_err().contains("65537 bytes"));
    }
}
