//! Signed texts (`jose::jws`) and key sets (`jose::key_set`). The three examples of the RFCs are all that anybody
//! has signed with these keys: nothing else verifies. An input of three lines is a header, a payload and a
//! signature, of which the first two have yet to be encoded, so that they can be read here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::jose::jws::Jws;
use crate::jose::{Claims, KeySet, json};

pub fn jwt(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    check(text);
    if let [header, payload, signature] = text.splitn(3, '\n').collect::<Vec<_>>()[..] {
        let encoded = |part: &str| URL_SAFE_NO_PAD.encode(part);
        check(&format!("{}.{}.{signature}", encoded(header), encoded(payload)));
    }
}

fn check(text: &str) {
    thread_local! {
        static RING: KeySet = KeySet::parse(KEYS).unwrap();
    }
    let Ok(jws) = Jws::parse(text, &["jwt", "at+jwt"]) else { return };
    let header = text.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.unwrap_or_default();
    assert_eq!(header.trim_ascii_start().first(), Some(&b'{'), "a header that is no object");
    let claims = Claims::parse(jws.unverified());
    let strict = json::parse(jws.unverified());
    assert_eq!(claims.is_ok(), matches!(strict, Ok(Value::Object(_))));
    if let Ok(strict) = strict {
        let lax = serde_json::from_slice::<Value>(jws.unverified());
        assert_eq!(lax.ok(), Some(strict), "two readers, two readings");
    }
    let key_id = jws.key_id().map(|kid| kid.map(str::to_owned));
    let verified = RING.with(|keys| jws.verified_with(keys));
    if let Ok(payload) = verified {
        // By what was signed: of a signature there may be another writing.
        let signed = text.rsplit_once('.').map(|(message, _)| message);
        let known = SIGNED.iter().find(|known| known.starts_with(signed.unwrap_or("-")));
        assert!(known.is_some(), "nobody signed this: {text}");
        assert!(key_id.is_ok());
        let part = text.split('.').nth(1).unwrap_or_default();
        assert_eq!(URL_SAFE_NO_PAD.decode(part).ok(), Some(payload));
    }
}

pub fn jwks(data: &[u8]) {
    let published = KeySet::published(data);
    if let Some(keys) = &published {
        let json: Value = serde_json::from_slice(data).expect("it was read, and is no JSON");
        let objects = json["keys"].as_array().expect("a list of keys").iter();
        let objects = objects.filter(|key| key.is_object()).count();
        assert!(keys.named(None).count() <= objects, "a key that is no object");
        // What others signed is by none of a stranger's keys, unless they are the same.
        let own =
            str::from_utf8(data).is_ok_and(|text| KEYS_PARTS.iter().any(|n| text.contains(n)));
        for text in SIGNED {
            let jws = Jws::parse(text, &["jwt"]).expect("the example of an RFC");
            assert!(own || jws.verified_with(keys).is_err(), "another key verifies");
        }
        for id in keys.ids() {
            assert!(keys.named(Some(id)).next().is_some() && !id.is_empty());
        }
    }
    if let Ok(keys) =
        str::from_utf8(data).map_err(|_| ()).and_then(|t| KeySet::parse(t).map_err(|_| ()))
    {
        let published = published.expect("what is strict is also published");
        assert_eq!(keys.digest(), published.digest());
        assert_eq!(keys.ids().collect::<Vec<_>>(), published.ids().collect::<Vec<_>>());
        let json: Value = serde_json::from_slice(data).expect("it was read, and is no JSON");
        for key in json["keys"].as_array().expect("a list of keys") {
            let is_secret = ["d", "p", "k"].iter().any(|name| !key[*name].is_null());
            assert!(!is_secret && key["kty"] != "oct", "a private key was taken");
        }
    }
}

/// RFC 7515 A.2, A.3; RFC 8037 A.2: the public halves.
const KEYS: &str = r#"{"keys":[
    {"kty":"RSA","kid":"rsa","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
    {"kty":"EC","kid":"ec","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty":"OKP","kid":"ed","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
]}"#;

/// By which each of them is known.
const KEYS_PARTS: [&str; 3] = [
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p",
    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
];

/// RFC 7515 A.2, A.3; RFC 8037 A.4
const SIGNED: [&str; 3] = [
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
];
