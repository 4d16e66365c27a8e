//! What chance decides: the target of a trial and the seed of its cluster. Neither depends on method, model or filter.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A place in an experiment that all methods and models share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) seed: u64,
    pub(super) system: &'a str,
    pub(super) sequence: &'a str,
    pub(super) index: u32,
    pub(super) fault: &'a str,
}

impl Slot<'_> {
    fn rng(&self, purpose: &str, repeat: u32) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        for part in [purpose, self.system, self.sequence, self.fault] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(self.seed.to_le_bytes());
        hash.update(self.index.to_le_bytes());
        hash.update(repeat.to_le_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into())
    }

    /// One of so many candidates, each as likely; `None` when there are none. The same for every repeat.
    pub(super) fn choose(&self, candidates: usize) -> Option<usize> {
        let n = u64::try_from(candidates).ok().filter(|n| *n > 0)?;
        // The high half of the product spreads 64 random bits evenly; the bias is below candidates / 2^64.
        let wide = u128::from(self.rng("target", 0).next_u64()) * u128::from(n);
        usize::try_from(wide >> 64).ok()
    }

    /// Seed of the embedded cluster.
    pub(super) fn cluster_seed(&self, repeat: u32) -> u64 {
        // JSON readers in other languages keep 53 bits.
        self.rng("cluster", repeat).next_u64() >> 11
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_repeatable() {
        let mut counts = [0u32; 3];
        for index in 0..3000 {
            let slot = Slot { seed: 42, system: "s", sequence: "q", index, fault: "f" };
            let drawn = slot.choose(3).unwrap();
            assert_eq!(slot.choose(3), Some(drawn));
            counts[drawn] += 1;
        }
        assert!(counts.iter().all(|c| (900..1100).contains(c)), "{counts:?}");
    }

    #[test]
    fn repeats_change_the_cluster_only() {
        let slot = Slot { seed: 42, system: "s", sequence: "q", index: 0, fault: "f" };
        assert_ne!(slot.cluster_seed(0), slot.cluster_seed(1));
        assert_eq!(slot.choose(0), None);
    }
}
