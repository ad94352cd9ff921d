//! The objects of cluster-wide addresses: one HTTP request for each call, never a second one that
//! the caller does not know of. What a lost response means for an address, only the caller can
//! tell.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, Request};
use plugins::ipam::cluster::name;
use plugins::ipam::cluster::store::{Action, Request as StoreRequest};
use serde_json::{Value, json};

use super::api_request::ApiRequest;
use super::client::CallError;
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};
use cni::error::one_line;

/// Who changes objects, in their `managedFields`.
const FIELD_MANAGER: &str = "fieldManager=braid";

impl Cluster {
    /// The body of the response to each request, in their order. All are sent at the same time,
    /// each once, and end within `limit`.
    pub(crate) fn address_objects(
        &mut self,
        requests: &[StoreRequest],
        limit: Duration,
    ) -> Vec<Result<Vec<u8>, ClusterError>> {
        let policy = RetryPolicy::OnceWithin(limit);
        let mut calls = Vec::with_capacity(requests.len());
        let mut refused = Vec::with_capacity(requests.len());
        for request in requests {
            match http_request(request) {
                Ok(outgoing) => {
                    refused.push(None);
                    let send = async move |client: kube::Client| send(client, outgoing).await;
                    calls.push((api_request(request), send));
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        let mut answers = self.call_all(calls, policy).into_iter();
        let lost = || Err(self.cannot_start("the call was lost"));
        refused
            .into_iter()
            .map(|refused| refused.map_or_else(|| answers.next().unwrap_or_else(lost), Err))
            .collect()
    }
}

async fn send(client: kube::Client, outgoing: Request<Vec<u8>>) -> Result<Vec<u8>, CallError> {
    Ok(client.request_text(outgoing).await?.into_bytes())
}

/// The request in the words that RBAC and an administrator have for it.
fn api_request(request: &StoreRequest) -> ApiRequest {
    let StoreRequest { kind, namespace, action } = request;
    let what = match action {
        Action::List { .. } => format!("the {} in namespace {namespace}", kind.plural()),
        action => format!("{} \"{namespace}/{}\"", kind.noun(), action.name()),
    };
    ApiRequest {
        verb: action.verb(),
        resource: kind.resource(),
        namespace: namespace.clone(),
        name: action.name().to_owned(),
        what,
        metadata_only: false,
    }
}

/// The request as it is sent. A name or a namespace that no object can have is one that does not
/// exist, and never becomes a path.
fn http_request(request: &StoreRequest) -> Result<Request<Vec<u8>>, ClusterError> {
    let StoreRequest { kind, namespace, action } = request;
    let is_about_one = !matches!(action, Action::List { .. });
    if !name::is_valid(namespace) || (is_about_one && !name::is_valid(action.name())) {
        let shown = one_line(&format!("{namespace}/{}", action.name()), 300);
        return Err(ClusterError::NotFound { what: format!("{} \"{shown}\"", kind.noun()) });
    }
    let base = format!("/apis/{}/v1alpha1/namespaces/{namespace}/{}", kind.group(), kind.plural());
    let (method, path, body) = match action {
        Action::Get(name) => (Method::GET, format!("{base}/{name}"), None),
        Action::List { limit, next } => {
            (Method::GET, format!("{base}?limit={limit}{}", continued(next)), None)
        }
        Action::Create(object) => {
            (Method::POST, format!("{base}?{FIELD_MANAGER}"), Some(object.clone()))
        }
        Action::Patch(name, patch) => {
            (Method::PATCH, format!("{base}/{name}?{FIELD_MANAGER}"), Some(patch.to_value()))
        }
        Action::PatchStatus(name, patch) => {
            let path = format!("{base}/{name}/status?{FIELD_MANAGER}");
            (Method::PATCH, path, Some(patch.to_value()))
        }
        Action::Delete { name, uid, resource_version } => {
            let options = delete_options(uid.as_deref(), resource_version.as_deref());
            (Method::DELETE, format!("{base}/{name}"), Some(options))
        }
    };
    let content = match method {
        Method::PATCH => "application/json-patch+json",
        _ => "application/json",
    };
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let built =
        Request::builder().method(method).uri(path).header(CONTENT_TYPE, content).body(bytes);
    built.map_err(|_| ClusterError::NotFound { what: format!("a {}", kind.noun()) })
}

/// The rest of the query of a page behind the first. The server's token is opaque: what has a
/// meaning in a query is written as `%XX`.
fn continued(next: &str) -> String {
    if next.is_empty() {
        return String::new();
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let written = next.bytes().map(|byte| match byte {
        byte if is_plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("&continue={}", written.collect::<String>())
}

/// The object is removed only if it is this very one (`DeleteOptions`, `preconditions`).
fn delete_options(uid: Option<&str>, resource_version: Option<&str>) -> Value {
    let mut conditions = serde_json::Map::new();
    conditions.extend(uid.map(|uid| ("uid".to_owned(), json!(uid))));
    let version = resource_version.map(|version| ("resourceVersion".to_owned(), json!(version)));
    conditions.extend(version);
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
    if let (false, Some(options)) = (conditions.is_empty(), options.as_object_mut()) {
        options.insert("preconditions".to_owned(), conditions.into());
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugins::ipam::cluster::object::Reservation;
    use plugins::ipam::cluster::patch::Patch;
    use plugins::ipam::cluster::store::Kind;

    fn sent(kind: Kind, action: Action) -> (String, String) {
        let request = StoreRequest { kind, namespace: "kube-system".to_owned(), action };
        let built = http_request(&request).unwrap();
        let line = format!("{} {}", built.method(), built.uri());
        (line, String::from_utf8(built.into_body()).unwrap())
    }

    #[test]
    fn each_action_is_one_request() {
        let base = "/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/kube-system";
        let (line, body) = sent(Kind::Pool, Action::Get("10.0.0.0-24".to_owned()));
        assert_eq!((line, body.as_str()), (format!("GET {base}/ippools/10.0.0.0-24"), ""));
        let next = "a+/=&x".to_owned();
        let (line, _) = sent(Kind::Pool, Action::List { limit: 2, next });
        assert_eq!(line, format!("GET {base}/ippools?limit=2&continue=a%2B%2F%3D%26x"));
        let object = Reservation::made("10.0.0.7", "a/b", "net1", "c1");
        let (line, body) = sent(Kind::Reservation, Action::Create(object.clone()));
        let expected = format!("POST {base}/overlappingrangeipreservations?fieldManager=braid");
        assert_eq!((line, body), (expected, object.to_string()));
        let patch = Patch::new().remove(&["spec"]);
        let (line, body) = sent(Kind::Pool, Action::Patch("p".to_owned(), patch.clone()));
        let expected = format!("PATCH {base}/ippools/p?fieldManager=braid");
        assert_eq!((line, body), (expected, patch.to_value().to_string()));
        let action = Action::Delete {
            name: "r".to_owned(),
            uid: Some("u".to_owned()),
            resource_version: Some("7".to_owned()),
        };
        let (line, body) = sent(Kind::Reservation, action);
        assert_eq!(line, format!("DELETE {base}/overlappingrangeipreservations/r"));
        assert!(body.ends_with(r#""preconditions":{"uid":"u","resourceVersion":"7"}}"#), "{body}");
    }

    #[test]
    fn a_name_that_no_object_can_have_never_becomes_a_path() {
        for (namespace, name) in [("a", "../secrets/x"), ("a/b", "x"), ("a", ""), ("", "x")] {
            let action = Action::Get(name.to_owned());
            let request =
                StoreRequest { kind: Kind::Pool, namespace: namespace.to_owned(), action };
            let refused = http_request(&request);
            assert!(matches!(refused, Err(ClusterError::NotFound { .. })), "{namespace}/{name}");
        }
    }
}
