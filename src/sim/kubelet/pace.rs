//! How long a kubelet takes from a pod that is bound to a process that runs.

use std::time::Duration;

use crate::sim::config::{Profile, StartUp};

/// CPU work of starting any container, in its own control group, in seconds.
pub(super) const START_CPU: f64 = 0.1;

/// When a process that listens at once does so.
const SOONEST: Duration = Duration::from_millis(10);

/// The times of one [`StartUp`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Making the pod's sandbox.
    pub(super) sandbox: Duration,
    /// Pulling an image that is not on the node.
    pub(super) pull: Duration,
    /// Asking the registry about an image that is.
    pub(super) look: Duration,
    /// Creating and starting a container.
    pub(super) create: Duration,
    /// Whether nothing waits for processes, which listen at once.
    prompt: bool,
}

impl Pace {
    /// The times to keep to.
    pub(super) const fn of(start_up: StartUp) -> Self {
        let ms = Duration::from_millis;
        match start_up {
            StartUp::Modelled => Self { sandbox: ms(400), pull: ms(1800), look: ms(400), create: ms(150), prompt: false },
            StartUp::Prompt => Self { sandbox: ms(20), pull: ms(30), look: ms(10), create: ms(10), prompt: true },
        }
    }

    /// CPU-seconds from the start of a process until it listens.
    pub(super) fn work(self, profile: &Profile) -> f64 {
        if self.prompt { 0.0 } else { profile.startup_cpu_s + START_CPU }
    }

    /// The least time from the start of a process until it listens.
    pub(super) const fn delay(self, profile: &Profile) -> Duration {
        if self.prompt { Duration::ZERO } else { profile.startup_delay }
    }

    /// From the start of a container to the first look at its readiness, which is told to wait so long for the process. `own`: its pod
    /// is one of a modelled system's. Whoever makes other pods may want to see the delay that they ask for.
    pub(super) fn first_look(self, told: Duration, own: bool) -> Duration {
        match (self.prompt, own) {
            (false, _) => told,
            (true, true) => (told / 100).max(SOONEST),
            (true, false) => told.max(SOONEST),
        }
    }
}
