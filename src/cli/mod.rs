//! The command line: one file a command. The only code that prints, reads the environment or exits.
//!
//! What is readable goes to stderr, results go to stdout. Exit codes: 0 done, 1 trials could not be run, 2 bad input,
//! 3 a dependency is missing, 130 interrupted.

mod args;
mod ask;
mod calibrate;
mod check;
mod cluster_up;
mod doctor;
mod estimate;
mod failure;
mod interrupt;
mod journal;
mod load;
mod merge;
mod models;
mod new;
mod places;
mod plan;
mod progress;
mod render;
mod replies;
mod report;
mod rescore;
mod run;
pub mod sandbox;
mod schema;
mod select;
pub mod shim;
mod tools;
mod work_folder;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, ClusterCommand, Command, ModelsCommand, ToolsCommand};
use failure::{Code, Failure};

/// Runs the program.
pub fn main() -> ExitCode {
    if let Some(code) = sandbox::dispatch(std::env::args_os()) {
        return code;
    }
    // Children of a trial call us by the names of the programs that we stand in for.
    if let Some(code) = shim::dispatch(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            if e.use_stderr() && std::env::args().any(|word| word == "--json") {
                let said = e.render().to_string();
                return fail(&Failure::input(said.trim().trim_start_matches("error: ")), true);
            }
            let code = if e.use_stderr() { Code::Input as u8 } else { 0 };
            // Nothing can be said where not even this can be printed.
            let _printed = e.print();
            return ExitCode::from(code);
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Cluster { .. }) {
        // All requests meet at the cluster's lock. More threads would add little but an allocator's pool each.
        builder.worker_threads(1);
    }
    let runtime = match builder.enable_all().build() {
        Ok(r) => r,
        Err(e) => return fail(&Failure::harness(format!("failed to start: {e}")), cli.json),
    };
    let json = cli.json;
    let result = runtime.block_on(dispatch(cli));
    // Nothing that is still running may keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, json),
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let global = places::Global { root: cli.root, tools: cli.tools, json: cli.json };
    match cli.command {
        Command::Run(args) => Box::pin(run::run(&global, args)).await,
        Command::Merge { run_dirs, out } => merge::merge(&global, &run_dirs, &out),
        Command::Resume { run_dir, jobs, keep_going } => Box::pin(run::resume(&global, &run_dir, jobs, keep_going)).await,
        Command::Plan { select, format, from } => plan::plan(&global, &select, format, &from),
        Command::Check { paths } => check::check(&global, &paths),
        Command::Report { run_dirs, format, by, compare } => report::report(&global, &run_dirs, format, &by, &compare),
        Command::Calibrate(args) => Box::pin(calibrate::calibrate(&global, args)).await,
        Command::Rescore { run_dir, set, fault, out } => rescore::rescore_run(&global, &run_dir, &set, &fault, out),
        Command::Render { select, trial, manifests } => render::render(&global, &select, trial.as_deref(), manifests),
        Command::Cluster { command: ClusterCommand::Up { system, kubeconfig_out, port, speed, start_up, seed, tls, rbac } } => {
            cluster_up::up(&global, cluster_up::Up { system, kubeconfig_out, port, speed, starts: start_up, seed, tls, rbac }).await
        }
        Command::Tools { command: ToolsCommand::Install } => tools::install(&global).await,
        Command::Tools { command: ToolsCommand::Status } => tools::status(&global),
        Command::Models { command: ModelsCommand::List } => models::list(&global),
        Command::Models { command: ModelsCommand::Test { name } } => models::test(&global, &name).await,
        Command::Doctor => doctor::doctor(&global).await,
        Command::New { kind, name } => new::new(&global, kind, &name),
        Command::Schema { kind } => schema::schema(&global, &kind),
        Command::Completions { .. } if global.json => Err(Failure::input("a completion script is no JSON").help("leave out --json")),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "microremed", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    if !failure.message.is_empty() {
        if json {
            tell(&serde_json::json!({"error": failure.message, "help": failure.help, "exit_code": failure.code as u8}).to_string());
        } else {
            let (red, cyan) = (console::Style::new().for_stderr().red().bold(), console::Style::new().for_stderr().cyan());
            tell(&format!("{} {}", red.apply_to("error:"), failure.message));
            if let Some(help) = &failure.help {
                tell(&format!("{} {help}", cyan.apply_to("hint:")));
            }
        }
    }
    ExitCode::from(failure.code as u8)
}

/// `1 trial`, `2 trials`.
fn count(n: u64, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// A result, to stdout. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::harness(format!("failed to write to stdout: {e}"))),
        _ => Ok(()),
    }
}

/// A line for people, to stderr.
fn tell(line: &str) {
    // Where stderr is gone there is nobody to tell.
    let _told = progress::beside_bars(|| writeln!(std::io::stderr().lock(), "{line}"));
}
