//! Signatures of Standard Webhooks 1.0.0, the symmetric scheme `v1`.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PREFIX: &str = "whsec_";

/// How many bytes a secret may have.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// What webhooks are signed with. It is shown only by [`Secret::expose`].
#[derive(Clone)]
pub struct Secret {
    key: Vec<u8>,
}

/// A text that is not a secret.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a webhook secret: `whsec_` followed by 24 to 64 bytes in base64")]
pub struct InvalidSecret;

impl Secret {
    /// Reads `whsec_<base64>`.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let key = STANDARD.decode(encoded).map_err(|_not_base64| InvalidSecret)?;
        if LENGTHS.contains(&key.len()) { Ok(Self { key }) } else { Err(InvalidSecret) }
    }

    /// A new secret of 32 random bytes.
    pub fn generate() -> Self {
        let mut key = vec![0; 32];
        rand::fill(&mut key).expect("the random generator of the system works: TLS could not start without it either");
        Self { key }
    }

    /// The secret in the form that [`Secret::parse`] reads.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.key))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

/// The value of the header `webhook-signature` for one attempt: `v1,<base64>`. `timestamp` is in seconds.
pub fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secret.key));
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    use super::*;

    #[test]
    fn the_vector_of_the_specification_holds() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_have_24_to_64_bytes() {
        let of_length = |length: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; length]));
        for length in [24, 32, 64] {
            assert_eq!(Secret::parse(&of_length(length)).unwrap().expose(), of_length(length));
        }
        for text in [
            of_length(23),
            of_length(65),
            String::new(),
            "whsec_".to_owned(),
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            "whsec_not base64 at all, however long".to_owned(),
        ] {
            assert!(Secret::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_secret_is_random_and_stays_hidden() {
        let (one, other) = (Secret::generate(), Secret::generate());
        assert_ne!(one.expose(), other.expose());
        assert!(Secret::parse(&one.expose()).is_ok());
        assert_eq!(format!("{one:?}"), "Secret(***)");
    }

    proptest! {
        #[test]
        fn an_independent_implementation_agrees(key in prop::collection::vec(any::<u8>(), 24..=64), id in "[a-z0-9-]{1,40}", timestamp in 0_i64..4_000_000_000, body in any::<String>()) {
            let secret = Secret { key };
            let theirs = Webhook::new(&secret.expose()).unwrap().sign(&id, timestamp, body.as_bytes()).unwrap();
            prop_assert_eq!(sign(&secret, &id, timestamp, body.as_bytes()), theirs);
        }
    }
}
