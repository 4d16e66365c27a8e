//! Wrong data files: every folder beside this file holds a root and the diagnostics expected of it.
//!
//! A new case is a new folder with `root/`; `MICROREMED_WRITE_EXPECTED=1 cargo test --test manifests wrong` writes its
//! expected.txt, which is then read line by line before it is committed.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use microremed::manifest::{Catalog, Root};

fn cases() -> Vec<Utf8PathBuf> {
    // Relative, so that the expected texts hold on every machine: cargo runs tests in the package's folder.
    let mut folders: Vec<Utf8PathBuf> =
        Utf8Path::new("tests/manifests").read_dir_utf8().unwrap().map(|e| e.unwrap().into_path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn wrong_files_are_explained() {
    let write = std::env::var_os("MICROREMED_WRITE_EXPECTED").is_some();
    let mut different = String::new();
    for case in cases() {
        let (_, diagnostics) = Catalog::load(&Root::folder(case.join("root")));
        assert!(!diagnostics.is_empty(), "{case} has no mistakes");
        let found = diagnostics.render(false, 120).lines().map(|l| l.trim_end().to_owned() + "\n").collect::<String>();
        let path = case.join("expected.txt");
        if write {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            let _ = write!(different, "=== {case}: found\n{found}=== expected\n{expected}\n");
        }
    }
    assert!(cases().len() >= 10);
    assert!(different.is_empty(), "{different}");
}
