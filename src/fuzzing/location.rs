//! `Location` of an upstream (`proxy::redirects`): wherever it leads, a client that reads it as browsers do stays on our
//! origin, and says nothing of itself there.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use crate::policy::Resource;
use crate::proxy::fed::make_public;

pub fn location(data: &[u8]) {
    let Ok(location) = HeaderValue::from_bytes(data) else { return };
    for (public, upstream) in [
        ("https://a.example/team/mcp", "http://127.0.0.1:3000/mcp"),
        ("https://a.example", "http://127.0.0.1:3000/mcp"),
        ("https://a.example/mcp/", "http://127.0.0.1:3000"),
    ] {
        let resource = Resource::between(public, upstream);
        let asked = Url::parse(public).unwrap();
        for status in [StatusCode::TEMPORARY_REDIRECT, StatusCode::CREATED] {
            let mut headers = HeaderMap::from_iter([(LOCATION, location.clone())]);
            if make_public(status, &mut headers, &resource).is_err() {
                assert!(status.is_redirection(), "an answer that leads nowhere was kept back");
                continue;
            }
            let Some(told) = headers.get(LOCATION) else {
                assert!(!status.is_redirection(), "a redirect leads nowhere");
                continue;
            };
            let url = asked.join(told.to_str().unwrap()).expect("no URL");
            assert_eq!(url.origin(), asked.origin(), "it leads away: {told:?}");
            assert_eq!((url.username(), url.password()), ("", None), "{told:?}");
        }
    }
}
