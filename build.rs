//! The data folders are built into the program: a file added to one of them must lead to a new build.

fn main() {
    for folder in ["systems", "faults", "prompts", "pipelines", "experiments", "models"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
