//! From a seed to a plan. Each seed leaves some kinds of trouble out altogether: what one kind does alone is as telling as
//! what all do together.

use std::time::Duration;

use fastrand::Rng;
use tidings_core::delivery::Verdict;
use tidings_core::error::StoreError;
use tidings_core::notification::Priority;
use tidings_testkit::sim::{Call, Fault};

use super::{Act, HOSTS, Order, Plan, Settings, Step, Target, USERS};
use crate::provider::Way;
use crate::wakes::Wakes;

/// The fewest and the most notifications of a plan.
const ORDERS: std::ops::RangeInclusive<usize> = 12..=50;

/// Which trouble a seed has.
struct Trouble {
    errors: bool,
    delays: bool,
    crashes: bool,
    providers: bool,
    hints: bool,
    jumps: bool,
    freezes: bool,
    restarts: bool,
    people: bool,
}

impl Trouble {
    fn draw(random: &mut Rng) -> Self {
        Self {
            errors: random.bool(),
            delays: random.bool(),
            crashes: random.bool(),
            providers: random.u32(0..4) > 0,
            hints: random.bool(),
            jumps: random.u32(0..3) == 0,
            freezes: random.u32(0..3) == 0,
            restarts: random.u32(0..3) == 0,
            people: random.bool(),
        }
    }
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let random = &mut random;
        let trouble = Trouble::draw(random);
        let settings = Settings {
            concurrency: random.usize(1..=8),
            per_destination: random.usize(1..=6),
            automatic_redrive: random.u32(0..6) == 0,
            events: random.u32(0..4) == 0,
            lasting: Duration::from_secs(random.u64(20..=70)),
        };
        let mut drawing = Drawing { random, lasting: settings.lasting, steps: Vec::new() };
        let orders = drawing.submit();
        drawing.trouble(&trouble, orders);
        let mut steps = drawing.steps;
        steps.sort_by_key(|step| step.at);
        Self { seed, settings, steps }
    }
}

struct Drawing<'a> {
    random: &'a mut Rng,
    lasting: Duration,
    steps: Vec<Step>,
}

impl Drawing<'_> {
    fn submit(&mut self) -> usize {
        let orders = self.random.usize(ORDERS);
        // Some plans have all their notifications at the beginning.
        let until = if self.random.u32(0..4) == 0 { Duration::from_millis(50) } else { self.lasting.mul_f64(0.8) };
        for number in 0..orders {
            let order = self.order(number);
            let at = self.time_until(until);
            self.steps.push(Step { at, act: Act::Submit(order) });
        }
        orders
    }

    fn order(&mut self, number: usize) -> Order {
        let random = &mut *self.random;
        Order {
            number,
            target: match random.u32(0..10) {
                0..3 => Target::Inbox,
                3..5 => Target::Email,
                5 => Target::Sms,
                _ => Target::Webhook(random.usize(0..HOSTS.len())),
            },
            user: random.usize(0..USERS),
            priority: Priority::ALL[random.usize(0..Priority::ALL.len())],
            keyed: random.u32(0..3) > 0,
            at_most_once: random.u32(0..8) == 0,
            delay: if random.u32(0..6) == 0 { Duration::from_secs(random.u64(1..30)) } else { Duration::ZERO },
            ttl: (random.u32(0..10) == 0).then(|| Duration::from_secs(random.u64(1..40))),
        }
    }

    fn trouble(&mut self, trouble: &Trouble, orders: usize) {
        if trouble.errors {
            self.some(12, |drawing| Act::Store(drawing.call(), drawing.error()));
        }
        if trouble.delays {
            self.some(8, |drawing| Act::Store(drawing.call(), drawing.delay()));
        }
        if trouble.crashes {
            self.some(4, |drawing| Act::Store(drawing.call(), drawing.crash()));
            self.some(2, |_| Act::Kill);
            self.some(2, |drawing| Act::Provider(drawing.target(), Way::Crash));
        }
        if trouble.providers {
            self.some(25, |drawing| Act::Provider(drawing.target(), drawing.way()));
            self.some(2, |drawing| Act::Outage(drawing.target(), drawing.seconds(1, 40)));
        }
        if trouble.hints {
            self.some(6, |drawing| Act::Hints(drawing.hints()));
        }
        if trouble.jumps {
            self.some(3, |drawing| Act::Jump(drawing.jump()));
        }
        if trouble.freezes {
            self.some(2, |drawing| Act::Freeze(drawing.seconds(1, 90)));
        }
        if trouble.restarts {
            self.some(3, |drawing| Act::Restart(drawing.seconds(0, 8)));
        }
        if trouble.people {
            self.some(6, |drawing| Act::Repeat(drawing.random.usize(0..orders)));
            self.some(4, |drawing| Act::Cancel(drawing.random.usize(0..orders)));
            self.some(5, |drawing| Act::Review { nth: drawing.random.usize(0..8), redrive: drawing.random.bool() });
            self.some(1, |_| Act::DeleteUser);
        }
    }

    /// Up to so many steps of a kind, at any time.
    fn some(&mut self, most: usize, act: impl Fn(&mut Self) -> Act) {
        for _ in 0..self.random.usize(0..=most) {
            let act = act(self);
            let at = self.time_until(self.lasting);
            self.steps.push(Step { at, act });
        }
    }

    fn time_until(&mut self, until: Duration) -> Duration {
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.random.u64(0..=millis))
    }

    fn seconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.random.u64(least * 1000..=most * 1000))
    }

    /// Claiming and settling are where the most can go wrong.
    fn call(&mut self) -> Call {
        match self.random.u32(0..10) {
            0..2 => Call::Claim,
            2..5 => Call::Settle,
            _ => Call::ALL[self.random.usize(0..Call::ALL.len())],
        }
    }

    fn error(&mut self) -> Fault {
        let unavailable = || StoreError::Unavailable("on purpose".to_owned());
        match self.random.u32(0..10) {
            0..4 => Fault::ErrorBefore(unavailable()),
            4 => Fault::ErrorBefore(StoreError::Full),
            5 => Fault::ErrorBefore(StoreError::Inconsistent("on purpose".to_owned())),
            _ => Fault::ErrorAfter(unavailable()),
        }
    }

    /// Most are short; some are longer than a lease.
    fn delay(&mut self) -> Fault {
        let time = if self.random.u32(0..4) == 0 { self.seconds(10, 40) } else { self.seconds(0, 3) };
        if self.random.bool() { Fault::DelayBefore(time) } else { Fault::DelayAfter(time) }
    }

    fn crash(&mut self) -> Fault {
        if self.random.bool() { Fault::CrashBefore } else { Fault::CrashAfter }
    }

    fn target(&mut self) -> Target {
        match self.random.u32(0..6) {
            0..2 => Target::Email,
            2 => Target::Sms,
            _ => Target::Webhook(self.random.usize(0..HOSTS.len())),
        }
    }

    fn way(&mut self) -> Way {
        let verdict = match self.random.u32(0..10) {
            0..4 => Verdict::Retry { after: None },
            4 => Verdict::Retry { after: Some(self.seconds(1, 60)) },
            5 => Verdict::Reject,
            6..8 => Verdict::Unknown,
            _ => Verdict::Delivered,
        };
        match self.random.u32(0..10) {
            0 => Way::Hang,
            1 => Way::Panic,
            2 => Way::Answer { verdict, after: self.seconds(4, 7) },
            _ => Way::Answer { verdict, after: self.seconds(0, 2) },
        }
    }

    fn hints(&mut self) -> Wakes {
        match self.random.u32(0..4) {
            0 => Wakes::Arrive,
            1 => Wakes::Lost,
            2 => Wakes::Repeated,
            _ => Wakes::Late(self.seconds(0, 5)),
        }
    }

    /// Between two hours back and two hours on.
    fn jump(&mut self) -> i64 {
        let most = if self.random.bool() { 10_000 } else { 2 * 3600 * 1000 };
        self.random.i64(-most..=most)
    }
}
