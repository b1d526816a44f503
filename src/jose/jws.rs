//! A signed text in compact form (RFC 7515 §7.1): read strictly, then verified with keys that are known
//! from elsewhere. What the header says of keys (`jwk`, `jku`, `x5c` …) is not even read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::jose::key_set::{self, LONGEST_ID, MOST_KEYS};
use crate::jose::{KeySet, json};

/// A signed text whose signature is not verified yet.
#[derive(Debug)]
pub struct Jws<'a> {
    header: Header,
    payload: Vec<u8>,
    /// What was signed: header and payload as they came.
    message: &'a str,
    signature: Vec<u8>,
}

/// What counts of a header. A member that comes twice is refused by the reader.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// Why a signed text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    #[error("it is not three parts of base64url with dots between")]
    Form,
    #[error("its header can't be read: {0}")]
    Header(String),
    #[error("its header has crit: nothing that it could name is understood here")]
    Critical,
    #[error("its typ is of something else")]
    Type,
    #[error("its alg is not a signature with a public key")]
    Algorithm,
    #[error("its kid names none of the keys")]
    KeyId,
    #[error("its alg is none for that key")]
    AnotherAlgorithm,
    #[error("its signature is not by one of the keys")]
    Signature,
}

impl<'a> Jws<'a> {
    /// Of one of `types`, where it says so (RFC 7515 §4.1.9: in any case, `application/` may be left out).
    pub fn parse(text: &'a str, types: &[&str]) -> Result<Self, NotSigned> {
        Self::parse_within(LONGEST, text, types)
    }

    /// The same of a text that may have another length, in bytes.
    pub fn parse_within(longest: usize, text: &'a str, types: &[&str]) -> Result<Self, NotSigned> {
        if text.len() > longest {
            return Err(NotSigned::TooLong(longest));
        }
        let (message, signature) = text.rsplit_once('.').ok_or(NotSigned::Form)?;
        let (header, payload) = message.split_once('.').ok_or(NotSigned::Form)?;
        // A dot is not of base64url, so more than three parts fail here.
        let [header, payload, signature] =
            [decoded(header)?, decoded(payload)?, decoded(signature)?];
        let header: Header =
            json::object(&header).map_err(|error| NotSigned::Header(brief(&error)))?;
        // Before anybody is asked for keys.
        if !key_set::ALGORITHMS.contains(&header.alg.as_str()) {
            return Err(NotSigned::Algorithm);
        }
        if header.crit {
            return Err(NotSigned::Critical);
        }
        if header.typ.as_deref().is_some_and(|typ| !is_of(typ, types)) {
            return Err(NotSigned::Type);
        }
        Ok(Self { header, payload, message, signature })
    }

    /// The key that the header names, if it is one that could be.
    pub fn key_id(&self) -> Result<Option<&str>, NotSigned> {
        match self.header.kid.as_deref() {
            Some(kid) if kid.is_empty() || kid.len() > LONGEST_ID => Err(NotSigned::KeyId),
            kid => Ok(kid),
        }
    }

    /// Whether the header says what it is of.
    pub fn has_type(&self) -> bool {
        self.header.typ.is_some()
    }

    /// What was signed, whoever signed it: to look up whose keys to verify it with.
    pub fn unverified(&self) -> &[u8] {
        &self.payload
    }

    /// What was signed by one of `keys`, with an algorithm that is meant for that key.
    pub fn verified_with(self, keys: &KeySet) -> Result<Vec<u8>, NotSigned> {
        let kid = self.header.kid.as_deref();
        if kid.is_some_and(|kid| kid.len() > LONGEST_ID) {
            return Err(NotSigned::KeyId);
        }
        let mut named = keys.named(kid).peekable();
        if named.peek().is_none() {
            return Err(NotSigned::KeyId);
        }
        let mut why_not = NotSigned::AnotherAlgorithm;
        let fitting = named.filter_map(|key| key.verifier(&self.header.alg));
        // Each costs as much as a good token, so a set of many keys must not make a forged one dear.
        for key in fitting.take(MOST_KEYS) {
            if key.verifies(self.message.as_bytes(), &self.signature) {
                return Ok(self.payload);
            }
            why_not = NotSigned::Signature;
        }
        Err(why_not)
    }
}

fn is_of(typ: &str, types: &[&str]) -> bool {
    let typ = typ.to_ascii_lowercase();
    let short = typ.strip_prefix("application/").unwrap_or(&typ);
    types.contains(&short)
}

fn decoded(part: &str) -> Result<Vec<u8>, NotSigned> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| NotSigned::Form)
}

/// For a member that must not be there, whatever its value (RFC 7515 §4.1.11: what is critical is not
/// understood here).
pub fn is_there<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// An error of the reader for a log: it may quote what was sent.
pub fn brief(error: &serde_json::Error) -> String {
    error.to_string().chars().take(160).collect()
}

/// Bytes.
const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 A.2, A.3; RFC 8037 A.2: the public halves.
    const KEYS: &str = r#"{"keys":[
        {"kty":"RSA","kid":"rsa","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
        {"kty":"EC","kid":"ec","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty":"OKP","kid":"ed","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    ]}"#;

    /// RFC 7515 A.2, A.3; RFC 8037 A.4
    const SIGNED: [&str; 3] = [
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ];

    fn verified(text: &str, keys: &str) -> Result<Vec<u8>, NotSigned> {
        Jws::parse(text, &["jwt"])?.verified_with(&KeySet::parse(keys).unwrap())
    }

    /// `text` with another header.
    fn with_header(text: &str, header: &str) -> String {
        let (_, rest) = text.split_once('.').unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn the_examples_of_the_rfcs_verify() {
        for text in SIGNED {
            assert!(verified(text, KEYS).is_ok(), "{text}");
        }
        assert_eq!(verified(SIGNED[2], KEYS).unwrap(), b"Example of Ed25519 signing");
    }

    #[test]
    fn a_changed_byte_does_not() {
        let mut tried = 0;
        for text in SIGNED {
            for at in 0..text.len() {
                let mut changed = text.as_bytes().to_vec();
                // Another letter of the same alphabet: what is changed is what was signed, or by whom.
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert!(verified(&changed, KEYS).is_err(), "{at}: {changed}");
                tried += 1;
            }
        }
        assert!(tried > 500);
    }

    #[test]
    fn a_signature_of_nothing_is_none() {
        let (message, _) = SIGNED[1].rsplit_once('.').unwrap();
        // CVE-2022-21449: r and s are zero.
        let zero = URL_SAFE_NO_PAD.encode([0; 64]);

        for signature in ["", &zero] {
            let text = format!("{message}.{signature}");
            assert_eq!(verified(&text, KEYS), Err(NotSigned::Signature), "{signature}");
        }
    }

    #[test]
    fn the_key_decides_about_the_algorithm() {
        for (header, why) in [
            (r#"{"alg":"none"}"#, NotSigned::Algorithm),
            (r#"{"alg":"nOnE"}"#, NotSigned::Algorithm),
            (r#"{"alg":"HS256"}"#, NotSigned::Algorithm),
            (r#"{"alg":"rs256"}"#, NotSigned::Algorithm),
            (r#"{"alg":"ES512"}"#, NotSigned::Algorithm),
            (r#"{"alg":"ES256","kid":"rsa"}"#, NotSigned::AnotherAlgorithm),
            (r#"{"alg":"RS256","kid":"ec"}"#, NotSigned::AnotherAlgorithm),
            (r#"{"alg":"ES384","kid":"ec"}"#, NotSigned::AnotherAlgorithm),
            (r#"{"alg":"EdDSA","kid":"ec"}"#, NotSigned::AnotherAlgorithm),
            (r#"{"alg":"PS256","kid":"rsa"}"#, NotSigned::Signature),
            (r#"{"alg":"RS256","kid":"RSA"}"#, NotSigned::KeyId),
            (r#"{"alg":"RS256","kid":""}"#, NotSigned::KeyId),
            (r#"{"alg":"RS256","kid":"../../etc/passwd"}"#, NotSigned::KeyId),
        ] {
            assert_eq!(verified(&with_header(SIGNED[0], header), KEYS), Err(why), "{header}");
        }
        // RFC 7517 §4.4: a key may be meant for one algorithm only.
        let for_pss = KEYS.replace(r#""kid":"rsa""#, r#""kid":"rsa","alg":"PS256""#);
        assert_eq!(verified(SIGNED[0], &for_pss), Err(NotSigned::AnotherAlgorithm));
    }

    #[test]
    fn a_header_that_could_be_read_in_two_ways_is_not_read() {
        for header in [
            r#"{"alg":"none","alg":"RS256"}"#,
            r#"{"alg":"RS256","kid":"rsa","kid":"ec"}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","kid":1}"#,
            r#"{"ALG":"RS256"}"#,
            r#"["RS256"]"#,
            r#"["RS256",null,null]"#,
            "{}",
            "",
        ] {
            let answer = verified(&with_header(SIGNED[0], header), KEYS);
            assert!(matches!(answer, Err(NotSigned::Header(_))), "{header}: {answer:?}");
        }
        for header in [r#"{"alg":"RS256","crit":["x"]}"#, r#"{"alg":"RS256","crit":null}"#] {
            let answer = verified(&with_header(SIGNED[0], header), KEYS);
            assert_eq!(answer, Err(NotSigned::Critical), "{header}");
        }
        for typ in ["at+jwt", "dpop+jwt", "", "application/", "jwt "] {
            let header = format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#);
            let answer = verified(&with_header(SIGNED[0], &header), KEYS);
            assert_eq!(answer, Err(NotSigned::Type), "{header}");
        }
    }

    /// An encrypted text has five parts; nothing is decrypted.
    #[test]
    fn what_is_not_three_parts_is_not_read() {
        let (message, signature) = SIGNED[0].rsplit_once('.').unwrap();
        for text in [
            "",
            ".",
            "..",
            message,
            &format!("{message}.{signature}.x"),
            &format!("{message}.x.x.{signature}"),
            &format!("{message}.{signature}="),
            &format!(" {message}.{signature}"),
            &format!("{message}.{signature}\n"),
        ] {
            assert!(verified(text, KEYS).is_err(), "{text}");
        }
        let long = format!("{message}{}.{signature}", "A".repeat(8 * 1024));
        assert_eq!(verified(&long, KEYS), Err(NotSigned::TooLong(LONGEST)));
    }
}
