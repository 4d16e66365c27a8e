//! What the agent may not do, whatever its roles say.
//!
//! Input: roles, denials such as `delete namespaces`, and the resources that the cluster knows; output: the same roles without
//! what is denied. Roles can only allow, so every wildcard becomes a list of what is left of it. The server holds the result:
//! no text of a playbook evades it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde_json::{Value, json};

use super::client::{Cluster, ClusterError};
use crate::diagnostic::did_you_mean;

/// The verbs of resources.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// With these an account can give itself, or be, what was taken from it.
const WAYS_AROUND: [&str; 3] = ["bind", "escalate", "impersonate"];
/// Every verb, resource or group.
const ANY: &str = "*";

/// Something that the agent may not do: `VERB RESOURCE[/SUBRESOURCE][.GROUP]`. Without a group it holds in all of them; `*`
/// stands for every verb, or every resource with all its subresources. Who may not delete may not delete collections either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    verb: String,
    resource: String,
    group: Option<String>,
}

impl FromStr for Denial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is no verb with a resource, such as `delete namespaces` or `update deployments.apps`");
        let (verb, what) = text.split_once(' ').ok_or_else(form)?;
        if verb != ANY && !VERBS.contains(&verb) {
            let help = did_you_mean(verb, VERBS).unwrap_or_else(|| format!("one of {}, or *", VERBS.join(", ")));
            return Err(format!("`{verb}` is no verb: {help}"));
        }
        let (resource, group) = what.split_once('.').map_or((what, None), |(resource, group)| (resource, Some(group.to_owned())));
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '/' || c == '-';
        let named = |part: &str| part == ANY || !part.is_empty() && part.chars().all(fits);
        if !named(resource) || group.as_deref().is_some_and(|g| !g.chars().all(|c| fits(c) || c == '.') || g.is_empty()) {
            return Err(form());
        }
        Ok(Self { verb: verb.to_owned(), resource: resource.to_owned(), group })
    }
}

impl Denial {
    fn covers(&self, resource: &ApiResource) -> bool {
        (self.resource == ANY || self.resource == resource.name) && self.group.as_ref().is_none_or(|g| *g == resource.group)
    }

    fn takes(&self, verb: &str) -> bool {
        self.verb == ANY || self.verb == verb || self.verb == "delete" && verb == "deletecollection"
    }
}

/// A resource or subresource, as discovery names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiResource {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) verbs: Vec<String>,
}

impl Cluster {
    /// The roles without what is denied; as they are where nothing is. Fails where a denial means nothing that the cluster
    /// knows: it would deny nothing.
    pub async fn without(&self, roles: Vec<Value>, denials: &[Denial]) -> Result<Vec<Value>, ClusterError> {
        if denials.is_empty() {
            return Ok(roles);
        }
        let known = self.resources().await?;
        if let Some(denial) = denials.iter().find(|d| !known.iter().any(|r| d.covers(r))) {
            let names: BTreeSet<&str> = known.iter().map(|r| r.name.as_str()).collect();
            let help = did_you_mean(&denial.resource, names).map_or_else(String::new, |help| format!("; {help}"));
            return Err(ClusterError::UnknownResource { resource: denial.resource.clone(), help });
        }
        Ok(roles.into_iter().map(|role| reduced(role, denials, &known)).collect())
    }
}

fn reduced(mut role: Value, denials: &[Denial], known: &[ApiResource]) -> Value {
    let rules = role["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rules: Vec<Value> = rules.iter().flat_map(|rule| left_of(rule, denials, known)).collect();
    role["rules"] = rules.into();
    role
}

/// What is left of a rule: a rule for each group and set of verbs.
fn left_of(rule: &Value, denials: &[Denial], known: &[ApiResource]) -> Vec<Value> {
    if rule["resources"].is_null() {
        return vec![rule.clone()];
    }
    let words = |key: &str| -> Vec<&str> { rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let (groups, resources, verbs) = (words("apiGroups"), words("resources"), words("verbs"));
    let meant = |r: &ApiResource| {
        let sub = r.name.split_once('/').is_some_and(|(_, sub)| resources.iter().any(|w| w.strip_prefix("*/") == Some(sub)));
        groups.iter().any(|g| [ANY, &r.group].contains(g)) && (sub || resources.iter().any(|w| [ANY, &r.name].contains(w)))
    };
    // What is granted by name before the cluster knows it.
    let by_name = groups.iter().flat_map(|group| resources.iter().map(move |name| (*group, *name)));
    let to_come = by_name.filter(|(group, name)| !group.contains(ANY) && !name.contains(ANY));
    let to_come = to_come.filter(|(group, name)| !known.iter().any(|r| r.group == *group && r.name == *name));
    let to_come: Vec<ApiResource> = to_come
        .map(|(group, name)| ApiResource { group: group.to_owned(), name: name.to_owned(), verbs: VERBS.map(str::to_owned).to_vec() })
        .collect();
    let mut left: BTreeMap<(&str, Vec<&str>), BTreeSet<&str>> = BTreeMap::new();
    for resource in known.iter().filter(|r| meant(r)).chain(&to_come) {
        let all: Vec<&str> = if verbs.contains(&ANY) { resource.verbs.iter().map(String::as_str).collect() } else { verbs.clone() };
        let denied = |verb: &str| WAYS_AROUND.contains(&verb) || denials.iter().any(|d| d.covers(resource) && d.takes(verb));
        let stays: Vec<&str> = all.into_iter().filter(|verb| !denied(verb)).collect();
        if !stays.is_empty() {
            left.entry((&resource.group, stays)).or_default().insert(&resource.name);
        }
    }
    let made = left.into_iter().map(|((group, verbs), names)| {
        let mut made = json!({"apiGroups": [group], "resources": names, "verbs": verbs});
        if !rule["resourceNames"].is_null() {
            made["resourceNames"] = rule["resourceNames"].clone();
        }
        made
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Embedded, ObjectRef, Target, confine_agent, connect};

    fn denials(texts: &[&str]) -> Vec<Denial> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn resource(group: &str, name: &str, verbs: &[&str]) -> ApiResource {
        ApiResource { group: group.to_owned(), name: name.to_owned(), verbs: verbs.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn wildcards_become_what_is_left_of_them() {
        let known = [
            resource("", "pods", &["create", "delete", "deletecollection", "get"]),
            resource("", "pods/exec", &["create", "get"]),
            resource("", "secrets", &["get", "delete"]),
            resource("apps", "deployments", &["get", "delete"]),
        ];
        let role = json!({"rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["deployments", "gadgets"], "verbs": ["get", "bind", "delete"], "resourceNames": ["a"]},
        ]});
        let left = reduced(role, &denials(&["delete pods", "* secrets", "create pods/exec", "delete deployments.apps"]), &known);
        assert_eq!(
            left["rules"],
            json!([
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get"]},
                {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]},
                {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
                {"nonResourceURLs": ["*"], "verbs": ["get"]},
                {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"], "resourceNames": ["a"]},
                {"apiGroups": ["apps"], "resources": ["gadgets"], "verbs": ["get", "delete"], "resourceNames": ["a"]},
            ])
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, says) in [
            ("delete", "no verb with a resource"),
            ("deleet pods", "did you mean `delete`?"),
            ("get ", "no verb with"),
            ("get Pods", "no verb with"),
            ("get pods.", "no verb with"),
        ] {
            let error = text.parse::<Denial>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!("* *".parse::<Denial>().is_ok() && "get jobs/status.batch".parse::<Denial>().is_ok());
    }

    /// What the agent's requests are answered with on an embedded cluster whose agent may do everything in `shop` but that.
    #[tokio::test]
    async fn the_server_holds_what_is_denied() {
        let mut config = Embedded::default();
        confine_agent(&mut config);
        let cluster = connect(&Target::Embedded(Box::new(config))).await.unwrap();
        for name in ["shop", "other"] {
            cluster.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}), "").await.unwrap();
        }
        let meta = json!({"name": "microremed-agent", "namespace": "shop"});
        let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": everything});
        let denied = denials(&["delete configmaps", "delete namespaces"]);
        let roles = cluster.without(vec![role.clone()], &denied).await.unwrap();
        cluster.grant(&roles).await.unwrap();
        for name in ["a", "b"] {
            cluster.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}), "shop").await.unwrap();
        }

        let agent = crate::cluster::connect::client_of(cluster.agent_kubeconfig()).await.unwrap();
        let ask = async |method: &str, path: &str, body: Value| {
            let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
            match agent.request::<Value>(request.body(serde_json::to_vec(&body).unwrap()).unwrap()).await {
                Ok(_) => 200,
                Err(kube::Error::Api(status)) => status.code,
                Err(e) => panic!("{e}"),
            }
        };
        let maps = "/api/v1/namespaces/shop/configmaps";
        let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop";
        assert_eq!(ask("GET", maps, Value::Null).await, 200);
        assert_eq!(ask("POST", maps, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})).await, 200);
        assert_eq!(ask("DELETE", &format!("{maps}/a"), Value::Null).await, 403);
        assert_eq!(ask("DELETE", maps, Value::Null).await, 403);
        assert_eq!(ask("DELETE", "/api/v1/namespaces/shop", Value::Null).await, 403);
        // It cannot give itself back what it lacks: not by its role, a new one, or another's.
        assert_eq!(ask("PUT", &format!("{rbac}/roles/microremed-agent"), role.clone()).await, 403);
        let mut more = role;
        more["metadata"]["name"] = "more".into();
        assert_eq!(ask("POST", &format!("{rbac}/roles"), more).await, 403);
        let admin = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "more"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "agent"}]});
        assert_eq!(ask("POST", &format!("{rbac}/rolebindings"), admin).await, 403);
        // What is not denied goes on.
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
        assert_eq!(ask("POST", "/api/v1/namespaces/shop/secrets", secret).await, 200);
        assert_eq!(ask("DELETE", "/api/v1/namespaces/shop/secrets/s", Value::Null).await, 200);
        assert!(cluster.get(&ObjectRef::new("v1", "ConfigMap", "shop", "a")).await.unwrap().is_some());

        let unknown = cluster.without(Vec::new(), &denials(&["delete configmap"])).await.unwrap_err().to_string();
        assert!(unknown.contains("did you mean `configmaps`?"), "{unknown}");
        cluster.close().await;
    }
}
