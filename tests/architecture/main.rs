//! The map in ARCHITECTURE.md, checked: ranks of modules, sizes of files, who may print.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};

/// Ranks: a module imports only modules of a lower rank.
const RANKS: [(&str, u32); 16] = [
    ("ids", 0),
    ("beside", 0),
    ("diagnostic", 0),
    ("rest", 0),
    ("sim", 1),
    ("template", 1),
    ("model", 2),
    ("ansible", 2),
    ("cluster", 2),
    ("manifest", 3),
    ("plan", 4),
    ("event", 5),
    ("execute", 6),
    ("record", 6),
    ("report", 7),
    ("cli", 8),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(src()).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_import_downward_only() {
    let rank = |m: &str| RANKS.iter().find(|(n, _)| *n == m).map(|(_, r)| *r);
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let module = module_of(&path);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("{} has no rank: give it one in ARCHITECTURE.md and here", path.display()));
        for (n, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for part in code.split("crate::").skip(1) {
                let other: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if let Some(r) = rank(&other)
                    && other != module
                    && r >= own
                {
                    wrong.push(format!("{}:{}: {module} imports {other}", path.display(), n + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_connect_and_its_configuration_know_the_embedded_cluster() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let text = path.to_string_lossy().replace('\\', "/");
        let may = text.contains("/src/sim/")
            || text.ends_with("/cluster/connect.rs")
            || text.ends_with("/execute/embedded.rs")
            || text.ends_with("/cli/cluster_up.rs");
        if !may && fs::read_to_string(&path).unwrap().contains("crate::sim") {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "these name the embedded cluster: {wrong:?}");
}

#[test]
fn files_stay_readable() {
    let mut long = Vec::new();
    for path in sources(&src()) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        if code > 800 {
            long.push(format!("{} has {code} lines without its tests", path.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn only_the_command_line_prints_reads_the_environment_or_exits() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        if module_of(&path) == "cli" {
            continue;
        }
        for (n, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in ["println!", "eprintln!", "env::var", "process::exit"] {
                if code.contains(word) {
                    wrong.push(format!("{}:{}: {word}", path.display(), n + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_fault_system_or_method_is_named_in_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    for folder in ["faults", "systems", "pipelines"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let is_data = path.extension().is_some_and(|e| e == "toml") || path.join("system.toml").exists();
            // The trial's own pipeline is a fixed name of the format.
            if is_data && stem != "trial" {
                names.push(stem);
            }
        }
    }
    assert!(names.len() > 10, "{names:?}");
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let file = path.to_string_lossy().replace('\\', "/");
        if file.ends_with("tests.rs") || file.contains("/tests/") || file.ends_with("fixture.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (n, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for name in &names {
                // Examples in `--help` may name shipped data; behaviour may not.
                if line.contains(&format!("\"{name}\"")) {
                    wrong.push(format!("{}:{}: {name}", path.display(), n + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
