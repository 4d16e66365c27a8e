//! Names of things: a resource type (group and plural) and the key of one object.

use std::sync::Arc;

/// A resource type by API group (`""` for core) and plural name, without version: `("apps", "deployments")`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// API group; empty for core.
    pub group: Arc<str>,
    /// Plural, lower-case name, as in URLs.
    pub plural: Arc<str>,
}

impl Resource {
    /// A resource type from its two names.
    pub fn new(group: &str, plural: &str) -> Self {
        Self { group: group.into(), plural: plural.into() }
    }

    /// `pods` for core resources, `deployments.apps` otherwise: the spelling of Kubernetes error messages.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// The key of one object. `namespace` is empty for cluster-scoped objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its resource type.
    pub resource: Resource,
    /// Its namespace, or empty.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Key {
    /// A key from plain text parts.
    pub fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        Self { resource: resource.clone(), namespace: namespace.into(), name: name.into() }
    }
}
