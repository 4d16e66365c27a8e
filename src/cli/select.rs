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
    check_names(catalog, args)?;
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

/// Names of the command line, all of them: whoever mistypes two hears of both.
fn check_names(catalog: &Catalog, args: &SelectArgs) -> Result<(), Failure> {
    let questions: [(&str, &[String], Vec<&str>); 5] = [
        ("system", &args.system, catalog.systems.keys().map(String::as_str).collect()),
        ("sequence", &args.sequence, catalog.sequences.keys().map(String::as_str).collect()),
        ("fault", &args.fault, catalog.faults.keys().map(String::as_str).collect()),
        ("method", &args.method, catalog.methods().into_iter().collect()),
        ("model", &args.model, catalog.models.keys().map(String::as_str).collect()),
    ];
    let mut wrong = Vec::new();
    for (word, names, known) in &questions {
        for name in names.iter().filter(|n| !known.contains(&n.as_str())) {
            let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| format!("there are: {}", known.join(", ")));
            wrong.push(format!("there is no {word} `{name}`; {help}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::input(wrong.join("\n       "))) }
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
