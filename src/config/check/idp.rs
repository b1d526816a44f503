//! `idp:` where people log in.

use url::Url;

use crate::config::check::identity::{self, Sources};
use crate::config::check::secret::fetch;
use crate::config::check::{access_tokens, choice, filled_in, resource_indicator};
use crate::config::field::{Field, Required, Typed};
use crate::config::problem::{Problem, Reported};
use crate::config::raw::idp::{
    CLIENT_AUTHENTICATIONS, METADATA_KINDS, RECHECKS, RawEndpoints, RawIdp, TENANT_CLAIM,
};
use crate::config::stanza::Reading;
use crate::config::values::Pair;
use crate::idp::profile::{Endpoints, IdentitySource, Metadata, RecheckWith, TENANT, Tenants};
use crate::idp::{ClientAuthentication, IdpSettings, ResourceIndicator};
use crate::oauth::public_url::is_loopback;
use crate::oauth::scope::is_scope_name;

pub(super) fn check(raw: RawIdp, reading: &mut Reading) -> Result<IdpSettings, Reported> {
    let insecure = raw.allow_insecure_http.optional();
    let http = match &insecure {
        Ok(Some(flag)) if flag.value => Http::Anywhere,
        Ok(_) | Err(_) => Http::Loopback,
    };
    let issuer = issuer(raw.issuer, http, reading);
    let issuer_spellings = raw.issuer_spellings.optional().map(texts);
    let client_id = client_id(raw.client_id, reading);
    let client_secret = match raw.client_secret.optional() {
        Ok(Some(source)) => fetch(source, reading),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    let client_authentication = choice::of(
        raw.client_authentication,
        ClientAuthentication::Basic,
        &CLIENT_AUTHENTICATIONS,
        reading,
    );
    let sources = identity::check(raw.identity, http, reading);
    let metadata = metadata(raw.metadata, raw.endpoints, sources.as_ref().ok(), http, reading);
    let scopes = scopes(raw.scopes, raw.dropped_scopes, sources.as_ref().ok(), reading);
    let resource_indicator =
        resource_indicator::check(raw.resource_indicator, raw.resource_scope, reading);
    let names_resource = resource_indicator.as_ref().ok().and_then(ResourceIndicator::parameter);
    let ours = [&OUR_PARAMETERS[..], names_resource.as_slice()].concat();
    let authorization_parameters =
        parameters(raw.authorization_parameters, &ours, "login", reading);
    let another_account_parameters =
        parameters(raw.another_account_parameters, &ours, "login", reading);
    let ours = [&OUR_TOKEN_PARAMETERS[..], names_resource.as_slice()].concat();
    let token_parameters = parameters(raw.token_parameters, &ours, "token request", reading);
    let user_key = user_key(raw.user_key, reading);
    let claim = raw.tenant_claim.optional();
    let claim = claim.map(|typed| typed.map_or_else(|| TENANT_CLAIM.to_owned(), |own| own.value));
    let key = user_key.as_ref().map_or(&[][..], Vec::as_slice);
    let tenants =
        claim.and_then(|claim| tenants(raw.tenants, raw.issuer_template, claim, key, reading));
    let recheck_with = recheck_with(raw.recheck_with, sources.as_ref().ok(), reading);
    let gives_refresh_tokens = raw.gives_refresh_tokens.optional();
    let refusals = raw.refusals.optional().map(texts);
    let revocable = raw.revocable_refresh_tokens.optional();
    let logout_ends_connections = raw.logout_ends_connections.optional();
    let user_key_texts = user_key.clone();
    let access_tokens =
        user_key_texts.and_then(|own| access_tokens::check(raw.access_tokens, own, reading));
    insecure?;
    let (Sources { identity, groups, email }, (metadata, endpoints)) = (sources?, metadata?);
    Ok(IdpSettings {
        issuer: issuer?,
        issuer_spellings: issuer_spellings?,
        tenants: tenants?,
        metadata,
        endpoints,
        client_id: client_id?,
        client_secret: client_secret?.map(|secret| secret.value),
        client_authentication: client_authentication?,
        scopes: scopes?,
        authorization_parameters: authorization_parameters?,
        another_account_parameters: another_account_parameters?,
        token_parameters: token_parameters?,
        resource_indicator: resource_indicator?,
        identity,
        user_key: user_key?,
        groups,
        // Told by `access`, when all of it is put together.
        kept_claims: Vec::new(),
        email,
        recheck_with: recheck_with?,
        gives_refresh_tokens: gives_refresh_tokens?.is_some_and(|flag| flag.value),
        refusals: refusals?,
        revocable_refresh_tokens: revocable?.is_some_and(|flag| flag.value),
        logout_ends_connections: logout_ends_connections?.is_some_and(|flag| flag.value),
        access_tokens: access_tokens?,
    })
}

fn texts(list: Option<Typed<Vec<Typed<String>>>>) -> Vec<String> {
    let list = list.map_or_else(Vec::new, |typed| typed.value);
    list.into_iter().map(|typed| typed.value).collect()
}

fn issuer(field: Required<String>, http: Http, reading: &mut Reading) -> Result<String, Reported> {
    let typed = field.required(
        &mut reading.problems,
        "it is where people log in, and what its tokens are checked against",
        "add issuer: https://…, exactly as the provider's metadata has it, a slash at the end included",
    )?;
    filled_in(&typed, reading)?;
    match parse_issuer(&typed.value, http) {
        Ok(()) => Ok(typed.value),
        Err(NotIssuer::NotHttps) => Err(reading.tell(
            typed
                .problem(
                    "is not https",
                    "use https://, or set idp.allow_insecure_http: true (local testing only)",
                )
                .because("client secrets are sent to this address, so it must be encrypted"),
        )),
        Err(NotIssuer::Document) => Err(reading.tell(typed.problem(
            "is the address of the metadata document, not the issuer",
            "leave out /.well-known/… and everything after it",
        ))),
        Err(NotIssuer::Form) => Err(reading.tell(typed.problem(
            "is not an issuer",
            "write an absolute URL without user, query and fragment, as in https://login.example.com",
        ))),
    }
}

/// OIDC Discovery §4.1 appends to the issuer, and §4.3 compares it, so it stays as typed.
fn parse_issuer(text: &str, http: Http) -> Result<(), NotIssuer> {
    let url = Url::parse(text).map_err(|_| NotIssuer::Form)?;
    let has_more = url.query().is_some() || url.fragment().is_some();
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let is_clean = !text.contains(char::is_whitespace) && text.contains("://");
    if url.path().contains("/.well-known/") {
        return Err(NotIssuer::Document);
    }
    if url.host_str().is_none() || has_more || has_credentials || !is_clean {
        return Err(NotIssuer::Form);
    }
    match (url.scheme(), http) {
        ("https", _) | ("http", Http::Anywhere) => Ok(()),
        ("http", Http::Loopback) if is_loopback(&url) => Ok(()),
        ("http", Http::Loopback) => Err(NotIssuer::NotHttps),
        _ => Err(NotIssuer::Form),
    }
}

fn client_id(field: Required<String>, reading: &mut Reading) -> Result<String, Reported> {
    let typed = field.required(
        &mut reading.problems,
        "the provider must know who asks",
        "add client_id: as the provider shows it where this web application is registered",
    )?;
    filled_in(&typed, reading)?;
    Ok(typed.value)
}

fn scopes(
    field: Required<Vec<Typed<String>>>,
    dropped: Field<Vec<Typed<String>>>,
    sources: Option<&Sources>,
    reading: &mut Reading,
) -> Result<Vec<String>, Reported> {
    let list = field.required(&mut reading.problems, "it is asked for at login", LOGIN_SCOPES)?;
    let dropped = texts(dropped.optional()?);
    let has_openid = list.value.iter().any(|typed| typed.value == "openid");
    let needs_openid =
        sources.is_some_and(|sources| !matches!(sources.identity, IdentitySource::UserResource(_)));
    let mut result = Ok(());
    for typed in &list.value {
        if !is_scope_name(&typed.value) {
            result = Err(reading.tell(typed.problem(
                "is not a scope",
                "write one scope per entry, without spaces and quotes",
            )));
        }
    }
    if needs_openid && !has_openid {
        result = Err(reading.tell(
            list.problem("lacks openid", LOGIN_SCOPES)
                .because("without it the provider sends no ID token, so nobody is known"),
        ));
    }
    let sent = list.value.into_iter().map(|typed| typed.value);
    result.map(|()| sent.filter(|scope| !dropped.contains(scope)).collect())
}

/// Where metadata is, and what is said here in its place.
fn metadata(
    field: Field<String>,
    raw: RawEndpoints,
    sources: Option<&Sources>,
    http: Http,
    reading: &mut Reading,
) -> Result<(Metadata, Endpoints), Reported> {
    let spot = match &field {
        Field::Given(typed) => Some(typed.spot.clone()),
        Field::LeftOut(_) | Field::Mistyped(_) => None,
    };
    let metadata = choice::of(field, Metadata::Oidc, &METADATA_KINDS, reading);
    let mut endpoint = |field: Field<String>| match field.optional() {
        Ok(typed) => typed.map(|typed| url(&typed, http, reading)).transpose(),
        Err(reported) => Err(reported),
    };
    let authorization = endpoint(raw.authorization);
    let token = endpoint(raw.token);
    let userinfo = endpoint(raw.userinfo);
    let revocation = endpoint(raw.revocation);
    let introspection = endpoint(raw.introspection);
    let tokeninfo = endpoint(raw.tokeninfo);
    let keys = endpoint(raw.keys);
    let endpoints = Endpoints {
        authorization: authorization?,
        token: token?,
        userinfo: userinfo?,
        revocation: revocation?,
        introspection: introspection?,
        tokeninfo: tokeninfo?,
        keys: keys?,
    };
    let metadata = metadata?;
    let (Metadata::Nowhere, Some(sources), Some(spot)) = (metadata, sources, spot) else {
        return Ok((metadata, endpoints));
    };
    let signs = !matches!(sources.identity, IdentitySource::UserResource(_));
    let asks_userinfo = sources.identity == IdentitySource::Userinfo;
    let missing = [
        (endpoints.authorization.is_none(), "authorization"),
        (endpoints.token.is_none(), "token"),
        (endpoints.keys.is_none() && signs, "keys"),
        (endpoints.userinfo.is_none() && asks_userinfo, "userinfo"),
    ];
    let missing: Vec<_> =
        missing.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, name)| name).collect();
    if missing.is_empty() {
        return Ok((metadata, endpoints));
    }
    Err(reading.tell(Problem::at(
        &spot,
        format!("\"none\" leaves nobody to say where these endpoints are: {}", missing.join(", ")),
        "add them to idp.endpoints",
    )))
}

/// Tenants whose people may log in, if there are several.
fn tenants(
    field: Field<Vec<Typed<String>>>,
    template: Field<String>,
    claim: String,
    user_key: &[String],
    reading: &mut Reading,
) -> Result<Option<Tenants>, Reported> {
    let template = template.optional()?;
    let Some(list) = field.optional()? else { return Ok(None) };
    if list.value.is_empty() {
        return Err(
            reading.tell(list.problem("is an empty list", "name the tenants, or remove the key"))
        );
    }
    let Some(template) = template.filter(|template| template.value.contains(TENANT)) else {
        return Err(reading.tell(list.problem(
            format!("needs idp.issuer_template with {TENANT} in it"),
            "set it to what the provider's metadata has as issuer, or remove tenants",
        )));
    };
    if !user_key.contains(&claim) {
        return Err(reading.tell(
            list.problem(
                format!("needs the claim {claim:?} in idp.user_key"),
                format!("add {claim} to idp.user_key"),
            )
            .because("people of two tenants may have the same key"),
        ));
    }
    let allowed = list.value.into_iter().map(|typed| typed.value).collect();
    Ok(Some(Tenants { template: template.value, claim, allowed }))
}

fn recheck_with(
    field: Field<String>,
    sources: Option<&Sources>,
    reading: &mut Reading,
) -> Result<RecheckWith, Reported> {
    let typed = match &field {
        Field::Given(typed) => Some(typed.clone()),
        Field::LeftOut(_) | Field::Mistyped(_) => None,
    };
    let with = choice::of(field, RecheckWith::RefreshToken, &RECHECKS, reading)?;
    let has_resource =
        sources.is_none_or(|sources| matches!(sources.identity, IdentitySource::UserResource(_)));
    match typed {
        Some(typed) if with == RecheckWith::AccessToken && !has_resource => {
            Err(reading.tell(typed.problem(
                "needs idp.identity: user_resource, where that token is taken",
                "use refresh_token",
            )))
        }
        Some(_) | None => Ok(with),
    }
}

/// Somewhere that a secret or a person's access token is sent to, or keys come from.
pub(super) fn url(
    typed: &Typed<String>,
    http: Http,
    reading: &mut Reading,
) -> Result<Url, Reported> {
    filled_in(typed, reading)?;
    let no_url = typed.problem(
        "is not a URL",
        "write an absolute URL without user and fragment, as in https://login.example.com/groups",
    );
    let Ok(url) = Url::parse(&typed.value) else { return Err(reading.tell(no_url)) };
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    if url.host_str().is_none() || url.fragment().is_some() || has_credentials {
        return Err(reading.tell(no_url));
    }
    match (url.scheme(), http) {
        ("https", _) | ("http", Http::Anywhere) => Ok(url),
        ("http", Http::Loopback) if is_loopback(&url) => Ok(url),
        _ => Err(reading.tell(typed.problem("is not https", "use https://").because(
            "secrets or access tokens are sent to the provider, so it must be encrypted",
        ))),
    }
}

fn parameters(
    field: Field<Vec<Pair>>,
    ours: &[&str],
    of: &str,
    reading: &mut Reading,
) -> Result<Vec<(String, String)>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(Vec::new()) };
    let mut result = Ok(());
    for Pair { name, value } in &typed.value {
        if ours.contains(&name.as_str()) {
            result = Err(reading.tell(value.problem(
                format!("can't be set: each {of} has its own value for this parameter"),
                "remove it",
            )));
        }
    }
    result.map(|()| typed.value.into_iter().map(|pair| (pair.name, pair.value.value)).collect())
}

fn user_key(
    field: Required<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Vec<String>, Reported> {
    let list = field.required(&mut reading.problems, "it tells people apart", "add [sub]")?;
    if list.value.is_empty() {
        return Err(reading.tell(
            list.problem("is an empty list", "write [sub], or remove it")
                .because("everyone would be the same person"),
        ));
    }
    Ok(list.value.into_iter().map(|typed| typed.value).collect())
}

/// Where the IdP may be reached without TLS.
#[derive(Clone, Copy)]
pub(super) enum Http {
    Loopback,
    /// `idp.allow_insecure_http: true`
    Anywhere,
}

enum NotIssuer {
    Form,
    NotHttps,
    Document,
}

const LOGIN_SCOPES: &str = "add openid, as in [openid, profile, email]";

const OUR_PARAMETERS: [&str; 11] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

const OUR_TOKEN_PARAMETERS: [&str; 9] = [
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "grant_type",
    "redirect_uri",
    "refresh_token",
];
