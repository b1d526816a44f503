//! What an upstream names a session by, bound to whoever opened it (MCP 2025-11-25 "Session Hijacking"): the
//! `Mcp-Session-Id`, and where the messages of the old HTTP+SSE transport go. Such a name leaves us sealed, and
//! is opened for the same caller at the same resource alone. Nothing is kept: every replica can do it.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::policy::Admitted;
use crate::seal::{KeyRing, Kind, SealFault};
use crate::secret;
use crate::token::Caller;
use crate::wire::names::MCP_SESSION_ID;

/// Binds names of sessions, and gives them back.
#[derive(Debug)]
pub struct Sessions {
    ring: Arc<KeyRing>,
    /// The issuer that vouches for people and machines: they are not another's, whatever they are called.
    idp: String,
    /// Ids that were opened before, by what clients were given: each request of a session brings the same.
    opened: Cache<Box<[u8]>, Arc<Known>>,
}

/// A caller at a resource, in digest. The same person with another client is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder([u8; 16]);

/// Why a name that a client brought is not passed on. For the log: the client is told the same of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTheirs {
    #[error("it was not given out by us, or the sealing key is gone")]
    NotOurs,
    #[error("it was given to another caller, or for another resource")]
    Anothers,
}

/// Why a name that the upstream gives out is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGivenOut {
    /// MCP 2025-11-25 "Session Management" 1: it MUST be visible ASCII.
    #[error(
        "its Mcp-Session-Id is not one of at most {LONGEST} characters that are all visible ASCII"
    )]
    NotAnId,
    #[error("the endpoint of its event stream is longer than {LONGEST} characters")]
    LongTarget,
    #[error(transparent)]
    Seal(#[from] SealFault),
}

/// The id of the session that a request is in, as its client and as its upstream know it.
#[derive(Debug)]
pub struct Known {
    holder: Holder,
    given: HeaderValue,
    own: HeaderValue,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Bound {
    holder: Holder,
    name: String,
}

impl Sessions {
    pub fn new(ring: Arc<KeyRing>, idp_issuer: &str) -> Self {
        Self { ring, idp: idp_issuer.to_owned(), opened: Cache::new(MOST_OPENED) }
    }

    pub fn holder(&self, admitted: &Admitted) -> Holder {
        let facts = admitted.token().facts();
        let digest = || self.holder_of(&facts.caller, &admitted.resource().digest).0;
        Holder(*facts.holder.get_or_init(digest))
    }

    /// Put the upstream's own id into the headers of a request, in the place of what its client was given.
    pub fn to_upstream(
        &self,
        holder: Holder,
        headers: &mut HeaderMap,
    ) -> Result<Option<Arc<Known>>, NotTheirs> {
        let Some(given) = headers.get(&MCP_SESSION_ID) else { return Ok(None) };
        let known = self.known(holder, given)?;
        headers.insert(MCP_SESSION_ID, known.own.clone());
        Ok(Some(known))
    }

    fn known(&self, holder: Holder, given: &HeaderValue) -> Result<Arc<Known>, NotTheirs> {
        if let Some(known) = self.opened.get(given.as_bytes()) {
            return if known.holder == holder { Ok(known) } else { Err(NotTheirs::Anothers) };
        }
        let own = self.open_id(holder, given)?;
        // A copy: what shares the memory that the request was read into would keep it.
        let given = HeaderValue::from_bytes(given.as_bytes()).map_err(|_| NotTheirs::NotOurs)?;
        let known = Arc::new(Known { holder, given, own });
        if known.given.len() <= LONGEST_KEPT {
            self.opened.insert(known.given.as_bytes().into(), Arc::clone(&known));
        }
        Ok(known)
    }

    /// Put what the client is given into the headers of the answer: the same text as before for the id that
    /// is `known`, because clients compare.
    pub fn from_upstream(
        &self,
        holder: Holder,
        known: Option<Arc<Known>>,
        headers: &mut HeaderMap,
    ) -> Result<(), NotGivenOut> {
        let mut ids = headers.get_all(&MCP_SESSION_ID).iter();
        let (own, another) = (ids.next(), ids.next());
        let Some(own) = own else { return Ok(()) };
        if another.is_some() {
            return Err(NotGivenOut::NotAnId);
        }
        // No session, in the words of some.
        if own.is_empty() {
            headers.remove(&MCP_SESSION_ID);
            return Ok(());
        }
        let given = match known {
            Some(known) if known.own == own => known.given.clone(),
            Some(_) | None => self.seal_id(holder, own)?,
        };
        headers.insert(MCP_SESSION_ID, given);
        Ok(())
    }

    /// The session id to answer with, for the upstream's own.
    fn seal_id(&self, holder: Holder, own: &HeaderValue) -> Result<HeaderValue, NotGivenOut> {
        let id = own.to_str().ok().filter(|id| is_an_id(id)).ok_or(NotGivenOut::NotAnId)?;
        let sealed = self.seal(&SESSION_ID, holder, id)?;
        HeaderValue::try_from(sealed).map_err(|_| NotGivenOut::NotAnId)
    }

    /// The upstream's own session id, for one that was answered with.
    fn open_id(&self, holder: Holder, given: &HeaderValue) -> Result<HeaderValue, NotTheirs> {
        let given = given.to_str().map_err(|_| NotTheirs::NotOurs)?;
        let id = self.open(&SESSION_ID, holder, given)?;
        HeaderValue::try_from(id).map_err(|_| NotTheirs::NotOurs)
    }

    /// What stands in the URL for messages, for where the upstream wants them.
    pub fn seal_target(
        &self,
        holder: Holder,
        target: &PathAndQuery,
    ) -> Result<String, NotGivenOut> {
        if target.as_str().len() > LONGEST {
            return Err(NotGivenOut::LongTarget);
        }
        self.seal(&MESSAGES, holder, target.as_str())
    }

    /// Where the upstream wants the messages.
    pub fn open_target(&self, holder: Holder, given: &str) -> Result<PathAndQuery, NotTheirs> {
        let target = self.open(&MESSAGES, holder, given)?;
        PathAndQuery::try_from(target).map_err(|_| NotTheirs::NotOurs)
    }

    fn holder_of(&self, caller: &Caller, resource: &[u8; 16]) -> Holder {
        let (kind, idp, key) = match caller {
            Caller::Person(person) => (b"p", self.idp.as_str(), &person.key),
            Caller::ServiceAccount(id) => (b"s", "", id),
            Caller::Machine(id) => (b"m", self.idp.as_str(), id),
        };
        // Each part but the last has its length, so that no two callers read the same.
        let length = (idp.len() as u64).to_be_bytes();
        let parts = [kind, &resource[..], &length, idp.as_bytes(), key.as_bytes()];
        Holder(secret::short_hash(&parts.concat()))
    }

    fn seal(&self, kind: &Kind<Bound>, holder: Holder, name: &str) -> Result<String, NotGivenOut> {
        Ok(self.ring.seal(kind, &Bound { holder, name: name.to_owned() })?)
    }

    fn open(&self, kind: &Kind<Bound>, holder: Holder, given: &str) -> Result<String, NotTheirs> {
        let bound = self.ring.open(kind, given).map_err(|_| NotTheirs::NotOurs)?;
        if bound.holder == holder { Ok(bound.name) } else { Err(NotTheirs::Anothers) }
    }
}

fn is_an_id(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Of what an upstream names a session by. Some put a JWT there; sealed it must still fit in a header.
const LONGEST: usize = 2048;
/// 2 MiB of them at most.
const MOST_OPENED: usize = 2048;
const LONGEST_KEPT: usize = 256;
const SESSION_ID: Kind<Bound> = Kind::new("doorman_si_", 1);
const MESSAGES: Kind<Bound> = Kind::new("doorman_sm_", 1);

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::idp::Identity;
    use crate::oauth::PublicUrl;
    use crate::seal::KeyMaterial;

    const HERE: [u8; 16] = [1; 16];
    const THERE: [u8; 16] = [2; 16];
    const IDP: &str = "https://idp.example";

    fn sessions_with(keys: &[&str], idp: &str) -> Sessions {
        let key = |name: &&str| {
            KeyMaterial::parse(&STANDARD.encode(secret::sha256(name.as_bytes()))).unwrap()
        };
        let keys: Vec<_> = keys.iter().map(key).collect();
        let issuer = PublicUrl::parse("https://tools.example.com").unwrap();
        Sessions::new(Arc::new(KeyRing::new(&keys[0], &keys[1..], &issuer).unwrap()), idp)
    }

    fn sessions() -> Sessions {
        sessions_with(&["key"], IDP)
    }

    fn person(key: &str) -> Caller {
        Caller::Person(Identity { key: key.to_owned(), ..Identity::default() })
    }

    fn id(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn whoever_was_given_an_id_may_use_it_at_that_resource() {
        let sessions = sessions();
        let alice = sessions.holder_of(&person("alice"), &HERE);

        let given = sessions.seal_id(alice, &id("0123-abc")).unwrap();

        assert!(given.to_str().unwrap().starts_with("doorman_si_"));
        assert_eq!(sessions.open_id(alice, &given), Ok(id("0123-abc")));
        let mut others = 0;
        for (caller, resource) in [
            (person("alice"), THERE),
            (person("bob"), HERE),
            (person(""), HERE),
            // RFC 9700 §4.15
            (Caller::ServiceAccount("alice".to_owned()), HERE),
            (Caller::Machine("alice".to_owned()), HERE),
        ] {
            let other = sessions.holder_of(&caller, &resource);
            assert_eq!(sessions.open_id(other, &given), Err(NotTheirs::Anothers), "{caller:?}");
            others += 1;
        }
        assert_eq!(others, 5);
    }

    /// An id that was opened for one is known from then on. That must not open it for another.
    #[test]
    fn an_id_that_was_used_before_is_still_nobody_elses() {
        let sessions = sessions();
        let (alice, bob) =
            ["alice", "bob"].map(|key| sessions.holder_of(&person(key), &HERE)).into();
        let given = sessions.seal_id(alice, &id("0123-abc")).unwrap();
        let headers = || HeaderMap::from_iter([(MCP_SESSION_ID, given.clone())]);

        for _ in 0..2 {
            let mut sent = headers();
            assert!(sessions.to_upstream(alice, &mut sent).unwrap().is_some());
            assert_eq!(sent[MCP_SESSION_ID], "0123-abc");
            let refused = sessions.to_upstream(bob, &mut headers()).unwrap_err();
            assert_eq!(refused, NotTheirs::Anothers);
        }
    }

    /// The stable key decides, as everywhere.
    #[test]
    fn a_person_in_other_groups_is_the_same_and_at_another_idp_another() {
        let (here, there) = (sessions(), sessions_with(&["key"], "https://other.example"));
        let alice = here.holder_of(&person("alice"), &HERE);
        let given = here.seal_id(alice, &id("0123")).unwrap();
        let moved = Identity {
            key: "alice".to_owned(),
            email: Some("alice@example.com".to_owned()),
            groups: vec!["new".to_owned()],
            claims: vec![("a".to_owned(), Vec::new())],
        };

        assert_eq!(here.holder_of(&Caller::Person(moved), &HERE), alice);
        let namesake = there.holder_of(&person("alice"), &HERE);
        assert_eq!(there.open_id(namesake, &given), Err(NotTheirs::Anothers));
    }

    #[test]
    fn an_issuer_and_a_key_are_not_read_as_another_pair() {
        let one = sessions_with(&["key"], "https://a.example").holder_of(&person("/x-y"), &HERE);
        let other = sessions_with(&["key"], "https://a.example/x").holder_of(&person("-y"), &HERE);

        assert_ne!(one, other);
    }

    #[test]
    fn what_was_not_sealed_as_this_is_nobodys() {
        let sessions = sessions();
        let alice = sessions.holder_of(&person("alice"), &HERE);
        let target = PathAndQuery::from_static("/messages?session_id=1");
        let messages = sessions.seal_target(alice, &target).unwrap();
        let given = sessions.seal_id(alice, &id("/messages?session_id=1")).unwrap();
        let given = given.to_str().unwrap();
        let mut seen = 0;

        for text in [
            "",
            "0123-abc",
            "doorman_si_",
            "doorman_si_AAAA",
            &messages,
            &messages.replace("doorman_sm_", "doorman_si_"),
            &given[..given.len() - 1],
            &format!("{given}A"),
            &format!(" {given}"),
        ] {
            let text = HeaderValue::from_str(text).unwrap();
            assert_eq!(sessions.open_id(alice, &text), Err(NotTheirs::NotOurs), "{text:?}");
            seen += 1;
        }
        assert_eq!(seen, 9);
        let latin = HeaderValue::from_bytes(b"\xe9").unwrap();
        assert_eq!(sessions.open_id(alice, &latin), Err(NotTheirs::NotOurs));
        for text in ["", "/messages?session_id=1", given] {
            assert_eq!(sessions.open_target(alice, text), Err(NotTheirs::NotOurs), "{text:?}");
        }
        assert_eq!(sessions.open_target(alice, &messages), Ok(target));
    }

    #[test]
    fn a_key_that_is_gone_opens_nothing() {
        let before = sessions_with(&["old"], IDP);
        let alice = before.holder_of(&person("alice"), &HERE);
        let given = before.seal_id(alice, &id("0123")).unwrap();

        assert_eq!(sessions_with(&["new", "old"], IDP).open_id(alice, &given), Ok(id("0123")));
        let without = sessions_with(&["new"], IDP).open_id(alice, &given);
        assert_eq!(without, Err(NotTheirs::NotOurs));
    }

    /// MCP 2025-11-25 "Session Management" 1
    #[test]
    fn what_is_no_session_id_is_not_given_out() {
        let sessions = sessions();
        let alice = sessions.holder_of(&person("alice"), &HERE);
        let of = |length: usize| "x".repeat(length).into_bytes();
        let mut seen = 0;

        for (bytes, is_one) in [
            (b"!~".to_vec(), true),
            (of(LONGEST), true),
            (of(LONGEST + 1), false),
            (b"".to_vec(), false),
            (b"two words".to_vec(), false),
            (b"tab\t".to_vec(), false),
            (b"caf\xc3\xa9".to_vec(), false),
        ] {
            let own = HeaderValue::from_bytes(&bytes).unwrap();
            let given = sessions.seal_id(alice, &own);
            assert_eq!(given.is_ok(), is_one, "{own:?}");
            if let Ok(given) = given {
                assert_eq!(sessions.open_id(alice, &given), Ok(own));
            }
            seen += 1;
        }
        assert_eq!(seen, 7);
        let long = PathAndQuery::try_from(format!("/{}", "x".repeat(LONGEST))).unwrap();
        assert_eq!(sessions.seal_target(alice, &long), Err(NotGivenOut::LongTarget));
    }
}
