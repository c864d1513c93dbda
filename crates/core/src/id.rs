//! Identities.
//!
//! A notification is identified inside by one 63-bit integer that grows with time, so that rows are appended and never
//! scattered: 42 bits of milliseconds, 21 bits of sequence. Outside it wears the form of a version 7 UUID (RFC 9562,
//! section 5.7): the same 63 bits, with the rest filled by check bits, so that an id that nobody issued is recognised
//! without a look-up and no second, random index is needed.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::time::Timestamp;

const SEQUENCE_BITS: u32 = 21;
const CHECK_BITS: u32 = 53;
/// The last millisecond that an id can tell of, in the year 2109.
const LATEST_MILLIS: u64 = (1 << (63 - SEQUENCE_BITS)) - 1;
const CHECK_MASK: u64 = (1 << CHECK_BITS) - 1;

/// The identity of a notification; grows with the time of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

/// A text that is not the id of anything.
#[derive(Debug, thiserror::Error)]
#[error("not a message id")]
pub struct InvalidMessageId;

impl MessageId {
    /// The id with this integer form. Negative integers are not ids.
    pub fn from_integer(integer: i64) -> Option<Self> {
        u64::try_from(integer).ok().map(Self)
    }

    /// The integer that stores use as key.
    pub const fn as_integer(self) -> i64 {
        self.0.cast_signed()
    }

    /// The smallest id that a notification accepted at `instant` can have.
    pub fn floor(instant: Timestamp) -> Self {
        let millis = u64::try_from(instant.as_millis()).unwrap_or(0).min(LATEST_MILLIS);
        Self(millis << SEQUENCE_BITS)
    }

    /// When this id was made, to the millisecond.
    pub fn instant(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> SEQUENCE_BITS).cast_signed())
    }

    /// The public form.
    pub fn to_uuid(self) -> Uuid {
        let millis = u128::from(self.0 >> SEQUENCE_BITS);
        let sequence = u128::from(self.0 & ((1 << SEQUENCE_BITS) - 1));
        let check = u128::from(check_bits(self.0));
        Uuid::from_u128(
            millis << 80 | 0x7 << 76 | (sequence >> 9) << 64 | 0b10 << 62 | (sequence & 0x1ff) << CHECK_BITS | check,
        )
    }

    /// Reads the public form; `None` if it was never issued by this encoding.
    pub fn from_uuid(uuid: Uuid) -> Option<Self> {
        let bits = uuid.as_u128();
        let millis = u64::try_from(bits >> 80).ok()?;
        let high = u64::try_from((bits >> 64) & 0xfff).ok()?;
        let low = u64::try_from((bits >> CHECK_BITS) & 0x1ff).ok()?;
        if millis >> (63 - SEQUENCE_BITS) != 0 {
            return None;
        }
        let id = Self(millis << SEQUENCE_BITS | high << 9 | low);
        (id.to_uuid() == uuid).then_some(id)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
fn check_bits(id: u64) -> u64 {
    let mut mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) & CHECK_MASK
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_uuid().fmt(formatter)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_uuid().fmt(formatter)
    }
}

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, InvalidMessageId> {
        Uuid::try_parse(text).ok().and_then(Self::from_uuid).ok_or(InvalidMessageId)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_uuid().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_uuid(Uuid::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom(InvalidMessageId))
    }
}

/// Makes ids of notifications.
pub trait IdGen: Send + Sync {
    /// An id that is greater than every id made before.
    fn next(&self, now: Timestamp) -> MessageId;
}

/// Strictly increasing ids, also when the clock stands still or goes back.
#[derive(Debug, Default)]
pub struct MonotonicIds {
    last: AtomicU64,
}

impl MonotonicIds {
    /// Continues after the greatest id already stored.
    pub fn after(last: Option<MessageId>) -> Self {
        Self { last: AtomicU64::new(last.map_or(0, |id| id.0)) }
    }
}

impl IdGen for MonotonicIds {
    fn next(&self, now: Timestamp) -> MessageId {
        let floor = MessageId::floor(now).0;
        let step = |last: u64| Some(floor.max(last + 1));
        match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(last) | Err(last) => MessageId(floor.max(last + 1)),
        }
    }
}

/// The identity of a tenant inside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(i64);

impl TenantId {
    /// The tenant of credentials that name none.
    pub const DEFAULT: Self = Self(1);

    /// The tenant with this key in the store.
    pub const fn from_integer(integer: i64) -> Self {
        Self(integer)
    }

    /// The key in the store.
    pub const fn as_integer(self) -> i64 {
        self.0
    }
}

/// The identity of a user; chosen by the application or made by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One start of one process. Leases carry it, so that the leases of a dead process can be told from those of a live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(pub Uuid);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_public_form_reads_back(integer in 0..=i64::MAX) {
            let id = MessageId::from_integer(integer).unwrap();
            let uuid = id.to_uuid();
            prop_assert_eq!(uuid.get_version_num(), 7);
            prop_assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!(MessageId::from_uuid(uuid), Some(id));
            prop_assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        }

        #[test]
        fn an_id_that_nobody_issued_is_recognised(bits: u128) {
            let uuid = Uuid::from_u128(bits);
            if let Some(id) = MessageId::from_uuid(uuid) {
                prop_assert_eq!(id.to_uuid(), uuid);
            }
        }

        #[test]
        fn public_forms_sort_as_their_ids(one in 0..=i64::MAX, other in 0..=i64::MAX) {
            let (one, other) = (MessageId::from_integer(one).unwrap(), MessageId::from_integer(other).unwrap());
            prop_assert_eq!(one.cmp(&other), one.to_uuid().cmp(&other.to_uuid()));
        }

        #[test]
        fn ids_only_grow_whatever_the_clock_does(times in prop::collection::vec(0_i64..4_000_000_000_000, 1..50)) {
            let ids = MonotonicIds::default();
            let made: Vec<MessageId> = times.iter().map(|time| ids.next(Timestamp::from_millis(*time))).collect();
            prop_assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        let now = Timestamp::from_millis(1_767_225_600_123);
        assert_eq!(MonotonicIds::default().next(now).instant(), now);
    }

    #[test]
    fn no_instant_is_too_late_for_a_floor() {
        let far = MessageId::floor(Timestamp::MAX);
        assert!(far > MessageId::floor(Timestamp::from_millis(1_800_000_000_000)));
    }

    #[test]
    fn ids_continue_after_the_last_one_stored() {
        let last = MessageId::floor(Timestamp::from_millis(2_000_000_000_000));
        let next = MonotonicIds::after(Some(last)).next(Timestamp::from_millis(1_000_000_000_000));
        assert!(next > last);
    }
}
