//! A grant whose row the store lost, rebuilt from what its refresh token carries, if the IdP says that the
//! person may go on. A grant that was ended is not revived: its token was revoked at the IdP.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::clock::Timestamp;
use crate::grants::generations::Generations;
use crate::grants::recheck::{LONGEST_ANSWER, LONGEST_PAUSE, LONGEST_WRITING, SHORTEST_PAUSE};
use crate::grants::vouch::{IdpToken, Vouch};
use crate::grants::{AdvanceFault, Grant, GrantId, GrantState, Grants, ReadGrant};
use crate::idp::{Identity, Verdict};
use crate::oauth::{ClientDigest, Scopes};
use crate::secret::Secret;
use crate::store::{Created, StoreFault};

/// What a refresh token carries of its grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keepsake {
    /// The person's stable key: who they are besides, the IdP says anew.
    person: String,
    /// Digest of the resource's URL.
    pub resource: [u8; 16],
    pub scopes: Scopes,
    began: Timestamp,
    ends_at: Timestamp,
    subject: Option<[u8; 16]>,
    session: Option<[u8; 16]>,
    idp_token: IdpToken,
}

/// A refresh token whose grant has no row.
#[derive(Clone, Debug)]
pub struct Orphan {
    pub id: GrantId,
    pub generation: u32,
    pub issued: Timestamp,
    pub client: ClientDigest,
    pub client_name: String,
    /// The URL that the digest in the keepsake is of.
    pub resource: String,
    pub keepsake: Keepsake,
}

impl Grants {
    /// What to put into a refresh token of `grant`. `None` where a grant could be revived that was ended, or
    /// the IdP could not be asked.
    pub fn keepsake(&self, grant: &Grant, resource: [u8; 16]) -> Option<Keepsake> {
        if !self.on.idp.revokes_single_tokens() {
            return None;
        }
        Some(Keepsake {
            person: grant.person.key.clone(),
            resource,
            scopes: grant.scopes.clone(),
            began: grant.began,
            ends_at: grant.ends_at,
            subject: grant.subject,
            session: grant.session,
            idp_token: grant.vouch.refresh_token.clone()?,
        })
    }

    /// The grant of `orphan`, once the IdP has said that the person may go on.
    pub async fn adopt(&self, orphan: Orphan) -> Result<ReadGrant, AdvanceFault> {
        let now = self.on.clock.now();
        let is_over =
            orphan.issued.after(self.lifetimes.refresh) <= now || orphan.keepsake.ends_at <= now;
        if is_over || self.is_cut_off(orphan.issued) || !self.on.idp.revokes_single_tokens() {
            return Err(AdvanceFault::Ended);
        }
        let grants = self.clone();
        self.to_an_end(async move { grants.adopt_in_turn(&orphan).await }).await
    }

    /// An orphan that is to end, at the IdP too.
    pub async fn disown(&self, orphan: &Orphan) -> Result<(), StoreFault> {
        self.end(orphan.id).await?;
        self.revoke_at_idp(orphan.id, Some(orphan.keepsake.idp_token.clone())).await;
        Ok(())
    }

    async fn adopt_in_turn(&self, orphan: &Orphan) -> Result<ReadGrant, AdvanceFault> {
        let mut pause = SHORTEST_PAUSE;
        let until = Instant::now() + LONGEST_ANSWER;
        while Instant::now() < until {
            if let Some(_turn) = self.asking.begin(orphan.id)
                && let Some(lease) = self.lease(orphan.id).await?
            {
                let adopting = async {
                    // Whoever had the turn before may have adopted it.
                    match self.read(orphan.id).await? {
                        Some(read) => Ok(read),
                        None => self.adopt_alone(orphan).await,
                    }
                };
                return self.holding(lease, adopting).await;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
        Err(AdvanceFault::TookTooLong)
    }

    async fn adopt_alone(&self, orphan: &Orphan) -> Result<ReadGrant, AdvanceFault> {
        let (idp, keepsake) = (&self.on.idp, &orphan.keepsake);
        if self.has_logged_out(keepsake.began, keepsake.subject, keepsake.session).await? {
            return Err(AdvanceFault::Ended);
        }
        let (grant_id, issuer) = (orphan.id, idp.issuer());
        let token = keepsake.idp_token.secret();
        let answer = idp.recheck(&token, &orphan.resource).await;
        let person = match answer.verdict {
            Verdict::Vouched(Some(person)) if person.key == keepsake.person => person,
            // Who can't be described can't be judged by the access rules.
            Verdict::Vouched(_) => {
                tracing::warn!(%grant_id, idp = issuer, whose_fault = "idp", "the store lost this grant, and the IdP does not say whose it was: it has ended");
                return Err(AdvanceFault::Ended);
            }
            Verdict::Refused(error) => {
                tracing::info!(%grant_id, idp = issuer, error, "the store lost this grant, and the IdP no longer vouches for the person: it has ended");
                return Err(AdvanceFault::Ended);
            }
            Verdict::Unknown(fault) => {
                tracing::warn!(%grant_id, idp = issuer, %fault, whose_fault = "idp", "the store lost this grant, and the IdP does not say whether the person may go on");
                if let Some(renewed) = &answer.refresh_token {
                    self.keep_renewed(orphan, renewed).await?;
                }
                return Err(AdvanceFault::Unvouched);
            }
            Verdict::Silent => return Err(AdvanceFault::Unvouched),
        };
        let vouch =
            Vouch::at(self.on.clock.now(), Some(answer.refresh_token.as_ref().unwrap_or(&token)));
        let grant = self.rebuilt(orphan, person, vouch);
        let adopted = self.write_anew(grant, answer.refresh_token.as_ref()).await?;
        tracing::warn!(%grant_id, user = keepsake.person, whose_fault = "store", "the store lost this grant; the IdP vouches for the person, so it goes on");
        Ok(adopted)
    }

    /// The token in the keepsake may be spent, and this one is all that the IdP can be asked with next time.
    /// It has vouched for nobody yet.
    async fn keep_renewed(&self, orphan: &Orphan, renewed: &Secret) -> Result<(), AdvanceFault> {
        let key = orphan.keepsake.person.clone();
        let person = Identity { key, ..Identity::default() };
        let vouch =
            Vouch { asked_in_vain: true, ..Vouch::at(Timestamp::from_seconds(0), Some(renewed)) };
        self.write_anew(self.rebuilt(orphan, person, vouch), Some(renewed)).await.map(|_| ())
    }

    fn rebuilt(&self, orphan: &Orphan, person: Identity, vouch: Vouch) -> Grant {
        let keepsake = &orphan.keepsake;
        Grant {
            id: orphan.id,
            state: GrantState::Live,
            generations: Generations::resumed(orphan.generation, self.on.clock.now()),
            person,
            client: orphan.client,
            client_name: orphan.client_name.clone(),
            resource: orphan.resource.clone(),
            scopes: keepsake.scopes.clone(),
            began: keepsake.began,
            ends_at: keepsake.ends_at,
            vouch,
            subject: keepsake.subject,
            session: keepsake.session,
        }
    }

    /// Write the row. If the IdP gave a `renewed` token, that must not be lost to a store that is away.
    async fn write_anew(
        &self,
        grant: Grant,
        renewed: Option<&Secret>,
    ) -> Result<ReadGrant, AdvanceFault> {
        let mut pause = SHORTEST_PAUSE;
        let until = Instant::now() + LONGEST_WRITING;
        loop {
            let sealed = self.sealed(&grant)?;
            let end = self.idle_end(&grant);
            match self.on.store.create(&grant.id.key(), sealed, end).await {
                Ok(Created::New(version)) => return Ok(ReadGrant { grant, version }),
                // A write of ours whose outcome was unknown.
                Ok(Created::Present) => {
                    return self.read(grant.id).await?.ok_or(AdvanceFault::Ended);
                }
                Err(fault) if renewed.is_none() || Instant::now() >= until => {
                    return Err(fault.into());
                }
                Err(StoreFault) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}
