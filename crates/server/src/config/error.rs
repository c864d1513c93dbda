//! What is wrong with a configuration, and what would be right.

use std::fmt;

use super::kind::Kind;
use super::settings::SETTINGS;

/// A configuration that cannot be used. Lists everything that is wrong with it, not only the first.
#[derive(Debug)]
pub struct Error {
    complaints: Vec<String>,
}

impl Error {
    /// One complaint.
    pub fn new(complaint: impl Into<String>) -> Self {
        Self { complaints: vec![complaint.into()] }
    }

    /// All complaints; `Ok` if there are none.
    pub(crate) fn unless_empty(complaints: Vec<String>) -> Result<(), Self> {
        if complaints.is_empty() { Ok(()) } else { Err(Self { complaints }) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.complaints.as_slice() {
            [only] => write!(formatter, "the configuration cannot be used: {only}"),
            all => {
                formatter.write_str("the configuration cannot be used:")?;
                all.iter().try_for_each(|complaint| write!(formatter, "\n  - {complaint}"))
            }
        }
    }
}

impl std::error::Error for Error {}

/// A complaint about a value. `shown` is `None` for secrets.
pub(crate) fn bad_value(name: &str, origin: impl fmt::Display, shown: Option<&str>, kind: &Kind) -> String {
    let allowed = kind.allowed();
    match shown {
        Some(text) => format!("`{name}` ({origin}) is `{}`; give {allowed}", text.escape_debug()),
        None => format!("`{name}` ({origin}) has a value that is not allowed; give {allowed}"),
    }
}

/// A complaint about a name that means nothing, with the nearest that does.
pub(crate) fn unknown_name(name: &str, origin: impl fmt::Display, known: &[&str], allowed: &str) -> String {
    let name = name.escape_debug();
    match nearest(&name.to_string(), known) {
        Some(near) => format!("`{name}` ({origin}) is not a setting; did you mean `{near}`? {allowed}"),
        None => format!("`{name}` ({origin}) is not a setting. {allowed}"),
    }
}

/// The known name that needs the fewest edits, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|candidate| (edits(name, candidate), *candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.chars().count() / 3).max(2)).then_some(candidate)
}

/// The variable that a name differs from by a letter or two.
pub(crate) fn nearest_slip(name: &str) -> Option<&'static str> {
    let variables = SETTINGS.iter().map(|setting| setting.variable);
    variables
        .filter(|variable| name.len() > 5 && edits(name, variable) <= 2)
        .min_by_key(|variable| edits(name, variable))
}

/// The number of letters to insert, delete or replace (Levenshtein 1965), one row of the matrix at a time.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = ["server.port", "server.bind", "log.level"];
        assert_eq!(nearest("server.prot", &known), Some("server.port"));
        assert_eq!(nearest("log.levle", &known), Some("log.level"));
        assert_eq!(nearest("database.name", &known), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn one_complaint_is_a_sentence_and_many_are_a_list() {
        assert_eq!(Error::new("x is y").to_string(), "the configuration cannot be used: x is y");
        let many = Error { complaints: vec!["a".to_owned(), "b".to_owned()] };
        assert_eq!(many.to_string(), "the configuration cannot be used:\n  - a\n  - b");
    }
}
