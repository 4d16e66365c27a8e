//! The agent's rights: an account of its own, and the roles that it is bound to.
//!
//! Input: roles, as an experiment's data names them; effect: the kubeconfig of [`Cluster::agent_kubeconfig`] may do what they
//! say and nothing else. An embedded cluster takes them in without a request, so that its clock and its chances stay what
//! they are; in any other they are objects, and [`Cluster::close`] takes them away.

use serde_json::{Value, json};

use super::client::{Cluster, ClusterError};
use super::object::ObjectRef;

/// Where the account lives: in no namespace of a system, which a trial may delete.
const NAMESPACE: &str = "kube-system";
const ACCOUNT: &str = "microremed-agent";
const RBAC: &str = "rbac.authorization.k8s.io";
/// Seconds for which a token is asked for; a trial takes minutes.
const TOKEN_S: u32 = 24 * 3600;

/// Who the agent is on an embedded cluster.
pub(super) fn user(name: &str) -> Value {
    json!({"kind": "User", "apiGroup": RBAC, "name": name})
}

/// Each role, and a binding of the subject to it.
fn bound(roles: &[Value], subject: &Value) -> Vec<Value> {
    let binding = |role: &Value| {
        let kind = if role["kind"] == "ClusterRole" { "ClusterRoleBinding" } else { "RoleBinding" };
        let refers = json!({"apiGroup": RBAC, "kind": role["kind"], "name": role["metadata"]["name"]});
        json!({"apiVersion": role["apiVersion"], "kind": kind, "metadata": role["metadata"], "roleRef": refers, "subjects": [subject]})
    };
    roles.iter().flat_map(|role| [role.clone(), binding(role)]).collect()
}

impl Cluster {
    /// Gives the agent these roles (`Role`, `ClusterRole`), whose namespaces must be there. Given twice, they are as given last.
    /// Does nothing where the agent has no account of its own.
    pub async fn grant(&self, roles: &[Value]) -> Result<(), ClusterError> {
        let Some(subject) = &self.agent else { return Ok(()) };
        let objects = bound(roles, subject);
        if let Some(install) = &self.observations.install {
            return install(&objects).map_err(ClusterError::Connect);
        }
        for object in &objects {
            let at = self.apply(object, "").await?;
            self.note(at);
        }
        Ok(())
    }

    /// Makes the agent's account, and a kubeconfig for it out of the runner's.
    pub(super) async fn make_account(&mut self, runner: &kube::config::Kubeconfig) -> Result<(), ClusterError> {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}});
        let at = self.apply(&account, "").await?;
        self.note(at);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": TOKEN_S}});
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token");
        let answer = self.call("POST", &path, Some(("application/json", &request)), "get a token for the agent").await?;
        let token = answer["status"]["token"].as_str().unwrap_or_default();
        self.agent_kubeconfig = of_account(runner, token)?;
        self.agent = Some(json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}));
        Ok(())
    }

    fn note(&self, object: ObjectRef) {
        let mut granted = self.granted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !granted.contains(&object) {
            granted.push(object);
        }
    }

    /// Takes account and roles away. What cannot be deleted is named in the log: it grants nothing without its token.
    pub(super) async fn revoke(&self) {
        let granted = std::mem::take(&mut *self.granted.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for object in granted.iter().rev() {
            if let Err(error) = self.delete(object).await {
                tracing::warn!(%error, "the agent's rights are left in the cluster");
            }
        }
    }
}

/// The current context's cluster and namespace with the account's token. Certificates are taken into the text: the sandbox has no
/// access to the files.
fn of_account(runner: &kube::config::Kubeconfig, token: &str) -> Result<String, ClusterError> {
    let unfit = |what: &str| ClusterError::Connect(format!("the kubeconfig has no {what}"));
    let name = runner.current_context.as_deref().ok_or_else(|| unfit("current context"))?;
    let context = runner.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.as_ref()).ok_or_else(|| unfit("such context"))?;
    let cluster = runner.clusters.iter().find(|c| c.name == context.cluster).and_then(|c| c.cluster.as_ref());
    let mut cluster = cluster.ok_or_else(|| unfit("such cluster"))?.clone();
    if let Some(file) = cluster.certificate_authority.take() {
        use base64::Engine as _;
        let pem = fs_err::read(file).map_err(|e| ClusterError::Connect(e.to_string()))?;
        cluster.certificate_authority_data = Some(base64::engine::general_purpose::STANDARD.encode(pem));
    }
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": ACCOUNT,
        "clusters": [{"name": ACCOUNT, "cluster": cluster}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": ACCOUNT, "context": {"cluster": ACCOUNT, "user": ACCOUNT, "namespace": context.namespace}}],
    });
    serde_json::to_string(&config).map_err(|e| ClusterError::Connect(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_bound_where_it_holds() {
        let roles = [
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a", "namespace": "n"}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "b"}}),
        ];
        let objects = bound(&roles, &user("agent"));
        let kinds: Vec<&str> = objects.iter().filter_map(|o| o["kind"].as_str()).collect();
        assert_eq!(kinds, ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]);
        assert_eq!(objects[1]["metadata"]["namespace"], "n");
        assert_eq!(objects[3]["roleRef"]["name"], "b");
    }

    #[test]
    fn an_account_s_kubeconfig_has_its_token_and_no_other() {
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: 'https://127.0.0.1:6443'}}]\nusers: [{name: u, user: {token: secret-of-the-runner}}]\n";
        let made = of_account(&kube::config::Kubeconfig::from_yaml(text).unwrap(), "the-agent").unwrap();
        assert!(made.contains("the-agent") && made.contains("https://127.0.0.1:6443") && !made.contains("secret-of-the-runner"), "{made}");
    }
}
