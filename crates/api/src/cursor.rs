//! Where a page of a list ended, in a form that callers pass back and do not look into.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use tidings_core::error::{ErrorCode, Problem};
use tidings_core::id::MessageId;

/// The first byte: a cursor of another version is not ours to read.
const VERSION: u8 = 1;

/// The cursor after this notification.
pub(crate) fn encode(id: MessageId) -> String {
    let mut bytes = [VERSION; 9];
    for (to, from) in bytes.iter_mut().skip(1).zip(id.as_integer().to_be_bytes()) {
        *to = from;
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor.
pub(crate) fn decode(text: &str) -> Result<MessageId, Problem> {
    read(text).ok_or_else(|| {
        Problem::field(
            ErrorCode::INVALID_CURSOR,
            "cursor",
            "was not issued by this API; pass the `nextCursor` of the page before, or none",
        )
    })
}

fn read(text: &str) -> Option<MessageId> {
    let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let [VERSION, integer @ ..] = bytes else { return None };
    MessageId::from_integer(i64::from_be_bytes(integer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        for integer in [0, 1, 1 << 40, i64::MAX] {
            let id = MessageId::from_integer(integer).unwrap();
            assert_eq!(decode(&encode(id)), Ok(id));
        }
    }

    #[test]
    fn what_was_not_issued_is_refused() {
        let negative = URL_SAFE_NO_PAD.encode([1, 255, 255, 255, 255, 255, 255, 255, 255]);
        let other_version = URL_SAFE_NO_PAD.encode([2, 0, 0, 0, 0, 0, 0, 0, 1]);
        for text in ["", "1", "AQAAAAAAAAA", "AQAAAAAAAAAB=", "!!!!", negative.as_str(), other_version.as_str()] {
            assert_eq!(decode(text).unwrap_err().code, ErrorCode::INVALID_CURSOR, "{text}");
        }
    }
}
