//! What has arrived at the sinks, and how long it was on its way.
//!
//! Each notification carries a number, given in the order of sending. The instant when its request was to be sent is kept
//! in a ring by that number, so that neither an id has to be known before the 202 nor a lock taken for each arrival.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::bench::flow::Flow;
use crate::bench::measured::{self, Window};

/// How many notifications can be on their way before the oldest is forgotten; a power of two.
const SLOTS: u64 = 1 << 20;
/// A slot holds a round of the ring and the microseconds since the start: twelve days of them.
const MICROS_BITS: u32 = 40;
const MICROS_MASK: u64 = (1 << MICROS_BITS) - 1;

/// Counts arrivals.
pub(crate) struct Arrivals {
    ring: Box<[AtomicU64]>,
    next: AtomicU64,
    start: Instant,
    counted: AtomicU64,
    repeats: AtomicU64,
    unexpected: AtomicU64,
    flow: Option<Arc<Flow>>,
    measured: OnceLock<Measured>,
}

struct Measured {
    window: Window,
    is_open: bool,
    latency: Mutex<Histogram<u64>>,
}

/// What arrived more often than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Oddities {
    /// Arrived before.
    pub(crate) repeats: u64,
    /// Carried a number that nobody waits for.
    pub(crate) unexpected: u64,
}

impl Arrivals {
    /// Nothing has arrived. `flow` is told of each arrival.
    pub(crate) fn new(flow: Option<Arc<Flow>>) -> anyhow::Result<Self> {
        let slots = usize::try_from(SLOTS)?;
        Ok(Self {
            ring: std::iter::repeat_with(AtomicU64::default).take(slots).collect(),
            next: AtomicU64::new(0),
            start: Instant::now(),
            counted: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            unexpected: AtomicU64::new(0),
            flow,
            measured: OnceLock::new(),
        })
    }

    /// From now on latencies are kept: of what arrives within the window, or in an open loop of what was to be sent in
    /// it. Only the first call counts.
    pub(crate) fn measure(&self, window: Window, is_open: bool) -> anyhow::Result<()> {
        let latency = Mutex::new(measured::histogram()?);
        self.measured.get_or_init(|| Measured { window, is_open, latency });
        Ok(())
    }

    /// A number for a notification whose request was to be sent at this instant.
    pub(crate) fn expect(&self, intended: Instant) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.slot(number) {
            slot.store(self.packed(number, intended), Ordering::Relaxed);
        }
        number
    }

    /// The notification with this number has arrived.
    pub(crate) fn arrived(&self, number: u64) {
        let now = Instant::now();
        let Some(slot) = self.slot(number) else { return };
        let packed = slot.load(Ordering::Relaxed);
        if packed == 0 {
            let was_given = number < self.next.load(Ordering::Relaxed);
            let oddity = if was_given { &self.repeats } else { &self.unexpected };
            oddity.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_ours = packed >> MICROS_BITS == round(number);
        if !is_ours || slot.compare_exchange(packed, 0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.unexpected.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counted.fetch_add(1, Ordering::Relaxed);
        if let Some(flow) = &self.flow {
            flow.deliver(1);
        }
        let intended = self.start + Duration::from_micros(packed & MICROS_MASK);
        self.keep(intended, now);
    }

    /// How many different ones have arrived.
    pub(crate) fn count(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    pub(crate) fn oddities(&self) -> Oddities {
        Oddities { repeats: self.repeats.load(Ordering::Relaxed), unexpected: self.unexpected.load(Ordering::Relaxed) }
    }

    /// The latencies so far, in microseconds; `None` if nobody asked to measure.
    pub(crate) fn latency(&self) -> Option<Histogram<u64>> {
        self.measured.get().map(|measured| measured.latency.lock().clone())
    }

    fn keep(&self, intended: Instant, arrived: Instant) {
        if let Some(measured) = self.measured.get()
            && measured.window.has(if measured.is_open { intended } else { arrived })
        {
            measured::record(&mut measured.latency.lock(), arrived.saturating_duration_since(intended));
        }
    }

    fn slot(&self, number: u64) -> Option<&AtomicU64> {
        self.ring.get(usize::try_from(number % SLOTS).ok()?)
    }

    fn packed(&self, number: u64, intended: Instant) -> u64 {
        let micros = intended.saturating_duration_since(self.start).as_micros();
        // Zero says that nothing is expected.
        let micros = u64::try_from(micros).unwrap_or(MICROS_MASK).clamp(1, MICROS_MASK);
        round(number) << MICROS_BITS | micros
    }
}

/// How often the ring was filled before this number, as far as a slot can hold it.
const fn round(number: u64) -> u64 {
    (number / SLOTS) & (u64::MAX >> MICROS_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_arrival_counts_once_and_makes_room() {
        let flow = Arc::new(Flow::new(1));
        let arrivals = Arrivals::new(Some(Arc::clone(&flow))).unwrap();
        let (first, second) = (arrivals.expect(Instant::now()), arrivals.expect(Instant::now()));
        arrivals.arrived(second);
        arrivals.arrived(second);
        arrivals.arrived(first);
        arrivals.arrived(12_345);
        assert_eq!((arrivals.count(), flow.delivered()), (2, 2));
        assert_eq!(arrivals.oddities(), Oddities { repeats: 1, unexpected: 1 });
    }

    #[test]
    fn a_number_of_an_earlier_round_is_not_taken_for_a_later_one() {
        let arrivals = Arrivals::new(None).unwrap();
        let old = arrivals.expect(Instant::now());
        arrivals.next.store(SLOTS, Ordering::Relaxed);
        let young = arrivals.expect(Instant::now());
        assert_eq!(young % SLOTS, old % SLOTS);
        arrivals.arrived(old);
        assert_eq!((arrivals.count(), arrivals.oddities().unexpected), (0, 1));
        arrivals.arrived(young);
        assert_eq!(arrivals.count(), 1);
    }

    #[test]
    fn latencies_count_from_the_instant_that_was_intended() {
        let arrivals = Arrivals::new(None).unwrap();
        assert!(arrivals.latency().is_none());
        let window = Window::from_now(Duration::ZERO, Duration::from_mins(1));
        arrivals.measure(window, false).unwrap();
        let number = arrivals.expect(arrivals.start + Duration::from_micros(1));
        arrivals.arrived(number);
        assert_eq!(arrivals.latency().unwrap().len(), 1);
    }
}
