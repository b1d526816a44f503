//! A resource of the IdP's, asked with a person's access token (RFC 6750 §2.1): userinfo, and what providers
//! have besides.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue, LINK};
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::idp::Idp;
use crate::jose::json;
use crate::outbound::Unreachable;

/// Why a resource did not tell. Completes "…: ".
#[derive(Debug, thiserror::Error)]
pub enum ResourceFault {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("took longer than {} s in all", LONGEST_WAIT.as_secs())]
    TooSlow,
    #[error("answered {0} in place of 200")]
    Status(u16),
    #[error("answered an error with status 200")]
    Error,
    #[error("answered what we can't read: {0}")]
    Garbled(String),
    #[error("the access token can't be sent: it is no text for a header")]
    Token,
    #[error("has a next page at another origin, which gets no access token")]
    NextElsewhere,
    #[error("has a next page that was read before")]
    Loop,
    #[error("has more than {MOST_PAGES} pages")]
    TooManyPages,
    #[error("has more than {MOST_BYTES} bytes in all its pages")]
    TooManyBytes,
}

impl ResourceFault {
    /// Could it be over in a minute, with nobody changing anything?
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TooSlow => true,
            Self::Status(status) => *status >= 500 || *status == 429,
            Self::Error
            | Self::Garbled(_)
            | Self::Token
            | Self::NextElsewhere
            | Self::Loop
            | Self::TooManyPages
            | Self::TooManyBytes => false,
        }
    }
}

/// What a resource answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub body: Value,
    /// Bytes.
    pub length: usize,
    /// Where its `Link` header says that the next page is.
    pub next_link: Option<String>,
}

/// How long everything may take that is asked about one person.
pub(super) fn patience() -> Instant {
    Instant::now() + LONGEST_WAIT
}

impl Idp {
    pub(super) async fn ask_resource(
        &self,
        url: &Url,
        access_token: &str,
        until: Instant,
    ) -> Result<Answered, ResourceFault> {
        let within = until.saturating_duration_since(Instant::now());
        if within.is_zero() {
            return Err(ResourceFault::TooSlow);
        }
        let mut credentials = HeaderValue::try_from(format!("Bearer {access_token}"))
            .map_err(|_| ResourceFault::Token)?;
        credentials.set_sensitive(true);
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, credentials)
            .body(Vec::new())
            .map_err(|_| ResourceFault::Token)?;
        let answer = self.connection.send_within(request, within).await?;
        if answer.status() != StatusCode::OK {
            return Err(ResourceFault::Status(answer.status().as_u16()));
        }
        let body = json::parse(answer.body()).map_err(ResourceFault::Garbled)?;
        if body.get("error").is_some_and(|error| !error.is_null()) {
            return Err(ResourceFault::Error);
        }
        let next_link = next_link(answer.headers());
        Ok(Answered { body, length: answer.body().len(), next_link })
    }
}

/// RFC 8288 §3: `<https://…>; rel="next"`, among others.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    // Each link begins with `<`, which no URL has.
    values.flat_map(|value| value.split('<').skip(1)).find_map(|link| {
        let (url, parameters) = link.split_once('>')?;
        let mut parameters = parameters.split([';', ',']).map(str::trim);
        let is_next = parameters
            .any(|one| one.strip_prefix("rel=").is_some_and(|rel| rel.trim_matches('"') == "next"));
        is_next.then(|| url.to_owned())
    })
}

/// A person is waiting in front of a browser.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Of one list.
pub(super) const MOST_PAGES: usize = 20;
pub(super) const MOST_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        for (link, next) in [
            (r#"<https://a.example/?page=2>; rel="next""#, Some("https://a.example/?page=2")),
            (
                r#"<https://a.example/?p=1>; rel="prev", <https://a.example/?p=3,4>; rel="next""#,
                Some("https://a.example/?p=3,4"),
            ),
            (r#"<https://a.example/2>; title="x"; rel=next"#, Some("https://a.example/2")),
            (r#"<https://a.example/9>; rel="last""#, None),
            ("", None),
            (">; rel=next", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(LINK, HeaderValue::from_static(r#"<https://a.example/1>; rel="first""#));
            headers.append(LINK, HeaderValue::from_str(link).unwrap());
            assert_eq!(next_link(&headers).as_deref(), next, "{link}");
        }
    }
}
