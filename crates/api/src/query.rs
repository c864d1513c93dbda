//! Query strings. A parameter that is not known is refused, not ignored: a misspelt filter would show everything.

use axum::extract::Query;
use http::Uri;
use uuid::Uuid;

use tidings_core::error::{ErrorCode, FieldError, Problem};
use tidings_core::id::UserId;
use tidings_core::services::follow::MAX_PAGE;
use tidings_core::time::Timestamp;

/// How many items a page has unless the caller says otherwise.
const DEFAULT_PAGE: usize = 50;

/// The longest query string that is read.
const MAX_QUERY: usize = 2048;

/// The parameters of a request. What is wrong with them is collected and told at once by [`Params::finish`].
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Params {
    /// Reads the query string of a request that knows only the parameters of `allowed`.
    pub(crate) fn read(uri: &Uri, allowed: &[&str]) -> Self {
        let mut errors = Vec::new();
        let pairs = match Query::try_from_uri(uri) {
            Ok(Query(pairs)) if uri.query().is_none_or(|query| query.len() <= MAX_QUERY) => pairs,
            Ok(_) | Err(_) => {
                errors.push(FieldError::new("query", format!("must be valid and have at most {MAX_QUERY} characters")));
                Vec::<(String, String)>::new()
            }
        };
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let message = format!("is not known here; the parameters are: {}", allowed.join(", "));
                errors.push(FieldError::new(name.as_str(), message));
            } else if pairs.iter().take(index).any(|(earlier, _)| earlier == name) {
                errors.push(FieldError::new(name.as_str(), "is given more than once"));
            }
        }
        Self { pairs, errors }
    }

    /// A parameter as it is.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter as `parse` understands it; `wanted` completes the sentence "must be ...".
    pub(crate) fn parsed<T>(&mut self, name: &str, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = parse(self.text(name)?);
        if value.is_none() {
            self.errors.push(FieldError::new(name, format!("must be {wanted}")));
        }
        value
    }

    /// A user id.
    pub(crate) fn user(&mut self, name: &str) -> Option<UserId> {
        self.parsed(name, "a UUID", |text| Uuid::try_parse(text).ok()).map(UserId)
    }

    /// An instant.
    pub(crate) fn instant(&mut self, name: &str) -> Option<Timestamp> {
        self.parsed(name, "an RFC 3339 time such as 2026-01-31T09:30:00Z", |text| Timestamp::parse(text).ok())
    }

    /// A whole number that a store can hold.
    pub(crate) fn number(&mut self, name: &str) -> Option<u64> {
        self.parsed(name, "a whole number that is not negative", |text| {
            let number: Option<i64> = text.parse().ok();
            number.and_then(|number| u64::try_from(number).ok())
        })
    }

    /// The size of the page.
    pub(crate) fn limit(&mut self) -> usize {
        let wanted = format!("a whole number from 1 to {MAX_PAGE}");
        let limit = self
            .parsed("limit", &wanted, |text| text.parse::<usize>().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)));
        limit.unwrap_or(DEFAULT_PAGE)
    }

    /// Notes that a parameter does not fit the others.
    pub(crate) fn complain(&mut self, name: &str, message: &str) {
        self.errors.push(FieldError::new(name, message));
    }

    /// Refuses what was wrong.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::fields(ErrorCode::INVALID_FIELD, self.errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri: Uri = format!("/list?{query}").parse().unwrap();
        Params::read(&uri, &["userId", "from", "limit", "after"])
    }

    #[test]
    fn parameters_are_decoded_and_parsed() {
        let mut params = params("from=2026-01-31T10:30:00%2B01:00&limit=7&userId=9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a");
        assert_eq!(params.instant("from").unwrap().to_string(), "2026-01-31T09:30:00.000Z");
        assert_eq!(params.limit(), 7);
        assert_eq!(params.user("userId").unwrap().to_string(), "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a");
        assert_eq!(params.number("after"), None);
        assert_eq!(params.finish(), Ok(()));
    }

    #[test]
    fn a_page_has_a_size_when_none_is_asked_for() {
        assert_eq!(params("").limit(), DEFAULT_PAGE);
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_those_that_exist() {
        let problem = params("user=1").finish().unwrap_err();
        assert_eq!(problem.code, ErrorCode::INVALID_FIELD);
        assert_eq!(problem.message, "user: is not known here; the parameters are: userId, from, limit, after");
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let mut params = params("from=yesterday&limit=0&userId=me&limit=201&after=-1");
        params.instant("from");
        params.limit();
        params.user("userId");
        params.number("after");
        let problem = params.finish().unwrap_err();
        let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["limit", "from", "limit", "userId", "after"]);
    }
}
