//! `tools`: Ansible and kubectl in a private folder.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::failure::{Code, Failure, chain};
use super::places::Global;
use super::{interrupt, print, tell};
use crate::ansible::{Toolchain, ToolsError, ToolsStatus, Versions};

pub(super) async fn install(global: &Global) -> Result<(), Failure> {
    let cancel = interrupt::token("stopping the installation");
    let (tools, versions) = ensure(global, &cancel).await?;
    if global.json {
        return print(&installed(&tools, &versions));
    }
    tell(&format!("installed: {}", list(&versions)));
    Ok(())
}

pub(super) fn status(global: &Global) -> Result<(), Failure> {
    let base = global.tools_folder()?;
    match Toolchain::status(base.as_std_path()) {
        ToolsStatus::Installed { tools, versions } => {
            if global.json {
                return print(&installed(&tools, &versions));
            }
            print(&format!("installed in {}: {}", tools.root().display(), list(&versions)))
        }
        ToolsStatus::Broken { folder } => {
            Err(Failure::new(Code::Dependency, format!("the installation in {} is not whole", folder.display()))
                .help("microremed tools install does it again"))
        }
        ToolsStatus::Missing { folder } => Err(Failure::new(Code::Dependency, format!("nothing is installed in {}", folder.display()))
            .help("microremed tools install does it; so does the first run")),
    }
}

/// The tools; installed now, with progress, when they are not there.
pub(super) async fn ensure(global: &Global, cancel: &CancellationToken) -> Result<(Toolchain, Versions), Failure> {
    let base = global.tools_folder()?;
    if let ToolsStatus::Installed { tools, versions } = Toolchain::status(base.as_std_path()) {
        return Ok((tools, versions));
    }
    let bar = (!global.json && console::Term::stderr().is_term()).then(|| {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner:.cyan} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    let quiet = global.json;
    let shown = bar.clone();
    let report = move |step: &crate::ansible::InstallStep| match &shown {
        Some(bar) => bar.set_message(step.to_string()),
        None if quiet => {}
        None => tell(&format!("tools: {step}")),
    };
    let result = Toolchain::install(base.as_std_path(), &report, cancel).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result.map_err(|e| failure(&e))?;
    match Toolchain::status(base.as_std_path()) {
        ToolsStatus::Installed { tools, versions } => Ok((tools, versions)),
        ToolsStatus::Broken { folder } | ToolsStatus::Missing { folder } => {
            Err(Failure::new(Code::Dependency, format!("the installation in {} did not last", folder.display())))
        }
    }
}

fn failure(e: &ToolsError) -> Failure {
    if matches!(e, ToolsError::Cancelled) {
        return Failure::new(Code::Interrupted, "the installation was interrupted; the next one begins anew");
    }
    let failure = Failure::new(Code::Dependency, chain(e));
    match e {
        ToolsError::Files(_) => failure.help("--tools, or the variable MICROREMED_TOOLS, names a folder that can be written to"),
        _ => failure,
    }
}

fn installed(tools: &Toolchain, versions: &Versions) -> String {
    serde_json::json!({"status": "installed", "folder": tools.root(), "versions": versions}).to_string()
}

fn list(versions: &Versions) -> String {
    versions.map().into_iter().map(|(n, v)| format!("{n} {v}")).collect::<Vec<_>>().join(", ")
}
