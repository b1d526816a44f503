//! `idp:` where people log in.

use url::Url;

use crate::config::check::secret::fetch;
use crate::config::check::{choice, filled_in};
use crate::config::field::{Field, Required, Typed};
use crate::config::problem::Reported;
use crate::config::raw::RawConfig;
use crate::config::raw::access::RawAccess;
use crate::config::raw::idp::{AUDIENCES, CLIENT_AUTHENTICATIONS, RawAccessTokens, RawIdp};
use crate::config::stanza::Reading;
use crate::config::values::Pair;
use crate::idp::{
    AccessTokenProfile, AudienceClaim, ClientAuthentication, ExpectedClaim, IdpSettings,
};
use crate::oauth::public_url::is_loopback;
use crate::oauth::scope::is_scope_name;

pub(super) fn check(raw: RawIdp, reading: &mut Reading) -> Result<IdpSettings, Reported> {
    let insecure = raw.allow_insecure_http.optional();
    let issuer = insecure.and_then(|flag| {
        let allowed =
            if flag.is_some_and(|flag| flag.value) { Http::Anywhere } else { Http::Loopback };
        issuer(raw.issuer, allowed, reading)
    });
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
    let scopes = scopes(raw.scopes, reading);
    let authorization_parameters = parameters(raw.authorization_parameters, reading);
    let another_account_parameters = parameters(raw.another_account_parameters, reading);
    let user_key = user_key(raw.user_key, reading);
    let groups_claim = raw.groups_claim.optional();
    let revocable = raw.revocable_refresh_tokens.optional();
    let logout_ends_connections = raw.logout_ends_connections.optional();
    let user_key_texts = user_key.clone();
    let access_tokens =
        user_key_texts.and_then(|own| access_tokens(raw.access_tokens, own, reading));
    Ok(IdpSettings {
        issuer: issuer?,
        client_id: client_id?,
        client_secret: client_secret?.map(|secret| secret.value),
        client_authentication: client_authentication?,
        scopes: scopes?,
        authorization_parameters: authorization_parameters?,
        another_account_parameters: another_account_parameters?,
        user_key: user_key?,
        revocable_refresh_tokens: revocable?.is_some_and(|flag| flag.value),
        logout_ends_connections: logout_ends_connections?.is_some_and(|flag| flag.value),
        groups_claim: groups_claim?.map_or_else(|| "groups".to_owned(), |typed| typed.value),
        access_tokens: access_tokens?,
    })
}

fn access_tokens(
    raw: RawAccessTokens,
    user_key: Vec<String>,
    reading: &mut Reading,
) -> Result<AccessTokenProfile, Reported> {
    let types = at_least_one(raw.types, reading);
    let audience = choice::of(raw.audience, AudienceClaim::Audience, &AUDIENCES, reading);
    let scopes = at_least_one(raw.scopes, reading);
    let own_user_key = match raw.user_key {
        Field::LeftOut(_) => Ok(user_key),
        given @ (Field::Given(_) | Field::Mistyped(_)) => at_least_one(Required(given), reading),
    };
    let person = raw.person.optional();
    let machine =
        raw.machine.required(&mut reading.problems, "it tells machines from people", MARKS);
    let machine = machine.and_then(|typed| {
        if typed.value.is_empty() {
            let problem = typed.problem("is empty", MARKS);
            return Err(reading.tell(problem.because("a machine would pass for a person")));
        }
        Ok(typed)
    });
    let is_short = |typ: String| {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").map_or(typ.clone(), str::to_owned)
    };
    Ok(AccessTokenProfile {
        types: types?.into_iter().map(is_short).collect(),
        audience: audience?,
        scopes: scopes?,
        user_key: own_user_key?,
        person: person?.map_or_else(Vec::new, expected),
        machine: expected(machine?),
    })
}

fn expected(claims: Typed<Vec<Pair>>) -> Vec<ExpectedClaim> {
    let expected = |Pair { name, value }| ExpectedClaim { name, value: value.value };
    claims.value.into_iter().map(expected).collect()
}

fn at_least_one(
    field: Required<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Vec<String>, Reported> {
    let why = "it says how access tokens of the provider look";
    let list = field.required(&mut reading.problems, why, "take it from config.example.yaml")?;
    if list.value.is_empty() {
        return Err(reading.tell(list.problem("is an empty list", "name one, or remove the key")));
    }
    Ok(list.value.into_iter().map(|typed| typed.value).collect())
}

/// Rules about groups need a claim that tells them; otherwise they would lock everyone out in silence.
pub(super) fn groups_are_told(raw: &RawConfig, reading: &mut Reading) -> Result<(), Reported> {
    let (Field::LeftOut(_), Field::Given(resources)) = (&raw.idp.groups_claim, &raw.resources.0)
    else {
        return Ok(());
    };
    let mut result = Ok(());
    for resource in &resources.value {
        let Field::Given(Typed { value: RawAccess::Entries(entries), .. }) = &resource.access.0
        else {
            continue;
        };
        for entry in entries {
            if let Field::Given(groups) = &entry.groups {
                result = Err(reading.tell(groups.problem(
                    "can't be matched: with this idp.preset no claim tells groups",
                    "set idp.groups_claim to the claim of the ID token that lists them, or use emails, email_domains or subjects",
                )));
            }
        }
    }
    result
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
    reading: &mut Reading,
) -> Result<Vec<String>, Reported> {
    let list = field.required(&mut reading.problems, "it is asked for at login", LOGIN_SCOPES)?;
    let has_openid = list.value.iter().any(|typed| typed.value == "openid");
    let mut result = Ok(());
    for typed in &list.value {
        if !is_scope_name(&typed.value) {
            result = Err(reading.tell(typed.problem(
                "is not a scope",
                "write one scope per entry, without spaces and quotes",
            )));
        }
    }
    if !has_openid {
        result = Err(reading.tell(
            list.problem("lacks openid", LOGIN_SCOPES)
                .because("without it the provider sends no ID token, so nobody is known"),
        ));
    }
    result.map(|()| list.value.into_iter().map(|typed| typed.value).collect())
}

fn parameters(
    field: Field<Vec<Pair>>,
    reading: &mut Reading,
) -> Result<Vec<(String, String)>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(Vec::new()) };
    let mut result = Ok(());
    for Pair { name, value } in &typed.value {
        if OUR_PARAMETERS.contains(&name.as_str()) {
            result = Err(reading.tell(value.problem(
                "can't be set: each login has its own value for this parameter",
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

/// Where the issuer may be reached without TLS.
#[derive(Clone, Copy)]
enum Http {
    Loopback,
    /// `idp.allow_insecure_http: true`
    Anywhere,
}

enum NotIssuer {
    Form,
    NotHttps,
    Document,
}

const MARKS: &str = "write { sub: \"{client_id}\" }, or the claims that your provider has in tokens of machines alone";
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
