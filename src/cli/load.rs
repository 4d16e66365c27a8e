//! Loading the catalog, with its mistakes shown.

use std::sync::Arc;

use super::failure::{Code, Failure};
use super::places::{self, Global};
use super::{print, tell};
use crate::diagnostic::Diagnostics;
use crate::manifest::Catalog;
use crate::manifest::source::Root;

/// The root that a command works on.
pub(super) fn root(global: &Global) -> Result<Root, Failure> {
    Root::find(global.root.as_deref(), &places::current()?).map_err(|e| {
        Failure::input(super::failure::chain(&e))
            .help("--root names the folder that holds systems/, faults/, experiments/, ...; without it the built-in data is used")
    })
}

/// The catalog of the root. Mistakes are shown, and are a failure.
pub(super) fn catalog(global: &Global) -> Result<Arc<Catalog>, Failure> {
    checked(global, &root(global)?)
}

/// The same of a certain root.
pub(super) fn checked(global: &Global, root: &Root) -> Result<Arc<Catalog>, Failure> {
    let (catalog, diagnostics) = Catalog::load(root);
    show(global, &diagnostics)?;
    if diagnostics.is_empty() { Ok(Arc::new(catalog)) } else { Err(Failure::silent(Code::Input)) }
}

/// Shows diagnostics: drawn for people on stderr, as JSON lines on stdout.
pub(super) fn show(global: &Global, diagnostics: &Diagnostics) -> Result<(), Failure> {
    if diagnostics.is_empty() {
        return Ok(());
    }
    if global.json {
        for d in diagnostics.json() {
            print(&d.to_string())?;
        }
        return Ok(());
    }
    let term = console::Term::stderr();
    let width = usize::from(term.size_checked().map_or(110, |(_, columns)| columns.clamp(60, 160)));
    tell(diagnostics.render(console::colors_enabled_stderr(), width).trim_end());
    tell(&format!("\n{} found", super::count(diagnostics.len() as u64, "mistake")));
    Ok(())
}
