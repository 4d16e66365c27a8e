//! The command line as transcripts: `.trycmd` files hold commands, what they print and how they exit; so does the README.
//! `TRYCMD=overwrite cargo test --test cli` writes them anew; look at the difference before you commit it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod json;
mod reference;

use std::path::Path;
use std::process::{Command, Output};

#[test]
fn transcripts() {
    cases("tests/cli/*.trycmd");
}

#[test]
fn the_readme_shows_what_happens() {
    cases("README.md");
}

fn cases(paths: &str) {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        // Versions of tools are part of a trial's identity: none, so that it is the same on every machine.
        .env("MICROREMED_TOOLS", "/nonexistent/tools")
        .case(paths)
        .run();
}

fn program(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_microremed"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env("MICROREMED_TOOLS", dir.join("no-tools"))
        .output()
        .unwrap()
}

fn good(args: &[&str], dir: &Path) -> String {
    let done = program(args, dir);
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn what_new_writes_passes_check_and_makes_a_plan() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["system", "fault", "method", "model", "experiment", "sequence"] {
        let written = good(&["new", kind, &format!("my-{kind}"), "--root", "r"], dir.path());
        assert!(written.lines().all(|path| dir.path().join(path).is_file()), "{written}");
        assert!(written.contains(&format!("my-{kind}")), "{written}");
        good(&["check", "r"], dir.path());
    }
    let args = ["--system", "my-system", "--method", "my-method", "--model", "my-model", "--sequence", "my-sequence", "--root", "r"];
    let plan = good(&[&["plan", "my-experiment"], &args[..]].concat(), dir.path());
    assert_eq!(plan.lines().filter(|l| l.contains("my-system") && l.contains("my-method") && l.contains("my-model")).count(), 3, "{plan}");
    let rendered = good(&[&["render", "my-experiment", "2"], &args[..]].concat(), dir.path());
    assert!(rendered.contains("You are on call"), "{rendered}");
    // What is there is not written over, in whatever format it is.
    let fault = dir.path().join("r/faults/my-fault.toml");
    let before = std::fs::read(&fault).unwrap();
    let again = program(&["new", "fault", "my-fault", "--root", "r"], dir.path());
    assert_eq!(again.status.code(), Some(2));
    std::fs::write(dir.path().join("r/models/other.yaml"), "").unwrap();
    let other = program(&["new", "model", "other", "--root", "r"], dir.path());
    assert!(String::from_utf8_lossy(&other.stderr).contains("other.yaml is there already"));
    assert_eq!(std::fs::read(&fault).unwrap(), before);
}

/// Blocks of the README that begin with `# path/of/a/file` are files of one root, which must be right and run.
#[test]
fn the_data_files_of_the_readme_pass_check() {
    let readme = include_str!("../../README.md");
    let dir = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for block in readme.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap();
        if !["toml", "yaml", "jinja"].contains(&language) {
            continue;
        }
        let path = text.lines().next().unwrap().trim_start_matches(['#', '{']).trim_end_matches(['#', '}']).trim();
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("{}\n", text.split_once('\n').unwrap().1)).unwrap();
        written.push(path.to_owned());
    }
    assert!(written.len() >= 7, "{written:?}");
    good(&["check", dir.path().to_str().unwrap()], dir.path());
    let root = dir.path().to_str().unwrap();
    let plan = good(&["plan", "mine", "--root", root, "--format", "csv"], dir.path());
    assert_eq!(plan.lines().count(), 1 + 4, "{plan}");
    let rendered = good(&["render", "mine", "1", "--root", root], dir.path());
    for part in ["replicas: 0", "kind: Deployment", "no replicas"] {
        assert!(rendered.contains(part), "{part}: {rendered}");
    }
}
