//! Proof key for code exchange (RFC 7636), method S256 only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::secret;

/// A checked `code_challenge`: the SHA-256 of a verifier that only the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// `None` unless `text` is 43 characters of unpadded base64url (RFC 7636 §4.2).
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Does `verifier` belong to this challenge? A verifier outside RFC 7636 §4.1 (43 to 128 unreserved
    /// characters) never does.
    pub fn is_met_by(&self, verifier: &str) -> bool {
        // RFC 7636 §4.6: compare after hashing. Constant time, so a guess learns nothing.
        is_verifier(verifier) && secret::same(&self.0, &secret::sha256(verifier.as_bytes()))
    }
}

fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    /// RFC 7636 appendix B
    #[test]
    fn the_rfc_example_verifies() {
        assert!(CodeChallenge::parse(CHALLENGE).unwrap().is_met_by(VERIFIER));
    }

    #[test]
    fn another_verifier_does_not() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        let wrong = [&VERIFIER[1..], "x"].concat();

        for verifier in [wrong.as_str(), &VERIFIER[..42], "", CHALLENGE] {
            assert!(!challenge.is_met_by(verifier), "{verifier}");
        }
    }

    #[test]
    fn a_challenge_is_43_characters_of_base64url() {
        for text in ["", "abc", &CHALLENGE[1..], &[CHALLENGE, "="].concat(), &"+".repeat(43)] {
            assert_eq!(CodeChallenge::parse(text), None, "{text}");
        }
    }
}
