//! Admission that users configure: policies and webhooks, for what clients write and for what the cluster's controllers write.
//!
//! Input: a write that is about to be stored, after its own validation. Output: why it is refused, and what its client is warned
//! of. A cluster without such objects pays for one look at an empty list.

mod check;
mod matching;
mod policy;
mod webhook;

use std::sync::Arc;

use serde_json::{Value, json};

pub use check::mistakes;

use self::policy::Policy;
use self::webhook::Webhook;
use crate::sim::catalog::Kind;
use crate::sim::cel::Budget;
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

const GROUP: &str = "admissionregistration.k8s.io";

/// Who writes, as rules and webhooks are told.
#[derive(Debug, Clone, Default)]
pub struct Requester {
    /// `userInfo`.
    pub user: Value,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// The subresource written; empty for none.
    pub subresource: String,
}

/// What is configured, compiled.
#[derive(Debug, Default)]
pub struct Admission {
    policies: Vec<Arc<Policy>>,
    /// Bindings of policies, by name.
    bindings: Vec<Arc<Value>>,
    mutating: Vec<Arc<Webhook>>,
    validating: Vec<Arc<Webhook>>,
}

impl Admission {
    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && (self.policies.is_empty() || self.bindings.is_empty())
    }
}

/// A kind of this group.
pub fn kind(plural: &str) -> Resource {
    Resource::new(GROUP, plural)
}

/// Whether a change of such an object changes what is configured.
pub fn concerns(resource: &Resource) -> bool {
    *resource.group == *GROUP
}

/// Reads the configuration anew.
pub fn rebuild(world: &mut World) {
    let old = Arc::clone(&world.admission);
    let list = |plural: &str| -> Vec<Arc<Value>> { world.store.list(&kind(plural), None).map(|(_, object)| Arc::clone(object)).collect() };
    let policies = list("validatingadmissionpolicies").into_iter().map(|object| {
        // Expressions are dear to compile: they stay as long as their policy says the same.
        let same = old.policies.iter().find(|p| p.is_of(&object));
        same.map_or_else(|| Arc::new(Policy::compile(&object)), Arc::clone)
    });
    let policies = policies.collect();
    let webhooks = |plural: &str| -> Vec<Arc<Webhook>> {
        let all = list(plural);
        all.iter().flat_map(Webhook::all).map(Arc::new).collect()
    };
    let admission = Admission {
        policies,
        bindings: list("validatingadmissionpolicybindings"),
        mutating: webhooks("mutatingwebhookconfigurations"),
        validating: webhooks("validatingwebhookconfigurations"),
    };
    world.admission = Arc::new(admission);
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An object is made.
    Create,
    /// An object is changed.
    Update,
    /// An object is deleted.
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A write that is to be admitted.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is done.
    pub operation: Operation,
    /// To what.
    pub key: &'a Key,
    /// Its kind.
    pub kind: &'a Kind,
    /// The subresource written; empty for none.
    pub subresource: &'a str,
    /// The object as it would be; `None` for deletions.
    pub object: Option<&'a Value>,
    /// The object as it is; `None` for creations.
    pub old: Option<&'a Value>,
}

impl<'a> Request<'a> {
    /// A new object.
    pub fn creation(key: &'a Key, kind: &'a Kind, object: &'a Value) -> Self {
        Self { operation: Operation::Create, key, kind, subresource: "", object: Some(object), old: None }
    }
}

impl Request<'_> {
    /// `request` as expressions see it.
    fn described(&self, world: &World) -> Value {
        let kind = json!({"group": self.kind.group, "version": self.kind.version, "kind": self.kind.kind});
        let resource = json!({"group": self.kind.group, "version": self.kind.version, "resource": self.kind.plural});
        let (user, dry_run) = match &world.requester {
            Some(requester) => (requester.user.clone(), requester.dry_run),
            None => (self.controller(), false),
        };
        let mut described = json!({"kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": &*self.key.name, "operation": self.operation.name(), "userInfo": user, "dryRun": dry_run, "options": {}});
        if !self.key.namespace.is_empty() {
            described["namespace"] = (&*self.key.namespace).into();
        }
        if !self.subresource.is_empty() {
            described["subResource"] = self.subresource.into();
            described["requestSubResource"] = self.subresource.into();
        }
        described
    }

    /// Which part of the cluster writes such an object.
    fn controller(&self) -> Value {
        let object = self.object.or(self.old).unwrap_or(&Value::Null);
        let owner = object["metadata"]["ownerReferences"][0]["kind"].as_str().filter(|_| self.subresource.is_empty()).unwrap_or_default();
        let service = match (self.kind.kind.as_str(), owner) {
            ("Pod", _) if self.subresource == "status" => {
                let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
                return json!({"username": format!("system:node:{node}"), "groups": ["system:nodes", "system:authenticated"]});
            }
            (_, "ReplicaSet") | ("ReplicaSet", "") => "replicaset-controller",
            (_, "StatefulSet") | ("StatefulSet", _) => "statefulset-controller",
            (_, "DaemonSet") | ("DaemonSet", _) => "daemon-set-controller",
            (_, "Job") | ("Job", "") => "job-controller",
            (_, "CronJob") | ("CronJob", _) => "cronjob-controller",
            (_, "Deployment") | ("Deployment", _) => "deployment-controller",
            ("Pod", "ReplicationController") => "replication-controller",
            ("Endpoints", _) => "endpoint-controller",
            ("EndpointSlice", _) => "endpointslice-controller",
            ("ServiceAccount", _) => "service-account-controller",
            ("Namespace", _) => "namespace-controller",
            ("HorizontalPodAutoscaler", _) => "horizontal-pod-autoscaler",
            _ if self.operation == Operation::Delete => "generic-garbage-collector",
            _ => return json!({"username": "system:kube-controller-manager", "groups": ["system:authenticated"]}),
        };
        json!({"username": format!("system:serviceaccount:kube-system:{service}"),
            "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]})
    }

    /// Whether this is looked at: the configuration of admission itself never is, so that a mistake in it can be mended.
    fn is_exempt(&self, world: &World) -> bool {
        // Binding a pod and evicting it are requests of their own, which these rules do not describe.
        let node = |object: Option<&Value>| object.map(|o| o["spec"]["nodeName"].clone()).unwrap_or_default();
        let binding = self.operation == Operation::Update && self.kind.kind == "Pod" && node(self.object) != node(self.old);
        let evicting = world.requester.as_ref().is_some_and(|r| r.subresource == "eviction");
        concerns(&self.key.resource) || binding || evicting
    }
}

/// Asks whoever may change the object.
pub fn mutate(world: &World, request: &Request<'_>) -> Result<(), Status> {
    if world.admission.mutating.is_empty() || request.is_exempt(world) {
        return Ok(());
    }
    let mut budget = Budget::default();
    world.admission.mutating.iter().try_for_each(|hook| hook.call(world, request, &mut budget))
}

/// Asks whoever may refuse the object.
pub fn validate(world: &World, request: &Request<'_>) -> Result<(), Status> {
    let admission = &world.admission;
    if admission.is_empty() || request.is_exempt(world) {
        return Ok(());
    }
    let mut budget = Budget::default();
    policy::enforce(world, &admission.policies, &admission.bindings, request, &mut budget)?;
    admission.validating.iter().try_for_each(|hook| hook.call(world, request, &mut budget))
}

/// What the client of the latest writes is to be warned of.
pub fn take_warnings(world: &World) -> Vec<String> {
    world.warnings.take()
}

/// Says that a policy has been looked at, as its controller does.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(object) = world.store.get(key).cloned() else { return };
    if object["status"]["observedGeneration"] == object["metadata"]["generation"] {
        return;
    }
    let mut new = (*object).clone();
    new["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
    new["status"]["typeChecking"] = json!({});
    // Nobody else writes in between: the world is ours.
    let _written = super::update(world, key, new, super::Part::Status);
}

#[cfg(test)]
mod tests;
