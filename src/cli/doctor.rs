//! `doctor`: what this machine lacks, with the command that mends it.

use std::collections::BTreeMap;

use super::failure::{Code, Failure, chain};
use super::places::{Global, current, variable};
use super::print;
use super::sandbox::{Standing, layers};
use crate::ansible::{Python, Toolchain, ToolsStatus};
use crate::cluster::{Target, connect};
use crate::manifest::{Catalog, Root};
use crate::model::Provider;

/// One finding.
struct Finding {
    good: bool,
    /// Whether a run cannot do without it.
    needed: bool,
    what: String,
    help: Option<String>,
}

impl Finding {
    fn good(what: String) -> Self {
        Self { good: true, needed: false, what, help: None }
    }

    fn lacks(needed: bool, what: String, help: impl Into<String>) -> Self {
        Self { good: false, needed, what, help: Some(help.into()) }
    }
}

pub(super) async fn doctor(global: &Global) -> Result<(), Failure> {
    let mut findings = vec![python().await, tools(global), cluster().await, results()];
    findings.extend(sandbox());
    findings.extend(data(global));
    for f in &findings {
        if global.json {
            print(&serde_json::json!({"good": f.good, "needed": f.needed, "what": f.what, "help": f.help}).to_string())?;
            continue;
        }
        let mark = match (f.good, f.needed) {
            (true, _) => console::style("ok     ").green(),
            (false, true) => console::style("missing").red(),
            (false, false) => console::style("note   ").yellow(),
        };
        print(&format!("{mark} {}", f.what))?;
        if let Some(help) = &f.help {
            print(&format!("        {help}"))?;
        }
    }
    if findings.iter().any(|f| !f.good && f.needed) { Err(Failure::silent(Code::Dependency)) } else { Ok(()) }
}

async fn python() -> Finding {
    match Python::choose(Python::find_all().await) {
        Ok(p) => Finding::good(format!("Python 3.{} at {}", p.minor, p.executable.display())),
        Err(seen) => Finding::lacks(
            true,
            format!("no Python of a supported version (found: {})", if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }),
            "install Python 3.9 or later; Debian: apt-get install python3 python3-venv",
        ),
    }
}

fn tools(global: &Global) -> Finding {
    let base = match global.tools_folder() {
        Ok(b) => b,
        Err(f) => return Finding::lacks(true, f.message, f.help.unwrap_or_default()),
    };
    match Toolchain::status(base.as_std_path()) {
        ToolsStatus::Installed { tools, .. } => Finding::good(format!("Ansible and kubectl in {}", tools.root().display())),
        ToolsStatus::Broken { folder } => Finding::lacks(
            false,
            format!("the tools in {} are not whole", folder.display()),
            "microremed tools install (or the next run) mends it",
        ),
        ToolsStatus::Missing { .. } => Finding::lacks(
            false,
            "Ansible and kubectl are not installed yet".to_owned(),
            "microremed tools install, or the first run, does it",
        ),
    }
}

fn sandbox() -> Vec<Finding> {
    let Standing { suffices, holds, lacks } = match layers() {
        Ok(found) => found,
        Err(f) => return vec![Finding::lacks(true, f.message, f.help.unwrap_or_default())],
    };
    let mut findings = Vec::new();
    if suffices {
        findings.push(Finding::good(holds));
    }
    findings.extend(lacks.into_iter().map(|(what, help)| Finding::lacks(!suffices, what, help)));
    findings
}

async fn cluster() -> Finding {
    match connect(&Target::Embedded(Box::default())).await {
        Ok(c) => {
            let version = c.version().await;
            c.close().await;
            match version {
                Ok(v) => Finding::good(format!("embedded cluster, Kubernetes {v}")),
                Err(e) => Finding::lacks(true, chain(&e), "is a proxy or firewall between this program and 127.0.0.1?"),
            }
        }
        Err(e) => Finding::lacks(true, chain(&e), "is listening on 127.0.0.1 allowed here?"),
    }
}

fn results() -> Finding {
    let Ok(dir) = current() else { return Finding::lacks(true, "there is no working folder".to_owned(), "change to a folder that exists") };
    match tempfile::tempfile_in(&dir) {
        Ok(_) => Finding::good(format!("{dir} can be written to (results go there)")),
        Err(e) => Finding::lacks(false, format!("{dir} cannot be written to: {e}"), "run --out DIR names another folder"),
    }
}

fn data(global: &Global) -> Vec<Finding> {
    let root = match current().map(|c| Root::find(global.root.as_deref(), &c)) {
        Ok(Ok(root)) => root,
        Ok(Err(e)) => return vec![Finding::lacks(true, chain(&e), "--root names the folder of your data files")],
        Err(f) => return vec![Finding::lacks(true, f.message, "")],
    };
    let (catalog, diagnostics) = Catalog::load(&root);
    let place = root.path().map_or("built in".to_owned(), ToString::to_string);
    let mut findings = vec![if diagnostics.is_empty() {
        Finding::good(format!(
            "data files ({place}): {} systems, {} faults, {} models",
            catalog.systems.len(),
            catalog.faults.len(),
            catalog.models.len()
        ))
    } else {
        Finding::lacks(true, format!("{} mistakes in the data files ({place})", diagnostics.len()), "microremed check shows them")
    }];
    let mut keyless: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, model) in &catalog.models {
        if let Provider::Openai(p) = &model.provider
            && let Some(key) = &p.key_env
            && variable(key).is_none()
        {
            keyless.entry(key).or_default().push(name);
        }
    }
    for (key, models) in keyless {
        findings.push(Finding::lacks(false, format!("no key for {}", models.join(", ")), format!("export {key}=...")));
    }
    findings
}
