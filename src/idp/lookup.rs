//! What the IdP does not say by itself and is asked for: a person's groups, page by page, and their email
//! address.

use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::idp::Idp;
use crate::idp::claims::plain;
use crate::idp::identity::{ClaimFault, MOST_GROUPS, address_of};
use crate::idp::profile::{EmailLookup, GroupsLookup, Next};
use crate::idp::resource::{Answered, MOST_BYTES, MOST_PAGES, ResourceFault};
use crate::idp::token_endpoint::LoginFault;

impl Idp {
    pub(super) async fn look_up_groups(
        &self,
        lookup: &GroupsLookup,
        access_token: &str,
        until: Instant,
    ) -> Result<Vec<String>, LoginFault> {
        let mut groups = Vec::new();
        let mut pages = vec![lookup.url.clone()];
        let mut bytes = 0;
        while let Some(page) = pages.last() {
            let answer = self.ask_resource(page, access_token, until).await.map_err(of_groups)?;
            bytes += answer.length;
            if bytes > MOST_BYTES {
                return Err(of_groups(ResourceFault::TooManyBytes));
            }
            for entry in list(&answer.body, &lookup.list).map_err(of_groups)? {
                groups.push(name(entry, &lookup.name).map_err(of_groups)?);
            }
            if groups.len() > MOST_GROUPS {
                return Err(ClaimFault::TooManyGroups.into());
            }
            let Some(next) = next(&answer, lookup, page).map_err(of_groups)? else { break };
            if pages.contains(&next) {
                return Err(of_groups(ResourceFault::Loop));
            }
            if pages.len() == MOST_PAGES {
                return Err(of_groups(ResourceFault::TooManyPages));
            }
            pages.push(next);
        }
        Ok(groups)
    }

    /// The address that the IdP says is theirs. `None` if there is none.
    pub(super) async fn look_up_email(
        &self,
        lookup: &EmailLookup,
        access_token: &str,
        until: Instant,
    ) -> Result<Option<String>, LoginFault> {
        let fault = |fault| LoginFault::Resource { what: "idp.email_lookup", fault };
        let answer = self.ask_resource(&lookup.url, access_token, until).await.map_err(fault)?;
        let is_true = |entry: &Value, pointer| entry.pointer(pointer) == Some(&Value::Bool(true));
        let counts = |entry: &&Value| {
            is_true(entry, &lookup.verified)
                && lookup.primary.as_ref().is_none_or(|primary| is_true(entry, primary))
        };
        let entry = list(&answer.body, &lookup.list).map_err(fault)?.iter().find(counts);
        Ok(entry.and_then(|entry| address_of(entry.pointer(&lookup.address)?)))
    }
}

fn of_groups(fault: ResourceFault) -> LoginFault {
    LoginFault::Resource { what: "idp.groups_lookup", fault }
}

fn list<'a>(body: &'a Value, pointer: &str) -> Result<&'a [Value], ResourceFault> {
    let list = body.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| garbled("there is no list where `list` says"))
}

fn name(entry: &Value, pointers: &[String]) -> Result<String, ResourceFault> {
    let no_name = || garbled("an entry has no name where `name` says");
    if pointers.is_empty() {
        return plain(entry).ok_or_else(no_name);
    }
    let mut parts = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let part = entry.pointer(pointer).and_then(plain).ok_or_else(no_name)?;
        // Joined by a slash, so none may hold one: `a/b` + `c` is not `a` + `b/c`.
        if pointers.len() > 1 && part.contains('/') {
            return Err(garbled("a part of a name has a slash"));
        }
        parts.push(part);
    }
    Ok(parts.join("/"))
}

fn next(
    answer: &Answered,
    lookup: &GroupsLookup,
    page: &Url,
) -> Result<Option<Url>, ResourceFault> {
    let unreadable = || garbled("the next page is no URL");
    let said = match &lookup.next {
        Next::Never => None,
        Next::Link => answer.next_link.as_deref(),
        Next::Pointer(pointer) => match answer.body.pointer(pointer) {
            None | Some(Value::Null) => None,
            Some(next) => Some(next.as_str().ok_or_else(unreadable)?),
        },
    };
    let Some(said) = said.filter(|said| !said.is_empty()) else { return Ok(None) };
    let next = page.join(said).map_err(|_| unreadable())?;
    // The person's token goes with it.
    if next.origin() != lookup.url.origin() {
        return Err(ResourceFault::NextElsewhere);
    }
    Ok(Some(next))
}

fn garbled(what: &str) -> ResourceFault {
    ResourceFault::Garbled(what.to_owned())
}
