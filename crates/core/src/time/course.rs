//! The course of time that the product keeps although somebody sets the clock of the machine.
//!
//! Set forward, time jumps along: what is due by the clock is due. Set back, time goes on from where it was, at half speed,
//! until the clock has caught up: otherwise everything that waits would wait for as long as the clock was set back.

/// Smaller steps are the clock being kept right and not being set.
const NOISE_MILLIS: i64 = 2;

/// What was seen of the clocks, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    /// How far the wall clock was ahead of the steady one.
    offset: i64,
    /// How far time is ahead of the wall clock.
    lead: i64,
    /// The steady clock when the lead was last made smaller.
    since: i64,
}

impl Course {
    /// A course that begins with the wall clock.
    pub(super) const fn begin(wall: i64, steady: i64) -> Self {
        Self { offset: wall - steady, lead: 0, since: steady }
    }

    /// Whether time is what the wall clock says, and nobody has set it.
    pub(super) const fn is_plain(&self, wall: i64, steady: i64) -> bool {
        self.lead == 0 && (wall - steady - self.offset).abs() <= NOISE_MILLIS
    }

    /// Takes in a reading of both clocks; gives the present.
    pub(super) fn read(&mut self, wall: i64, steady: i64) -> i64 {
        let step = wall - steady - self.offset;
        if step.abs() > NOISE_MILLIS {
            if self.lead == 0 {
                // Nothing was being caught up until now, however long ago the clocks were last read here.
                self.since = steady;
            }
            self.offset += step;
            self.lead = (self.lead - step).max(0);
        }
        let caught_up = (steady - self.since).max(0) / 2;
        if caught_up > 0 || self.lead == 0 {
            self.lead = (self.lead - caught_up).max(0);
            self.since = steady;
        }
        wall + self.lead
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const START: i64 = 1_800_000_000_000;

    #[test]
    fn set_back_time_goes_on_at_half_speed_until_the_clock_has_caught_up() {
        let mut course = Course::begin(START, 0);
        assert_eq!(course.read(START + 1_000, 1_000), START + 1_000);
        let back = |steady: i64| START + steady - 2 * HOUR;
        assert_eq!(course.read(back(1_000), 1_000), START + 1_000);
        assert_eq!(course.read(back(3_000), 3_000), START + 2_000);
        assert_eq!(course.read(back(5_000), 5_000), START + 3_000);
        let met = 4 * HOUR + 1_000;
        assert_eq!(course.read(back(met), met), back(met));
        assert!(course.is_plain(back(met + 5), met + 5));
    }

    #[test]
    fn set_forward_time_jumps_along_and_set_right_again_it_does_not_go_back() {
        let mut course = Course::begin(START, 0);
        assert_eq!(course.read(START + HOUR, 0), START + HOUR);
        assert_eq!(course.read(START + 10, 10), START + HOUR + 10);
        // A clock set back and right again leaves no trace.
        let mut course = Course::begin(START, 0);
        course.read(START - HOUR, 0);
        assert_eq!(course.read(START + 100, 100), START + 100);
    }

    #[test]
    fn set_back_after_days_time_still_goes_on() {
        let mut course = Course::begin(START, 0);
        let steady = 72 * HOUR;
        assert!(course.is_plain(START + steady, steady));
        assert_eq!(course.read(START + steady - 2 * HOUR, steady), START + steady);
    }

    proptest! {
        #[test]
        fn time_never_goes_back_and_meets_the_clock_again(
            steps in prop::collection::vec((0_i64..10_000, -3 * HOUR..3 * HOUR, any::<bool>()), 1..40),
        ) {
            let (mut wall, mut steady) = (START, 0);
            let mut course = Course::begin(wall, steady);
            let mut last = START;
            let mut set = 0;
            for (passed, jump, jumps) in steps {
                steady += passed;
                wall += passed + if jumps { jump } else { 0 };
                set += if jumps { jump.abs() } else { 0 };
                let now = course.read(wall, steady);
                prop_assert!(now >= last - NOISE_MILLIS, "{now} after {last}");
                prop_assert!(now >= wall);
                last = now;
            }
            steady += 2 * set + 2;
            wall += 2 * set + 2;
            prop_assert_eq!(course.read(wall, steady), wall);
        }
    }
}
