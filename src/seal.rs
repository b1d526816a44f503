//! Sealing: authenticated encryption of small typed payloads, with a ring of keys.
//!
//! What we hand out (client ids, `state`, codes, tokens) and what we store (grant rows) is sealed. The
//! kind, the issuer and the key are bound in as associated data: a code never opens as a token, nor a
//! token of one deployment in another. AES-256-GCM-SIV: a nonce drawn twice does not break it.
//!
//! Text form: `<prefix>` then base64url of `version (1) | key id (4) | nonce (12) | ciphertext | tag (16)`.

use std::fmt;
use std::marker::PhantomData;
use std::mem;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::oauth::PublicUrl;

/// A kind of sealed thing: the payload's type, its readable prefix and the version of its format.
/// The prefix tells a person, and a secret scanner, what leaked.
#[derive(Debug)]
pub struct Kind<T> {
    prefix: &'static str,
    version: u8,
    payload: PhantomData<fn() -> T>,
}

impl<T> Kind<T> {
    /// Every kind needs its own prefix. `version` changes with the fields of `T`.
    pub const fn new(prefix: &'static str, version: u8) -> Self {
        Self { prefix, version, payload: PhantomData }
    }

    /// Does `text` claim to be of this kind? Says nothing about whether it is genuine.
    pub fn is_claimed_by(&self, text: &str) -> bool {
        text.starts_with(self.prefix)
    }
}

/// The keys, the current one first. Seals with the first, opens with any.
pub struct KeyRing {
    keys: Vec<SealingKey>,
    issuer: String,
}

/// The sealed text is not ours, not of this kind, damaged, or sealed with a key that is gone.
/// Which of these is not said: it would help only a forger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sealed by us")]
pub struct NotOurs;

/// Nothing could be sealed: no random nonce. Answer 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealing failed: no random bytes from the operating system")]
pub struct SealFault;

/// 256 bits or more of key material, as read from the operator's file.
#[derive(Clone)]
pub struct KeyMaterial(Zeroizing<Vec<u8>>);

/// Why a text can't be a sealing key. Completes "…: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    #[error("is neither base64 nor hex")]
    NotEncoded,
    #[error("is shorter than 32 bytes")]
    TooShort,
    #[error("is not random")]
    NotRandom,
}

struct SealingKey {
    id: [u8; KEY_ID],
    aead: RandomizedNonceKey,
}

impl KeyMaterial {
    /// Reads base64 (either alphabet) or hex. Refuses what is short, repeats itself or reads as text:
    /// a sample from a document is all three more often than not.
    pub fn parse(text: &str) -> Result<Self, WeakKey> {
        let bytes = Zeroizing::new(decode(text.trim()).ok_or(WeakKey::NotEncoded)?);
        if bytes.len() < SHORTEST_KEY {
            return Err(WeakKey::TooShort);
        }
        let mut distinct = [false; 256];
        for byte in bytes.iter() {
            if let Some(seen) = distinct.get_mut(usize::from(*byte)) {
                *seen = true;
            }
        }
        // 32 random bytes have fewer than 20 distinct values about once in 10^11 keys.
        let variety = distinct.iter().filter(|seen| **seen).count();
        if variety < 20 || bytes.iter().all(u8::is_ascii) || is_a_run(&bytes) {
            return Err(WeakKey::NotRandom);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sealing key]")
    }
}

impl KeyRing {
    /// `current` seals; `previous` still open what they sealed.
    pub fn new(
        current: &KeyMaterial,
        previous: &[KeyMaterial],
        issuer: &PublicUrl,
    ) -> Result<Self, SealFault> {
        let keys = std::iter::once(current)
            .chain(previous)
            .map(SealingKey::derive)
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, issuer: issuer.as_str().to_owned() })
    }

    /// What names each key in all that it sealed, the current one first. Tells nothing about the key.
    pub fn key_ids(&self) -> impl Iterator<Item = [u8; KEY_ID]> {
        self.keys.iter().map(|key| key.id)
    }

    pub fn seal<T: Serialize>(&self, kind: &Kind<T>, payload: &T) -> Result<String, SealFault> {
        let key = self.keys.first().ok_or(SealFault)?;
        // The payload is sealed where it is written: behind its head, in which the nonce is still missing.
        let mut head = Vec::with_capacity(TYPICAL_SIZE);
        head.push(kind.version);
        head.extend_from_slice(&key.id);
        head.extend_from_slice(&[0; NONCE]);
        let mut plain = Zeroizing::new(postcard::to_extend(payload, head).map_err(|_| SealFault)?);
        let (head, payload) = plain.split_at_mut_checked(HEAD).ok_or(SealFault)?;
        let (nonce, tag) = key
            .aead
            .seal_in_place_separate_tag(Aad::from(self.context(kind, key)), payload)
            .map_err(|_| SealFault)?;
        head.last_chunk_mut::<NONCE>().ok_or(SealFault)?.copy_from_slice(nonce.as_ref());
        let mut whole = mem::take(&mut *plain);
        whole.extend_from_slice(tag.as_ref());
        let mut text = String::with_capacity(kind.prefix.len() + whole.len() * 4 / 3 + 4);
        text.push_str(kind.prefix);
        URL_SAFE_NO_PAD.encode_string(&whole, &mut text);
        Ok(text)
    }

    pub fn open<T: DeserializeOwned>(&self, kind: &Kind<T>, text: &str) -> Result<T, NotOurs> {
        let encoded = text.strip_prefix(kind.prefix).ok_or(NotOurs)?;
        let mut whole = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| NotOurs)?;
        let (head, sealed) = whole.split_at_mut_checked(HEAD).ok_or(NotOurs)?;
        let (version, rest) = head.split_first().ok_or(NotOurs)?;
        let (id, nonce) = rest.split_at_checked(KEY_ID).ok_or(NotOurs)?;
        if *version != kind.version {
            return Err(NotOurs);
        }
        let key = self.keys.iter().find(|key| key.id == id).ok_or(NotOurs)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOurs)?;
        let plain = key
            .aead
            .open_in_place(nonce, Aad::from(self.context(kind, key)), sealed)
            .map_err(|_| NotOurs)?;
        postcard::from_bytes(plain).map_err(|_| NotOurs)
    }

    /// What is bound in besides the payload. The lengths of prefix and id are fixed per kind and
    /// format, so no two contexts read the same.
    fn context<T>(&self, kind: &Kind<T>, key: &SealingKey) -> Vec<u8> {
        [kind.prefix.as_bytes(), &[0, kind.version], &key.id, self.issuer.as_bytes()].concat()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[ring of {} sealing keys]", self.keys.len())
    }
}

impl SealingKey {
    fn derive(material: &KeyMaterial) -> Result<Self, SealFault> {
        let derived = Salt::new(HKDF_SHA256, b"mcp-doorman sealing").extract(&material.0);
        let mut bytes = Zeroizing::new([0; 32]);
        derived
            .expand(&[b"aes-256-gcm-siv"], Bytes32)
            .and_then(|okm| okm.fill(&mut *bytes))
            .map_err(|_| SealFault)?;
        let aead = RandomizedNonceKey::new(&AES_256_GCM_SIV, &*bytes).map_err(|_| SealFault)?;
        let mut id = [0; KEY_ID];
        derived
            .expand(&[b"key id"], Bytes4)
            .and_then(|okm| okm.fill(&mut id))
            .map_err(|_| SealFault)?;
        Ok(Self { id, aead })
    }
}

struct Bytes32;
struct Bytes4;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl KeyType for Bytes4 {
    fn len(&self) -> usize {
        KEY_ID
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|c| c.to_digit(16))
            .filter_map(|d| u8::try_from(d).ok())
            .collect();
        return Some(
            digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect(),
        );
    }
    let standard = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(standard).ok()
}

/// 0, 1, 2, 3 …: every step the same.
fn is_a_run(bytes: &[u8]) -> bool {
    let mut steps = bytes.windows(2).map(|pair| match pair {
        [one, next] => next.wrapping_sub(*one),
        _ => 0,
    });
    let first = steps.next();
    steps.all(|step| Some(step) == first)
}

const SHORTEST_KEY: usize = 32;
const KEY_ID: usize = 4;
const NONCE: usize = 12;
const HEAD: usize = 1 + KEY_ID + NONCE;
/// Of what is sealed: most fits.
const TYPICAL_SIZE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret;

    const NOTE: Kind<String> = Kind::new("test_note_", 1);
    const OTHER: Kind<String> = Kind::new("test_other_", 1);

    fn material(seed: u8) -> KeyMaterial {
        let bytes = secret::sha256(&[seed]);
        KeyMaterial::parse(&URL_SAFE_NO_PAD.encode(bytes)).unwrap()
    }

    fn ring(seeds: &[u8], issuer: &str) -> KeyRing {
        let keys: Vec<_> = seeds.iter().map(|seed| material(*seed)).collect();
        KeyRing::new(&keys[0], &keys[1..], &PublicUrl::parse(issuer).unwrap()).unwrap()
    }

    #[test]
    fn what_was_sealed_opens() {
        let ring = ring(&[1], "https://a.example");

        let sealed = ring.seal(&NOTE, &"hello".to_owned()).unwrap();

        assert!(sealed.starts_with("test_note_"));
        assert_eq!(ring.open(&NOTE, &sealed), Ok("hello".to_owned()));
    }

    #[test]
    fn no_kind_opens_as_another() {
        let ring = ring(&[1], "https://a.example");
        let sealed = ring.seal(&NOTE, &"hello".to_owned()).unwrap();
        let relabelled = sealed.replace("test_note_", "test_other_");

        assert_eq!(ring.open(&OTHER, &sealed), Err(NotOurs));
        assert_eq!(ring.open(&OTHER, &relabelled), Err(NotOurs));
    }

    #[test]
    fn no_changed_character_goes_unnoticed() {
        let ring = ring(&[1], "https://a.example");
        let sealed = ring.seal(&NOTE, &"hello".to_owned()).unwrap();

        for position in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ring.open(&NOTE, &changed), Err(NotOurs), "position {position}");
            assert_eq!(ring.open(&NOTE, &sealed[..position]), Err(NotOurs), "cut at {position}");
        }
    }

    #[test]
    fn a_seal_is_good_for_one_issuer() {
        let sealed = ring(&[1], "https://a.example").seal(&NOTE, &String::new()).unwrap();

        assert_eq!(ring(&[1], "https://b.example").open(&NOTE, &sealed), Err(NotOurs));
    }

    #[test]
    fn a_previous_key_still_opens_and_a_removed_one_does_not() {
        let old = ring(&[1], "https://a.example").seal(&NOTE, &String::new()).unwrap();

        assert!(ring(&[2, 1], "https://a.example").open(&NOTE, &old).is_ok());
        assert_eq!(ring(&[2], "https://a.example").open(&NOTE, &old), Err(NotOurs));
    }

    #[test]
    fn weak_keys_are_refused() {
        for (text, reason) in [
            ("changeme", WeakKey::TooShort),
            ("not base64!", WeakKey::NotEncoded),
            ("c2hvcnQ=", WeakKey::TooShort),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", WeakKey::NotRandom),
            ("MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=", WeakKey::NotRandom),
            (
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                WeakKey::NotRandom,
            ),
        ] {
            assert_eq!(KeyMaterial::parse(text).unwrap_err(), reason, "{text}");
        }
    }

    #[test]
    fn keys_are_read_as_base64_and_hex() {
        let bytes = secret::sha256(b"key");
        let hex = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);

        for text in [hex, format!("{base64}\n")] {
            assert_eq!(*KeyMaterial::parse(&text).unwrap().0, bytes.to_vec());
        }
    }
}
