//! Who a client is and what it may do: bearer tokens, impersonation and RBAC.
//!
//! Input: a request's headers, and the roles and bindings in the store. Output: an identity, or the 401 and 403 of the real
//! server. Without `SimConfig::rbac` everybody may do everything.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::call::decode;
use crate::sim::connections::Subject;
use crate::sim::controllers::kinds::{PODS, SECRETS, SERVICE_ACCOUNTS};
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::tokens::ISSUER;
use crate::sim::world::World;

/// Its members may do everything, whatever roles say.
const MASTERS: &str = "system:masters";
/// Which of his credentials a user has shown.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
const API_GROUP: &str = "rbac.authorization.k8s.io";

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// User name.
    pub(super) user: String,
    /// Identifier; may be empty.
    pub(super) uid: String,
    /// Groups.
    pub(super) groups: Vec<String>,
    /// What else is known: from the token or the certificate, or from those who impersonate.
    pub(super) extra: BTreeMap<String, Vec<String>>,
    /// Whether it asks from inside a container: then roles hold, whatever the configuration says.
    pub(super) inside: bool,
}

impl Identity {
    fn anonymous() -> Self {
        Self { user: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()], ..Self::default() }
    }

    /// The user of a client's certificate.
    pub(super) fn certified(subject: &Subject) -> Self {
        let mut groups = subject.groups.clone();
        groups.push("system:authenticated".to_owned());
        let extra = BTreeMap::from([(CREDENTIAL.to_owned(), vec![format!("X509SHA256={}", subject.fingerprint)])]);
        Self { user: subject.user.clone(), groups, extra, ..Self::default() }
    }

    /// The user of a token that is meant for one of `audiences`; `None`: nobody's.
    pub(super) fn of_token(token: &str, audiences: &[&str], world: &World) -> Option<Self> {
        let config = &world.config;
        if let Some(user) = config.tokens.get(token) {
            let named = config.groups.get(user).cloned();
            let mut groups = named.unwrap_or_else(|| vec![MASTERS.to_owned()]);
            groups.push("system:authenticated".to_owned());
            return Some(Self { user: user.clone(), uid: format!("u{}", config.seed), groups, ..Self::default() });
        }
        let claims = world.tokens.verify(token, audiences, world.now)?;
        let of = &claims["kubernetes.io"];
        let namespace = of["namespace"].as_str()?;
        // A token ends with what it was made for, also when there is another one of its name.
        let lives = |resource: &Resource, named: &Value| {
            let stored = world.store.get(&Key::new(resource, namespace, named["name"].as_str()?))?;
            (stored["metadata"]["uid"] == named["uid"]).then_some(())
        };
        lives(&SERVICE_ACCOUNTS, &of["serviceaccount"])?;
        let mut who = Self::account(namespace, of["serviceaccount"]["name"].as_str()?);
        of["serviceaccount"]["uid"].as_str()?.clone_into(&mut who.uid);
        let mut know = |key: &str, value: &Value, before: &str| {
            who.extra.extend(value.as_str().map(|v| (key.to_owned(), vec![format!("{before}{v}")])));
        };
        know(CREDENTIAL, &claims["jti"], "JTI=");
        if of["pod"].is_object() {
            lives(&PODS, &of["pod"])?;
            know("authentication.kubernetes.io/pod-name", &of["pod"]["name"], "");
            know("authentication.kubernetes.io/pod-uid", &of["pod"]["uid"], "");
            know("authentication.kubernetes.io/node-name", &of["node"]["name"], "");
            know("authentication.kubernetes.io/node-uid", &of["node"]["uid"], "");
        }
        if of["secret"].is_object() {
            lives(&SECRETS, &of["secret"])?;
        }
        Some(who)
    }

    fn account(namespace: &str, name: &str) -> Self {
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            ..Self::default()
        }
    }

    /// Reads `Authorization`; fails for tokens that nobody has.
    pub(super) fn of(headers: &HeaderMap, world: &World) -> Result<Self, Status> {
        let token = headers
            .get(axum::http::header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")))
            .map(|(_, token)| token.trim());
        match token {
            None => Ok(Self::anonymous()),
            Some(t) => Self::of_token(t, &[ISSUER], world).ok_or_else(|| Status::new(401, "Unauthorized", "Unauthorized")),
        }
    }

    /// As `userInfo` of reviews.
    pub(super) fn info(&self) -> Value {
        let mut v = json!({"username": self.user, "groups": self.groups});
        if !self.uid.is_empty() {
            v["uid"] = self.uid.as_str().into();
        }
        if !self.extra.is_empty() {
            v["extra"] = json!(self.extra);
        }
        v
    }
}

/// Whom a request wants to be taken for.
pub(super) fn impersonated(headers: &HeaderMap) -> Option<Identity> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let user = text("impersonate-user");
    if user.is_empty() {
        return None;
    }
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix("impersonate-extra-"), value.to_str()) {
            extra.entry(decode(key, false)).or_default().push(value.to_owned());
        }
    }
    let mut groups: Vec<String> = headers.get_all("impersonate-group").iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    if let Some((namespace, name)) = user.strip_prefix("system:serviceaccount:").and_then(|r| r.split_once(':'))
        && groups.is_empty()
    {
        return Some(Identity { uid: text("impersonate-uid"), extra, ..Identity::account(namespace, name) });
    }
    let all = if user == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|g| g == all) {
        groups.push(all.to_owned());
    }
    Some(Identity { user, uid: text("impersonate-uid"), groups, extra, inside: false })
}

/// Something that somebody wants to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Action<'a> {
    /// `get`, `list`, ...
    pub(super) verb: &'a str,
    /// API group.
    pub(super) group: &'a str,
    /// Plural name; empty when a path is meant.
    pub(super) resource: &'a str,
    /// Subresource.
    pub(super) subresource: &'a str,
    /// Namespace; empty for the whole cluster.
    pub(super) namespace: &'a str,
    /// Object name.
    pub(super) name: &'a str,
    /// A path that is no resource.
    pub(super) path: &'a str,
}

impl Action<'_> {
    fn full_resource(&self) -> String {
        if self.subresource.is_empty() { self.resource.to_owned() } else { format!("{}/{}", self.resource, self.subresource) }
    }

    /// 403 in the real server's words.
    pub(super) fn refusal(&self, who: &Identity) -> Status {
        let user = &who.user;
        if self.resource.is_empty() {
            let mut status = Status::new(403, "Forbidden", format!("forbidden: User {user:?} cannot {} path {:?}", self.verb, self.path));
            status.details = json!({});
            return status;
        }
        let resource = Resource::new(self.group, self.resource);
        let scope =
            if self.namespace.is_empty() { "at the cluster scope".to_owned() } else { format!("in the namespace {:?}", self.namespace) };
        let what = if self.name.is_empty() { resource.qualified() } else { format!("{} {:?}", resource.qualified(), self.name) };
        let message = format!(
            "{what} is forbidden: User {user:?} cannot {} resource {:?} in API group {:?} {scope}",
            self.verb,
            self.full_resource(),
            self.group
        );
        let mut details = json!({"kind": self.resource});
        if !self.name.is_empty() {
            details["name"] = self.name.into();
        }
        if !self.group.is_empty() {
            details["group"] = self.group.into();
        }
        let mut status = Status::new(403, "Forbidden", message);
        status.details = details;
        status
    }
}

/// Refuses what a user may not do.
pub(super) fn check(world: &World, who: &Identity, action: &Action<'_>) -> Result<(), Status> {
    if allowed(world, who, action).is_some() { Ok(()) } else { Err(action.refusal(who)) }
}

/// Refuses to take a client for somebody whom it may not stand for.
pub(super) fn check_impersonation(world: &World, who: &Identity, wanted: &Identity) -> Result<(), Status> {
    let account = wanted.user.strip_prefix("system:serviceaccount:").and_then(|r| r.split_once(':'));
    let (resource, namespace, name) = account.map_or(("users", "", wanted.user.as_str()), |(ns, name)| ("serviceaccounts", ns, name));
    check(world, who, &Action { verb: "impersonate", resource, namespace, name, ..Action::default() })?;
    let implied = |g: &str| {
        account.is_some() && g.starts_with("system:serviceaccounts") || g == "system:authenticated" || g == "system:unauthenticated"
    };
    for group in wanted.groups.iter().filter(|g| !implied(g)) {
        check(world, who, &Action { verb: "impersonate", resource: "groups", name: group, ..Action::default() })?;
    }
    let further = Action { verb: "impersonate", group: "authentication.k8s.io", ..Action::default() };
    if !wanted.uid.is_empty() {
        check(world, who, &Action { resource: "uids", name: &wanted.uid, ..further.clone() })?;
    }
    for (key, value) in wanted.extra.iter().flat_map(|(key, values)| values.iter().map(move |v| (key, v))) {
        check(world, who, &Action { resource: "userextras", subresource: key, name: value, ..further.clone() })?;
    }
    Ok(())
}

/// Whether roles do not matter.
pub(super) fn may_everything(world: &World, who: &Identity) -> bool {
    !(world.config.rbac || who.inside) || who.groups.iter().any(|g| g == MASTERS)
}

/// All rules that hold for a user in a namespace.
pub(super) fn rules_of(world: &World, who: &Identity, namespace: &str) -> Vec<Value> {
    grants(world, who, namespace).into_iter().flat_map(|g| g.rules).collect()
}

/// Why an action is allowed: empty for those who may do everything; `None`: it is not.
pub(super) fn allowed(world: &World, who: &Identity, action: &Action<'_>) -> Option<String> {
    if may_everything(world, who) {
        return Some(String::new());
    }
    grants(world, who, action.namespace).into_iter().find(|g| g.rules.iter().any(|r| covers(r, action))).map(|g| g.why)
}

/// The rules of one binding that holds for a user.
struct Grant {
    rules: Vec<Value>,
    why: String,
}

fn grants(world: &World, who: &Identity, namespace: &str) -> Vec<Grant> {
    let kind = |plural: &str| Resource::new(API_GROUP, plural);
    let mut out = Vec::new();
    let cluster = world.store.list(&kind("clusterrolebindings"), None).map(|(k, b)| ("ClusterRoleBinding", k, b));
    let local =
        world.store.list(&kind("rolebindings"), Some(namespace)).filter(|_| !namespace.is_empty()).map(|(k, b)| ("RoleBinding", k, b));
    for (form, key, binding) in cluster.chain(local) {
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        let Some(subject) = subjects.into_iter().find(|s| is_subject(s, who, &key.namespace)) else { continue };
        let role = &binding["roleRef"];
        let name = role["name"].as_str().unwrap_or_default();
        let (plural, home) = if role["kind"] == "Role" { ("roles", &*key.namespace) } else { ("clusterroles", "") };
        let Some(found) = world.store.get(&Key::new(&kind(plural), home, name)) else { continue };
        let rules = found["rules"].as_array().cloned().unwrap_or_default();
        let place = if key.namespace.is_empty() { key.name.to_string() } else { format!("{}/{}", key.name, key.namespace) };
        let whom = match subject["namespace"].as_str() {
            Some(ns) if subject["kind"] == "ServiceAccount" => format!("{}/{ns}", subject["name"].as_str().unwrap_or_default()),
            _ => subject["name"].as_str().unwrap_or_default().to_owned(),
        };
        let (role_kind, subject_kind) = (role["kind"].as_str().unwrap_or_default(), subject["kind"].as_str().unwrap_or_default());
        out.push(Grant { rules, why: format!("RBAC: allowed by {form} {place:?} of {role_kind} {name:?} to {subject_kind} {whom:?}") });
    }
    out
}

fn is_subject(subject: &Value, who: &Identity, home: &str) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => name == who.user || name == "*",
        Some("Group") => who.groups.iter().any(|g| g == name),
        Some("ServiceAccount") => {
            let namespace = subject["namespace"].as_str().filter(|n| !n.is_empty()).unwrap_or(home);
            who.user == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn covers(rule: &Value, action: &Action<'_>) -> bool {
    let any = |field: &str, wanted: &dyn Fn(&str) -> bool| {
        rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).any(|v| v == "*" || wanted(v))
    };
    if !any("verbs", &|v| v == action.verb) {
        return false;
    }
    if action.resource.is_empty() {
        return any("nonResourceURLs", &|p| p == action.path || p.strip_suffix('*').is_some_and(|start| action.path.starts_with(start)));
    }
    let full = action.full_resource();
    let wild = format!("*/{}", action.subresource);
    let names = rule["resourceNames"].as_array().is_none_or(|n| n.is_empty() || n.iter().any(|n| n == action.name));
    names && any("apiGroups", &|g| g == action.group) && any("resources", &|r| r == full || (!action.subresource.is_empty() && r == wild))
}

/// The answer to `SelfSubjectRulesReview`.
pub(super) fn rules(world: &World, who: &Identity, namespace: &str) -> Value {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if may_everything(world, who) {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    if world.config.rbac {
        for rule in grants(world, who, namespace).into_iter().flat_map(|g| g.rules) {
            if rule["nonResourceURLs"].is_array() {
                paths.push(json!({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}));
            } else {
                resources.push(rule);
            }
        }
    }
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_cover_actions() {
        let rule = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]});
        let action = Action { verb: "get", resource: "pods", namespace: "demo", name: "a", ..Action::default() };
        assert!(covers(&rule, &action));
        assert!(covers(&rule, &Action { subresource: "log", ..action.clone() }));
        assert!(!covers(&rule, &Action { subresource: "exec", ..action.clone() }));
        assert!(!covers(&rule, &Action { verb: "delete", ..action.clone() }));
        assert!(!covers(&rule, &Action { group: "apps", ..action.clone() }));
        let named = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["b"]});
        assert!(!covers(&named, &action));
        let path = json!({"verbs": ["get"], "nonResourceURLs": ["/openapi/*"]});
        assert!(covers(&path, &Action { verb: "get", path: "/openapi/v3", ..Action::default() }));
    }

    #[test]
    fn refusals_are_worded_like_recorded() {
        let who = Identity::account("demo", "bot");
        let action = Action { verb: "list", resource: "secrets", namespace: "demo", ..Action::default() };
        let status = action.refusal(&who);
        assert_eq!(
            status.message,
            "secrets is forbidden: User \"system:serviceaccount:demo:bot\" cannot list resource \"secrets\" in API group \"\" in the namespace \"demo\""
        );
        assert_eq!(status.details, json!({"kind": "secrets"}));
        let cluster = Action { verb: "get", group: "apps", resource: "deployments", name: "x", subresource: "scale", ..Action::default() };
        assert!(cluster.refusal(&who).message.starts_with("deployments.apps \"x\" is forbidden: User"));
        assert!(
            cluster.refusal(&who).message.ends_with("cannot get resource \"deployments/scale\" in API group \"apps\" at the cluster scope")
        );
    }

    #[test]
    fn service_accounts_are_impersonated_with_their_groups() {
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", "system:serviceaccount:demo:bot".parse().unwrap());
        assert_eq!(impersonated(&headers), Some(Identity::account("demo", "bot")));
        headers.insert("impersonate-user", "jane".parse().unwrap());
        assert_eq!(impersonated(&headers).map(|i| i.groups), Some(vec!["system:authenticated".to_owned()]));
        assert_eq!(impersonated(&HeaderMap::new()), None);
        headers.append("impersonate-extra-acme.com%2Fscopes", "view, of all".parse().unwrap());
        headers.append("impersonate-extra-acme.com%2Fscopes", "edit".parse().unwrap());
        let extra = json!({"acme.com/scopes": ["view, of all", "edit"]});
        assert_eq!(impersonated(&headers).map(|i| i.info()["extra"].clone()), Some(extra));
    }
}
