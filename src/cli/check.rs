//! `check`: are all data files right?

use camino::Utf8PathBuf;

use super::failure::{Code, Failure};
use super::places::Global;
use super::{load, tell};
use crate::manifest::{Catalog, source::Root};

pub(super) fn check(global: &Global, paths: &[Utf8PathBuf]) -> Result<(), Failure> {
    if !paths.is_empty() && global.root.is_some() {
        return Err(Failure::input("--root names one folder to check, and the arguments others").help("name all of them as arguments"));
    }
    let roots = if paths.is_empty() { vec![load::root(global)?] } else { paths.iter().map(Root::folder).collect() };
    for path in paths {
        if !path.is_dir() {
            return Err(Failure::input(format!("{path} is no folder"))
                .help("name a folder that holds systems/, faults/, experiments/, ... (a root)"));
        }
    }
    let mut wrong = false;
    for root in roots {
        let (catalog, diagnostics) = Catalog::load(&root);
        load::show(global, &diagnostics)?;
        wrong |= !diagnostics.is_empty();
        if diagnostics.is_empty() && !global.json {
            let c = &catalog;
            let place = root.path().map_or("the built-in data".to_owned(), ToString::to_string);
            tell(&format!(
                "{place}: {} systems, {} faults, {} pipelines, {} sequences, {} experiments, {} models: no mistakes",
                c.systems.len(),
                c.faults.len(),
                c.pipelines.len(),
                c.sequences.len(),
                c.experiments.len(),
                c.models.len()
            ));
        }
    }
    if wrong { Err(Failure::silent(Code::Input)) } else { Ok(()) }
}
