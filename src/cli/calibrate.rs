//! `calibrate`: a run whose arms have known answers. What it finds about the checks is printed, and kept in the run's folder.

use clap::Parser as _;

use super::args::{CalibrateArgs, Cli, Command};
use super::failure::Failure;
use super::places::Global;
use super::run;

/// The command is `run` in other words, and is resumed as one.
pub(super) async fn calibrate(global: &Global, args: CalibrateArgs) -> Result<(), Failure> {
    let words = words(&args);
    let parsed = Cli::try_parse_from(std::iter::once("microremed".to_owned()).chain(words.clone()));
    let Ok(Cli { command: Command::Run(run_args), .. }) = parsed else {
        return Err(Failure::input(format!("microremed {} is no run", words.join(" "))));
    };
    Box::pin(run::begin(global, run_args, words)).await
}

fn words(args: &CalibrateArgs) -> Vec<String> {
    let mut words = vec!["run".to_owned(), args.experiment.clone()];
    let mut option = |word: &str, value: String| words.push(format!("--{word}={value}"));
    for (word, values) in [("system", &args.system), ("fault", &args.fault), ("set", &args.set)] {
        for value in values {
            option(word, value.clone());
        }
    }
    if let Some(targets) = args.targets {
        option("set", format!("targets={targets}"));
    }
    if let Some(repeats) = args.repeats {
        option("repeats", repeats.to_string());
    }
    if let Some(seed) = args.seed {
        option("seed", seed.to_string());
    }
    if let Some(jobs) = args.jobs {
        option("jobs", jobs.to_string());
    }
    if let Some(out) = &args.out {
        option("out", out.to_string());
    }
    words
}
