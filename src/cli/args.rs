//! The command line, as types.

#![expect(clippy::doc_markdown, reason = "--help prints the comments as they are")]

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Heading of the options that every command has.
const GLOBAL: &str = "Options of every command";

/// Measure how well language models repair broken microservice systems.
#[derive(Debug, Parser)]
#[command(
    name = "microremed",
    version,
    about = "Measure how well language models repair broken microservice systems.",
    max_term_width = 110,
    after_help = "Examples:
  microremed run quickstart                     42 trials, scripted models, no cluster, no key
  microremed run easy --model gpt-4o --repeats 3
  microremed plan easy --model gold             what would run
  microremed check                              are all data files right?
  microremed cluster up --system simple-micro   a cluster for kubectl, until Ctrl-C

Exit codes:
  0    done; a model that fails its trials is a result, not an error
  1    trials could not be run
  2    bad input
  3    a dependency is missing
  130  interrupted"
)]
pub(super) struct Cli {
    /// Folder that holds systems/, faults/, ...; its files overlay the built-in ones. Default: the first parent folder that has them.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", overrides_with = "root")]
    pub(super) root: Option<Utf8PathBuf>,
    /// Folder of the private tools (Ansible, kubectl). Default: the variable MICROREMED_TOOLS, else microremed/tools in the
    /// user's cache folder.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    pub(super) tools: Option<Utf8PathBuf>,
    /// One JSON object a line instead of text.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(super) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run an experiment.
    #[command(after_help = "Examples:
  microremed run quickstart
  microremed run hard --model gold --fault network-loss -j 4
  microremed run easy --model local --set params.network-loss.loss=80")]
    Run(RunArgs),
    /// Continue a run that was interrupted, or try again what could not be run.
    #[command(after_help = "Example:
  microremed resume results/quickstart-20260102T030405Z")]
    Resume {
        /// The run's folder, results/...
        run_dir: Utf8PathBuf,
        /// Trials side by side. Default: the number of cores.
        #[arg(short, long, value_name = "N", value_parser = at_least_one)]
        jobs: Option<usize>,
        /// Go on when trials cannot be run, one after the other.
        #[arg(long)]
        keep_going: bool,
    },
    /// Join the runs of several shards (`run --shard I/N`) into one.
    #[command(after_help = "Example:
  microremed merge machine-a/easy-20260102T030405Z machine-b/easy-20260102T030409Z --out results")]
    Merge {
        /// Folders of runs that belong together: same experiment, seed, program and tools, and no trial in two of them.
        #[arg(required = true, num_args = 2..)]
        run_dirs: Vec<Utf8PathBuf>,
        /// Folder for the new run's folder.
        #[arg(long, default_value = "results", value_name = "DIR")]
        out: Utf8PathBuf,
    },
    /// Show the trials of an experiment, the time they can take at most, and what earlier runs say that they cost. Touches nothing.
    #[command(after_help = "Examples:
  microremed plan quickstart --fault cpu-stress
  microremed plan hard --model gpt-4o --from results/easy-20260102T030405Z
  microremed plan hard --model local --format csv > plan.csv")]
    Plan {
        /// What to plan.
        #[command(flatten)]
        select: SelectArgs,
        /// How to print it. Default: table.
        #[arg(long, value_enum)]
        format: Option<PlanFormat>,
        /// Estimate cost and time from these runs. Default: the newest ones in the results folder with the same experiment or models.
        #[arg(long, value_name = "RUN_DIR", num_args = 1..)]
        from: Vec<Utf8PathBuf>,
    },
    /// Check data files; exit code 2 when something is wrong.
    #[command(after_help = "Examples:
  microremed check
  microremed check my-root other-root")]
    Check {
        /// Folders (roots) to check. Default: the root.
        paths: Vec<Utf8PathBuf>,
    },
    /// Write the reports of a run anew from its journal, and print one.
    #[command(after_help = "Examples:
  microremed report results/*
  microremed report results/easy-20260102T030405Z --format md --by fault,model
  microremed report results/* --compare sologen thinkremed")]
    Report {
        /// Run folders.
        #[arg(required = true)]
        run_dirs: Vec<Utf8PathBuf>,
        /// What to print. Default: text.
        #[arg(long, value_enum)]
        format: Option<ReportFormat>,
        /// Columns to group by: method, model, system, sequence, fault, category, target, repeat, strategy, injector.
        #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
        by: Vec<String>,
        /// Compare two methods or two models on the trials that both met (McNemar's exact test).
        #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["by", "format"])]
        compare: Vec<String>,
    },
    /// Measure the checks: how often each passes where it must fail, and fails where it must pass.
    #[command(after_help = "Examples:
  microremed calibrate --system simple-micro
  microremed calibrate --fault network-loss --targets 3 --repeats 20
  microremed run easy --calibration results/calibrate-20260102T030405Z")]
    Calibrate(CalibrateArgs),
    /// Judge a run again from its stored samples, by other thresholds: no cluster, and the journal stays as it is.
    #[command(after_help = "Examples:
  microremed rescore results/easy-20260102T030405Z --set checks.strict.need=5
  microremed rescore results/easy-20260102T030405Z --set checks.compat.usage.below=0.6 --fault cpu-stress

Keys, for every stage and check of the set that has them:
  checks.SET.need, checks.SET.window
  checks.SET.usage.below|limit|without_limit         checks.SET.ping.max_loss_percent|max_average_ms
  checks.SET.exec.pass                               checks.SET.requests.max_extra_error_rate|max_latency_times
  checks.SET.limits.at_most_times                    checks.SET.restored.resources_at_least")]
    Rescore {
        /// The run's folder, results/...
        run_dir: Utf8PathBuf,
        /// Change a threshold.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Only the trials of these faults.
        #[arg(long, value_name = "F")]
        fault: Vec<String>,
        /// Folder for the reports. Default: report-rescored in the run's folder.
        #[arg(long, value_name = "DIR")]
        out: Option<Utf8PathBuf>,
    },
    /// Show the prompts, manifests, injection and reference repair of one trial, before it runs.
    #[command(after_help = "Examples:
  microremed render quickstart                  the first trial of the plan
  microremed render quickstart 7
  microremed render quickstart --fault network-loss --manifests | kubectl apply -f -")]
    Render {
        /// What to plan.
        #[command(flatten)]
        select: SelectArgs,
        /// The trial: its id, the start of it, or its number in the plan (from 1). Default: the first.
        trial: Option<String>,
        /// Only the system's Kubernetes YAML.
        #[arg(long)]
        manifests: bool,
    },
    /// The embedded cluster, for kubectl and friends.
    Cluster {
        /// What to do with it.
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Language models: which there are, and whether one answers.
    Models {
        /// What to do with them.
        #[command(subcommand)]
        command: ModelsCommand,
    },
    /// Ansible and kubectl in a private folder.
    Tools {
        /// What to do with them.
        #[command(subcommand)]
        command: ToolsCommand,
    },
    /// What this machine lacks, with the command that mends it.
    Doctor,
    /// Write a commented starting file, and what belongs to it, that passes `check`.
    #[command(after_help = "Examples:
  microremed new model my-model
  microremed new fault slow-disk --root my-root")]
    New {
        /// What.
        #[arg(value_enum)]
        kind: NewKind,
        /// Its name: lower-case letters, digits, dots and dashes.
        name: String,
    },
    /// Print the JSON Schema of a kind of data file.
    #[command(after_help = "Example:
  microremed schema fault > fault.json      for an editor: `#:schema fault.json` in the first line of a TOML file")]
    Schema {
        /// The kind: system, fault, pipeline, sequence, experiment, model.
        kind: String,
    },
    /// Print the completion script of a shell.
    #[command(after_help = "Example:
  microremed completions bash > ~/.local/share/bash-completion/completions/microremed")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which trials.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SelectArgs {
    /// The experiment (experiments/NAME.toml).
    pub(super) experiment: String,
    /// Only these models; models that the experiment does not name are added.
    #[arg(long, value_name = "M")]
    pub(super) model: Vec<String>,
    /// Only these methods; others are added.
    #[arg(long, value_name = "M")]
    pub(super) method: Vec<String>,
    /// Only these systems; others are added.
    #[arg(long, value_name = "S")]
    pub(super) system: Vec<String>,
    /// Only these sequences; others are added.
    #[arg(long, value_name = "S")]
    pub(super) sequence: Vec<String>,
    /// Only the trials of these faults.
    #[arg(long, value_name = "F")]
    pub(super) fault: Vec<String>,
    /// How often each cell is run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeats: Option<u32>,
    /// Seed of targets and clusters.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Only the I-th of N parts (1/4, 2/4, ...).
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<String>,
    /// Change a value of the experiment: budgets.probes=5, params.network-loss.loss=80, options.thinkremed.t_max=3.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// What to run.
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// Folder for run folders. Default: the experiment's `runner.save_path`, else `results`.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<Utf8PathBuf>,
    /// Trials side by side. Default: the number of cores.
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub(super) jobs: Option<usize>,
    /// Go on when trials cannot be run, one after the other. Default: stop after five of them.
    #[arg(long)]
    pub(super) keep_going: bool,
    /// Run what the model writes without a sandbox, with all that you may do. The results say so.
    #[arg(long)]
    pub(super) no_sandbox: bool,
    /// Answer from the replies that an earlier run kept: no network, no key. What it does not hold is an error.
    #[arg(long, value_name = "RUN_DIR", overrides_with = "replay", conflicts_with = "cache")]
    pub(super) replay: Option<Utf8PathBuf>,
    /// Keep replies in this folder, and answer from it what was asked before, in any run.
    #[arg(long, value_name = "DIR", overrides_with = "cache")]
    pub(super) cache: Option<Utf8PathBuf>,
    /// Folder of a calibration run: reports flag the cells in which it found the checks to be wrong. Default: the
    /// experiment's `calibration`, else none.
    #[arg(long, value_name = "RUN_DIR", overrides_with = "calibration")]
    pub(super) calibration: Option<Utf8PathBuf>,
    /// Run on the cluster of this kubeconfig instead of the embedded one.
    #[arg(long, value_name = "FILE", overrides_with = "kubeconfig")]
    pub(super) kubeconfig: Option<String>,
    /// Run on this context of the kubeconfig. Given more than once: trials side by side, one at a time on each of these
    /// clusters.
    #[arg(long, value_name = "CONTEXT")]
    pub(super) context: Vec<String>,
    /// The kubeconfig of playbooks and probes in trials whose injector is hidden (`agent.sees_injector = false`): one whose
    /// rights do not reach it. The embedded cluster needs none.
    #[arg(long, value_name = "FILE", overrides_with = "agent_kubeconfig")]
    pub(super) agent_kubeconfig: Option<String>,
}

/// Arguments of `calibrate`.
#[derive(Debug, Clone, Args)]
pub(super) struct CalibrateArgs {
    /// The experiment (experiments/NAME.toml) whose methods and models are the arms.
    #[arg(default_value = "calibrate")]
    pub(super) experiment: String,
    /// Only these systems.
    #[arg(long, value_name = "S")]
    pub(super) system: Vec<String>,
    /// Only these faults.
    #[arg(long, value_name = "F")]
    pub(super) fault: Vec<String>,
    /// On how many services each fault is tried, where the system has so many that it may hit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) targets: Option<u32>,
    /// How often each is tried, each time on a cluster with another seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeats: Option<u32>,
    /// Seed of targets and clusters.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Change a value of the experiment, as in `run`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Folder for run folders. Default: `results`.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<Utf8PathBuf>,
    /// Trials side by side. Default: the number of cores.
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub(super) jobs: Option<usize>,
}

/// What to do with the embedded cluster.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Start it and keep it until Ctrl-C.
    #[command(after_help = "Example:
  microremed cluster up --system simple-micro --kubeconfig-out kubeconfig &
  kubectl --kubeconfig kubeconfig -n simple-micro get pods")]
    Up {
        /// Deploy this system.
        #[arg(long, value_name = "S")]
        system: Option<String>,
        /// Write the kubeconfig here.
        #[arg(long, value_name = "FILE", default_value = "microremed.kubeconfig")]
        kubeconfig_out: Utf8PathBuf,
        /// Port on 127.0.0.1; 0 picks a free one.
        #[arg(long, default_value_t = 0, value_name = "N")]
        port: u16,
        /// Simulated seconds a second.
        #[arg(long, default_value_t = 1.0, value_name = "X")]
        speed: f64,
        /// How long images and processes take to start: some hundredths of a second, or as long as on a real node.
        #[arg(long, value_enum, default_value_t = StartUpArg::Prompt, value_name = "HOW")]
        start_up: StartUpArg,
        /// Seed of all random choices.
        #[arg(long, default_value_t = 42, value_name = "N")]
        seed: u64,
        /// Serve over TLS, with a certificate of the cluster's own.
        #[arg(long)]
        tls: bool,
        /// Enforce roles and bindings. Needs --tls: kubectl sends no token without.
        #[arg(long, requires = "tls")]
        rbac: bool,
    },
}

/// What to do with the models.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Show all models, and whether their keys are set.
    List,
    /// Ask a model for one tiny tool call: latency, tokens, whether tools work.
    #[command(after_help = "Example:
  microremed models test ollama")]
    Test {
        /// Its name.
        name: String,
    },
}

/// What to do with the tools.
#[derive(Debug, Subcommand)]
pub(super) enum ToolsCommand {
    /// Install them now. `run` does it when needed.
    Install,
    /// Show what is installed, and where.
    Status,
}

/// How long containers take to start in a cluster for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StartUpArg {
    /// Some hundredths of a second.
    Prompt,
    /// As long as on a real node: pulling, and the work of each process under its CPU limit.
    Modelled,
}

/// What `new` can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NewKind {
    /// A system of services.
    System,
    /// A fault and its reference repair.
    Fault,
    /// A method: a pipeline and its prompts.
    Method,
    /// A language model.
    Model,
    /// An experiment.
    Experiment,
    /// A sequence of faults.
    Sequence,
}

/// How to print a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
    /// CSV.
    Csv,
}

/// How to print a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// The table shown at the end of a run.
    Text,
    /// Markdown.
    Md,
    /// A row a group.
    Csv,
    /// A row a trial.
    Trials,
    /// Everything.
    Json,
    /// Tables for a paper.
    Latex,
    /// A page.
    Html,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("a number is needed".to_owned()),
    }
}
