//! Answers that somebody prepared, given in order.

use std::collections::VecDeque;

use parking_lot::Mutex;

pub(crate) struct Script<A> {
    answers: Mutex<VecDeque<A>>,
}

impl<A> Script<A> {
    pub(crate) fn new() -> Self {
        Self { answers: Mutex::new(VecDeque::new()) }
    }

    pub(crate) fn extend(&self, answers: impl IntoIterator<Item = A>) {
        self.answers.lock().extend(answers);
    }

    /// The next answer, if it is one that fits.
    pub(crate) fn take_if(&self, fits: impl FnOnce(&A) -> bool) -> Option<A> {
        let mut answers = self.answers.lock();
        if answers.front().is_some_and(fits) { answers.pop_front() } else { None }
    }
}
