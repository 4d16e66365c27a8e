//! The journal of a run: append-only JSON lines on disk, written by one task, read by everybody.
//!
//! Inputs: [`crate::event::Event`]s and the files of trials; outputs: a [`RunDir`] on disk, [`Journal`]s read back from
//! it and the [`RunState`] that they fold into. A run is its own directory, so that a crash harms one run at most;
//! `resume` is "the plan minus what the state holds", after the debts still owed are paid. Nothing here knows how trials
//! are executed or reported.

mod artifacts;
mod atomic;
mod calls;
mod fold;
mod layout;
mod merge;
mod reader;
mod writer;

pub use artifacts::{ArtifactError, Artifacts};
pub use atomic::{AtomicWriteError, write_atomically};
pub use calls::{CallStore, Earlier, Exchange, Places, RecordingModel};
pub use fold::{Debt, RunState, Spent, outstanding};
pub use layout::{LayoutError, RunDir, RunHead, Whole};
pub use merge::{MergeError, merge};
pub use reader::{Journal, JournalError, JournalReader, read_journal, read_state};
pub use writer::{Clock, JournalWriter, WriteError};
