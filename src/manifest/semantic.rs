//! Checks across manifests.

use super::catalog::Catalog;
use crate::diagnostic::Diagnostics;

/// Every mistake that a file's shape does not show.
pub(super) fn check(catalog: &Catalog, diagnostics: &mut Diagnostics) {
    let _ = (catalog, diagnostics);
}
