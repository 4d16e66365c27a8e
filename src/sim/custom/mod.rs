//! Kinds that clients define: from `CustomResourceDefinition` objects to kinds that are served like any other.
//!
//! Input: the definitions in the store. Output: the kinds of each served version, with their schema and printer columns.

mod openapi;
mod path;
mod rules;
mod schema;
mod services;

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

pub use openapi::document;
pub use path::find;
pub use rules::Rules;
pub use schema::{complete, prune, validate};
pub use services::settle;

use super::catalog::{Catalog, Column, GroupKind, Kind, Subresource};
use super::resource::{Key, Resource};
use super::schema::Cause;
use super::world::World;

/// What only kinds of a definition have.
#[derive(Debug)]
pub struct Dynamic {
    /// `openAPIV3Schema`.
    pub schema: Value,
    /// The schema's rules, compiled when an object is first looked at.
    pub rules: Arc<OnceLock<Rules>>,
    /// Columns of tables with their paths.
    pub columns: Vec<(Column, String)>,
    /// Paths that field selectors may name.
    pub selectable: Vec<String>,
    /// Whether this is the version in which objects are kept.
    pub storage: bool,
}

impl Dynamic {
    /// What is wrong with an object of this kind.
    pub fn mistakes(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = validate(&self.schema, new);
        causes.extend(self.rules_say(new, old, &causes));
        causes
    }

    /// What the rules say about an object with which so much is wrong already.
    pub fn rules_say(&self, new: &Value, old: Option<&Value>, before: &[Cause]) -> Vec<Cause> {
        self.rules.get_or_init(|| Rules::compile(&self.schema).0).check(&self.schema, new, old, before)
    }
}

/// Kinds that clients have defined.
#[derive(Debug, Default, Clone)]
pub struct Customs {
    kinds: Vec<Arc<Kind>>,
}

/// Definitions.
pub fn definitions() -> Resource {
    Resource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

impl Customs {
    /// All kinds, by group, version and name.
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// The groups with their versions.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut out: Vec<(String, Vec<String>)> = Vec::new();
        for k in &self.kinds {
            match out.iter_mut().find(|(g, _)| *g == k.group) {
                Some((_, versions)) if versions.contains(&k.version) => {}
                Some((_, versions)) => versions.push(k.version.clone()),
                None => out.push((k.group.clone(), vec![k.version.clone()])),
            }
        }
        out
    }

    /// The kinds of a version of a group.
    pub fn of_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
        self.kinds.iter().filter(move |k| k.group == group && k.version == version)
    }

    /// The kind with this plural name.
    pub fn by_plural(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// The kind of this name, in any version.
    pub fn of_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.group == group && k.kind == kind)
    }

    /// The version in which objects are kept.
    pub fn stored(&self, resource: &Resource) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.resource == *resource && k.dynamic.as_ref().is_some_and(|d| d.storage))
    }
}

/// Reads the definitions anew.
pub fn rebuild(world: &mut World) {
    let mut kinds = Vec::new();
    for (_, object) in world.store.list(&definitions(), None) {
        let group = object["spec"]["group"].as_str().unwrap_or_default();
        let built_in = Catalog::get().groups.iter().any(|(g, _)| g == group);
        if !built_in && object["metadata"]["deletionTimestamp"].is_null() {
            for version in object["spec"]["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true) {
                let mut made = kind(group, &object["spec"], version);
                let before = world.customs.by_plural(&made.group, &made.version, &made.plural).and_then(|k| k.dynamic.as_ref());
                // Rules are dear to compile: they stay as long as their schema does.
                if let (Some(now), Some(before)) = (&mut made.dynamic, before)
                    && now.schema == before.schema
                {
                    now.rules = Arc::clone(&before.rules);
                }
                kinds.push(Arc::new(made));
            }
        }
    }
    world.customs = Customs { kinds };
}

fn kind(group: &str, spec: &Value, version: &Value) -> Kind {
    let names = &spec["names"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list = |v: &Value| v.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let verbs = |all: &[&str]| all.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let (kind, plural, name) = (text(&names["kind"]), text(&names["plural"]), text(&version["name"]));
    let singular = Some(text(&names["singular"])).filter(|s| !s.is_empty()).unwrap_or_else(|| kind.to_lowercase());
    let mut subresources = Vec::new();
    let mut subresource = |sub: &str, group: &str, version: &str, kind: &str| {
        subresources.push(Subresource {
            subresource: sub.to_owned(),
            kind: GroupKind { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() },
            verbs: verbs(&["get", "patch", "update"]),
        });
    };
    if version["subresources"]["status"].is_object() {
        subresource("status", group, &name, &kind);
    }
    if version["subresources"]["scale"].is_object() {
        subresource("scale", "autoscaling", "v1", "Scale");
    }
    Kind {
        group: group.to_owned(),
        version: name,
        resource: Resource::new(group, &plural),
        plural,
        singular,
        short_names: list(&names["shortNames"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: verbs(&["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
        categories: list(&names["categories"]),
        subresources,
        dynamic: Some(Dynamic {
            schema: version["schema"]["openAPIV3Schema"].clone(),
            rules: Arc::default(),
            columns: columns(version),
            selectable: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|f| f["jsonPath"].as_str())
                .map(str::to_owned)
                .collect(),
            storage: version["storage"] == true,
        }),
        kind,
    }
}

fn columns(version: &Value) -> Vec<(Column, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let mut out = vec![(
        Column("Name".into(), "string".into(), "name".into(), 0, "Name must be unique within a namespace.".into()),
        ".metadata.name".to_owned(),
    )];
    match version["additionalPrinterColumns"].as_array().filter(|c| !c.is_empty()) {
        Some(given) => out.extend(given.iter().map(|c| {
            let priority = c["priority"].as_u64().and_then(|p| u8::try_from(p).ok()).unwrap_or(0);
            (Column(text(&c["name"]), text(&c["type"]), text(&c["format"]), priority, text(&c["description"])), text(&c["jsonPath"]))
        })),
        None => out.push((Column("Age".into(), "date".into(), String::new(), 0, String::new()), ".metadata.creationTimestamp".to_owned())),
    }
    out
}

/// What is wrong with a new definition, in the real server's words: field and message.
pub fn mistakes(spec: &Value, name: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let expected = format!("{}.{}", spec["names"]["plural"].as_str().unwrap_or_default(), spec["group"].as_str().unwrap_or_default());
    if name != expected {
        out.push(("metadata.name".to_owned(), format!("Invalid value: {name:?}: must be spec.names.plural+\".\"+spec.group")));
    }
    let stored = spec["versions"].as_array().into_iter().flatten().filter(|v| v["storage"] == true).count();
    if stored != 1 {
        let shown = "must have exactly one version marked as storage version";
        out.push(("spec.versions".to_owned(), format!("Invalid value: {}: {shown}", spec["versions"])));
    }
    out
}

/// What is wrong with the rules of a definition; of an old one, what is the same is left alone.
pub fn mistakes_in_rules(spec: &Value, old: Option<&Value>) -> Vec<Cause> {
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    let same = versions.windows(2).all(|pair| pair.first().map(schema) == pair.last().map(schema));
    let known: Vec<Value> = old.map(|o| o["versions"].as_array().into_iter().flatten().map(schema).collect()).unwrap_or_default();
    let mut causes = Vec::new();
    for (i, version) in versions.iter().enumerate().take(if same { 1 } else { versions.len() }) {
        let schema = schema(version);
        if known.contains(&schema) {
            continue;
        }
        // A schema that all versions share is kept once.
        let at = if same { "spec.validation".to_owned() } else { format!("spec.versions[{i}].schema") };
        let placed = |mistake: Cause| Cause { field: format!("{at}.openAPIV3Schema{}", mistake.field), ..mistake };
        causes.extend(Rules::compile(&schema).1.into_iter().map(placed));
    }
    causes
}

/// Says that a definition is served, and serves it; what it defined goes with it.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(object) = world.store.get(key).cloned() else { return };
    default_stored(world, &object);
    if object["status"]["conditions"].is_array() {
        return;
    }
    let now = world.now.rfc3339();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<&Value> = versions.filter(|v| v["storage"] == true).map(|v| &v["name"]).collect();
    let mut new = (*object).clone();
    new["status"] = json!({"acceptedNames": object["spec"]["names"], "storedVersions": stored, "conditions": [
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted")]});
    // Nobody else writes in between: the world is ours.
    let _written = super::registry::update(world, key, new, super::registry::Part::Status);
}

/// Gives the objects of a definition the defaults that it has now. A real server does it whenever it reads them.
pub fn default_stored(world: &mut World, definition: &Value) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let resource = Resource::new(&text(&definition["spec"]["group"]), &text(&definition["spec"]["names"]["plural"]));
    let Some(kind) = world.customs.stored(&resource).cloned() else { return };
    let Some(dynamic) = &kind.dynamic else { return };
    let lacking: Vec<(Key, Value)> = world
        .store
        .list(&resource, None)
        .filter_map(|(key, object)| {
            let mut new = (**object).clone();
            complete(&dynamic.schema, &mut new);
            (new != **object).then(|| (key.clone(), new))
        })
        .collect();
    for (key, new) in lacking {
        world.store.put(&key, new);
    }
}

/// Removes the objects of a definition that is gone.
pub fn forget(world: &mut World, definition: &Value) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let resource = Resource::new(&text(&definition["spec"]["group"]), &text(&definition["spec"]["names"]["plural"]));
    if Catalog::get().stored(&resource).is_some() {
        return;
    }
    let keys: Vec<Key> = world.store.list(&resource, None).map(|(k, _)| k.clone()).collect();
    for key in keys {
        world.store.remove(&key);
    }
}
