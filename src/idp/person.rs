//! Who somebody's tokens are of: claims from wherever this IdP tells them, completed by what has to be asked
//! for.

use std::sync::Arc;

use tokio::time::Instant;

use crate::idp::claims::Claims;
use crate::idp::id_token::Expected;
use crate::idp::identity::{self, ClaimFault, GroupsTold, Identity};
use crate::idp::profile::{IdentitySource, LookUp};
use crate::idp::resource::{self, ResourceFault};
use crate::idp::token_endpoint::{LoginFault, Tokens};
use crate::idp::{Discovered, Idp};
use crate::secret;

/// Who it is, and by which names the IdP will speak of them.
#[derive(Debug)]
pub(super) struct Told {
    pub person: Identity,
    /// Hashes of `sub` and `sid` of the ID token.
    pub subject: Option<[u8; 16]>,
    pub session: Option<[u8; 16]>,
}

impl Idp {
    /// `None` if these tokens say nothing about who it is, as a refresh may (OIDC Core §12.2).
    pub(super) async fn person_of(
        self: &Arc<Self>,
        tokens: &Tokens,
        expected: Expected<'_>,
        discovered: &Discovered,
    ) -> Result<Option<Told>, LoginFault> {
        let until = resource::patience();
        if let IdentitySource::UserResource(_) = &self.settings.identity {
            let person = self.at_user_resource(&tokens.access, until).await?;
            return Ok(Some(Told { person, subject: None, session: None }));
        }
        let signed = match &tokens.id {
            Some(id) => Some(self.read_id_token(id, &tokens.access, expected, discovered).await?),
            None => None,
        };
        let hash = |name| {
            let claim = signed.as_ref().and_then(|claims| claims.text(name));
            claim.map(|claim| secret::short_hash(claim.as_bytes()))
        };
        let (subject, session) = (hash("sub"), hash("sid"));
        let claims = match &discovered.userinfo_endpoint {
            Some(endpoint) if self.settings.identity == IdentitySource::Userinfo => {
                let fault = |fault| LoginFault::Resource { what: "its userinfo endpoint", fault };
                let answer = self.ask_resource(endpoint, &tokens.access, until).await;
                let told = Claims::of(answer.map_err(fault)?.body)
                    .ok_or_else(|| fault(ResourceFault::Garbled("no JSON object".to_owned())))?;
                Some(completed(signed, told)?)
            }
            Some(_) | None => signed,
        };
        let Some(claims) = claims else { return Ok(None) };
        let person = self.identified(&claims, &tokens.access, until).await?;
        Ok(Some(Told { person, subject, session }))
    }

    /// Whoever `access_token` is of, where there is no OIDC.
    pub(super) async fn at_user_resource(
        &self,
        access_token: &str,
        until: Instant,
    ) -> Result<Identity, LoginFault> {
        let fault = |fault| LoginFault::Resource { what: USER_RESOURCE, fault };
        let IdentitySource::UserResource(url) = &self.settings.identity else {
            return Err(LoginFault::Garbled("no ID token, and no user resource is configured"));
        };
        let answer = self.ask_resource(url, access_token, until).await.map_err(fault)?;
        let claims = Claims::of(answer.body)
            .ok_or_else(|| fault(ResourceFault::Garbled("no JSON object".to_owned())))?;
        self.identified(&claims, access_token, until).await
    }

    async fn identified(
        &self,
        claims: &Claims,
        access_token: &str,
        until: Instant,
    ) -> Result<Identity, LoginFault> {
        let settings = &self.settings;
        let key = identity::key(claims, &settings.user_key)?;
        let email = match &settings.email.lookup {
            Some(lookup) => self.look_up_email(lookup, access_token, until).await?,
            None => identity::email(claims, &settings.email),
        };
        let groups = match &settings.groups.lookup {
            Some(lookup) if lookup.when == LookUp::Always => {
                self.look_up_groups(lookup, access_token, until).await?
            }
            lookup => match (identity::groups(claims, &settings.groups)?, lookup) {
                (GroupsTold::All(groups), _) => groups,
                (GroupsTold::Elsewhere, Some(lookup)) => {
                    self.look_up_groups(lookup, access_token, until).await?
                }
                (GroupsTold::Elsewhere, None) => return Err(ClaimFault::Overage.into()),
            },
        };
        let claims = identity::kept(claims, &settings.kept_claims)?;
        Ok(Identity { key, email, groups: identity::sensible(groups)?, claims })
    }
}

/// OIDC Core §5.3.2: userinfo of another `sub` MUST NOT be used. What is signed counts more than what is not.
fn completed(signed: Option<Claims>, told: Claims) -> Result<Claims, ClaimFault> {
    let Some(signed) = signed else { return Ok(told) };
    if told.text("sub").is_none() || signed.text("sub") != told.text("sub") {
        return Err(ClaimFault::AnotherSubject);
    }
    Ok(signed.and(told))
}

pub(super) const USER_RESOURCE: &str = "idp.user_resource";
