//! The comma-delimited form (NPWG 1.3, section 4.1.1): `blue,ops/storage@data0`.

use super::error::{Element, Refusal, Rule, SelectionError};
use super::{Limits, Selection};
use crate::pod::name::{DefinitionName, Namespace};
use cni::quoted::Quoted;

/// Reads every element of `text`, which is not blank.
pub(super) fn parse(
    text: &str,
    pod_namespace: &Namespace,
    limits: Limits,
) -> Result<Vec<Selection>, SelectionError> {
    if text.split(',').nth(limits.networks).is_some() {
        return Err(SelectionError::TooMany { limit: limits.networks });
    }
    text.split(',')
        .enumerate()
        .map(|(position, text)| element(position, text, pod_namespace))
        .collect()
}

fn element(
    position: usize,
    text: &str,
    pod_namespace: &Namespace,
) -> Result<Selection, SelectionError> {
    let text = text.trim_ascii();
    let refuse = |network, refusal| Element { position, network }.refuse(refusal);
    let parts = Parts::split(text)
        .ok_or_else(|| refuse(None, Refusal::element(Quoted::text(text), Rule::ShortForm)))?;
    let (namespace, name) =
        parts.network(pod_namespace).map_err(|refusal| refuse(None, refusal))?;
    let mut selection = Selection::new(namespace, name, position);
    selection.interface = parts
        .interface
        .map(|text| {
            text.parse().map_err(|error| Refusal::value("interface", Quoted::text(text), error))
        })
        .transpose()
        .map_err(|refusal| selection.element().refuse(refusal))?;
    Ok(selection)
}

/// `[namespace/]name[@interface]`, nothing of it checked yet.
struct Parts<'a> {
    namespace: Option<&'a str>,
    name: &'a str,
    interface: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let once = |separator| text.matches(separator).count() <= 1;
        if text.is_empty() || !once('/') || !once('@') {
            return None;
        }
        let (network, interface) =
            text.split_once('@').map_or((text, None), |(left, right)| (left, Some(right)));
        let (namespace, name) =
            network.split_once('/').map_or((None, network), |(left, right)| (Some(left), right));
        Some(Self { namespace, name, interface })
    }

    fn network(&self, pod_namespace: &Namespace) -> Result<(Namespace, DefinitionName), Refusal> {
        let namespace = self.namespace.map_or_else(
            || Ok(pod_namespace.clone()),
            |text| {
                text.parse().map_err(|error| Refusal::value("namespace", Quoted::text(text), error))
            },
        )?;
        let name = self
            .name
            .parse()
            .map_err(|error| Refusal::value("name", Quoted::text(self.name), error))?;
        Ok((namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_short(text: &str) -> Result<Vec<Selection>, String> {
        parse(text, &"pods".parse().unwrap(), Limits::default()).map_err(|error| error.to_string())
    }

    /// What was read, written out again: `pods/blue`, `ops/storage@data0`.
    fn written(read: &[Selection]) -> Vec<String> {
        let suffix = |one: &Selection| {
            one.interface.as_ref().map(|name| format!("@{name}")).unwrap_or_default()
        };
        read.iter().map(|one| format!("{}/{}{}", one.namespace, one.name, suffix(one))).collect()
    }

    #[test]
    fn elements_are_references_with_an_optional_interface() {
        let cases: [(&str, &[&str]); 6] = [
            ("net-a", &["pods/net-a"]),
            ("net-a,net-b,other-ns/net-c", &["pods/net-a", "pods/net-b", "other-ns/net-c"]),
            ("net-a,net-a", &["pods/net-a", "pods/net-a"]),
            (" blue\n,\tops/storage@data0 ", &["pods/blue", "ops/storage@data0"]),
            ("blue@a.1", &["pods/blue@a.1"]),
            ("a.b.c", &["pods/a.b.c"]),
        ];
        for (text, wanted) in cases {
            let read = parse_short(text).unwrap();
            assert_eq!(written(&read), wanted, "{text}");
            assert!(read.iter().enumerate().all(|(position, one)| one.position == position));
        }
    }

    #[test]
    fn malformed_elements_are_refused_by_position() {
        let cases = [
            ("a,,b", "element 2 is \"\": must be [namespace/]name[@interface]"),
            ("a,", "element 2 is \"\": must be [namespace/]name[@interface]"),
            (",a", "element 1 is \"\": must be [namespace/]name[@interface]"),
            ("a, ,b", "element 2 is \"\": must be [namespace/]name[@interface]"),
            ("a/b/c", "element 1 is \"a/b/c\": must be [namespace/]name[@interface]"),
            ("a@b@c", "element 1 is \"a@b@c\": must be [namespace/]name[@interface]"),
            ("/a", "element 1: \"namespace\" is \"\": must be a DNS-1123 label"),
            ("a/", "element 1: \"name\" is \"\": must be a DNS-1123 subdomain"),
            ("@net1", "element 1: \"name\" is \"\": must be a DNS-1123 subdomain"),
            ("a b", "element 1: \"name\" is \"a b\": must be a DNS-1123 subdomain"),
            ("a,B", "element 2: \"name\" is \"B\": must be a DNS-1123 subdomain"),
            ("../a", "element 1: \"namespace\" is \"..\": must be a DNS-1123 label"),
            (
                "x/a@",
                "element 1 (x/a): \"interface\" is \"\": must be an interface name of 1 to 15 \
                 bytes",
            ),
            (
                "a@b/c",
                "element 1 (pods/a): \"interface\" is \"b/c\": must be an interface name: visible \
                 ASCII",
            ),
            ("a@lo", "element 1 (pods/a): \"interface\" is \"lo\": must not be"),
            ("\"a\"", "element 1: \"name\" is \"\\\"a\\\"\": must be a DNS-1123 subdomain"),
        ];
        for (text, start) in cases {
            let error = parse_short(text).unwrap_err();
            assert!(error.starts_with(start), "{text}: {error}");
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let text = |count: usize| vec!["a"; count].join(",");
        assert_eq!(parse_short(&text(16)).unwrap().len(), 16);
        assert!(parse_short(&text(17)).unwrap_err().contains("more than 16 networks"));
    }
}
