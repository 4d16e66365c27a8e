//! `merge`: the runs of several shards become one.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;

use super::failure::{Failure, chain};
use super::places::Global;
use super::{print, report, tell};
use crate::record::{MergeError, merge as join, read_journal};
use crate::report::{Results, terminal_table, write_all};

pub(super) fn merge(global: &Global, run_dirs: &[Utf8PathBuf], out: &Utf8Path) -> Result<(), Failure> {
    let run = join(run_dirs, out).map_err(|e| {
        let failure = Failure::input(chain(&e));
        match e {
            MergeError::Strangers { .. } => failure.help("microremed report takes several runs of any kind and shows them in one table"),
            MergeError::Layout(_) => {
                failure.help("name folders of runs: results/<experiment>-<time>; --out names a folder that can be written to")
            }
            _ => failure,
        }
    })?;
    let journal = read_journal(&run.events()).map_err(|e| Failure::harness(chain(&e)))?;
    write_all(&run, &journal.records).map_err(|e| Failure::harness(chain(&e)))?;
    if global.json {
        return print(&json!({"run": run.path()}).to_string());
    }
    let results = Results::from_records(&journal.records);
    print(&terminal_table(&results, report::width(), console::colors_enabled()))?;
    tell(&format!("the joined run: {}", run.path()));
    Ok(())
}
