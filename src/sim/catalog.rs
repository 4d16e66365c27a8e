//! Every kind that the API serves: names, versions, verbs, subresources.
//!
//! Input: `data/resources.json` and `data/columns.json`, which `tools/resources.py` takes from recorded answers of a
//! real API server. Output: look-ups by URL parts and the material for discovery documents and tables.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use super::resource::Resource;

/// A subresource: `status`, `scale`, `exec`, ...
#[derive(Debug, Clone, Deserialize)]
pub struct Subresource {
    /// Its path element.
    pub subresource: String,
    /// The kind that it takes and answers.
    #[serde(rename = "responseKind")]
    pub kind: GroupKind,
    /// What may be done with it.
    pub verbs: Vec<String>,
}

/// A kind with its group and version; both are empty when they are those of the resource.
#[derive(Debug, Clone, Deserialize)]
pub struct GroupKind {
    /// Group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

#[derive(Debug, Deserialize)]
struct RawResource {
    resource: String,
    #[serde(rename = "responseKind")]
    kind: GroupKind,
    scope: String,
    #[serde(rename = "singularResource")]
    singular: String,
    verbs: Vec<String>,
    #[serde(rename = "shortNames", default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    subresources: Vec<Subresource>,
}

#[derive(Debug, Deserialize)]
struct RawVersion {
    version: String,
    resources: Vec<RawResource>,
}

#[derive(Debug, Deserialize)]
struct RawGroup {
    group: String,
    versions: Vec<RawVersion>,
}

/// One kind in one version of one group.
#[derive(Debug)]
pub struct Kind {
    /// Group and version; group empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind: `Deployment`.
    pub kind: String,
    /// Plural name in URLs.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What may be done with it.
    pub verbs: Vec<String>,
    /// Groups of kinds that kubectl knows by one word: `all`.
    pub categories: Vec<String>,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Where objects are stored: the same for every version and alias of a kind.
    pub resource: Resource,
    /// What only kinds have that a client defined.
    pub dynamic: Option<super::custom::Dynamic>,
}

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// Whether the kind is defined by a custom resource definition.
    pub fn custom(&self) -> bool {
        self.dynamic.is_some() || self.group == "chaos-mesh.org"
    }

    /// The schema of a kind that a client defined.
    pub fn schema(&self) -> Option<&serde_json::Value> {
        self.dynamic.as_ref().map(|d| &d.schema)
    }

    /// Whether `verb` is allowed.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.subresource == name)
    }

    /// Whether status is written through its own subresource only.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

/// `v1` or `apps/v1` from its parts.
pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A column of a Table: name, type, format, priority, description.
#[derive(Debug, Clone, Deserialize)]
pub struct Column(pub String, pub String, pub String, pub u8, pub String);

/// All kinds.
#[derive(Debug)]
pub struct Catalog {
    /// Groups in discovery order with their versions, the preferred one first.
    pub groups: Vec<(String, Vec<String>)>,
    kinds: Vec<Arc<Kind>>,
    columns: BTreeMap<String, Vec<Column>>,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::read);

impl Catalog {
    /// The one catalogue.
    pub fn get() -> &'static Self {
        &CATALOG
    }

    fn read() -> Self {
        // The data are part of the program; a test reads them, so an empty catalogue is never shipped.
        let raw: Vec<RawGroup> = serde_json::from_str(include_str!("data/resources.json")).unwrap_or_default();
        let columns = serde_json::from_str(include_str!("data/columns.json")).unwrap_or_default();
        let groups = raw.iter().map(|g| (g.group.clone(), g.versions.iter().map(|v| v.version.clone()).collect())).collect();
        let mut kinds = Vec::new();
        for g in raw {
            for v in g.versions {
                kinds.extend(v.resources.into_iter().map(|r| Arc::new(kind(&g.group, &v.version, r))));
            }
        }
        Self { groups, kinds, columns }
    }

    /// The kinds of a version of a group, in discovery order.
    pub fn of_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
        self.kinds.iter().filter(move |k| k.group == group && k.version == version)
    }

    /// The kind with this plural name.
    pub fn by_plural(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// The kind with this name.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.group == group && k.version == version && k.kind == kind)
    }

    /// The kind of this name, in any version.
    pub fn of_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.group == group && k.kind == kind)
    }

    /// The preferred version of a stored resource, in which objects are kept.
    pub fn stored(&self, resource: &Resource) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.resource == *resource && k.group == *resource.group)
    }

    /// All kinds that are stored, each once.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }

    /// Whether there is such a group and version.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.groups.iter().any(|(g, vs)| g == group && vs.iter().any(|v| v == version))
    }

    /// The recorded table columns of a resource; `None`: only name and age.
    pub fn columns(&self, group: &str, plural: &str) -> Option<&[Column]> {
        self.columns.get(&format!("{group}/{plural}")).map(Vec::as_slice)
    }
}

fn kind(group: &str, version: &str, r: RawResource) -> Kind {
    // Events have two faces; they are stored once.
    let stored_group = if group == "events.k8s.io" { "" } else { group };
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: r.kind.kind,
        resource: Resource::new(stored_group, &r.resource),
        plural: r.resource,
        singular: r.singular,
        short_names: r.short_names,
        namespaced: r.scope == "Namespaced",
        verbs: r.verbs,
        categories: r.categories,
        subresources: r.subresources,
        dynamic: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_kinds_by_url_and_by_name() {
        let c = Catalog::get();
        let deploy = c.by_plural("apps", "v1", "deployments").unwrap();
        assert_eq!((deploy.kind.as_str(), deploy.api_version().as_str(), deploy.namespaced), ("Deployment", "apps/v1", true));
        assert!(deploy.subresource("scale").is_some_and(|s| s.kind.kind == "Scale"));
        assert!(c.by_kind("chaos-mesh.org", "v1alpha1", "StressChaos").is_some_and(|k| k.custom() && !k.has_status()));
        assert_eq!(c.by_plural("events.k8s.io", "v1", "events").map(|k| k.resource.clone()), Some(Resource::new("", "events")));
        assert_eq!(c.stored(&Resource::new("autoscaling", "horizontalpodautoscalers")).map(|k| k.version.as_str()), Some("v2"));
        assert!(c.columns("", "pods").is_some_and(|p| p.len() == 9 && p[5].3 == 1));
    }
}
