//! The vectors of Project Wycheproof for JSON web signatures and keys: whatever is judged otherwise than there
//! has its reason here.

use std::fs;
use std::path::Path;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::verify;
use serde_json::{Value, json};

use crate::jose::KeySet;
use crate::jose::jws::Jws;

/// Whether `text` is verified by the keys of a group, read as an IdP's or a client's published set.
fn is_accepted(group: &Value, text: &str) -> bool {
    let keys = group.get("public").or_else(|| group.get("private")).unwrap();
    let set = if keys.get("keys").is_some() { keys.clone() } else { json!({ "keys": [keys] }) };
    let Some(set) = KeySet::published(set.to_string().as_bytes()) else { return false };
    let accepted = Jws::parse(text, &["jwt"]).is_ok_and(|jws| jws.verified_with(&set).is_ok());
    assert!(!accepted || is_verified_elsewhere(keys, text), "nobody else accepts {text}");
    accepted
}

/// What a library says that many use, of the signature alone.
fn is_verified_elsewhere(keys: &Value, text: &str) -> bool {
    let keys = keys["keys"].as_array().cloned().unwrap_or_else(|| vec![keys.clone()]);
    let algorithm = jsonwebtoken::decode_header(text).unwrap().alg;
    let (message, signature) = text.rsplit_once('.').unwrap();
    keys.into_iter().any(|key| {
        let key = serde_json::from_value(key).map(|jwk| DecodingKey::from_jwk(&jwk).unwrap());
        key.is_ok_and(|key| verify(signature, message.as_bytes(), &key, algorithm) == Ok(true))
    })
}

/// Why a good one is refused.
fn policy(group: &Value, comment: &str) -> Option<&'static str> {
    let keys = group.get("public").or_else(|| group.get("private")).unwrap();
    let first = keys.pointer("/keys/0").unwrap_or(keys);
    match (first["kty"].as_str(), first["crv"].as_str()) {
        (Some("oct"), _) => Some("a shared secret signs nothing here"),
        // RFC 7517 §4.4
        _ if comment == "Figure20" => Some("it is PS384, and its key says that it is for PS256"),
        (_, Some("P-521")) => Some("P-521 is on no list of ours, and no IdP's"),
        (_, _) => None,
    }
}

fn judged(file: &str) -> (usize, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jose").join(file);
    let vectors: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let (mut good, mut unexplained) = (0, Vec::new());
    for group in vectors["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let comment = test["comment"].as_str().unwrap();
            let accepted = is_accepted(group, test["jws"].as_str().unwrap());
            let explained = match test["result"].as_str().unwrap() {
                "valid" => accepted != policy(group, comment).is_some(),
                _ => accepted == (comment == WEAK_KEY),
            };
            good += usize::from(accepted);
            if !explained {
                let name = format!("{} {} {comment}", group["comment"], test["tcId"]);
                unexplained.push(format!("{name}: accepted: {accepted}"));
            }
        }
    }
    (good, unexplained)
}

#[test]
fn every_outcome_of_a_signature_is_explained() {
    let (accepted, unexplained) = judged("json_web_signature_test.json");

    assert_eq!(unexplained, Vec::<String>::new());
    assert_eq!(accepted, 32);
}

#[test]
fn every_outcome_of_a_key_is_explained() {
    let (accepted, unexplained) = judged("json_web_key_test.json");

    assert_eq!(unexplained, Vec::<String>::new());
    assert_eq!(accepted, 2);
}

/// Accepted: an RSA key made by a chip whose primes could be guessed (CVE-2017-15361). We use keys of whom we
/// trust to have better ones; to look for this flaw needs a table of its own.
const WEAK_KEY: &str = "rejectsKeyWithRocaVulnerability";
