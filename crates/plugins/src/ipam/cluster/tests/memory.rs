//! A store in memory that answers as an API server does, and can fail at each step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cni::deadline::Deadline;
use serde_json::{Value, json};

use crate::ipam::cluster::store::{
    Action, AddressStore, ApiAccess, Kind, OpenStore, Opened, Request, StoreError,
};

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It is not carried out, and there is no answer.
    Lost,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// 429.
    Throttled,
    /// 409, without a reason that stays.
    Conflict,
    /// Another node takes what is asked for first.
    Race,
    /// A reconciler takes every reservation for an orphan first.
    Reconciled,
}

#[derive(Debug, Default)]
pub(super) struct World {
    objects: BTreeMap<(Kind, String, String), Value>,
    version: u64,
    /// How many requests were made.
    pub(super) requests: usize,
    /// Which request goes wrong, and how.
    pub(super) fault: Option<(usize, Fault)>,
    /// Whether nothing answers.
    pub(super) is_away: bool,
    pub(super) is_forbidden: bool,
    pub(super) log: Vec<String>,
}

/// Opens stores of one world.
#[derive(Clone, Debug, Default)]
pub(super) struct Stores(pub(super) Arc<Mutex<World>>);

struct Store(Arc<Mutex<World>>);

impl OpenStore for Stores {
    fn open(&self, _: &ApiAccess, _: Deadline) -> Result<Opened, StoreError> {
        Ok(Opened {
            store: Box::new(Store(self.0.clone())),
            server: "h:1".to_owned(),
            namespace: "kube-system".to_owned(),
        })
    }
}

impl AddressStore for Store {
    fn send(&mut self, requests: &[Request], _: Deadline) -> Vec<Result<Vec<u8>, StoreError>> {
        let mut world = self.0.lock().unwrap();
        requests.iter().map(|request| world.answer(request)).collect()
    }

    fn may_allocate(&mut self, _: &str, _: Deadline) -> Result<bool, StoreError> {
        let world = self.0.lock().unwrap();
        if world.is_away {
            return Err(StoreError::Unavailable("away".to_owned()));
        }
        Ok(!world.is_forbidden)
    }
}

impl World {
    fn answer(&mut self, request: &Request) -> Result<Vec<u8>, StoreError> {
        let at = self.requests;
        self.requests += 1;
        let verb = request.action.verb();
        self.log.push(format!("{verb} {} {}", request.kind.plural(), request.action.name()));
        if self.is_away {
            return Err(StoreError::Unavailable("away".to_owned()));
        }
        let fault = self.fault.filter(|(when, _)| *when == at).map(|(_, fault)| fault);
        match fault {
            None => self.carry_out(request),
            Some(Fault::Lost) => Err(StoreError::Unavailable("lost".to_owned())),
            Some(Fault::AnswerLost) => {
                let _ = self.carry_out(request);
                Err(StoreError::Unavailable("answer lost".to_owned()))
            }
            Some(Fault::Throttled) => {
                Err(StoreError::Throttled { message: "slow".to_owned(), retry_after: None })
            }
            Some(Fault::Conflict) => match verb {
                "get" => self.carry_out(request),
                _ => Err(StoreError::Conflict("the object has been modified".to_owned())),
            },
            Some(Fault::Race) => {
                self.race(request);
                self.carry_out(request)
            }
            Some(Fault::Reconciled) => {
                self.objects.retain(|(kind, _, _), _| *kind != Kind::Reservation);
                self.carry_out(request)
            }
        }
    }

    /// Another node does what the request is about to do.
    fn race(&mut self, request: &Request) {
        let other = json!({"id": "other", "podref": "x/other", "ifname": "net1"});
        if let Action::Patch(name, patch) = &request.action {
            for step in patch.to_value().as_array().unwrap() {
                let path = step["path"].as_str().unwrap();
                if step["op"] == "add" && path.starts_with("/spec/allocations/") {
                    let pool = self.pool_mut(name);
                    let key = path.rsplit('/').next().unwrap();
                    pool["spec"]["allocations"][key] = other.clone();
                }
            }
        }
    }

    fn pool_mut(&mut self, name: &str) -> &mut Value {
        self.objects.get_mut(&(Kind::Pool, "kube-system".to_owned(), name.to_owned())).unwrap()
    }

    pub(super) fn put(&mut self, kind: Kind, namespace: &str, mut object: Value) {
        self.version += 1;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("u{}", self.version));
        }
        self.objects.insert((kind, namespace.to_owned(), name), object);
    }

    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, "kube-system".to_owned(), name.to_owned()))
    }

    pub(super) fn find(&self, key: &(Kind, String, String)) -> &Value {
        &self.objects[key]
    }

    pub(super) fn names(&self, kind: Kind) -> Vec<&str> {
        let of_kind = self.objects.keys().filter(|(it, _, _)| *it == kind);
        of_kind.map(|(_, _, name)| name.as_str()).collect()
    }

    /// The offsets that are taken in a pool, with their containers.
    pub(super) fn entries(&self, pool: &str) -> Vec<(String, String)> {
        let Some(pool) = self.get(Kind::Pool, pool) else { return Vec::new() };
        let entries = pool["spec"]["allocations"].as_object().unwrap();
        let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
        entries.iter().map(|(key, entry)| (key.clone(), id(entry))).collect()
    }

    fn carry_out(&mut self, request: &Request) -> Result<Vec<u8>, StoreError> {
        let name = request.action.name().to_owned();
        let key = (request.kind, request.namespace.clone(), name.clone());
        let found = self.objects.get(&key).cloned();
        let missing = || StoreError::Missing(format!("{name} does not exist"));
        let object = match &request.action {
            Action::Get(_) => found.ok_or_else(missing)?,
            Action::Create(object) => {
                if found.is_some() {
                    return Err(StoreError::Conflict(format!("{name} already exists")));
                }
                self.put(request.kind, &request.namespace, object.clone());
                self.objects[&key].clone()
            }
            Action::Patch(_, patch) | Action::PatchStatus(_, patch) => {
                let mut object = found.ok_or_else(missing)?;
                for step in patch.to_value().as_array().unwrap() {
                    apply(&mut object, step).map_err(StoreError::Invalid)?;
                }
                self.put(request.kind, &request.namespace, object);
                self.objects[&key].clone()
            }
            Action::Delete { uid, resource_version, .. } => {
                let object = found.ok_or_else(missing)?;
                let is = |key: &str, wanted: &Option<String>| {
                    wanted.as_ref().is_none_or(|wanted| object["metadata"][key] == wanted.as_str())
                };
                if !is("uid", uid) || !is("resourceVersion", resource_version) {
                    return Err(StoreError::Conflict("precondition failed".to_owned()));
                }
                self.objects.remove(&key);
                object
            }
            Action::List { .. } => panic!("the engine lists nothing"),
        };
        Ok(object.to_string().into_bytes())
    }
}

/// One step of a JSON patch, as the API server takes it: `test` of null passes for what is missing.
fn apply(object: &mut Value, step: &Value) -> Result<(), String> {
    let path = step["path"].as_str().unwrap();
    let (parent, key) = path.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    let found = object.pointer(path).cloned().unwrap_or_default();
    if step["op"] == "test" {
        let is_same = found == step["value"];
        return is_same.then_some(()).ok_or_else(|| format!("test of {path} failed"));
    }
    let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
    let parent = parent.ok_or_else(|| format!("{path} has no parent"))?;
    match step["op"].as_str().unwrap() {
        "add" => drop(parent.insert(key, step["value"].clone())),
        "remove" => drop(parent.shift_remove(&key).ok_or("nothing to remove")?),
        other => panic!("{other}"),
    }
    Ok(())
}
