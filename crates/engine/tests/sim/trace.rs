//! What happened in a run, in order, and what of it must never happen.

use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::SimClock;

/// The log of a run. Two runs of one seed have the same.
pub(crate) struct Trace {
    clock: Arc<SimClock>,
    lines: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(clock: Arc<SimClock>) -> Self {
        Self { clock, lines: Mutex::default(), violations: Mutex::default() }
    }

    /// Takes note.
    pub(crate) fn note(&self, what: impl Display) {
        let at = self.clock.elapsed().as_millis();
        self.lines.lock().push(format!("{at:>8} ms  {what}"));
    }

    /// Takes note of something that must not happen.
    pub(crate) fn violation(&self, what: impl Display) {
        self.note(format_args!("VIOLATION {what}"));
        self.violations.lock().push(what.to_string());
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// How much has happened.
    pub(crate) fn length(&self) -> usize {
        self.lines.lock().len()
    }
}
