//! The `microremed` program: everything happens in [`microremed::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    microremed::cli::main()
}
