//! Sets of completion indexes, as statuses and policies write them: `0,2-4,7`.

use std::collections::BTreeSet;
use std::fmt;

/// Indexes of an indexed job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<i64>);

impl Indexes {
    /// Reads a list of numbers and ranges; what is not below `completions` is left out.
    pub(super) fn read(text: &str, completions: i64) -> Self {
        let range = |part: &str| -> Option<(i64, i64)> {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        };
        Self(text.split(',').filter_map(range).flat_map(|(first, last)| first.max(0)..=last.min(completions - 1)).collect())
    }

    pub(super) fn add(&mut self, index: i64) {
        self.0.insert(index);
    }

    pub(super) fn has(&self, index: i64) -> bool {
        self.0.contains(&index)
    }

    pub(super) fn total(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }

    /// How many of them the other set has, too.
    pub(super) fn shared(&self, other: &Self) -> i64 {
        i64::try_from(self.0.intersection(&other.0).count()).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while rest.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            // Two in a row are no range: `0,1`, as Kubernetes writes them.
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_kubernetes_writes_them() {
        for text in ["", "0", "0,1", "0-2", "1,3-5,7,8,10"] {
            assert_eq!(Indexes::read(text, 20).to_string(), text);
        }
        assert_eq!(Indexes::read("0-9,x,12", 5).to_string(), "0-4");
        assert_eq!(Indexes::read("0-3", 9).shared(&Indexes::read("2-5", 9)), 2);
    }
}
