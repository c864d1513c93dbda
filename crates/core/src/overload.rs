//! What is refused when more arrives than can be stored.
//!
//! A notification that is let in waits for the store together with all that came before it. When that wait grows, the least
//! urgent are refused first, so that it stays short for the others. The decision is made before anything is stored, and by
//! the wait alone: whoever is let in is served.

use std::time::Duration;

use crate::error::{ErrorCode, Problem};
use crate::notification::Priority;

/// The category of what nobody waits for.
pub const MARKETING_CATEGORY: &str = "marketing";

/// The longest time that a refused caller is asked to stay away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How much it matters that a notification is taken now. The least is refused first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Marketing, and whatever has a low priority.
    Bulk,
    /// The usual.
    Normal,
    /// High and critical priorities.
    Urgent,
}

/// A notification is not let in. Nothing of it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// Its class.
    pub class: Class,
    /// When to try again: one to five whole seconds, more when the wait is longer.
    pub retry_after: Duration,
}

impl Class {
    /// All classes, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Bulk, Self::Normal, Self::Urgent];

    /// The class of a notification. Marketing stays bulk whatever its priority says.
    pub fn of(category: &str, priority: Priority) -> Self {
        if category.eq_ignore_ascii_case(MARKETING_CATEGORY) {
            return Self::Bulk;
        }
        match priority {
            Priority::Critical | Priority::High => Self::Urgent,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Bulk,
        }
    }

    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }

    /// The longest wait with which this class is still let in.
    const fn patience(self) -> Duration {
        match self {
            Self::Bulk => Duration::from_millis(250),
            Self::Normal => Duration::from_millis(500),
            Self::Urgent => Duration::from_secs(1),
        }
    }
}

/// Whether a notification of this class is let in while the store needs `wait` to get to it.
pub fn admit(class: Class, wait: Duration) -> Result<(), Shed> {
    if wait <= class.patience() {
        return Ok(());
    }
    let pause = Duration::from_secs(wait.as_secs().saturating_add(1));
    Err(Shed { class, retry_after: pause.min(LONGEST_PAUSE) })
}

impl From<Shed> for Problem {
    fn from(shed: Shed) -> Self {
        Self::plain(ErrorCode::OVERLOADED).after(shed.retry_after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marketing_is_bulk_and_the_rest_goes_by_priority() {
        for priority in Priority::ALL {
            assert_eq!(Class::of("marketing", priority), Class::Bulk);
            assert_eq!(Class::of("Marketing", priority), Class::Bulk);
        }
        let of = |priority| Class::of("transactional", priority);
        assert_eq!(of(Priority::Critical), Class::Urgent);
        assert_eq!(of(Priority::High), Class::Urgent);
        assert_eq!(of(Priority::Normal), Class::Normal);
        assert_eq!(of(Priority::Low), Class::Bulk);
    }

    #[test]
    fn each_class_has_its_own_patience() {
        for (class, millis) in [(Class::Bulk, 250), (Class::Normal, 500), (Class::Urgent, 1_000)] {
            assert_eq!(admit(class, Duration::from_millis(millis)), Ok(()));
            let shed = admit(class, Duration::from_millis(millis + 1)).unwrap_err();
            assert_eq!(shed.class, class);
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let problem = Problem::from(admit(Class::Bulk, Duration::from_millis(300)).unwrap_err());
        assert_eq!((problem.code, problem.retry_after), (ErrorCode::OVERLOADED, Some(Duration::from_secs(1))));
    }

    proptest! {
        #[test]
        fn a_higher_class_is_never_shed_while_a_lower_one_is_let_in(millis in 0_u64..20_000) {
            let wait = Duration::from_millis(millis);
            let let_in = Class::ALL.map(|class| admit(class, wait).is_ok());
            prop_assert!(let_in.is_sorted(), "{let_in:?}");
        }

        #[test]
        fn the_pause_has_bounds_and_grows_with_the_wait(one in 1_001_u64..1 << 40, more in 0_u64..1 << 40) {
            let pause = |millis| admit(Class::Urgent, Duration::from_millis(millis)).unwrap_err().retry_after;
            let (short, long) = (pause(one), pause(one + more));
            prop_assert!(Duration::from_secs(1) <= short && short <= long && long <= LONGEST_PAUSE);
            prop_assert_eq!(short.subsec_nanos(), 0);
        }

        #[test]
        fn what_was_let_in_stays_in_when_the_wait_is_shorter(one in 0_u64..3_000, less in 0_u64..3_000) {
            for class in Class::ALL {
                let admitted = admit(class, Duration::from_millis(one)).is_ok();
                prop_assert!(!admitted || admit(class, Duration::from_millis(one.saturating_sub(less))).is_ok());
            }
        }
    }
}
