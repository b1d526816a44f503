//! `service_accounts:` machines that get tokens for themselves (RFC 6749 §4.4).

use crate::authorization_server::clients::Authentication;
use crate::authorization_server::clients::declared::{DeclaredClient, ServiceAccount};
use crate::config::ResourceSettings;
use crate::config::check::clients;
use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::service_account::RawServiceAccount;
use crate::config::stanza::Reading;

/// `ids` are those of the clients: one id names one of all.
pub(super) fn check(
    field: Field<Vec<RawServiceAccount>>,
    ids: &mut Vec<Typed<String>>,
    served: &[ResourceSettings],
    reading: &mut Reading,
) -> Result<Vec<ServiceAccount>, Reported> {
    let Some(list) = field.optional()? else { return Ok(Vec::new()) };
    let accounts: Vec<_> =
        list.value.into_iter().map(|raw| account(raw, ids, served, reading)).collect();
    accounts.into_iter().collect()
}

fn account(
    raw: RawServiceAccount,
    ids: &mut Vec<Typed<String>>,
    served: &[ResourceSettings],
    reading: &mut Reading,
) -> Result<ServiceAccount, Reported> {
    let typed_id = match &raw.id.0 {
        Field::Given(typed) => Some(typed.clone()),
        Field::LeftOut(_) | Field::Mistyped(_) => None,
    };
    let id = clients::id(raw.id, ids, reading);
    let authentication = match (clients::authentication(raw.secret, raw.keys, reading), typed_id) {
        (Ok(Authentication::None), Some(typed)) => Err(reading.tell(
            typed
                .problem(
                    "has neither secret nor keys",
                    "add secret: { file: … } or keys: { file: … }",
                )
                .because("with its id alone anybody could get its tokens"),
        )),
        (proof, _) => proof,
    };
    let resources = resources(raw.resources, served, reading);
    let scopes = clients::scopes(raw.scopes, reading);
    let id = id?;
    let client = DeclaredClient {
        name: id.clone(),
        id,
        redirect_uris: Vec::new(),
        authentication: authentication?,
        scopes: scopes?,
        refreshes: false,
    };
    Ok(ServiceAccount { client, resources: resources? })
}

fn resources(
    field: Field<Vec<Typed<String>>>,
    served: &[ResourceSettings],
    reading: &mut Reading,
) -> Result<Option<Vec<String>>, Reported> {
    let Some(list) = field.optional()? else { return Ok(None) };
    let mut result = Ok(());
    for typed in &list.value {
        if !served.iter().any(|resource| resource.url.as_str() == typed.value) {
            result = Err(reading.tell(typed.problem(
                "is no resource of this file",
                "write the url of one of the resources, exactly as it stands there",
            )));
        }
    }
    if list.value.is_empty() {
        return Err(reading.tell(
            list.problem("is an empty list", "name a resource, or leave the key out for all"),
        ));
    }
    result.map(|()| Some(list.value.into_iter().map(|typed| typed.value).collect()))
}
