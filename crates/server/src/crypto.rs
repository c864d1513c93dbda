//! One provider of cryptography for everything: TLS and tokens.

/// Chooses aws-lc-rs for this process. Both libraries would otherwise refuse at their first use; choosing again changes
/// nothing.
pub fn install() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
}

#[cfg(test)]
mod tests {
    use tidings_api::token::{Claims, Keys};
    use tidings_core::time::Timestamp;

    #[test]
    fn after_installing_a_token_verifies_and_tls_has_a_provider() {
        super::install();
        super::install();
        let keys = Keys::new(b"0123456789abcdef0123456789abcdef", false);
        let claims = Claims { username: Some("ada".to_owned()), ..Claims::default() };
        let token = keys.issue(&claims).unwrap();
        assert_eq!(keys.verify(&token, Timestamp::EPOCH).unwrap(), claims);
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
