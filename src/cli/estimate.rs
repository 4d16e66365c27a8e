//! What a plan may cost, judged by earlier runs. Input: the folders of runs and the models of today; output: means by method
//! and model, and sums over a plan. All of it is an estimate, and says what it rests on.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::failure::{Failure, chain};
use crate::event::TrialFinished;
use crate::manifest::Catalog;
use crate::model::Usage;
use crate::plan::{Plan, TrialSpec};
use crate::record::{RunDir, read_state};

/// How many folders of earlier runs are looked at, newest first, where none were named.
const LOOKED_AT: usize = 50;
/// How many of them are used: older ones say less about the models of today.
const USED: usize = 5;

/// Sums over finished trials.
#[derive(Debug, Clone, Default)]
struct Sample {
    trials: u64,
    usage: Usage,
    model_s: f64,
    total_s: f64,
    cost_usd: Option<f64>,
}

/// What a trial may take.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Guess {
    /// Trials that it rests on.
    pub(super) trials: u64,
    /// They were other models' with the same method.
    pub(super) borrowed: bool,
    pub(super) prompt_tokens: f64,
    pub(super) completion_tokens: f64,
    /// None: the model has no price, and its trials had none.
    pub(super) cost_usd: Option<f64>,
    pub(super) model_s: f64,
    pub(super) total_s: f64,
}

/// Earlier trials by method and model, and whether the model was a fixed policy.
#[derive(Debug, Default)]
pub(super) struct Estimates {
    runs: Vec<Utf8PathBuf>,
    samples: BTreeMap<(String, String), Sample>,
    catalog_free: Vec<String>,
}

/// Sums over a plan.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) trials: u64,
    pub(super) guessed: u64,
    pub(super) cells: BTreeMap<(String, String), Cell>,
}

/// The planned trials of a method and a model.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) trials: u64,
    pub(super) guess: Option<Guess>,
}

impl Estimates {
    /// From the runs named, or from the newest ones in `results` that have to do with the plan.
    pub(super) fn read(catalog: &Catalog, plan: &Plan, named: &[Utf8PathBuf], results: &Utf8Path) -> Result<Self, Failure> {
        let free = |name: &&String| catalog.models.get(*name).is_some_and(|spec| spec.provider.endpoint().is_none());
        let mut estimates = Self { catalog_free: catalog.models.keys().filter(free).cloned().collect(), ..Self::default() };
        for dir in named {
            let help = "--from names the folder of a run: results/<experiment>-<time>";
            let run = RunDir::open(dir).map_err(|e| Failure::input(chain(&e)).help(help))?;
            let (state, _) = read_state(&run.events()).map_err(|e| Failure::input(chain(&e)).help(help))?;
            estimates.add(dir, state.finished.values());
        }
        if !named.is_empty() {
            return Ok(estimates);
        }
        let matrix = &plan.experiment().matrix;
        for dir in newest(results) {
            if estimates.runs.len() >= USED {
                break;
            }
            // What cannot be read was not asked for.
            let Ok(run) = RunDir::open(&dir) else { continue };
            let Ok((state, _)) = read_state(&run.events()) else { continue };
            let of_plan =
                |result: &&TrialFinished| matrix.method.contains(&result.spec.method) && matrix.model.contains(&result.spec.model);
            let same = state.head.as_ref().is_some_and(|head| head.experiment == plan.experiment().name);
            if same || state.finished.values().any(|result| of_plan(&result)) {
                estimates.add(&dir, state.finished.values());
            }
        }
        Ok(estimates)
    }

    fn add<'a>(&mut self, dir: &Utf8Path, results: impl Iterator<Item = &'a TrialFinished>) {
        let mut some = false;
        // Trials that the harness lost took as long as they took to be lost.
        for result in results.filter(|result| result.outcome.scored()) {
            let sample = self.samples.entry((result.spec.method.clone(), result.spec.model.clone())).or_default();
            sample.trials += 1;
            sample.usage += result.usage;
            sample.model_s += result.model_s;
            sample.total_s += result.total_s;
            if let Some(cost) = result.cost_usd {
                sample.cost_usd = Some(sample.cost_usd.unwrap_or(0.0) + cost);
            }
            some = true;
        }
        if some {
            self.runs.push(dir.to_owned());
        }
    }

    /// The runs that it rests on.
    pub(super) fn runs(&self) -> &[Utf8PathBuf] {
        &self.runs
    }

    /// What a trial of a method and a model may take; none when no earlier run tells.
    pub(super) fn guess(&self, catalog: &Catalog, method: &str, model: &str) -> Option<Guess> {
        let own = self.samples.get(&(method.to_owned(), model.to_owned()));
        // What another model needed is better than nothing, unless one of the two is a fixed policy, which reads nothing.
        let borrowed = || {
            let others = self.samples.iter().filter(|((of, name), _)| of == method && !self.catalog_free.contains(name));
            let sum = others.map(|(_, sample)| sample).fold(Sample::default(), |mut sum, sample| {
                sum.trials += sample.trials;
                sum.usage += sample.usage;
                sum.model_s += sample.model_s;
                sum.total_s += sample.total_s;
                sum
            });
            (sum.trials > 0 && !self.catalog_free.iter().any(|name| name == model)).then_some(sum)
        };
        let (sample, borrowed) = match own {
            Some(sample) => (sample.clone(), false),
            None => (borrowed()?, true),
        };
        let n = whole(sample.trials);
        let price = catalog.models.get(model).and_then(|spec| spec.price.as_ref());
        let cost = price.map(|price| sample.usage.cost(price)).or(sample.cost_usd);
        Some(Guess {
            trials: sample.trials,
            borrowed,
            prompt_tokens: whole(sample.usage.prompt) / n,
            completion_tokens: whole(sample.usage.completion) / n,
            cost_usd: cost.map(|cost| cost / n),
            model_s: sample.model_s / n,
            total_s: sample.total_s / n,
        })
    }

    /// Sums over trials.
    pub(super) fn total(&self, catalog: &Catalog, trials: impl Iterator<Item = TrialSpec>) -> Total {
        let mut total = Total::default();
        for trial in trials {
            let key = (trial.method, trial.model);
            let cell =
                total.cells.entry(key).or_insert_with_key(|(method, model)| Cell { trials: 0, guess: self.guess(catalog, method, model) });
            cell.trials += 1;
            total.trials += 1;
            total.guessed += u64::from(cell.guess.is_some());
        }
        total
    }
}

impl Guess {
    /// Whose trials it rests on.
    pub(super) fn basis(&self) -> &'static str {
        if self.borrowed { "other models" } else { "same model" }
    }

    /// As an object of JSON.
    pub(super) fn json(&self) -> Value {
        json!({
            "basis": self.basis(), "trials": self.trials, "prompt_tokens": self.prompt_tokens.round(),
            "completion_tokens": self.completion_tokens.round(), "cost_usd": self.cost_usd, "model_s": self.model_s, "total_s": self.total_s,
        })
    }
}

impl Total {
    /// Dollars of the cells whose cost is known; none when no cell's is.
    pub(super) fn cost_usd(&self) -> Option<f64> {
        let costs: Vec<f64> = self.guesses().filter_map(|(n, guess)| Some(guess.cost_usd? * n)).collect();
        (!costs.is_empty()).then(|| costs.iter().sum())
    }

    /// Tokens, prompt and completion.
    pub(super) fn tokens(&self) -> (f64, f64) {
        self.guesses().fold((0.0, 0.0), |(prompt, completion), (n, guess)| {
            (guess.prompt_tokens.mul_add(n, prompt), guess.completion_tokens.mul_add(n, completion))
        })
    }

    /// Real seconds, one trial after the other.
    pub(super) fn seconds(&self) -> f64 {
        self.guesses().map(|(n, guess)| guess.total_s * n).sum()
    }

    fn guesses(&self) -> impl Iterator<Item = (f64, &Guess)> {
        self.cells.values().filter_map(|cell| Some((whole(cell.trials), cell.guess.as_ref()?)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of trials and tokens stay far below 2^52")]
fn whole(count: u64) -> f64 {
    count as f64
}

/// Folders in `results`, newest first by the time in their names.
fn newest(results: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = results.read_dir_utf8() else { return Vec::new() };
    let mut found: Vec<(String, Utf8PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            // Names end in the time, and in a number where two runs began in the same second.
            let began = entry.file_name().split('-').rev().find(|part| part.len() == 16 && part.ends_with('Z'))?.to_owned();
            Some((began, entry.into_path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().take(LOOKED_AT).map(|(_, dir)| dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_come_first_whatever_their_experiment() {
        let dir = tempfile::tempdir().unwrap();
        let results = Utf8Path::from_path(dir.path()).unwrap();
        for name in ["b-20260101T000000Z", "a-20260103T000000Z", "a-x-20260102T000000Z-2", "notes"] {
            fs_err::create_dir(results.join(name)).unwrap();
        }
        let names: Vec<String> = newest(results).iter().filter_map(|path| path.file_name().map(str::to_owned)).collect();
        assert_eq!(names, ["a-20260103T000000Z", "a-x-20260102T000000Z-2", "b-20260101T000000Z"]);
        assert!(newest(&results.join("nowhere")).is_empty());
    }

    fn sample(trials: u64, prompt: u64, completion: u64) -> Sample {
        let usage = Usage { prompt, completion, ..Usage::default() };
        Sample { trials, usage, model_s: 3.0, total_s: 10.0, cost_usd: None }
    }

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for (name, price) in
            [("cheap", "price = { prompt = 1.0, completion = 2.0 }"), ("free", ""), ("new", "price = { prompt = 10.0, completion = 0.0 }")]
        {
            let text = format!("name = '{name}'\n{price}\n[provider.openai]\nbase_url = 'http://x/v1'\nmodel = 'm'");
            catalog.models.insert(name.to_owned(), toml::from_str(&text).unwrap());
        }
        catalog
    }

    #[test]
    fn means_are_priced_by_the_models_of_today_and_borrowed_where_there_are_none() {
        let mut estimates = Estimates { catalog_free: vec!["policy".to_owned()], ..Estimates::default() };
        let mut put = |model: &str, sample: Sample| estimates.samples.insert(("m".to_owned(), model.to_owned()), sample);
        put("cheap", sample(2, 2000, 400));
        put("free", sample(2, 6000, 0));
        put("policy", sample(100, 0, 0));
        let catalog = catalog();
        let guess = |model: &str| estimates.guess(&catalog, "m", model);
        let cheap = guess("cheap").unwrap();
        assert_eq!((cheap.trials, cheap.borrowed, cheap.prompt_tokens, cheap.completion_tokens), (2, false, 1000.0, 200.0));
        assert!((cheap.cost_usd.unwrap() - 0.0014).abs() < 1e-12 && (cheap.total_s - 5.0).abs() < 1e-12, "{cheap:?}");
        assert_eq!(guess("free").unwrap().cost_usd, None);
        // The policy's trials say nothing about what a model needs.
        let new = guess("new").unwrap();
        assert_eq!((new.trials, new.borrowed, new.prompt_tokens), (4, true, 2000.0));
        assert!((new.cost_usd.unwrap() - 0.02).abs() < 1e-12, "{new:?}");
        assert_eq!(estimates.guess(&catalog, "other", "cheap"), None);
        assert_eq!(estimates.guess(&catalog, "other", "policy"), None);
    }
}
