//! The objects of a system by itself, without a trial.

use serde_json::Value;

use super::inputs::{InputsError, yaml_documents};
use crate::manifest::{Catalog, SystemManifest};
use crate::template;

/// The rendered objects of a system, in order.
pub fn system_manifests(catalog: &Catalog, system: &SystemManifest) -> Result<Vec<Value>, InputsError> {
    let context = system.context();
    let mut objects = Vec::new();
    for manifest in &system.deploy.manifests {
        let path = format!("systems/{}/{manifest}", system.name);
        let source = catalog.text(&path).ok_or_else(|| InputsError::Missing(format!("file {path}")))?;
        objects.extend(yaml_documents(&path, &template::render(&path, source, &context)?)?);
    }
    Ok(objects)
}
