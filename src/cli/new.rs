//! `new`: a commented starting file and what belongs to it. Inputs: a kind, a name, the root; output: files that pass
//! `check`. What is written lies in `new/` as data, with `__NAME__` for the name.

use camino::Utf8PathBuf;

use super::args::NewKind;
use super::failure::{Failure, chain};
use super::places::{Global, current};
use super::{load, print, tell};
use crate::manifest::{Catalog, Root};
use crate::record::write_atomically;

/// Paths below the root and texts.
type Files = &'static [(&'static str, &'static str)];

const PLACE: &str = "__NAME__";
/// Names become names of Kubernetes objects and files.
const LONGEST: usize = 40;

fn files(kind: NewKind) -> Files {
    match kind {
        NewKind::System => &[
            ("systems/__NAME__/system.toml", include_str!("new/system/system.toml")),
            ("systems/__NAME__/k8s/workload.yaml.j2", include_str!("new/system/k8s/workload.yaml.j2")),
        ],
        NewKind::Fault => &[
            ("faults/__NAME__.toml", include_str!("new/fault/fault.toml")),
            ("faults/templates/__NAME__.yaml.j2", include_str!("new/fault/templates/fault.yaml.j2")),
            ("faults/gold/__NAME__.yml.j2", include_str!("new/fault/gold/fault.yml.j2")),
        ],
        NewKind::Method => &[
            ("pipelines/__NAME__.toml", include_str!("new/method/method.toml")),
            ("prompts/__NAME__/system.md.j2", include_str!("new/method/prompts/system.md.j2")),
            ("prompts/__NAME__/result.md.j2", include_str!("new/method/prompts/result.md.j2")),
        ],
        NewKind::Model => &[("models/__NAME__.toml", include_str!("new/model/model.toml"))],
        NewKind::Experiment => &[("experiments/__NAME__.toml", include_str!("new/experiment/experiment.toml"))],
        NewKind::Sequence => &[("experiments/sequences/__NAME__.toml", include_str!("new/sequence/sequence.toml"))],
    }
}

pub(super) fn new(global: &Global, kind: NewKind, name: &str) -> Result<(), Failure> {
    check_name(kind, name)?;
    let root = place(global)?;
    let planned: Vec<(Utf8PathBuf, String)> =
        files(kind).iter().map(|(path, text)| (root.join(path.replace(PLACE, name)), text.replace(PLACE, name))).collect();
    // TOML and YAML count as one name.
    let taken = planned.iter().find_map(|(path, _)| {
        let others = ["yaml", "yml"].map(|e| path.with_extension(e));
        std::iter::once(path.clone()).chain(others.into_iter().filter(|_| path.extension() == Some("toml"))).find(|p| p.exists())
    });
    if let Some(path) = taken {
        return Err(Failure::input(format!("{path} is there already")).help("choose another name; nothing was written"));
    }
    for (path, text) in &planned {
        write_atomically(path, text.as_bytes())
            .map_err(|e| Failure::input(chain(&e)).help("--root names a folder that can be written to"))?;
        if global.json {
            print(&serde_json::json!({ "written": path }).to_string())?;
        } else {
            print(path.as_str())?;
        }
    }
    // A name may clash with something of the root: better said now than at the next run.
    let (_, diagnostics) = Catalog::load(&Root::folder(root.clone()));
    if !diagnostics.is_empty() {
        load::show(global, &diagnostics)?;
        return Err(Failure::silent(super::failure::Code::Input));
    }
    if !global.json {
        let shown =
            if Root::find(None, &current()?).is_ok_and(|r| r.path() == Some(&root)) { String::new() } else { format!(" --root {root}") };
        tell(&format!("next: edit it, then microremed check{shown}"));
    }
    Ok(())
}

/// The folder named, else the root that is found, else the working folder.
fn place(global: &Global) -> Result<Utf8PathBuf, Failure> {
    if let Some(root) = &global.root {
        if root.exists() && !root.is_dir() {
            return Err(Failure::input(format!("{root} is no folder")).help("--root names a folder; it is made when it is not there"));
        }
        return Ok(root.clone());
    }
    let current = current()?;
    let found = Root::find(None, &current).ok().and_then(|r| r.path().map(ToOwned::to_owned));
    Ok(found.unwrap_or(current))
}

fn check_name(kind: NewKind, name: &str) -> Result<(), Failure> {
    let dots = kind == NewKind::Model;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && c == '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.len() <= LONGEST && name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().last()) {
        return Ok(());
    }
    let allowed = if dots { "lower-case letters, digits, dashes and dots" } else { "lower-case letters, digits and dashes" };
    Err(Failure::input(format!("{name:?} cannot be a name"))
        .help(format!("up to {LONGEST} {allowed}, with a letter or digit at both ends")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_kubernetes_objects() {
        for good in ["a", "my-shop", "shop2"] {
            assert!(check_name(NewKind::System, good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "My", "a/b", "../a", "a b", "a.b", &"a".repeat(41)] {
            assert!(check_name(NewKind::System, bad).is_err(), "{bad}");
        }
        assert!(check_name(NewKind::Model, "gpt-4.1").is_ok());
    }
}
