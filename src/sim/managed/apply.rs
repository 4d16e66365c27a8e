//! Server-side apply: the object with a configuration merged in, and who owns what afterwards.

use serde_json::Value;

use super::set::Set;
use super::shape::Shape;
use super::walk::{compare, fields};
use super::{Entry, merge, read, strip, write};

/// The annotation in which client-side apply keeps what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Fields of an applied configuration that differ from what another manager wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, as the message names it.
    pub manager: String,
    /// The fields.
    pub fields: Vec<String>,
}

/// Applies `config` by `manager` to `live` (nothing for a new object) of a kind, which a client may have defined. Gives the new object with its entries.
///
/// # Errors
/// The conflicts, unless `force` is given.
pub fn apply(
    (api_version, kind, defined): (&str, &str, Option<&Value>),
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    now: &str,
) -> Result<Value, Vec<Conflict>> {
    let shape = Shape::of_kind(api_version, kind, defined);
    let mut wanted = fields(shape, config);
    strip(&mut wanted);
    let mut entries = live.map(read).unwrap_or_default();
    let own = |e: &Entry| e.is("Apply", manager, api_version, "");
    let before = entries.iter().find(|e| own(e)).cloned();
    entries.retain(|e| !own(e));

    let mut new = live.map_or_else(|| config.clone(), |live| merge::merged(shape, live, config, 0));
    if let Some(before) = &before {
        let mut kept = wanted.clone();
        for e in &entries {
            kept.add(&e.fields);
        }
        merge::remove(shape, &mut new, &before.fields, Some(&kept));
    }
    let mut changed = live.is_none();
    if let Some(live) = live {
        let difference = compare(shape, live, &new);
        changed = !difference.written.is_empty() || !difference.removed.is_empty();
        let mut conflicts: Vec<(usize, Set)> =
            entries.iter().enumerate().map(|(i, e)| (i, e.fields.common(&difference.written))).filter(|(_, c)| !c.is_empty()).collect();
        if !force {
            // What client-side apply wrote and nobody changed since may be taken over by the same tool.
            let allowed = if manager == "kubectl" { last_applied(shape, live) } else { Set::default() };
            let open: Vec<(usize, Set)> = conflicts
                .iter()
                .map(|(i, c)| {
                    let mut c = c.clone();
                    c.subtract(&allowed);
                    (*i, c)
                })
                .filter(|(_, c)| !c.is_empty())
                .collect();
            if !open.is_empty() {
                let mut open = open;
                open.sort_by_key(|(i, _)| {
                    entries.get(*i).map(|e| (format!("{}\"", e.manager), e.subresource.is_empty(), e.subresource.clone()))
                });
                let named = |(i, c): &(usize, Set)| Some(Conflict { manager: name(entries.get(*i)?), fields: c.paths() });
                return Err(open.iter().filter_map(named).collect());
            }
        }
        for (i, conflict) in conflicts.drain(..) {
            if let Some(e) = entries.get_mut(i) {
                e.fields.subtract(&conflict);
            }
        }
        for e in &mut entries {
            e.fields.subtract(&difference.removed);
        }
    }
    // What changes nothing has the time of its predecessor, or none.
    let time = if changed { now.into() } else { before.map(|b| b.time).unwrap_or_default() };
    entries.push(Entry {
        manager: manager.to_owned(),
        operation: "Apply".to_owned(),
        api_version: api_version.to_owned(),
        subresource: String::new(),
        time,
        fields: wanted,
    });
    new["metadata"]["managedFields"] = write(entries);
    Ok(new)
}

fn name(e: &Entry) -> String {
    let mut text = format!("{:?}", e.manager);
    if !e.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", e.subresource);
    }
    if e.operation == "Update" {
        text = format!("{text} using {}", e.api_version);
    }
    text
}

/// The fields of the last client-side applied configuration that the object still has like that.
fn last_applied(shape: Shape<'_>, live: &Value) -> Set {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or_default();
    let Ok(config) = serde_json::from_str::<Value>(text) else { return Set::default() };
    let mut set = fields(shape, &config);
    let difference = compare(shape, live, &config);
    set.subtract(&difference.written);
    set.subtract(&difference.removed);
    set
}
