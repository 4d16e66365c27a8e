//! Finds a Python that the tools can be installed for.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use super::pins::Pins;

/// Tried in this order: what a user calls python3 first, then the newest for which the pins were tried.
const NAMES: [&str; 7] = ["python3", "python3.13", "python3.12", "python3.11", "python3.14", "python3.10", "python3.9"];
const LIMIT: Duration = Duration::from_secs(20);
const QUESTION: &str = "import json, sys, importlib.util as u; print(json.dumps(dict(\
    executable=sys.executable, major=sys.version_info[0], minor=sys.version_info[1], \
    venv=all(u.find_spec(m) for m in ('venv', 'ensurepip')))))";

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Python {
    /// Its path.
    pub executable: PathBuf,
    major: u32,
    /// 11 for Python 3.11.
    pub minor: u32,
    /// It can create virtual environments.
    pub(crate) venv: bool,
}

impl Python {
    fn supported(&self) -> bool {
        self.major == 3 && Pins::for_python(self.minor).is_some()
    }

    /// What has to be installed, with Debian's command, when it cannot create virtual environments.
    pub(crate) fn mend(&self) -> String {
        format!("apt-get install python3.{}-venv", self.minor)
    }

    /// What is found on the path, supported or not, best first.
    pub(crate) async fn find_all() -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for name in NAMES {
            if let Some(python) = Self::ask(name).await
                && !found.contains(&python)
            {
                found.push(python);
            }
        }
        found
    }

    /// The first that is supported and complete, else the first that is supported, and the versions that were seen.
    pub(crate) fn choose(found: Vec<Self>) -> Result<Self, Vec<String>> {
        let seen = found.iter().map(|p| format!("{}.{}", p.major, p.minor)).collect();
        let mut usable: Vec<Self> = found.into_iter().filter(Self::supported).collect();
        usable.sort_by_key(|p| !p.venv);
        usable.into_iter().next().ok_or(seen)
    }

    async fn ask(program: &str) -> Option<Self> {
        let mut command = Command::new(program);
        command.args(["-I", "-c", QUESTION]).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.ok()?.ok()?;
        if !output.status.success() {
            return None;
        }
        serde_json::from_slice(&output.stdout).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(minor: u32, venv: bool) -> Python {
        Python { executable: format!("/usr/bin/python3.{minor}").into(), major: 3, minor, venv }
    }

    #[test]
    fn a_complete_one_is_preferred() {
        assert_eq!(Python::choose(vec![python(11, false), python(12, true)]).unwrap().minor, 12);
        assert_eq!(Python::choose(vec![python(11, false)]).unwrap().mend(), "apt-get install python3.11-venv");
    }

    #[test]
    fn unsupported_ones_are_named() {
        assert_eq!(Python::choose(vec![python(8, true), python(16, true)]), Err(vec!["3.8".to_owned(), "3.16".to_owned()]));
    }

    #[tokio::test]
    async fn a_program_that_is_missing_or_no_python_is_skipped() {
        assert_eq!(Python::ask("/no/such/python").await, None);
        assert_eq!(Python::ask("false").await, None);
    }
}
