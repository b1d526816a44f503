//! The part of `idp:` that says where identity, groups and email addresses come from.

use url::Url;

use crate::config::check::idp::{Http, url};
use crate::config::check::{access, choice};
use crate::config::field::{Field, Typed};
use crate::config::problem::{Problem, Reported, Spot};
use crate::config::raw::RawConfig;
use crate::config::raw::identity::{
    GROUPS_SHAPES, NONE, RawEmailLookup, RawGroupsLookup, RawIdentity, RawLookup, SOURCES, Source,
    VERIFIED_FORMS, WHENS,
};
use crate::config::stanza::Reading;
use crate::idp::profile::{
    ClaimPath, EmailLookup, EmailSource, GroupsLookup, GroupsShape, GroupsSource, IdentitySource,
    LookUp, Next,
};

/// Where each thing comes from.
pub(super) struct Sources {
    pub identity: IdentitySource,
    pub groups: GroupsSource,
    pub email: EmailSource,
}

pub(super) fn check(
    raw: RawIdentity,
    http: Http,
    reading: &mut Reading,
) -> Result<Sources, Reported> {
    let identity = identity(raw.identity, raw.user_resource, http, reading);
    let groups_claim = claim(raw.groups_claim);
    let shape = choice::of(raw.groups_shape, GroupsShape::List, &GROUPS_SHAPES, reading);
    let groups_lookup = match raw.groups_lookup.optional() {
        Ok(Some(typed)) => lookup(typed, reading)
            .and_then(|raw| raw.map(|raw| groups_lookup(*raw, http, reading)).transpose()),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    let email_claim = claim(raw.email_claim);
    let verified_claim = claim(raw.email_verified_claim);
    let verified_may_be_text = choice::of(raw.email_verified_as, false, &VERIFIED_FORMS, reading);
    let email_lookup = match raw.email_lookup.optional() {
        Ok(Some(typed)) => lookup(typed, reading)
            .and_then(|raw| raw.map(|raw| email_lookup(*raw, http, reading)).transpose()),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    let usual = |name: &str| ClaimPath(name.to_owned());
    Ok(Sources {
        identity: identity?,
        groups: GroupsSource { claim: groups_claim?, shape: shape?, lookup: groups_lookup? },
        email: EmailSource {
            claim: email_claim?.unwrap_or_else(|| usual("email")),
            verified_claim: verified_claim?.unwrap_or_else(|| usual("email_verified")),
            verified_may_be_text: verified_may_be_text?,
            lookup: email_lookup?,
        },
    })
}

/// Rules about groups need something that tells them; otherwise they would lock everyone out in silence.
pub(super) fn groups_are_told(raw: &RawConfig, reading: &mut Reading) -> Result<(), Reported> {
    let identity = &raw.idp.identity;
    let has_lookup = match &identity.groups_lookup {
        Field::LeftOut(_) => false,
        Field::Mistyped(_) => true,
        Field::Given(typed) => matches!(typed.value, RawLookup::Given(_)),
    };
    let (Field::LeftOut(_), false) = (&identity.groups_claim, has_lookup) else { return Ok(()) };
    let mut result = Ok(());
    for entry in access::all_entries(raw) {
        if let Field::Given(groups) = &entry.groups {
            result = Err(reading.tell(groups.problem(
                "can't be matched: with this idp.preset no claim tells groups",
                "set idp.groups_claim to the claim of the ID token that lists them, or idp.groups_lookup, or use emails, email_domains, subjects or claims",
            )));
        }
    }
    result
}

fn identity(
    source: Field<String>,
    user_resource: Field<String>,
    http: Http,
    reading: &mut Reading,
) -> Result<IdentitySource, Reported> {
    let spot = match &source {
        Field::Given(typed) => Some(typed.spot.clone()),
        Field::LeftOut(_) | Field::Mistyped(_) => None,
    };
    let source = choice::of(source, Source::IdToken, &SOURCES, reading);
    let user_resource = match user_resource.optional()? {
        Some(typed) => Some(url(&typed, http, reading)?),
        None => None,
    };
    match (source?, user_resource, spot) {
        (Source::IdToken, _, _) => Ok(IdentitySource::IdToken),
        (Source::Userinfo, _, _) => Ok(IdentitySource::Userinfo),
        (Source::UserResource, Some(url), _) => Ok(IdentitySource::UserResource(url)),
        (Source::UserResource, None, spot) => {
            let spot = spot.unwrap_or_else(Spot::document);
            Err(reading.tell(Problem::at(
                &spot,
                "\"user_resource\" needs to know which one",
                "set idp.user_resource to the URL that answers about whoever the access token is of",
            )))
        }
    }
}

fn claim(field: Field<String>) -> Result<Option<ClaimPath>, Reported> {
    Ok(field.optional()?.map(|typed| ClaimPath(typed.value)))
}

/// `None` for the word that says so.
fn lookup<T>(
    typed: Typed<RawLookup<T>>,
    reading: &mut Reading,
) -> Result<Option<Box<T>>, Reported> {
    match &typed.value {
        RawLookup::Word(word) if word == NONE => return Ok(None),
        RawLookup::Word(_) => {
            return Err(reading.tell(typed.problem(
                "is not a lookup",
                "write its keys below it, indented, beginning with url:, or say none",
            )));
        }
        RawLookup::Given(_) => {}
    }
    match typed.value {
        RawLookup::Given(given) => Ok(Some(given)),
        RawLookup::Word(_) => Ok(None),
    }
}

fn groups_lookup(
    raw: RawGroupsLookup,
    http: Http,
    reading: &mut Reading,
) -> Result<GroupsLookup, Reported> {
    let address =
        needed(raw.url, &raw.spot, "url", reading).and_then(|typed| url(&typed, http, reading));
    let when = choice::of(raw.when, LookUp::Always, &WHENS, reading);
    let most_in_claims = raw.most_in_claims.optional();
    let list = match raw.list.optional() {
        Ok(typed) => typed.map(|typed| pointer(&typed, reading)).transpose(),
        Err(reported) => Err(reported),
    };
    let name = match raw.name.optional() {
        Ok(Some(typed)) => {
            let pointers: Vec<_> = typed.value.iter().map(|one| pointer(one, reading)).collect();
            pointers.into_iter().collect::<Result<Vec<_>, _>>()
        }
        Ok(None) => Ok(Vec::new()),
        Err(reported) => Err(reported),
    };
    let next = match raw.next.optional() {
        Ok(Some(typed)) if typed.value == LINK => Ok(Next::Link),
        Ok(Some(typed)) => pointer(&typed, reading).map(Next::Pointer),
        Ok(None) => Ok(Next::Never),
        Err(reported) => Err(reported),
    };
    let most = most_in_claims?.map(|typed| usize::try_from(typed.value).unwrap_or(usize::MAX));
    Ok(GroupsLookup {
        url: address?,
        when: when?,
        most_in_claims: most,
        list: list?.unwrap_or_default(),
        name: name?,
        next: next?,
    })
}

fn email_lookup(
    raw: RawEmailLookup,
    http: Http,
    reading: &mut Reading,
) -> Result<EmailLookup, Reported> {
    let address_at: Result<Url, _> =
        needed(raw.url, &raw.spot, "url", reading).and_then(|typed| url(&typed, http, reading));
    let list = match raw.list.optional() {
        Ok(typed) => typed.map(|typed| pointer(&typed, reading)).transpose(),
        Err(reported) => Err(reported),
    };
    let address = needed(raw.address, &raw.spot, "address", reading)
        .and_then(|typed| pointer(&typed, reading));
    let verified = needed(raw.verified, &raw.spot, "verified", reading)
        .and_then(|typed| pointer(&typed, reading));
    let primary = match raw.primary.optional() {
        Ok(typed) => typed.map(|typed| pointer(&typed, reading)).transpose(),
        Err(reported) => Err(reported),
    };
    Ok(EmailLookup {
        url: address_at?,
        list: list?.unwrap_or_default(),
        address: address?,
        verified: verified?,
        primary: primary?,
    })
}

fn needed(
    field: Field<String>,
    lookup: &Spot,
    name: &str,
    reading: &mut Reading,
) -> Result<Typed<String>, Reported> {
    match field.optional()? {
        Some(typed) => Ok(typed),
        None => Err(reading.tell(Problem::at(
            lookup,
            format!("has no {name}, without which there is nothing to look up"),
            format!("add {name}:, or say none"),
        ))),
    }
}

/// RFC 6901
fn pointer(typed: &Typed<String>, reading: &mut Reading) -> Result<String, Reported> {
    if typed.value.starts_with('/') {
        return Ok(typed.value.clone());
    }
    Err(reading.tell(typed.problem(
        "is not a JSON Pointer",
        "write the names on the way to the value, a slash before each, as in /data/groups",
    )))
}

/// The word for a `Link` header.
const LINK: &str = "link";
