//! The language of `FAULTPOINTS`.

use crate::NAMES;

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Abort,
    Panic,
    /// For so many milliseconds.
    Sleep(u64),
}

/// One armed point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: &'static str,
    /// The only key that it is meant for.
    pub(crate) key: Option<String>,
    pub(crate) action: Action,
    /// The only passage that it is meant for; the first is 1.
    pub(crate) at: Option<u64>,
}

impl Item {
    /// Whether this is about a passage.
    pub(crate) fn is_for(&self, name: &str, key: &str) -> bool {
        self.name == name && self.key.as_ref().is_none_or(|wanted| wanted == key)
    }
}

/// Reads items with semicolons between them.
pub(crate) fn parse(text: &str) -> Result<Vec<Item>, String> {
    text.split(';').map(str::trim).filter(|item| !item.is_empty()).map(item).collect()
}

fn item(text: &str) -> Result<Item, String> {
    // A key may have equals signs, an action has none.
    let (place, action) = text.rsplit_once('=').ok_or_else(|| format!("`{text}` has no action: write name=abort"))?;
    let (name, key) = match place.trim().split_once('[') {
        None => (place, None),
        Some((name, key)) => {
            let key = key.strip_suffix(']').ok_or_else(|| format!("`{place}` lacks a closing bracket"))?;
            (name, Some(key.to_owned()))
        }
    };
    let known = NAMES.into_iter().find(|known| *known == name.trim());
    let name = known.ok_or_else(|| format!("there is no point `{name}`; there are {}", NAMES.join(", ")))?;
    let (action, at) = match action.split_once('@') {
        None => (action, None),
        Some((action, passage)) => (action, Some(number(passage)?)),
    };
    if at == Some(0) {
        return Err(format!("`{text}`: the first passage is 1"));
    }
    Ok(Item { name, key, action: self::action(action.trim())?, at })
}

fn action(text: &str) -> Result<Action, String> {
    match text {
        "abort" => Ok(Action::Abort),
        "panic" => Ok(Action::Panic),
        _ => match text.strip_prefix("sleep(").and_then(|rest| rest.strip_suffix(')')) {
            Some(milliseconds) => Ok(Action::Sleep(number(milliseconds)?)),
            None => Err(format!("there is no action `{text}`; there are abort, panic and sleep(milliseconds)")),
        },
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_not_a_number| format!("`{text}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Item {
        let mut items = parse(text).unwrap();
        assert_eq!(items.len(), 1, "{text}");
        items.remove(0)
    }

    #[test]
    fn actions_passages_and_keys_are_read() {
        let item = |name, key: Option<&str>, action, at| Item { name, key: key.map(str::to_owned), action, at };
        assert_eq!(one("store.before-commit=abort@17"), item("store.before-commit", None, Action::Abort, Some(17)));
        assert_eq!(one(" engine.in-rescue = panic ;"), item("engine.in-rescue", None, Action::Panic, None));
        assert_eq!(
            one("engine.after-claim=sleep(500)@2"),
            item("engine.after-claim", None, Action::Sleep(500), Some(2))
        );
        assert_eq!(
            one("engine.before-send[webhook:http://[::1]:80/?a=b]=abort"),
            item("engine.before-send", Some("webhook:http://[::1]:80/?a=b"), Action::Abort, None)
        );
    }

    #[test]
    fn several_items_are_read_and_none_are_fine() {
        assert_eq!(parse("store.before-write=abort@1;api.after-intake=panic").unwrap().len(), 2);
        assert!(parse("").unwrap().is_empty());
        assert!(parse(" ; ").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, complaint) in [
            ("store.before-commit", "has no action"),
            ("store.befor-commit=abort", "no point `store.befor-commit`"),
            ("store.before-commit=explode", "no action `explode`"),
            ("store.before-commit=sleep", "no action `sleep`"),
            ("store.before-commit=sleep(long)", "`long` is not a number"),
            ("store.before-commit=abort@x", "`x` is not a number"),
            ("store.before-commit=abort@0", "the first passage is 1"),
            ("store.before-commit=abort@-1", "`-1` is not a number"),
            ("engine.before-send[a=abort", "lacks a closing bracket"),
            ("=abort", "no point ``"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_narrows_and_no_key_does_not() {
        assert!(one("engine.before-send[a]=abort").is_for("engine.before-send", "a"));
        assert!(!one("engine.before-send[a]=abort").is_for("engine.before-send", "b"));
        assert!(!one("engine.before-send[a]=abort").is_for("engine.after-send", "a"));
        assert!(one("engine.before-send=abort").is_for("engine.before-send", "b"));
    }

    #[test]
    fn each_point_has_a_name_of_its_own_and_is_documented() {
        let documentation = include_str!("lib.rs");
        for (index, name) in NAMES.iter().enumerate() {
            assert!(!NAMES[index + 1..].contains(name), "{name}");
            assert!(documentation.contains(&format!("//! | `{name}` |")), "{name}");
        }
    }
}
