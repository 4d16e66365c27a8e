//! How a group of outside processes waits: what whoever watches them tells whoever keeps the clock.

use std::time::Duration;

/// Says whether a group of outside processes only waits, and how; none: one of them computes, or is about to. Called often:
/// must be quick.
pub type RestProbe = Box<dyn Fn() -> Option<Rest> + Send + Sync>;

/// All processes of a group wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rest {
    /// What they wait in; none: the system does not tell.
    pub stance: Option<Stance>,
}

/// What every thread of a group waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stance {
    /// The same in two looks between which nobody went on to wait for something else.
    pub mark: u64,
    /// The longest of those time-outs of theirs that end soon; zero when there is none. A client that polls goes on by itself
    /// within this.
    pub wakes_within: Duration,
}

impl Rest {
    /// Two groups seen as one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = self.stance.zip(other.stance);
        Self {
            stance: both.map(|(a, b)| Stance { mark: a.mark.rotate_left(1) ^ b.mark, wakes_within: a.wakes_within.max(b.wakes_within) }),
        }
    }
}
