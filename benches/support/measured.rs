//! What the benchmarks that repeat something do around their measurement: the number of repeats, and the result or why
//! there is none.

use std::process::ExitCode;

pub(crate) type Problem = Box<dyn std::error::Error>;

/// Measures and prints. The last number of the command line says how often; without one, `repeats`.
#[expect(clippy::print_stdout, reason = "this is the result")]
pub(crate) fn report(repeats: u32, measure: impl FnOnce(u32) -> Result<String, Problem>) -> ExitCode {
    // `cargo bench` adds `--bench`, `cargo test --benches` does not: then there is nothing to measure.
    if !std::env::args().any(|a| a == "--bench") {
        return ExitCode::SUCCESS;
    }
    let repeats = std::env::args().filter_map(|a| a.parse().ok()).next_back().unwrap_or(repeats);
    match measure(repeats) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("failed to measure: {why}");
            ExitCode::FAILURE
        }
    }
}
