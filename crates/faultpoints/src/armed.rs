//! What the points are armed with, in this process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::parse::{Action, Item, parse};

const VARIABLE: &str = "FAULTPOINTS";

static ARMED: OnceLock<Vec<Counted>> = OnceLock::new();

struct Counted {
    item: Item,
    passages: AtomicU64,
}

pub(crate) fn pass(name: &'static str, key: &str) {
    for counted in items() {
        if counted.is_met(name, key) {
            act(name, counted.item.action);
        }
    }
}

/// Reads the environment, if that has not happened yet.
pub(crate) fn arm() {
    items();
}

fn items() -> &'static [Counted] {
    ARMED.get_or_init(|| match from_environment() {
        Ok(items) => items.into_iter().map(Counted::new).collect(),
        Err(complaint) => refuse(&complaint),
    })
}

#[expect(clippy::disallowed_methods, reason = "the points are no setting: they exist in debug builds only")]
fn from_environment() -> Result<Vec<Item>, String> {
    match std::env::var(VARIABLE) {
        Ok(text) => parse(&text),
        Err(std::env::VarError::NotPresent) => Ok(Vec::new()),
        Err(std::env::VarError::NotUnicode(_)) => Err("it is not UTF-8".to_owned()),
    }
}

impl Counted {
    fn new(item: Item) -> Self {
        Self { item, passages: AtomicU64::new(0) }
    }

    /// Counts a passage and says whether this one is meant.
    fn is_met(&self, name: &str, key: &str) -> bool {
        if !self.item.is_for(name, key) {
            return false;
        }
        let passage = self.passages.fetch_add(1, Ordering::Relaxed) + 1;
        self.item.at.is_none_or(|at| at == passage)
    }
}

#[expect(clippy::panic, clippy::disallowed_methods, reason = "faults on purpose")]
fn act(name: &str, action: Action) {
    match action {
        Action::Abort => {
            say(&format!("Aborting at the fault point {name}"));
            std::process::abort()
        }
        Action::Panic => panic!("the fault point {name}"),
        Action::Sleep(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
    }
}

fn refuse(complaint: &str) -> ! {
    say(&format!("{VARIABLE} cannot be understood: {complaint}"));
    std::process::abort()
}

#[expect(clippy::print_stderr, reason = "the process is about to abort; the log would not be written any more")]
fn say(message: &str) {
    eprintln!("{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(text: &str, passages: &[(&str, &str)]) -> Vec<bool> {
        let counted = Counted::new(parse(text).unwrap().remove(0));
        passages.iter().map(|(name, key)| counted.is_met(name, key)).collect()
    }

    #[test]
    fn without_a_number_every_passage_counts() {
        let passages = [("store.before-commit", ""), ("store.after-commit", ""), ("store.before-commit", "")];
        assert_eq!(met("store.before-commit=abort", &passages), [true, false, true]);
    }

    #[test]
    fn with_a_number_only_that_passage_counts() {
        assert_eq!(met("store.before-commit=abort@2", &[("store.before-commit", ""); 3]), [false, true, false]);
    }

    #[test]
    fn only_passages_with_the_key_are_counted() {
        let passages = [("engine.before-send", "a"), ("engine.before-send", "b"), ("engine.before-send", "b")];
        assert_eq!(met("engine.before-send[b]=abort@2", &passages), [false, false, true]);
        assert_eq!(met("engine.before-send=abort@2", &passages), [false, true, false]);
    }

    #[test]
    #[should_panic = "the fault point engine.before-send"]
    fn a_panic_is_a_panic() {
        act("engine.before-send", Action::Panic);
    }

    #[test]
    fn unarmed_points_do_nothing() {
        crate::arm();
        for name in crate::NAMES {
            crate::point(name);
        }
    }
}
