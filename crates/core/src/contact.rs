//! The syntax of the ways to reach somebody.

/// Whether `text` is an e-mail address that can be put on an envelope: one mailbox of RFC 5321 without quotes, comments
/// or display name, at most 254 octets, domain a host name (also an internationalised one).
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| !part.is_empty() && part.chars().all(is_atom_char);
    text.len() <= 254 && (1..=64).contains(&local.len()) && local.split('.').all(atom) && is_domain(domain)
}

/// `atext` of RFC 5322, widened by RFC 6531 to letters beyond ASCII.
fn is_atom_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c == '-' || c.is_alphanumeric())
    };
    domain.len() <= 253 && domain.split('.').all(label)
}

/// Whether `text` is a telephone number in E.164 form: `+`, then 7 to 15 digits, the first not 0.
pub fn is_phone(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether `text` looks like a BCP 47 language tag: subtags of 1 to 8 letters or digits, at most 35 characters.
pub fn is_locale(text: &str) -> bool {
    let subtag = |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 35 && text.split('-').all(subtag) && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether `text` names a zone of the IANA time zone database.
pub fn is_time_zone(text: &str) -> bool {
    text.len() <= 64 && jiff::tz::TimeZone::get(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_that_can_be_mailed() {
        for text in ["a@b.example", "first.last+tag@sub.example.com", "ø@bücher.example", "x@localhost"] {
            assert!(is_email(text), "{text}");
        }
    }

    #[test]
    fn addresses_that_cannot() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c.d",
            "a@b..c",
            "a@-b.c",
            "a\r\nBcc:x@y",
            "a@b>\r\nRCPT TO:<c",
            "\"a\"@b.c",
            ".a@b.c",
            "a@b.c,d@e.f",
        ] {
            assert!(!is_email(text), "{text:?}");
        }
    }

    #[test]
    fn numbers_are_e164() {
        assert!(is_phone("+1234567890") && is_phone("+442071838750"));
        for text in ["", "+", "1234567890", "+0123456789", "+12 34567890", "+1234567890123456", "+123456", "+12345678٣"]
        {
            assert!(!is_phone(text), "{text}");
        }
    }

    #[test]
    fn locales_and_zones() {
        assert!(is_locale("pt-BR") && is_locale("zh-Hant-TW") && !is_locale("") && !is_locale("en_US"));
        assert!(is_time_zone("Europe/Lisbon") && !is_time_zone("Mars/Base"));
    }

    proptest! {
        #[test]
        fn no_accepted_address_can_break_a_header(text in any::<String>()) {
            if is_email(&text) {
                prop_assert!(text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>(),;:\\\"[]".contains(c)));
            }
        }
    }
}
