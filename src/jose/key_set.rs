//! A JWK Set (RFC 7517 §5): the public keys that somebody signs with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::jose::json::{self, Object};
use crate::secret;

/// At least one public key, each good for signatures.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    digest: [u8; 16],
}

/// A key with the algorithms that it may be used with: the key decides, never a token.
#[derive(Clone, Debug)]
pub struct Key {
    id: Option<String>,
    verifiers: Vec<(&'static str, Verifier)>,
}

/// One key and one algorithm, made once: to make it of its numbers costs half as much as to verify a signature.
#[derive(Clone, Debug)]
pub struct Verifier(ParsedPublicKey);

/// Why a text is not a set of keys to verify with. Never shows any of it: it may be a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKeySet {
    #[error("is not a JWK Set: a JSON object with a list of keys")]
    Form,
    #[error("has no key that is meant for signatures")]
    Empty,
    #[error("has more than {MOST_KEYS} keys that are meant for signatures")]
    TooMany,
    #[error("has two keys with the same kid")]
    SameId,
    #[error("has a wrong key, keys[{index}]: it {flaw}")]
    Key { index: usize, flaw: Flaw },
}

/// What is wrong with one key. Completes "it …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("is a private or shared key, which nobody but the client may have")]
    Secret,
    #[error("is of a type or on a curve that is not supported")]
    Unsupported,
    #[error("has an alg that is not supported, or is not one for such a key")]
    Algorithm,
    #[error(
        "has a modulus that is not between 2048 and 8192 bits, or an exponent that is not 65537"
    )]
    Rsa,
    #[error("is not a point of its curve")]
    Point,
    #[error("has a kid that is empty or longer than {LONGEST_ID} bytes")]
    Id,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Object<RawKey>>,
}

#[derive(Deserialize)]
struct PublishedSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    // The private halves, and a shared secret.
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl KeySet {
    /// A set that was written for us: one to eight keys, no two with the same id. Keys that are meant for
    /// something else than signatures are left out. Everything else that can't be used is told, so that
    /// whoever wrote the set does not wonder why a signature is refused.
    pub fn parse(text: &str) -> Result<Self, NotAKeySet> {
        let raw: RawSet = json::object(text.as_bytes()).map_err(|_| NotAKeySet::Form)?;
        let mut keys: Vec<Key> = Vec::new();
        for (index, Object(raw)) in raw.keys.iter().enumerate() {
            let of_this_key = |flaw| NotAKeySet::Key { index, flaw };
            if raw.is_secret() {
                return Err(of_this_key(Flaw::Secret));
            }
            if !raw.is_for_signatures() {
                continue;
            }
            let key = Key::of(raw).map_err(of_this_key)?;
            if key.id.is_some() && keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(NotAKeySet::SameId);
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err(NotAKeySet::Empty),
            1..=MOST_KEYS => Ok(Self { keys, digest: secret::short_hash(text.as_bytes()) }),
            _ => Err(NotAKeySet::TooMany),
        }
    }

    /// A set that is published for everybody: what is of no use here may be of use to others, and is left
    /// out. `None` if nothing is left.
    pub fn published(text: &[u8]) -> Option<Self> {
        let raw: PublishedSet = json::object(text).ok()?;
        let keys: Vec<Key> = raw
            .keys
            .into_iter()
            .take(MOST_PUBLISHED)
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter(|Object(key): &Object<RawKey>| !key.is_secret() && key.is_for_signatures())
            .filter_map(|Object(key)| Key::of(&key).ok())
            .collect();
        (!keys.is_empty()).then_some(Self { keys, digest: secret::short_hash(text) })
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id.as_deref())
    }

    /// Of the text that the set was read from: another one may be another set.
    pub fn digest(&self) -> [u8; 16] {
        self.digest
    }

    /// The keys that a header with this `kid` can mean: without one, any.
    pub fn named<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| kid.is_none() || key.id.as_deref() == kid)
    }
}

impl Key {
    fn of(raw: &RawKey) -> Result<Self, Flaw> {
        let id = raw.kid.clone();
        if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > LONGEST_ID) {
            return Err(Flaw::Id);
        }
        let mut verifiers = match (raw.kty.as_str(), raw.crv.as_deref()) {
            ("RSA", _) => rsa(raw)?,
            ("EC", Some("P-256")) => point(raw, 32, ("ES256", &ECDSA_P256_SHA256_FIXED))?,
            ("EC", Some("P-384")) => point(raw, 48, ("ES384", &ECDSA_P384_SHA384_FIXED))?,
            ("OKP", Some("Ed25519")) => edwards(raw)?,
            (_, _) => return Err(Flaw::Unsupported),
        };
        // RFC 7517 §4.4: a key may be meant for one algorithm only.
        verifiers.retain(|(name, _)| raw.alg.as_deref().is_none_or(|alg| alg == *name));
        if verifiers.is_empty() {
            return Err(Flaw::Algorithm);
        }
        Ok(Self { id, verifiers })
    }

    /// For the algorithm of this name, if it is one for this key.
    pub fn verifier(&self, algorithm: &str) -> Option<&Verifier> {
        self.verifiers.iter().find(|(own, _)| *own == algorithm).map(|(_, verifier)| verifier)
    }
}

impl Verifier {
    /// Is `signature` one of `message`?
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

impl RawKey {
    fn is_secret(&self) -> bool {
        self.kty == "oct" || self.d.is_some() || self.p.is_some() || self.k.is_some()
    }

    /// RFC 7517 §4.2, §4.3
    fn is_for_signatures(&self) -> bool {
        let may_verify =
            self.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|one| one == "verify"));
        self.usage.as_deref().is_none_or(|usage| usage == "sig") && may_verify
    }
}

fn rsa(raw: &RawKey) -> Result<Vec<(&'static str, Verifier)>, Flaw> {
    let modulus = decoded(raw.n.as_ref()).ok_or(Flaw::Rsa)?;
    let exponent = decoded(raw.e.as_ref()).ok_or(Flaw::Rsa)?;
    let bits = match modulus.first() {
        // RFC 7518 §6.3.1.1: no zero before it.
        None | Some(0) => return Err(Flaw::Rsa),
        Some(first) => modulus.len() * 8 - first.leading_zeros() as usize,
    };
    if !(2048..=8192).contains(&bits) || exponent != [1, 0, 1] {
        return Err(Flaw::Rsa);
    }
    let key = RsaPublicKeyComponents { n: &modulus, e: &exponent };
    let verifier = |parameters| key.to_parsed_public_key(parameters).map(Verifier);
    RSA.iter()
        .map(|(name, parameters)| Ok((*name, verifier(parameters).map_err(|_| Flaw::Rsa)?)))
        .collect()
}

/// RFC 7518 §6.2.1: both coordinates in full length.
fn point(
    raw: &RawKey,
    length: usize,
    (name, curve): (&'static str, &'static dyn VerificationAlgorithm),
) -> Result<Vec<(&'static str, Verifier)>, Flaw> {
    let x = decoded(raw.x.as_ref()).ok_or(Flaw::Point)?;
    let y = decoded(raw.y.as_ref()).ok_or(Flaw::Point)?;
    if x.len() != length || y.len() != length {
        return Err(Flaw::Point);
    }
    let uncompressed = [&[4], x.as_slice(), y.as_slice()].concat();
    let key = ParsedPublicKey::new(curve, &uncompressed).map_err(|_| Flaw::Point)?;
    Ok(vec![(name, Verifier(key))])
}

/// RFC 8037 §2. RFC 9864 has a new name for what it calls `EdDSA` with such a key.
fn edwards(raw: &RawKey) -> Result<Vec<(&'static str, Verifier)>, Flaw> {
    let x = decoded(raw.x.as_ref()).ok_or(Flaw::Point)?;
    let key = Verifier(ParsedPublicKey::new(&ED25519, &x).map_err(|_| Flaw::Point)?);
    Ok(vec![("EdDSA", key.clone()), ("Ed25519", key)])
}

fn decoded(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

/// Every algorithm that a key may have, as metadata lists them.
pub const ALGORITHMS: [&str; 10] =
    ["ES256", "ES384", "EdDSA", "Ed25519", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// RFC 7518 §3.3, §3.5
const RSA: [(&str, &RsaParameters); 6] = [
    ("RS256", &RSA_PKCS1_2048_8192_SHA256),
    ("RS384", &RSA_PKCS1_2048_8192_SHA384),
    ("RS512", &RSA_PKCS1_2048_8192_SHA512),
    ("PS256", &RSA_PSS_2048_8192_SHA256),
    ("PS384", &RSA_PSS_2048_8192_SHA384),
    ("PS512", &RSA_PSS_2048_8192_SHA512),
];

/// As many signatures are tried where a header names no key, or several have its `kid`.
pub(super) const MOST_KEYS: usize = 8;
const MOST_PUBLISHED: usize = 64;
/// Bytes.
pub const LONGEST_ID: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    /// The same without names, in the order in which they are read here.
    const LISTED: &str = r#"["EC",null,null,null,null,"P-256",null,null,"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",null,null,null]"#;

    fn set(keys: &[String]) -> Result<KeySet, NotAKeySet> {
        let keys: Vec<_> = keys.iter().map(|key| format!("{{{key}}}")).collect();
        KeySet::parse(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
    }

    fn rsa(bits: usize, exponent: &str) -> String {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= modulus.len() * 8 - bits;
        format!(r#""kty":"RSA","n":"{}","e":"{exponent}""#, URL_SAFE_NO_PAD.encode(modulus))
    }

    #[test]
    fn what_can_be_verified_with_is_a_key() {
        for key in [
            POINT.to_owned(),
            format!(r#"{POINT},"kid":"a","use":"sig","alg":"ES256","key_ops":["verify"],"x5c":[]"#),
            rsa(2048, "AQAB"),
            rsa(8192, "AQAB"),
        ] {
            assert!(set(std::slice::from_ref(&key)).is_ok(), "{key}");
        }
    }

    #[test]
    fn what_cannot_is_told() {
        let unsigned = |more: &str| format!("{POINT},{more}");
        for (key, flaw) in [
            (r#""kty":"oct","k":"AAAA""#.to_owned(), Flaw::Secret),
            (unsigned(r#""d":"AAAA""#), Flaw::Secret),
            (unsigned(r#""use":"enc","d":"AAAA""#), Flaw::Secret),
            (rsa(1024, "AQAB"), Flaw::Rsa),
            (rsa(2047, "AQAB"), Flaw::Rsa),
            (rsa(8193, "AQAB"), Flaw::Rsa),
            (rsa(2048, "AQ"), Flaw::Rsa),
            (rsa(2048, "Aw"), Flaw::Rsa),
            (r#""kty":"RSA""#.to_owned(), Flaw::Rsa),
            (POINT.replace("P-256", "P-384"), Flaw::Point),
            (POINT.replace("f83O", "f83P"), Flaw::Point),
            (POINT.replace("P-256", "secp256k1"), Flaw::Unsupported),
            (POINT.replace("EC", "ec"), Flaw::Unsupported),
            (r#""kty":"OKP","crv":"X25519","x":"AAAA""#.to_owned(), Flaw::Unsupported),
            (r#""kty":"OKP","crv":"Ed25519","x":"AAAA""#.to_owned(), Flaw::Point),
            (unsigned(r#""alg":"RS256""#), Flaw::Algorithm),
            (unsigned(r#""alg":"HS256""#), Flaw::Algorithm),
            (unsigned(r#""kid":"""#), Flaw::Id),
            (unsigned(&format!(r#""kid":"{}""#, "k".repeat(257))), Flaw::Id),
        ] {
            let found = set(&[POINT.to_owned(), key.clone()]).map(|_| ());
            assert_eq!(found, Err(NotAKeySet::Key { index: 1, flaw }), "{key}");
        }
    }

    #[test]
    fn of_a_published_set_what_is_of_use_is_taken() {
        let published =
            |keys: &str| KeySet::published(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        let good = format!("{{{POINT}}}");
        for other in [
            r#"{"kty":"oct","k":"AAAA"}"#,
            r#"{"kty":"EC","crv":"P-521","x":"AAAA","y":"AAAA"}"#,
            r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}"#,
            r#"{"kty":1}"#,
            r#""key""#,
            LISTED,
            &format!(r#"{{{POINT},"d":"AAAA"}}"#),
            &format!(r#"{{{POINT},"use":"enc"}}"#),
            &format!("{{{}}}", rsa(1024, "AQAB")),
        ] {
            assert!(published(other).is_none(), "{other}");
            let both = published(&format!("{other},{good}"));
            assert_eq!(both.map(|set| set.named(None).count()), Some(1), "{other}");
        }
        let many = vec![good.as_str(); 99].join(",");
        assert_eq!(published(&many).unwrap().named(None).count(), MOST_PUBLISHED);
        let listed = format!("[[{good}]]");
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, &listed] {
            assert!(KeySet::published(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_set_has_one_to_eight_keys_that_differ_in_their_id() {
        let with_id = |id: usize| format!(r#"{POINT},"kid":"{id}""#);
        let for_encryption = format!(r#"{POINT},"use":"enc""#);

        assert_eq!(set(&[]).map(|_| ()), Err(NotAKeySet::Empty));
        assert_eq!(set(&[for_encryption]).map(|_| ()), Err(NotAKeySet::Empty));
        assert_eq!(set(&[with_id(1), with_id(1)]).map(|_| ()), Err(NotAKeySet::SameId));
        assert!(set(&(0..8).map(with_id).collect::<Vec<_>>()).is_ok());
        let nine = set(&(0..9).map(with_id).collect::<Vec<_>>());
        assert_eq!(nine.map(|_| ()), Err(NotAKeySet::TooMany));
        let set_as_list = format!("[[{{{POINT}}}]]");
        let key_as_list = format!(r#"{{"keys":[{LISTED}]}}"#);
        for text in [
            "",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[{}]}"#,
            r#"{"keys":[],"keys":[]}"#,
            &set_as_list,
            &key_as_list,
        ] {
            assert_eq!(KeySet::parse(text).map(|_| ()), Err(NotAKeySet::Form), "{text}");
        }
    }
}
