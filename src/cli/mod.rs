//! The command line.

pub mod shim;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    if let Some(code) = shim::dispatch(std::env::args_os()) {
        return code;
    }
    std::process::ExitCode::SUCCESS
}
