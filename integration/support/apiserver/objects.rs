//! The objects of the double and what an API server does with them: paths, metadata, patches with
//! preconditions, validation, and `Status` for every refusal.

mod answer;
mod custom;
mod list;
mod managed_fields;
mod patch;
mod target;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::identity::User;
use super::rbac::{Rbac, Right};
use answer::{Answer, bad_request, forbidden, invalid, not_found};
pub(crate) use answer::{metadata_only, status};
pub(crate) use target::Key;
pub(crate) use target::Target;
use target::{CLUSTER_WIDE, NAMESPACED};

const DEFINITIONS: &str = "network-attachment-definitions";
const REVIEWS: &str = "selfsubjectaccessreviews";

/// A request as the objects see it.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: Option<Target>,
    pub(crate) query: &'a str,
    pub(crate) content_type: &'a str,
    /// The client's program.
    pub(crate) agent: &'a str,
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    /// Who changes fields with this call.
    fn manager(&self) -> String {
        let named = self.query.split('&').find_map(|pair| pair.strip_prefix("fieldManager="));
        let program = self.agent.split('/').next().filter(|program| !program.is_empty());
        named.or(program).unwrap_or("unknown").to_owned()
    }
}

/// Is told of each object that is created or changed: its resource, the object before, or null, and
/// after.
type Watcher = Box<dyn FnMut(&str, &Value, &Value) + Send>;

/// The cluster's state.
#[derive(Default)]
pub(crate) struct Objects {
    kept: BTreeMap<Key, Value>,
    revision: u64,
    /// Whether NetworkAttachmentDefinitions are not installed.
    pub(crate) has_no_definitions: bool,
    /// Whether whereabouts' resources are not installed, nor IPAMClaims.
    pub(crate) has_no_pools: bool,
    /// Whether a patch with another UID is a conflict (409) or, as in an API server of today,
    /// invalid (422).
    pub(crate) other_uid_is_conflict: bool,
    /// The seconds that a token lives at most, as a server may be configured.
    pub(crate) token_seconds: Option<i64>,
    pub(crate) rbac: Rbac,
    /// Every right that was used, granted or not.
    pub(crate) rights: Vec<(Right, bool)>,
    watcher: Option<Watcher>,
}

impl Objects {
    /// Creates or replaces an object, as a user with every right.
    pub(crate) fn put(&mut self, mut object: Value) {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let mut known = NAMESPACED.iter().chain(&CLUSTER_WIDE);
        let (_, _, resource, _) = known.find(|(.., known)| *known == kind).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        self.stamp(&mut object);
        self.keep(((*resource).to_owned(), namespace, name), object);
    }

    /// Tells `watcher` of each object that is created or changed from now on.
    pub(crate) fn watch(&mut self, watcher: impl FnMut(&str, &Value, &Value) + Send + 'static) {
        self.watcher = Some(Box::new(watcher));
    }

    /// Keeps an object, and does what follows from it.
    fn keep(&mut self, key: Key, object: Value) {
        if let Some(watcher) = &mut self.watcher {
            watcher(&key.0, self.kept.get(&key).unwrap_or(&Value::Null), &object);
        }
        match key.0.as_str() {
            "clusterroles" | "clusterrolebindings" | "roles" | "rolebindings" => {
                self.rbac.add(object.clone())
            }
            DEFINITIONS => self.has_no_definitions = false,
            "customresourcedefinitions" if is_of_addresses(&key.2) => self.has_no_pools = false,
            "customresourcedefinitions" => self.has_no_definitions = false,
            _ => {}
        }
        self.kept.insert(key, object);
    }

    fn stamp(&mut self, object: &mut Value) {
        self.revision += 1;
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".to_owned(), json!(self.revision.to_string()));
        metadata
            .entry("uid")
            .or_insert(json!(format!("00000000-0000-4000-8000-{:012}", self.revision)));
        metadata.entry("creationTimestamp").or_insert(json!("2026-01-01T00:00:00Z"));
    }

    /// Takes an object away, as a user with every right.
    pub(crate) fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        assert!(self.kept.remove(&key).is_some(), "no {resource} {namespace}/{name}");
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.kept.get(&(resource.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        self.kept
            .iter()
            .filter(|((kind, ..), _)| kind == resource)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Everything, as `resource/namespace/name`.
    #[allow(dead_code, reason = "for the program")]
    pub(crate) fn names(&self) -> Vec<String> {
        self.kept
            .keys()
            .map(|(resource, namespace, name)| format!("{resource}/{namespace}/{name}"))
            .collect()
    }

    /// What an API server answers.
    pub(crate) fn answer(&mut self, user: &User, call: &Call<'_>) -> Result<Answer, &'static str> {
        let Some(target) = &call.target else { return Err("404 page not found\n") };
        if self.has_no_definitions && target.resource == DEFINITIONS
            || self.has_no_pools && custom::is_custom(&target.resource)
        {
            return Err("404 page not found\n");
        }
        if (call.method, target.resource.as_str()) == ("POST", REVIEWS) {
            return Ok(self.review(user, call.body));
        }
        let right = target.right(call.method);
        if !self.may(user, target, &right) {
            return Ok(forbidden(user, target, &right));
        }
        Ok(match (call.method, &target.subresource) {
            ("GET", None) if target.name.is_some() => self.read(target),
            ("GET", None) => list::list(&self.kept, self.revision, target, call.query),
            ("POST", None) => self.create(target, call),
            // The token itself is made where the tokens are.
            ("POST", Some(subresource)) if subresource == "token" => {
                self.request_token(target, call.body)
            }
            ("PATCH", _) => self.patch(target, call),
            ("PUT", None) if target.name.is_some() => self.update(target, call),
            ("DELETE", None) if target.name.is_some() => self.delete(target, call.body),
            _ => status(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
                None,
            ),
        })
    }

    fn may(&mut self, user: &User, target: &Target, right: &Right) -> bool {
        let is_allowed = self.rbac.allows(user, right, target.scope(), target.name.as_deref());
        self.rights.push((right.clone(), is_allowed));
        is_allowed
    }

    /// Begins the watch of one object: `None` if the user may, else the refusal.
    pub(crate) fn begin_watch(&mut self, user: &User, target: &Target) -> Option<Answer> {
        let right = Right { verb: "watch".to_owned(), ..target.right("GET") };
        (!self.may(user, target, &right)).then(|| forbidden(user, target, &right))
    }

    /// What has become of an object since it had that version: an event, and the new version.
    pub(crate) fn event(&self, target: &Target, version: &str) -> Option<(Value, String)> {
        let object = self.kept.get(&target.key().unwrap());
        let now =
            object.map_or("", |object| object["metadata"]["resourceVersion"].as_str().unwrap());
        let kind = match (version, now) {
            (before, now) if before == now => return None,
            ("", _) => "ADDED",
            (_, "") => "DELETED",
            _ => "MODIFIED",
        };
        let object = object.cloned().unwrap_or(json!({"metadata": {"name": target.name}}));
        Some((json!({"type": kind, "object": metadata_only(object)}), now.to_owned()))
    }

    /// Whether a user may watch what a path lists; else what an API server answers.
    pub(crate) fn may_watch(&mut self, user: &User, target: &Target) -> Result<(), Answer> {
        let right = Right { verb: "watch".to_owned(), ..target.right("GET") };
        let is_allowed = self.may(user, target, &right);
        if is_allowed { Ok(()) } else { Err(forbidden(user, target, &right)) }
    }

    /// The objects that a path lists, as they are now.
    pub(crate) fn listed(&self, target: &Target) -> BTreeMap<Key, Value> {
        let kept = self.kept.iter().filter(|(key, _)| target.holds(key));
        kept.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// What a user may do, which every user may ask.
    fn review(&self, user: &User, body: &[u8]) -> Answer {
        let Ok(mut review) = serde_json::from_slice::<Value>(body) else {
            return bad_request("not JSON");
        };
        let attributes = &review["spec"]["resourceAttributes"];
        let word = |key: &str| attributes[key].as_str().unwrap_or_default().to_owned();
        let subresource =
            attributes["subresource"].as_str().map(|it| format!("/{it}")).unwrap_or_default();
        let right = Right {
            verb: word("verb"),
            group: word("group"),
            resource: word("resource") + &subresource,
        };
        let allowed =
            self.rbac.allows(user, &right, &word("namespace"), attributes["name"].as_str());
        review["status"] = json!({ "allowed": allowed });
        (201, review)
    }

    fn read(&self, target: &Target) -> Answer {
        match self.kept.get(&target.key().unwrap()) {
            Some(object) => (200, object.clone()),
            None => not_found(target),
        }
    }

    fn create(&mut self, target: &Target, call: &Call<'_>) -> Answer {
        let Ok(mut object) = serde_json::from_slice::<Value>(call.body) else {
            return bad_request("not JSON");
        };
        let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else {
            return bad_request("name or generateName is required");
        };
        if object["metadata"]["namespace"]
            .as_str()
            .is_some_and(|namespace| namespace != target.namespace)
        {
            return bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            );
        }
        let named = Target { name: Some(name), ..target.clone() };
        if let Some(field) = invalid_event(&object).filter(|_| target.resource == "events") {
            return invalid(&named, field, "Required value, or too long");
        }
        let key = named.key().unwrap();
        if self.kept.contains_key(&key) {
            let message = format!("{} \"{}\" already exists", named.qualified(), key.2);
            return status(
                409,
                "AlreadyExists",
                &message,
                Some(json!({"name": key.2, "kind": target.resource})),
            );
        }
        if !target.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(target.namespace);
        }
        if custom::is_custom(&target.resource) {
            object = match custom::admit(&named, &call.manager(), None, object) {
                Ok(object) => object.expect("a new object differs from none"),
                Err(refusal) => return refusal,
            };
        }
        self.stamp(&mut object);
        self.keep(key, object.clone());
        (201, object)
    }

    /// What is in a namespace goes with it, and definitions with the resource that they are.
    fn delete(&mut self, target: &Target, options: &[u8]) -> Answer {
        let key = target.key().unwrap();
        let Some(object) = self.kept.get(&key) else { return not_found(target) };
        let options: Value = serde_json::from_slice(options).unwrap_or_default();
        if let Some(refusal) = unmet_precondition(target, &options["preconditions"], object) {
            return refusal;
        }
        let object = self.kept.remove(&key).unwrap();
        match target.resource.as_str() {
            "namespaces" => self.kept.retain(|(_, namespace, _), _| *namespace != key.2),
            "clusterroles" | "clusterrolebindings" | "roles" | "rolebindings" => {
                self.rbac.remove(&object);
            }
            "customresourcedefinitions" => self.remove_resource(&key.2),
            _ => {}
        }
        (200, object)
    }

    /// What follows from the end of a resource definition.
    fn remove_resource(&mut self, definition: &str) {
        let plural = definition.split('.').next().unwrap_or_default();
        if is_of_addresses(definition) {
            self.has_no_pools = true;
        } else {
            self.has_no_definitions = true;
        }
        self.kept.retain(|(resource, ..), _| resource != plural);
    }

    /// A TokenRequest with the lifetime that it gets, and still without its token.
    fn request_token(&self, target: &Target, body: &[u8]) -> Answer {
        let Ok(mut request) = serde_json::from_slice::<Value>(body) else {
            return bad_request("not JSON");
        };
        if !self.kept.contains_key(&target.key().unwrap()) {
            return not_found(target);
        }
        if (&request["apiVersion"], &request["kind"])
            != (&json!("authentication.k8s.io/v1"), &json!("TokenRequest"))
        {
            return bad_request("no TokenRequest");
        }
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        if seconds < 600 {
            let problem = "may not specify a duration less than 10 minutes";
            return invalid(target, "spec.expirationSeconds", problem);
        }
        let seconds = seconds.min(self.token_seconds.unwrap_or(i64::MAX));
        request["spec"]["expirationSeconds"] = json!(seconds);
        request["metadata"] = json!({"namespace": target.namespace, "name": target.name});
        (201, request)
    }

    fn patch(&mut self, target: &Target, call: &Call<'_>) -> Answer {
        let key = target.key().unwrap();
        let Some(old) = self.kept.get(&key).cloned() else {
            // The body is looked at first.
            let unknown = json!({});
            let applied = patch::apply(call.content_type, &unknown, call.body);
            return applied
                .err()
                .filter(|refusal| refusal.0 == 415)
                .unwrap_or_else(|| not_found(target));
        };
        match patch::apply(call.content_type, &old, call.body) {
            Ok(new) => self.change(target, call, &old, new),
            Err(refusal) => refusal,
        }
    }

    /// Puts a whole object in place of another.
    fn update(&mut self, target: &Target, call: &Call<'_>) -> Answer {
        let Ok(mut new) = serde_json::from_slice::<Value>(call.body) else {
            return bad_request("not JSON");
        };
        let key = target.key().unwrap();
        let Some(old) = self.kept.get(&key).cloned() else { return not_found(target) };
        custom::forget_managed_fields(&mut new);
        for field in ["uid", "resourceVersion", "creationTimestamp", "namespace"] {
            if new["metadata"][field].is_null() {
                new["metadata"][field] = old["metadata"][field].clone();
            }
        }
        self.change(target, call, &old, new)
    }

    /// Keeps `new` in place of `old`, under the conditions that `new` itself has.
    fn change(&mut self, target: &Target, call: &Call<'_>, old: &Value, mut new: Value) -> Answer {
        if new["metadata"]["uid"] != old["metadata"]["uid"] {
            return self.other_uid(target, &new, old);
        }
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return custom::modified(target);
        }
        if custom::is_custom(&target.resource) {
            new = match custom::admit(target, &call.manager(), Some(old), new) {
                Ok(Some(new)) => new,
                Ok(None) => return (200, old.clone()),
                Err(refusal) => return refusal,
            };
        } else if target.subresource.as_deref() == Some("status") {
            new["spec"] = old["spec"].clone();
        }
        self.stamp(&mut new);
        self.keep(target.key().unwrap(), new.clone());
        (200, new)
    }

    fn other_uid(&self, target: &Target, patch: &Value, old: &Value) -> Answer {
        let (theirs, ours) = (&patch["metadata"]["uid"], &old["metadata"]["uid"]);
        if !self.other_uid_is_conflict {
            return invalid(
                target,
                "metadata.uid",
                &format!("Invalid value: {theirs}: field is immutable"),
            );
        }
        let name = target.name.as_deref().unwrap_or_default();
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": Precondition failed: UID in \
             precondition: {theirs}, UID in object meta: {ours}",
            target.qualified()
        );
        status(409, "Conflict", &message, Some(json!({"name": name, "kind": target.resource})))
    }
}

/// Whether a resource definition of this name is one of cluster-wide addresses.
fn is_of_addresses(definition: &str) -> bool {
    definition.split('.').next().is_some_and(custom::is_custom)
}

/// The refusal to delete an object that is not the one that was meant.
fn unmet_precondition(target: &Target, wanted: &Value, object: &Value) -> Option<Answer> {
    let fields = [
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ];
    let (field, word, guess) = fields.into_iter().find(|(field, ..)| {
        wanted.get(field).is_some_and(|value| *value != object["metadata"][field])
    })?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = target.name.as_deref().unwrap_or_default();
    let message = format!(
        "Operation cannot be fulfilled on {} \"{name}\": the {word} in the precondition ({}) does \
         not match the {word} in record ({}). {guess}",
        target.qualified(),
        text(&wanted[field]),
        text(&object["metadata"][field]),
    );
    Some(status(409, "Conflict", &message, Some(json!({"name": name, "kind": target.resource}))))
}

/// The first field of an `events.k8s.io/v1` event that an API server would refuse.
fn invalid_event(event: &Value) -> Option<&'static str> {
    let is_text = |field: &str, limit: usize| {
        event[field].as_str().is_some_and(|text| !text.is_empty() && text.len() <= limit)
    };
    let checks = [
        ("eventTime", is_text("eventTime", 64)),
        ("reportingController", is_text("reportingController", 128)),
        ("reportingInstance", is_text("reportingInstance", 128)),
        ("action", is_text("action", 128)),
        ("reason", is_text("reason", 128)),
        ("type", ["Normal", "Warning"].contains(&event["type"].as_str().unwrap_or_default())),
        ("note", event["note"].as_str().unwrap_or_default().len() <= 1024),
        ("regarding.namespace", event["regarding"]["namespace"] == event["metadata"]["namespace"]),
    ];
    checks.into_iter().find(|(_, is_valid)| !is_valid).map(|(field, _)| field)
}
