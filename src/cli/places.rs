//! Where things are on this machine.

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;

use super::failure::{Code, Failure};

/// Options that every command has.
#[derive(Debug, Clone)]
pub(super) struct Global {
    pub(super) root: Option<Utf8PathBuf>,
    pub(super) tools: Option<Utf8PathBuf>,
    pub(super) json: bool,
}

impl Global {
    /// The format asked for, or `json` where `--json` is; both at once only when they mean the same.
    pub(super) fn format<F: PartialEq + ValueEnum>(&self, asked: Option<F>, json: F) -> Result<Option<F>, Failure> {
        match asked {
            Some(other) if self.json && other != json => {
                let name = other.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
                Err(Failure::input(format!("--json and --format {name} cannot both be")).help("leave out one of them"))
            }
            _ if self.json => Ok(Some(json)),
            asked => Ok(asked),
        }
    }

    /// The folder of the private tools.
    pub(super) fn tools_folder(&self) -> Result<Utf8PathBuf, Failure> {
        if let Some(dir) = self.tools.clone().or_else(|| variable("MICROREMED_TOOLS").map(Utf8PathBuf::from)) {
            return absolute(&dir);
        }
        let cache = variable("XDG_CACHE_HOME").filter(|c| Utf8Path::new(c).is_absolute()).map(Utf8PathBuf::from);
        let home = || variable("HOME").map(|h| Utf8PathBuf::from(h).join(".cache"));
        match cache.or_else(home) {
            Some(base) => Ok(base.join("microremed/tools")),
            None => Err(Failure::new(Code::Input, "neither HOME nor XDG_CACHE_HOME is set, so there is no place for the tools")
                .help("name a folder: --tools DIR, or the variable MICROREMED_TOOLS")),
        }
    }
}

/// The working folder.
pub(super) fn current() -> Result<Utf8PathBuf, Failure> {
    let dir = std::env::current_dir().map_err(|e| Failure::input(format!("failed to find the working folder: {e}")))?;
    Utf8PathBuf::from_path_buf(dir).map_err(|p| Failure::input(format!("the path of the working folder is not UTF-8: {}", p.display())))
}

/// An absolute path.
pub(super) fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    Ok(if path.is_absolute() { path.to_owned() } else { current()?.join(path) })
}

/// An environment variable, when it is set, not empty and UTF-8.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
