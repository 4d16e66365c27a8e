//! What a child may do. Written by the runner before each child, read by the launcher; never writable by the child.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layers::Layers;
use super::limits::Limits;

/// Everything that the launcher needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The layers to put on; each must hold, or the child is not started.
    pub layers: Layers,
    /// This program, which the launcher starts once more inside.
    pub program: PathBuf,
    /// Files and folders that may be read, and programs in them run.
    pub read: Vec<PathBuf>,
    /// Folders that may be changed.
    pub write: Vec<PathBuf>,
    /// Files that may be written to.
    pub files: Vec<PathBuf>,
    /// The folder that is `/tmp` inside, where the layers can arrange that.
    pub tmp: PathBuf,
    /// What may be connected to over TCP. Without a network of their own ([`Layers::network`]), only the ports are looked at.
    pub servers: Vec<SocketAddr>,
    /// The machine's own address, as it is seen in a network of their own.
    pub address: Option<Ipv4Addr>,
    /// What is `/etc/hosts` there.
    pub hosts: Option<PathBuf>,
    /// Limits.
    pub limits: Limits,
    /// Where the launcher writes why it could not do what it should.
    pub trouble: PathBuf,
}

impl Policy {
    /// Writes it to a file.
    pub(crate) fn save(&self, file: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::from)?;
        fs_err::write(file, text)
    }

    /// Reads it from a file.
    pub fn load(file: &Path) -> std::io::Result<Self> {
        serde_json::from_slice(&fs_err::read(file)?).map_err(std::io::Error::from)
    }
}

/// What the children of a run are confined by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The layers to put on.
    pub layers: Layers,
    /// Limits.
    pub limits: Limits,
    /// This program, which is the launcher, too.
    pub program: PathBuf,
}
