//! The roles and bindings that every cluster has.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};

use crate::sim::registry;
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Tells the chances of roles that were taken in from those of the cluster.
const ASIDE: u64 = 0x726f_6c65_735f_6173;

/// What `view` shows: the namespaced resources but secrets and roles.
const VIEWED: [(&str, &[&str]); 7] = [
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
            "bindings",
            "events",
            "limitranges",
            "namespaces/status",
            "pods/log",
            "pods/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "namespaces",
        ],
    ),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
];
/// What `edit` may change.
const EDITED: [(&str, &[&str]); 7] = [
    (
        "",
        &[
            "pods",
            "pods/attach",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
    ),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
];
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

fn rules(table: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Value> {
    table.iter().map(|(group, resources)| json!({"verbs": verbs, "apiGroups": [group], "resources": resources})).collect()
}

fn paths(paths: &[&str]) -> Value {
    json!({"verbs": ["get"], "nonResourceURLs": paths})
}

/// Creates them.
pub(crate) fn install(world: &mut World) {
    let view = rules(&VIEWED, &READ);
    let secrets = json!({"verbs": READ, "apiGroups": [""], "resources": ["secrets", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"]});
    let tokens = json!({"verbs": ["create"], "apiGroups": [""], "resources": ["pods/eviction", "serviceaccounts/token"]});
    let accounts = json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]});
    let edit: Vec<Value> = rules(&EDITED, &WRITE).into_iter().chain([secrets, tokens, accounts]).chain(view.clone()).collect();
    let mut admin = edit.clone();
    let all = [&READ[..], &WRITE[..]].concat();
    admin.push(json!({"verbs": all, "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]}));
    admin.push(json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"]}));
    let everything =
        vec![json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), json!({"verbs": ["*"], "nonResourceURLs": ["*"]})];
    let oneself = vec![
        json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}),
        json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}),
    ];
    let discovery =
        ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"];
    let issuer = ["/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"];
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let (known, authenticated) = (["/.well-known", "/.well-known/*"], "system:authenticated");
    for (name, rules, groups) in [
        ("cluster-admin", everything, vec!["system:masters"]),
        ("admin", admin, vec![]),
        ("edit", edit, vec![]),
        ("view", view, vec![]),
        ("system:basic-user", oneself, vec![authenticated]),
        ("system:discovery", vec![paths(&discovery)], vec![authenticated]),
        ("system:public-info-viewer", vec![paths(&public)], vec![authenticated, "system:unauthenticated"]),
        ("system:service-account-issuer-discovery", vec![paths(&issuer), paths(&known)], vec!["system:serviceaccounts"]),
    ] {
        let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        let meta = json!({"name": name, "labels": labels, "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}});
        create(world, "clusterroles", json!({"metadata": meta, "rules": rules}));
        if !groups.is_empty() {
            let subject = |g: &&str| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": g});
            let subjects: Vec<Value> = groups.iter().map(subject).collect();
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
            create(world, "clusterrolebindings", json!({"metadata": meta, "subjects": subjects, "roleRef": role}));
        }
    }
}

/// Takes in roles and bindings without a request, as they are or in place of those of the same names. They draw on chances of
/// their own: what happens in the cluster by chance stays what it is without them.
pub fn install_roles(world: &mut World, objects: &[Value]) -> Result<(), String> {
    let aside = ChaCha8Rng::seed_from_u64(world.config.seed ^ ASIDE);
    let chances = std::mem::replace(&mut world.rng, aside);
    let result = objects.iter().try_for_each(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = Resource::new(GROUP, &format!("{}s", kind.to_lowercase()));
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let key = Key::new(&resource, namespace, name);
        if world.store.get(&key).is_some_and(|there| there["rules"] == object["rules"] && there["subjects"] == object["subjects"]) {
            return Ok(());
        }
        world.store.remove(&key);
        registry::create(world, &resource, namespace, object.clone()).map(|_| ()).map_err(|status| format!("{kind} {name}: {status}"))
    });
    world.rng = chances;
    result
}

fn create(world: &mut World, plural: &str, object: Value) {
    if let Err(error) = registry::create(world, &Resource::new(GROUP, plural), "", object) {
        tracing::warn!(%error, "a standard role is missing");
    }
}
