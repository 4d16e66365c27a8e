//! Reports: tables, pages and numbers from the records of a journal, and from nothing else.
//!
//! Input: records; outputs: bytes, the same for the same records whatever the order in which trials were interleaved.
//! [`Results`] holds the rows, [`summary`] and [`comparisons`] compute from them, and there is a file for each format.
//! No manifest is read: delete them all after a run and the report is the same.

mod calibration;
mod compare;
mod csv_files;
mod discriminate;
mod document;
mod group;
mod html;
mod json;
mod latex;
mod main_table;
mod markdown;
mod number;
mod overview;
mod rescore;
mod results;
mod side_effects;
pub mod stats;
mod summary;
mod table;
mod terminal;
mod write;

#[cfg(test)]
mod fixture;

pub use calibration::{Calibrated, calibrated_cells, calibration, calibration_page};
pub use compare::{Axis, Comparison, comparisons, comparisons_between};
pub use csv_files::{TRIAL_COLUMNS, trials_csv};
pub use discriminate::{Misjudged, misjudged};
pub use group::{GroupKey, UnknownGroupKey};
pub use rescore::{Change, RescoreError, Rescored, Rescoring};
pub use results::{Results, Verdict};
pub use summary::{Summary, summary};
pub use terminal::terminal_table;
pub use write::{Format, ReportError, UnknownFormat, render, render_comparison, write_all, write_into, write_results};
