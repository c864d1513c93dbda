//! Which notifications a pass of retention has to look at.
//!
//! The first pass looks at all of them. From then on it is known of each range of ids when something in it can be due,
//! and a range that has no business before that is left alone: a store at rest costs nothing, however much is in it.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;
use std::time::Duration;

use super::Span;
use crate::id::MessageId;
use crate::time::Timestamp;

/// What is younger may still be on its way into the store, so that a range with it is not known yet.
const ON_ITS_WAY: Duration = Duration::from_hours(1);

/// What past passes have found out.
#[derive(Clone, Debug)]
pub struct Agenda {
    slack: Duration,
    most: usize,
    /// Everything that is kept, by the last id of its range. They do not overlap.
    ranges: BTreeMap<MessageId, Range>,
    /// Up to here everything was looked at: it is in one of the ranges, or gone.
    seen: Option<MessageId>,
    began_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    after: Option<MessageId>,
    /// The earliest instant at which something in it can be due.
    due_at: Timestamp,
    /// The latest such instant of the ranges that it was made of.
    latest: Timestamp,
}

impl Agenda {
    /// Nothing is known yet. Ranges are made one when what is in them is due within `slack` of each other, and if need be
    /// when it is not, so that there are never more than `most` (at least 2).
    pub fn new(slack: Duration, most: usize) -> Self {
        Self { slack, most, ranges: BTreeMap::new(), seen: None, began_at: Timestamp::EPOCH }
    }

    /// Begins a pass: what it has to look at, oldest first. The last span always reaches to the horizon.
    pub fn begin(&mut self, now: Timestamp) -> Vec<Span> {
        if now < self.began_at {
            // The clock was put back: what was known went by another time.
            self.ranges.clear();
            self.seen = None;
        }
        self.began_at = now;
        let mut spans: Vec<Span> = Vec::new();
        let mut goes_on = false;
        for (upto, range) in &self.ranges {
            let is_due = range.due_at <= now;
            match spans.last_mut() {
                // Between two ranges there is nothing.
                Some(span) if is_due && goes_on => span.upto = Some(*upto),
                _ if is_due => spans.push(Span { after: range.after, upto: Some(*upto) }),
                _ => {}
            }
            goes_on = is_due;
        }
        match spans.last_mut() {
            Some(span) if goes_on => span.upto = None,
            _ => spans.push(Span { after: self.seen, upto: None }),
        }
        spans
    }

    /// Takes note that everything after `after` up to `upto`, itself included, was looked at, and that nothing that was
    /// kept of it can be due before `due_at`; `None` if nothing was kept. What is not noted stays as it was.
    pub fn looked_at(&mut self, after: Option<MessageId>, upto: MessageId, due_at: Option<Timestamp>, now: Timestamp) {
        let upto = upto.min(MessageId::floor(now - ON_ITS_WAY));
        if Some(upto) <= after || after > self.seen {
            return;
        }
        self.cut_out(after, upto);
        self.seen = self.seen.max(Some(upto));
        if let Some(due_at) = due_at {
            self.keep(upto, Range { after, due_at, latest: due_at });
        }
        if self.ranges.len() > self.most {
            self.coarsen();
        }
    }

    /// How many ranges are remembered.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Forgets what is known of these ids, and of no others.
    fn cut_out(&mut self, after: Option<MessageId>, upto: MessageId) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let overlapping = self.ranges.range((from, Bound::Unbounded)).take_while(|(_, range)| range.after < Some(upto));
        let overlapping: Vec<(MessageId, Range)> = overlapping.map(|(last, range)| (*last, *range)).collect();
        for (last, range) in overlapping {
            self.ranges.remove(&last);
            if last > upto {
                self.ranges.insert(last, Range { after: Some(upto), ..range });
            }
            if let Some(first) = after.filter(|first| range.after < Some(*first)) {
                self.ranges.insert(first, range);
            }
        }
    }

    fn keep(&mut self, upto: MessageId, range: Range) {
        let neighbour = self.ranges.range(..upto).next_back().map(|(last, before)| (*last, *before));
        let joined = match neighbour {
            Some((last, before)) if before.spread(&range) <= self.slack => {
                self.ranges.remove(&last);
                before.join(&range)
            }
            _ => range,
        };
        self.ranges.insert(upto, joined);
    }

    /// Joins neighbours that differ more and more, until half of the room is free.
    fn coarsen(&mut self) {
        let mut slack = self.slack.max(Duration::from_millis(1));
        while self.ranges.len() > (self.most / 2).max(1) {
            slack = slack.saturating_mul(2);
            let mut open: Option<(MessageId, Range)> = None;
            for (upto, range) in mem::take(&mut self.ranges) {
                open = match open {
                    Some((_, before)) if before.spread(&range) <= slack => Some((upto, before.join(&range))),
                    Some((last, before)) => {
                        self.ranges.insert(last, before);
                        Some((upto, range))
                    }
                    None => Some((upto, range)),
                };
            }
            self.ranges.extend(open);
        }
    }
}

impl Range {
    /// How far the instants of two ranges are apart.
    fn spread(&self, other: &Self) -> Duration {
        self.latest.max(other.latest).since(self.due_at.min(other.due_at))
    }

    /// This one and a later one as one.
    fn join(&self, later: &Self) -> Self {
        Self { after: self.after, due_at: self.due_at.min(later.due_at), latest: self.latest.max(later.latest) }
    }
}

#[cfg(test)]
mod tests;
