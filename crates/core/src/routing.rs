//! Routing keys and the patterns that select them, as in AMQP 0-9-1 topic exchanges (section 3.1.3.3 of the specification).

use std::fmt;
use std::str::FromStr;

/// `notification.<channel>.<category>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoutingKey(String);

impl RoutingKey {
    /// The key of a notification.
    pub fn new(channel: &str, category: &str) -> Self {
        Self(format!("notification.{channel}.{category}"))
    }

    /// The key as written on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoutingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A pattern over routing keys: words separated by dots, where `*` stands for one word and `#` for any number of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Exactly(String),
    AnyOne,
    AnyNumber,
}

/// A text that is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("not a routing pattern: use words of letters, digits, - and _ separated by dots; * is one word, # any number")]
pub struct InvalidPattern;

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() || text.len() > 255 {
            return Err(InvalidPattern);
        }
        let words = text.split('.').map(parse_word).collect::<Option<Vec<Word>>>().ok_or(InvalidPattern)?;
        Ok(Self { words })
    }
}

fn parse_word(word: &str) -> Option<Word> {
    match word {
        "*" => Some(Word::AnyOne),
        "#" => Some(Word::AnyNumber),
        _ => is_word(word).then(|| Word::Exactly(word.to_owned())),
    }
}

/// Whether `text` can be one word of a routing key: 1 to 64 letters, digits, `-` or `_`.
pub fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl Pattern {
    /// Whether this pattern selects `key`.
    pub fn matches(&self, key: &RoutingKey) -> bool {
        let words: Vec<&str> = key.as_str().split('.').collect();
        // One row of the classic edit matrix: reachable[n] tells whether the pattern so far can consume n words.
        let mut reachable = vec![false; words.len() + 1];
        reachable[0] = true;
        for pattern in &self.words {
            reachable = match pattern {
                Word::AnyNumber => {
                    let mut seen = false;
                    reachable
                        .iter()
                        .map(|here| {
                            seen |= here;
                            seen
                        })
                        .collect()
                }
                Word::AnyOne => std::iter::once(false).chain(reachable.iter().take(words.len()).copied()).collect(),
                Word::Exactly(exact) => std::iter::once(false)
                    .chain(reachable.iter().zip(&words).map(|(here, word)| *here && word == exact))
                    .collect(),
            };
        }
        reachable.last().copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, channel: &str, category: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&RoutingKey::new(channel, category))
    }

    #[test]
    fn stars_take_one_word_and_hashes_any_number() {
        assert!(matches("notification.email.*", "email", "transactional"));
        assert!(!matches("notification.sms.*", "email", "transactional"));
        assert!(matches("#", "email", "transactional"));
        assert!(matches("#.otp", "sms", "otp"));
        assert!(matches("notification.#.sms.#", "sms", "otp"));
        assert!(matches("notification.sms.otp.#", "sms", "otp"));
        assert!(!matches("notification.*", "email", "transactional"));
        assert!(!matches("notification.sms.otp.*", "sms", "otp"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "a..b", "a b", "notification.**", "a.#b"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_key_selects_itself(channel in "[a-z-]{1,10}", category in "[a-z_0-9]{1,10}") {
            let key = RoutingKey::new(&channel, &category);
            prop_assert!(key.as_str().parse::<Pattern>().unwrap().matches(&key));
        }
    }
}
