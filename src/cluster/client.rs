//! Requests to the API server, as JSON: the objects of a benchmark are whatever its data files say, so nothing is typed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

pub(super) use crate::diagnostic::chain;

use super::inside::Inside;
use super::object::ObjectRef;
use super::observe::{Observations, Stored};
use super::pace::Pace;

/// What went wrong with a request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// The server answered with an error.
    #[error("the cluster refused to {what}: {message} (HTTP {code})")]
    Api {
        /// What was asked for.
        what: String,
        /// Message of the server.
        message: String,
        /// HTTP status.
        code: u16,
    },
    /// The server could not be reached or answered nonsense.
    #[error("failed to {what}: {message}")]
    Transport {
        /// What was asked for.
        what: String,
        /// Why it failed.
        message: String,
    },
    /// The cluster could not be connected or started.
    #[error("failed to connect to the cluster: {0}")]
    Connect(String),
    /// The cluster does not know a resource that is to be denied.
    #[error("the cluster knows no resource `{resource}`, so that to deny it would deny nothing{help}")]
    UnknownResource {
        /// The resource.
        resource: String,
        /// Which one may be meant.
        help: String,
    },
    /// The cluster does not know a kind.
    #[error("the cluster has no kind {kind} in {api_version}; is its operator installed?")]
    UnknownKind {
        /// Version asked for.
        api_version: String,
        /// Kind asked for.
        kind: String,
    },
}

impl ClusterError {
    /// HTTP status, where there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Time limit of one request, in real time: a server that does not answer is broken.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
struct KindInfo {
    plural: String,
    namespaced: bool,
}

/// What has been discovered: by API version and kind, the plural and whether it is namespaced.
pub(super) type Kinds = BTreeMap<String, BTreeMap<String, (String, bool)>>;

/// A connected cluster.
pub struct Cluster {
    pub(super) client: kube::Client,
    pub(super) pace: Arc<dyn Pace>,
    pub(super) agent_kubeconfig: String,
    pub(super) administrator_kubeconfig: Option<String>,
    pub(super) address: String,
    pub(super) observations: Observations,
    /// Of an embedded cluster.
    pub(super) inside: Option<Inside>,
    pub(super) closer: Mutex<Option<super::connect::Closer>>,
    pub(super) kinds: Mutex<Kinds>,
    /// Who the agent is, as roles are bound to; none: it has the runner's rights, or those of a kubeconfig of its own.
    pub(super) agent: Option<Value>,
    /// What [`Cluster::grant`] left in the cluster.
    pub(super) granted: Mutex<Vec<ObjectRef>>,
}

impl Cluster {
    /// How time passes.
    pub fn pace(&self) -> &Arc<dyn Pace> {
        &self.pace
    }

    /// The kubeconfig given to playbooks and probes.
    pub fn agent_kubeconfig(&self) -> &str {
        &self.agent_kubeconfig
    }

    /// The kubeconfig of whoever may do everything, with a client certificate; `None` for clusters that give none out.
    pub fn administrator_kubeconfig(&self) -> Option<&str> {
        self.administrator_kubeconfig.as_deref()
    }

    /// Address of the API server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ways in from the networks of sandboxes; none: what is sent to a real cluster is passed on.
    pub fn inside(&self) -> Option<&Inside> {
        self.inside.as_ref()
    }

    /// Traffic and audit log, where the cluster offers them.
    pub fn observations(&self) -> &Observations {
        &self.observations
    }

    /// Ends the connection: an embedded cluster is shut down, another one loses what the agent was granted.
    pub async fn close(&self) {
        self.revoke().await;
        let closer = self.closer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(closer) = closer {
            closer().await;
        }
    }

    /// Whether the cluster was made for its one user and ends with [`Cluster::close`]: nothing in it needs restoring.
    pub fn is_disposable(&self) -> bool {
        self.closer.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// One object; `None` when there is none.
    pub async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, ClusterError> {
        let path = self.path(object).await?;
        match self.call("GET", &path, None, &format!("read {object}")).await {
            Err(ClusterError::Api { code: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The objects of a kind in a namespace, narrowed by a label selector (empty: all), in the server's order. An embedded
    /// cluster hands out what it has stored, which spares writing and reading it as JSON, and takes as long as for a request.
    pub async fn list(&self, api_version: &str, kind: &str, namespace: &str, selector: &str) -> Result<Vec<Arc<Value>>, ClusterError> {
        match self.stored(api_version, kind, namespace, selector, true).await? {
            Some(found) => Ok(found),
            None => self.request_list(api_version, kind, namespace, selector).await,
        }
    }

    /// What [`Cluster::list`] gives of a whole namespace, for those who look often: an embedded cluster takes no time for it.
    pub async fn all(&self, api_version: &str, kind: &str, namespace: &str) -> Result<Vec<Arc<Value>>, ClusterError> {
        match self.stored(api_version, kind, namespace, "", false).await? {
            Some(found) => Ok(found),
            None => self.request_list(api_version, kind, namespace, "").await,
        }
    }

    /// From the store, where that is open to us and the selector is a plain one.
    async fn stored(
        &self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        selector: &str,
        charged: bool,
    ) -> Result<Option<Vec<Arc<Value>>>, ClusterError> {
        let Some(source) = &self.observations.objects else { return Ok(None) };
        let wanted: Option<Vec<(&str, &str)>> = selector.split(',').filter(|s| !s.is_empty()).map(equality).collect();
        let Some(wanted) = wanted else { return Ok(None) };
        let info = self.kind(api_version, kind).await?;
        let namespace = if info.namespaced { namespace } else { "" };
        let found = source(&Stored { api_version, plural: &info.plural, namespace, charged });
        let passes = |o: &Value| wanted.iter().all(|(key, value)| o["metadata"]["labels"][*key] == *value);
        Ok(found.map(|found| found.into_iter().filter(|o| passes(o)).collect()))
    }

    async fn request_list(&self, api_version: &str, kind: &str, namespace: &str, selector: &str) -> Result<Vec<Arc<Value>>, ClusterError> {
        let any = ObjectRef::new(api_version, kind, namespace, "");
        let mut path = self.path(&any).await?;
        if !selector.is_empty() {
            path.push_str("?labelSelector=");
            path.push_str(&selector.replace('%', "%25").replace('=', "%3D").replace(',', "%2C").replace(' ', "%20"));
        }
        let mut answer = self.call("GET", &path, None, &format!("list {kind} objects")).await?;
        let mut items = match answer["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        for item in &mut items {
            // Items of a list carry no type of their own.
            item["apiVersion"] = api_version.into();
            item["kind"] = kind.into();
        }
        Ok(items.into_iter().map(Arc::new).collect())
    }

    /// Creates an object, or merges it into the one that is there.
    pub async fn apply(&self, object: &Value, namespace: &str) -> Result<ObjectRef, ClusterError> {
        let at = ObjectRef::of(object, namespace);
        match self.create(object, namespace).await {
            Err(ClusterError::Api { code: 409, .. }) => {
                self.patch(&at, "merge", object).await?;
                Ok(at)
            }
            other => other,
        }
    }

    /// Creates an object.
    pub async fn create(&self, object: &Value, namespace: &str) -> Result<ObjectRef, ClusterError> {
        let at = ObjectRef::of(object, namespace);
        let path = self.path(&ObjectRef { name: String::new(), ..at.clone() }).await?;
        self.call("POST", &path, Some(("application/json", object)), &format!("create {at}")).await?;
        Ok(at)
    }

    /// Patches an object. `patch_type`: `strategic`, `merge` or `json`.
    pub async fn patch(&self, object: &ObjectRef, patch_type: &str, patch: &Value) -> Result<Value, ClusterError> {
        let content = match patch_type {
            "json" => "application/json-patch+json",
            "strategic" => "application/strategic-merge-patch+json",
            _ => "application/merge-patch+json",
        };
        let path = self.path(object).await?;
        self.call("PATCH", &path, Some((content, patch)), &format!("patch {object}")).await
    }

    /// Replaces an object.
    pub async fn replace(&self, object: &Value, namespace: &str) -> Result<Value, ClusterError> {
        let at = ObjectRef::of(object, namespace);
        let path = self.path(&at).await?;
        self.call("PUT", &path, Some(("application/json", object)), &format!("replace {at}")).await
    }

    /// Deletes an object; its dependents follow. Whether there was one.
    pub async fn delete(&self, object: &ObjectRef) -> Result<bool, ClusterError> {
        let path = self.path(object).await?;
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        match self.call("DELETE", &path, Some(("application/json", &options)), &format!("delete {object}")).await {
            Ok(_) => Ok(true),
            Err(ClusterError::Api { code: 404, .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Measured use of the containers of the pods that match: the metrics API's answer, `items` of `PodMetrics`.
    pub async fn pod_metrics(&self, namespace: &str, selector: &str) -> Result<Vec<Value>, ClusterError> {
        let selector = selector.replace('=', "%3D");
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={selector}");
        let mut answer = self.call("GET", &path, None, "read pod metrics").await?;
        Ok(answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Version of the server (`v1.36.2`).
    pub async fn version(&self) -> Result<String, ClusterError> {
        let v = self.call("GET", "/version", None, "ask for the version").await?;
        Ok(v["gitVersion"].as_str().unwrap_or("unknown").to_owned())
    }

    /// One request; the answer's JSON.
    pub(super) async fn call(&self, method: &str, path: &str, body: Option<(&str, &Value)>, what: &str) -> Result<Value, ClusterError> {
        let transport = |message: String| ClusterError::Transport { what: what.to_owned(), message };
        let mut request = http::Request::builder().method(method).uri(path).header("accept", "application/json");
        let bytes = match body {
            Some((content, value)) => {
                request = request.header("content-type", content);
                serde_json::to_vec(value).map_err(|e| transport(e.to_string()))?
            }
            None => Vec::new(),
        };
        let request = request.body(bytes).map_err(|e| transport(e.to_string()))?;
        match tokio::time::timeout(REQUEST_LIMIT, self.client.request::<Value>(request)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => {
                Err(ClusterError::Api { what: what.to_owned(), message: status.message.clone(), code: status.code })
            }
            Ok(Err(e)) => Err(transport(chain(&e))),
            Err(_) => Err(transport(format!("no answer within {} s", REQUEST_LIMIT.as_secs()))),
        }
    }

    /// The URL path of an object, or of its collection when it has no name.
    async fn path(&self, object: &ObjectRef) -> Result<String, ClusterError> {
        let info = self.kind(&object.api_version, &object.kind).await?;
        let mut path =
            if object.api_version.contains('/') { format!("/apis/{}", object.api_version) } else { format!("/api/{}", object.api_version) };
        if info.namespaced && !object.namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&object.namespace);
        }
        path.push('/');
        path.push_str(&info.plural);
        if !object.name.is_empty() {
            path.push('/');
            path.push_str(&object.name);
        }
        Ok(path)
    }

    async fn kind(&self, api_version: &str, kind: &str) -> Result<KindInfo, ClusterError> {
        let known = |kinds: &Kinds| {
            kinds.get(api_version).map(|k| k.get(kind).cloned().map(|(plural, namespaced)| KindInfo { plural, namespaced }))
        };
        let unknown = || ClusterError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
        if let Some(found) = known(&self.kinds.lock().unwrap_or_else(PoisonError::into_inner)) {
            return found.ok_or_else(unknown);
        }
        let path = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
        let list = match self.call("GET", &path, None, "discover kinds").await {
            Err(ClusterError::Api { code: 404, .. }) => return Err(unknown()),
            other => other?,
        };
        let mut found = BTreeMap::new();
        for r in list["resources"].as_array().into_iter().flatten() {
            if let (Some(name), Some(kind)) = (r["name"].as_str(), r["kind"].as_str())
                && !name.contains('/')
            {
                found.insert(kind.to_owned(), (name.to_owned(), r["namespaced"].as_bool().unwrap_or(false)));
            }
        }
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.insert(api_version.to_owned(), found);
        known(&kinds).flatten().ok_or_else(unknown)
    }
}

/// The two sides of `key=value`; `None` for selectors of other forms.
fn equality(requirement: &str) -> Option<(&str, &str)> {
    let plain = |text: &str| !text.is_empty() && !text.contains(['=', '!', '(', ')', ' ']);
    requirement.split_once('=').filter(|(key, value)| plain(key) && plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_equalities_are_compared_here() {
        assert_eq!(equality("app=web"), Some(("app", "web")));
        for other in ["app!=web", "app==web", "app in (a)", "app", "!app", "app="] {
            assert_eq!(equality(other), None, "{other}");
        }
    }
}
