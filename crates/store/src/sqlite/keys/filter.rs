//! A Bloom filter over fingerprints: says for sure that a key is not in a run, and is wrong about one in three hundred of
//! those that are not. (Bloom, *Space/time trade-offs in hash coding with allowable errors*, 1970; two hashes stand in for
//! all of them, Kirsch and Mitzenmacher 2006.)

use tidings_core::idempotency::Fingerprint;

const BITS_PER_KEY: usize = 12;
const PROBES: u64 = 8;

/// The filter of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    bits: Vec<u8>,
}

impl Filter {
    /// An empty filter for so many keys.
    pub(super) fn for_keys(count: usize) -> Self {
        Self { bits: vec![0; (count * BITS_PER_KEY).div_ceil(8).max(8)] }
    }

    /// A filter as it was stored. Without any bits it excludes nothing.
    pub(super) fn from_bytes(bits: Vec<u8>) -> Self {
        Self { bits }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    pub(super) fn add(&mut self, key: Fingerprint) {
        for (byte, mask) in places(key, self.bits.len()) {
            if let Some(bits) = self.bits.get_mut(byte) {
                *bits |= mask;
            }
        }
    }

    /// `false` when the key was never added.
    pub(super) fn may_have(&self, key: Fingerprint) -> bool {
        self.bits.is_empty()
            || places(key, self.bits.len()).all(|(byte, mask)| self.bits.get(byte).is_some_and(|bits| bits & mask != 0))
    }
}

/// The bits of a key in a filter of so many bytes. A fingerprint is random already, so it is its own hash.
fn places(key: Fingerprint, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let halves = u128::from_le_bytes(key.0);
    let (first, second) = (low_half(halves), low_half(halves >> 64) | 1);
    let bits = (bytes as u64).max(1) * 8;
    (0..PROBES).map(move |probe| {
        let bit = first.wrapping_add(probe.wrapping_mul(second)) % bits;
        (usize::try_from(bit / 8).unwrap_or(0), 1_u8 << (bit % 8))
    })
}

fn low_half(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Fingerprint {
        Fingerprint::of(&number.to_le_bytes())
    }

    #[test]
    fn what_was_added_is_never_excluded_and_few_others_pass() {
        let mut filter = Filter::for_keys(10_000);
        (0..10_000).for_each(|number| filter.add(key(number)));
        let filter = Filter::from_bytes(filter.as_bytes().to_vec());
        assert!((0..10_000).all(|number| filter.may_have(key(number))));
        let wrong = (10_000..20_000).filter(|number| filter.may_have(key(*number))).count();
        assert!(wrong < 100, "{wrong} of 10,000 others pass");
    }

    #[test]
    fn a_filter_without_bits_excludes_nothing() {
        assert!(Filter::from_bytes(Vec::new()).may_have(key(1)));
        assert!(!Filter::for_keys(0).may_have(key(1)));
    }
}
