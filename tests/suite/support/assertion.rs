//! Client assertions (RFC 7523), honest and forged, made here and not by the product.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::random_text;

/// A key pair of a client, its public half as a JWK with the id `kid`.
#[derive(Debug)]
pub struct ClientKey {
    pair: Pair,
    pub kid: &'static str,
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// An assertion before it is signed. A test may bend every part of it.
#[derive(Clone, Debug)]
pub struct Assertion {
    pub header: Value,
    pub claims: Value,
}

impl ClientKey {
    pub fn rsa(kid: &'static str) -> Self {
        Self { pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()), kid }
    }

    pub fn p256(kid: &'static str) -> Self {
        Self { pair: Pair::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)), kid }
    }

    pub fn p384(kid: &'static str) -> Self {
        Self { pair: Pair::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)), kid }
    }

    pub fn ed25519(kid: &'static str) -> Self {
        Self { pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()), kid }
    }

    /// RFC 7517 §4
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let of = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
                json!({
                    "kty": "RSA",
                    "n": of(n.big_endian_without_leading_zero()),
                    "e": of(e.big_endian_without_leading_zero()),
                })
            }
            Pair::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Pair::Ed25519(pair) => json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "x": URL_SAFE_NO_PAD.encode(pair.public_key()),
            }),
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// The algorithm that this key signs with if the header names none for it.
    pub fn alg(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding(alg), &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

impl Assertion {
    /// As a client sends it at `now`, in seconds: for `audience`, good for a minute.
    pub fn of(client_id: &str, key: &ClientKey, audience: &str, now: u64) -> Self {
        Self {
            header: json!({ "alg": key.alg(), "typ": "JWT", "kid": key.kid }),
            claims: json!({
                "iss": client_id,
                "sub": client_id,
                "aud": audience,
                "iat": now,
                "exp": now + 60,
                "jti": random_text(),
            }),
        }
    }

    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    pub fn head(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub fn without_head(mut self, name: &str) -> Self {
        self.header.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    pub fn signed_by(&self, key: &ClientKey) -> String {
        let alg = self.header["alg"].as_str().unwrap_or_default();
        with_signature(&self.header.to_string(), &self.claims.to_string(), |message| {
            key.sign(alg, message)
        })
    }

    pub fn without_signature(&self) -> String {
        with_signature(&self.header.to_string(), &self.claims.to_string(), |_| Vec::new())
    }

    /// With a public key as the shared secret.
    pub fn authenticated_with(&self, secret: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        with_signature(&self.header.to_string(), &self.claims.to_string(), |message| {
            hmac::sign(&key, message).as_ref().to_vec()
        })
    }
}

/// Header and claims as these texts, for what `Value` can't hold.
pub fn signed_texts(header: &str, claims: &str, key: &ClientKey) -> String {
    with_signature(header, claims, |message| key.sign(key.alg(), message))
}

fn with_signature(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).unwrap()
}

fn point(curve: &str, uncompressed: &[u8]) -> Value {
    let (x, y) = uncompressed[1..].split_at((uncompressed.len() - 1) / 2);
    json!({
        "kty": "EC",
        "crv": curve,
        "x": URL_SAFE_NO_PAD.encode(x),
        "y": URL_SAFE_NO_PAD.encode(y),
    })
}

fn padding(alg: &str) -> &'static dyn RsaEncoding {
    match alg {
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        "PS512" => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}
