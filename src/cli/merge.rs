//! `merge`: the runs of several shards become one.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;

use super::failure::{Failure, chain};
use super::places::Global;
use super::{print, report, tell};
use crate::record::{MergeError, merge as join, read_state};
use crate::report::{Results, terminal_table, write_results};

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
    let (state, _) = read_state(&run.events()).map_err(|e| Failure::harness(chain(&e)))?;
    let results = Results::from_states([state]);
    write_results(&run, &results).map_err(|e| Failure::harness(chain(&e)))?;
    if global.json {
        return print(&json!({"run": run.path()}).to_string());
    }
    print(&terminal_table(&results, report::width(), console::colors_enabled()))?;
    tell(&format!("the joined run: {}", run.path()));
    Ok(())
}
