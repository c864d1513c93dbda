//! JSON that passes through, and JSON that changes.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// JSON that was checked when it was accepted, to be given back as it came.
pub(crate) fn raw_json(text: String) -> Option<Box<RawValue>> {
    RawValue::from_string(text).ok()
}

/// What a change says about a field that may be empty. Needs `#[serde(default)]` beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is not mentioned.
    #[default]
    Keep,
    /// It is to be this; null takes it away.
    To(Option<String>),
}

impl Change {
    pub(crate) fn apply(self, field: &mut Option<String>) {
        if let Self::To(value) = self {
            *field = value;
        }
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        email: Change,
    }

    #[test]
    fn null_takes_away_and_absence_keeps() {
        for (body, expected) in
            [("{}", Some("before")), (r#"{"email":null}"#, None), (r#"{"email":"after"}"#, Some("after"))]
        {
            let mut email = Some("before".to_owned());
            serde_json::from_str::<Body>(body).unwrap().email.apply(&mut email);
            assert_eq!(email.as_deref(), expected, "{body}");
        }
    }
}
