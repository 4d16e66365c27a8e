//! A container's file system, in memory.

use std::collections::BTreeMap;

/// Files and directories by absolute path.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Contents of regular files.
    pub regular: BTreeMap<String, Vec<u8>>,
}
