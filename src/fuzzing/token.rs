//! Sealed texts (`seal`): nothing opens but what was sealed, as the kind that it was sealed as. The texts of
//! `tests/formats` are all that was ever sealed with this key.

use serde::de::DeserializeOwned;

use crate::authorization_server::clients::registered::CLIENT_ID;
use crate::oauth::PublicUrl;
use crate::seal::{KeyMaterial, KeyRing, Kind};
use crate::token::sealed::{ACCESS_TOKEN, CODE, REFRESH_TOKEN};

pub fn token(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    thread_local! {
        static RING: KeyRing = ring();
    }
    RING.with(|ring| {
        assert_opens(ring, &ACCESS_TOKEN, text);
        assert_opens(ring, &CODE, text);
        assert_opens(ring, &REFRESH_TOKEN, text);
        assert_opens(ring, &CLIENT_ID, text);
    });
}

/// If it was sealed, and only then.
fn assert_opens<T: DeserializeOwned>(ring: &KeyRing, kind: &Kind<T>, text: &str) {
    let mut sealed = KEPT.iter().flat_map(|kept| kept.split_whitespace());
    let is_sealed = kind.is_claimed_by(text) && sealed.any(|known| known == text);
    assert_eq!(ring.open(kind, text).is_ok(), is_sealed, "was it sealed? {is_sealed}");
}

fn ring() -> KeyRing {
    let key = KeyMaterial::parse(KEY).unwrap();
    let issuer = PublicUrl::parse("https://tools.example.com").unwrap();
    KeyRing::new(&key, &[], &issuer).unwrap()
}

const KEPT: [&str; 6] = [
    include_str!("../../tests/formats/access_token.txt"),
    include_str!("../../tests/formats/service_account_token.txt"),
    include_str!("../../tests/formats/code.txt"),
    include_str!("../../tests/formats/refresh_token.txt"),
    include_str!("../../tests/formats/refresh_token_with_keepsake.txt"),
    include_str!("../../tests/formats/client_id.txt"),
];
/// Of the deployment in `tests/suite/formats.rs`.
const KEY: &str = "jN8wGxnnGMGKHBRIKFMZqwfYwRoHkLbvfpMftyzhJpY=";
