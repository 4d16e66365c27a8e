//! From the arguments that choose trials to a plan.

use std::sync::Arc;

use super::args::SelectArgs;
use super::failure::{Failure, chain};
use crate::diagnostic::did_you_mean;
use crate::manifest::Catalog;
use crate::plan::{Plan, Selection, Shard, apply_setting, expand};

/// The plan of an experiment. `tools`: versions that are part of every trial's identity.
pub(super) fn plan(catalog: &Catalog, args: &SelectArgs, tools: &str) -> Result<Arc<Plan>, Failure> {
    let Some(experiment) = catalog.experiments.get(&args.experiment) else {
        let names: Vec<&str> = catalog.experiments.keys().map(String::as_str).collect();
        let help = match did_you_mean(&args.experiment, names.iter().copied()) {
            Some(h) => h,
            None => format!("there are: {}", names.join(", ")),
        };
        return Err(Failure::input(format!("there is no experiment {:?}", args.experiment)).help(help));
    };
    let mut experiment = experiment.clone();
    for setting in &args.set {
        experiment = apply_setting(&experiment, setting).map_err(|e| Failure::input(chain(&e)))?;
    }
    let selection = Selection {
        systems: args.system.clone(),
        sequences: args.sequence.clone(),
        faults: args.fault.clone(),
        methods: args.method.clone(),
        models: args.model.clone(),
        repeats: args.repeats,
        seed: args.seed,
        shard: args.shard.as_deref().map(shard).transpose()?,
    };
    let plan = expand(catalog, &experiment, &selection, tools).map_err(|e| Failure::input(chain(&e)))?;
    Ok(Arc::new(plan))
}

fn shard(text: &str) -> Result<Shard, Failure> {
    let wrong = || Failure::input(format!("--shard {text} is no part of a whole")).help("write 1/4 for the first of four parts");
    let (index, count) = text.split_once('/').ok_or_else(wrong)?;
    let (index, count) = (index.parse().map_err(|_| wrong())?, count.parse().map_err(|_| wrong())?);
    if index == 0 || index > count {
        return Err(wrong());
    }
    Ok(Shard { index, count })
}
