//! What the cluster knows: which kinds of objects a namespace can hold, and which resources there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Cluster, ClusterError};
use super::deny::ApiResource;

/// What such an object can be asked for, at least: what cannot be made again cannot be put back.
const VERBS: [&str; 3] = ["list", "create", "delete"];

impl Cluster {
    /// The version and the kind of everything that lives in namespaces and can be listed, created and deleted, in the
    /// version that the server prefers. An API that is announced and does not answer (its extension server is down) has none.
    pub async fn namespaced_kinds(&self) -> Result<Vec<(String, String)>, ClusterError> {
        let groups = self.call("GET", "/apis", None, "discover the API groups").await?;
        let mut versions = vec![("v1".to_owned(), "/api/v1".to_owned())];
        for group in groups["groups"].as_array().into_iter().flatten() {
            if let Some(version) = group["preferredVersion"]["groupVersion"].as_str() {
                versions.push((version.to_owned(), format!("/apis/{version}")));
            }
        }
        let mut kinds = Vec::new();
        for (version, path) in versions {
            let resources = match self.call("GET", &path, None, "discover kinds").await {
                Err(ClusterError::Api { .. }) => continue,
                other => other?,
            };
            kinds.extend(whole(&resources).map(|kind| (version.clone(), kind)));
        }
        Ok(kinds)
    }

    /// All resources and subresources of all versions, each once.
    pub(super) async fn resources(&self) -> Result<Vec<ApiResource>, ClusterError> {
        let groups = self.call("GET", "/apis", None, "discover the API groups").await?;
        let versions =
            groups["groups"].as_array().into_iter().flatten().flat_map(|group| group["versions"].as_array().into_iter().flatten());
        let paths = versions.filter_map(|version| Some(format!("/apis/{}", version["groupVersion"].as_str()?)));
        let paths: Vec<String> = std::iter::once("/api/v1".to_owned()).chain(paths).collect();
        let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for path in paths {
            let group = path.strip_prefix("/apis/").and_then(|version| version.split('/').next()).unwrap_or_default();
            let resources = match self.call("GET", &path, None, "discover resources").await {
                Err(ClusterError::Api { .. }) => continue,
                other => other?,
            };
            for resource in resources["resources"].as_array().into_iter().flatten() {
                let verbs = resource["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
                let name = resource["name"].as_str().unwrap_or_default();
                found.entry((group.to_owned(), name.to_owned())).or_default().extend(verbs);
            }
        }
        let each = |((group, name), verbs): (_, BTreeSet<String>)| ApiResource { group, name, verbs: verbs.into_iter().collect() };
        Ok(found.into_iter().map(each).collect())
    }
}

fn whole(resources: &Value) -> impl Iterator<Item = String> + '_ {
    let can = |r: &Value| {
        let verbs: Vec<&str> = r["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        VERBS.iter().all(|v| verbs.contains(v))
    };
    let resources = resources["resources"].as_array().into_iter().flatten();
    resources
        .filter(move |r| r["namespaced"] == true && can(r) && r["name"].as_str().is_some_and(|name| !name.contains('/')))
        .filter_map(|r| r["kind"].as_str().map(str::to_owned))
}
