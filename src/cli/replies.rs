//! Models for a run: opened, and put behind what keeps their replies, or answers from what an earlier run or a cache kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8Path;

use super::args::RunArgs;
use super::failure::{Code, Failure, chain};
use super::places::{absolute, variable};
use crate::manifest::Catalog;
use crate::model::{ChatModel, Servers};
use crate::plan::Plan;
use crate::record::{CallStore, Earlier, Places, RecordingModel, RunDir};

/// Models by name; none: a replay asks nobody, so that neither key nor network is needed.
pub(super) type Opened = BTreeMap<String, Option<Arc<dyn ChatModel>>>;

/// Opens the plan's models.
pub(super) fn open(catalog: &Catalog, plan: &Plan, args: &RunArgs) -> Result<Opened, Failure> {
    let mut models = BTreeMap::new();
    let servers = Servers::default();
    for name in &plan.experiment().matrix.model {
        let Some(spec) = catalog.models.get(name) else { continue };
        if args.replay.is_some() && spec.provider.endpoint().is_some() {
            models.insert(name.clone(), None);
            continue;
        }
        let model = crate::model::open(spec, &variable, &servers).map_err(|e| {
            Failure::new(Code::Dependency, format!("model {name}: {}", chain(&e)))
                .help(format!("models/{name}.toml says how it is reached"))
        })?;
        models.insert(name.clone(), Some(model));
    }
    Ok(models)
}

/// Where replies may come from instead of the models.
pub(super) fn earlier(args: &RunArgs) -> Result<Option<Earlier>, Failure> {
    if let Some(dir) = &args.replay {
        let run = RunDir::open(&absolute(dir)?)
            .map_err(|e| Failure::input(chain(&e)).help("--replay names the folder of a run: results/<experiment>-<time>"))?;
        return Ok(Some(Earlier::Replay(CallStore::new(run.calls()))));
    }
    args.cache.as_ref().map(|dir| Ok(Earlier::Cache(CallStore::new(absolute(dir)?)))).transpose()
}

/// Puts every model that is behind an endpoint behind what keeps its replies. Fixed policies say the same again anyway.
pub(super) fn recorded(
    opened: Opened,
    catalog: &Catalog,
    run: &RunDir,
    earlier: Option<&Earlier>,
    work: &Utf8Path,
) -> BTreeMap<String, Arc<dyn ChatModel>> {
    let mut models: BTreeMap<String, Arc<dyn ChatModel>> = BTreeMap::new();
    for (name, model) in opened {
        match (catalog.models.get(&name), model) {
            (Some(spec), model) if spec.provider.endpoint().is_some() => {
                let recording = RecordingModel::new(spec, model, CallStore::new(run.calls()), earlier.cloned(), Places::new(work.as_str()));
                models.insert(name, Arc::new(recording));
            }
            (_, Some(model)) => {
                models.insert(name, model);
            }
            (_, None) => {}
        }
    }
    models
}
