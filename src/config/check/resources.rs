//! `resources:` and `issuer:` everything that the world knows us by.

use crate::config::ResourceSettings;
use crate::config::check::{access, filled_in, upstream};
use crate::config::field::{Field, Required, Typed};
use crate::config::problem::{Problem, Reported};
use crate::config::raw::resource::RawResource;
use crate::config::stanza::Reading;
use crate::oauth::public_url::NotPublic;
use crate::oauth::scope::is_scope_name;
use crate::oauth::{PublicUrl, Scopes};
use crate::proxy::IdentityHeaders;

/// The issuer, and the resources without two that could be taken for each other.
pub(super) fn check(
    resources: Required<Vec<RawResource>>,
    issuer: Field<String>,
    identity: Option<&IdentityHeaders>,
    reading: &mut Reading,
) -> Result<(PublicUrl, Vec<ResourceSettings>), Reported> {
    let issuer = match issuer.optional() {
        Ok(typed) => typed.map(|typed| public_url(typed, reading)).transpose(),
        Err(reported) => Err(reported),
    };
    let list = resources.required(
        &mut reading.problems,
        "without one there is nothing to guard",
        "add resources: [{ url: https://…, upstream: http://127.0.0.1:3000/mcp, access: any }]",
    )?;
    let mut urls = Vec::new();
    let resources: Vec<_> =
        list.value.into_iter().map(|raw| resource(raw, &mut urls, identity, reading)).collect();
    let Some(first) = urls.first() else {
        let fix = "add one entry with url, upstream and access";
        return Err(reading.tell(Problem::at(&list.spot, "is an empty list", fix)));
    };
    let issuer = issuer.and_then(|issuer| match (issuer, first) {
        (Some(issuer), _) => Ok(issuer.value),
        (None, Ok(url)) => origin(url, reading),
        (None, Err(reported)) => Err(*reported),
    });
    let urls: Vec<_> = urls.into_iter().filter_map(Result::ok).collect();
    let apart = are_apart(&urls, reading);
    let issuer = issuer?;
    leave_endpoints_free(&issuer, &urls, reading)?;
    apart?;
    Ok((issuer, resources.into_iter().collect::<Result<_, _>>()?))
}

type Url = Typed<PublicUrl>;

fn resource(
    raw: RawResource,
    urls: &mut Vec<Result<Url, Reported>>,
    identity: Option<&IdentityHeaders>,
    reading: &mut Reading,
) -> Result<ResourceSettings, Reported> {
    let url = raw
        .url
        .required(
            &mut reading.problems,
            "it is what people paste into their MCP client",
            "add url: https://… as the world reaches this resource",
        )
        .and_then(|typed| public_url(typed, reading));
    urls.push(url.clone());
    let upstream = upstream::check(raw.upstream, raw.upstream_tls, reading);
    let upstream_protocol = upstream::protocol(raw.upstream_protocol, reading);
    let upstream_headers = upstream::headers(raw.upstream_headers, identity, reading);
    let upstream_deadlines = upstream::deadlines(raw.upstream_deadlines, reading);
    let name = raw.name.optional();
    let access = access::check(raw.access, reading);
    let scopes = match raw.scopes.optional() {
        Ok(list) => scopes(list.as_ref().map_or(&[][..], |list| &list.value), reading),
        Err(reported) => Err(reported),
    };
    let audience = raw.audience.optional();
    let allowed_clients = raw.allowed_clients.optional();
    let (upstream, upstream_tls) = upstream?;
    Ok(ResourceSettings {
        url: url?.value,
        upstream,
        upstream_protocol: upstream_protocol?,
        upstream_tls,
        upstream_headers: upstream_headers?,
        upstream_deadlines: upstream_deadlines?,
        name: name?.map(|typed| typed.value),
        access: access?,
        scopes: scopes?,
        audience: audience?.map(|typed| typed.value),
        allowed_clients: allowed_clients?
            .map(|list| list.value.into_iter().map(|typed| typed.value).collect())
            .unwrap_or_default(),
    })
}

fn public_url(typed: Typed<String>, reading: &mut Reading) -> Result<Url, Reported> {
    filled_in(&typed, reading)?;
    let reason = match PublicUrl::parse(&typed.value) {
        Ok(url) => return Ok(typed.with(url)),
        Err(reason) => reason,
    };
    let fix = match reason {
        NotPublic::NotAbsolute => "write the whole URL, as in https://tools.example.com/mcp",
        NotPublic::NotHttps => {
            "use https://; http:// is accepted for localhost and loopback addresses only"
        }
        NotPublic::HasCredentials => "remove what stands before the @",
        NotPublic::HasQuery => "remove the ? and what follows",
        NotPublic::HasFragment => "remove the # and what follows",
        NotPublic::NotNormal => {
            "write scheme and host in lower case, no default port, no .., // or unescaped characters in the path"
        }
    };
    let problem = typed.problem(reason.to_string(), fix);
    Err(reading.tell(match reason {
        NotPublic::NotHttps => {
            problem.because("tokens are sent to this address, so it must be encrypted")
        }
        NotPublic::NotNormal => problem.because("clients compare this text byte by byte"),
        NotPublic::NotAbsolute
        | NotPublic::HasCredentials
        | NotPublic::HasQuery
        | NotPublic::HasFragment => problem,
    }))
}

fn origin(url: &Url, reading: &mut Reading) -> Result<PublicUrl, Reported> {
    PublicUrl::parse(url.value.origin()).map_err(|reason| {
        reading.tell(url.problem(reason.to_string(), "set issuer: to a URL of this host"))
    })
}

pub(super) fn scopes(list: &[Typed<String>], reading: &mut Reading) -> Result<Scopes, Reported> {
    let mut names: Vec<&str> = Vec::new();
    let mut result = Ok(());
    for typed in list {
        let name = typed.value.as_str();
        if !is_scope_name(name) {
            result = Err(reading.tell(typed.problem(
                "is not a scope",
                "write one scope per entry, without spaces, quotes and backslashes",
            )));
        } else if names.contains(&name) {
            result = Err(reading.tell(typed.problem("is given twice", "remove one of the two")));
        }
        names.push(name);
    }
    result.map(|()| Scopes::parse(&names.join(" ")))
}

/// No request may belong to two resources. A slash at the end makes no difference to clients.
fn are_apart(urls: &[Url], reading: &mut Reading) -> Result<(), Reported> {
    let mut result = Ok(());
    for (index, url) in urls.iter().enumerate() {
        let same = |earlier: &&Url| {
            earlier.value.authority() == url.value.authority()
                && earlier.value.path() == url.value.path()
        };
        if let Some(earlier) = urls.iter().take(index).find(same) {
            result = Err(reading.tell(url.problem(
                format!("is the same resource as {}", earlier.spot.key),
                "remove one of the two, or give it another path",
            )));
        }
    }
    result
}

/// A resource must not stand where an endpoint of ours does: its requests would never reach it.
fn leave_endpoints_free(
    issuer: &PublicUrl,
    urls: &[Url],
    reading: &mut Reading,
) -> Result<(), Reported> {
    let mut result = Ok(());
    for url in urls {
        let under_issuer = (url.value.authority() == issuer.authority())
            .then(|| url.value.path().strip_prefix(issuer.path()))
            .flatten();
        let is_taken = url.value.path().split('/').nth(1) == Some(WELL_KNOWN)
            || under_issuer
                .and_then(|path| path.strip_prefix('/'))
                .and_then(|path| path.split('/').next())
                .is_some_and(|first| ENDPOINTS.contains(&first) || first == WELL_KNOWN);
        if is_taken {
            result = Err(reading.tell(
                url.problem("is where OAuth endpoints stand", "give the resource another path, as in /mcp")
                    .because("/authorize, /token, /register, /revoke, /oauth and /.well-known under the issuer are taken"),
            ));
        }
    }
    result
}

/// First segments under the issuer.
const ENDPOINTS: [&str; 5] = ["authorize", "token", "register", "revoke", "oauth"];

const WELL_KNOWN: &str = ".well-known";
