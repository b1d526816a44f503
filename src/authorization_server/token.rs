//! `POST /token`: which client asks, by which grant (RFC 6749 §3.2). Next: `grant_authorization_code`,
//! `grant_refresh_token` or `grant_client_credentials`.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::authorization_server::clients;
use crate::authorization_server::error::Refused;
use crate::authorization_server::{
    AuthorizationServer, LARGEST_BODY, grant_authorization_code, grant_client_credentials,
    grant_refresh_token,
};
use crate::oauth::ErrorCode;
use crate::wire::body::read_whole;
use crate::wire::{Arrival, Form, Request, Response, answer};

pub async fn handle(server: &AuthorizationServer, request: Request, arrival: Arrival) -> Response {
    // What it may have to wait for is large; other endpoints should not pay for it.
    match Box::pin(exchange(server, request, arrival)).await {
        Ok(response) => response,
        Err(refused) => refused.answer("token request", arrival),
    }
}

async fn exchange(
    server: &AuthorizationServer,
    request: Request,
    arrival: Arrival,
) -> Result<Response, Refused> {
    let (headers, form) = read_form(request).await?;
    let grant_type = form.one("grant_type")?.ok_or(NO_GRANT_TYPE)?;
    let client = clients::authenticate(server, &headers, &form, arrival).await?;
    let issued = match grant_type {
        "authorization_code" => {
            grant_authorization_code::redeem(server, &client, &form, arrival).await?
        }
        "refresh_token" => grant_refresh_token::refresh(server, &client, &form, arrival).await?,
        "client_credentials" => grant_client_credentials::issue(server, &client, &form, arrival)?,
        _ => return Err(UNSUPPORTED),
    };
    Ok(answer::private_json(StatusCode::OK, &issued))
}

/// The form of a request to the token or revocation endpoint.
pub async fn read_form(request: Request) -> Result<(HeaderMap, Form), Refused> {
    let (parts, body) = request.into_parts();
    if !parts.headers.get(CONTENT_TYPE).is_some_and(is_form) {
        return Err(NOT_A_FORM);
    }
    let body = read_whole(body, LARGEST_BODY).await.map_err(|_| UNREADABLE)?;
    Ok((parts.headers, Form::parse(&body)))
}

fn is_form(content_type: &HeaderValue) -> bool {
    content_type.to_str().is_ok_and(|text| {
        let media_type = text.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

const NOT_A_FORM: Refused = Refused::new(
    ErrorCode::InvalidRequest,
    "the body must be of type application/x-www-form-urlencoded",
);
const UNREADABLE: Refused = Refused::new(
    ErrorCode::InvalidRequest,
    "the body is larger than 16 KiB, too slow, or broke off",
);
const NO_GRANT_TYPE: Refused = Refused::new(ErrorCode::InvalidRequest, "grant_type is missing");
const UNSUPPORTED: Refused = Refused::new(
    ErrorCode::UnsupportedGrantType,
    "grant_type must be authorization_code, refresh_token or client_credentials",
);
