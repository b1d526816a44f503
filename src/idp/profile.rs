//! What is known of the IdP: where it is, how we log in there, where it tells who came back. Each field is an
//! axis on which providers differ.

use url::Url;

use crate::idp::AccessTokenProfile;
use crate::secret::Secret;

/// The IdP as configured: the preset's values, each overridden by the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdpSettings {
    /// Compared byte for byte with what the IdP's metadata and ID tokens say (OIDC Discovery §4.3).
    pub issuer: String,
    /// Other texts that its tokens may have as `iss`.
    pub issuer_spellings: Vec<String>,
    /// `None` if every token has the same issuer.
    pub tenants: Option<Tenants>,
    pub metadata: Metadata,
    pub endpoints: Endpoints,
    pub client_id: String,
    /// `None` for a public client.
    pub client_secret: Option<Secret>,
    pub client_authentication: ClientAuthentication,
    /// What to ask for at login.
    pub scopes: Vec<String>,
    /// Sent with every authorization request, besides what OAuth prescribes.
    pub authorization_parameters: Vec<(String, String)>,
    /// Sent as well, or instead, when somebody who is signed in wants to be somebody else.
    pub another_account_parameters: Vec<(String, String)>,
    /// Sent with every token request, likewise.
    pub token_parameters: Vec<(String, String)>,
    pub resource_indicator: ResourceIndicator,
    pub identity: IdentitySource,
    /// Claims whose values together are the stable key of a person, most often `sub` alone.
    pub user_key: Vec<String>,
    pub groups: GroupsSource,
    /// Other claims that are needed, for the access rules.
    pub kept_claims: Vec<ClaimPath>,
    pub email: EmailSource,
    pub recheck_with: RecheckWith,
    /// Whether a login brings a refresh token that no scope or parameter asks for.
    pub gives_refresh_tokens: bool,
    /// Error codes of its token endpoint that speak of the person, besides those of the specifications.
    pub refusals: Vec<String>,
    /// Whether revoking a refresh token at the IdP ends that token and nothing else (RFC 7009 §2.1 lets it
    /// end more).
    pub revocable_refresh_tokens: bool,
    /// Whether logging out of one session at the IdP ends the grants that began in it.
    pub logout_ends_connections: bool,
    /// Of access tokens that clients bring from there.
    pub access_tokens: AccessTokenProfile,
}

/// How the IdP is told which resource a login is for, by the resource's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceIndicator {
    /// Not at all: the tokens for it are ours.
    Never,
    /// As RFC 8707 has it.
    Resource,
    /// The same by another name.
    Audience,
    /// By one scope more, in which `RESOURCE` stands for it.
    Scope(String),
}

impl ResourceIndicator {
    /// The parameter that has the URL, of authorization requests and token requests (RFC 8707 §2.1, §2.2).
    pub fn parameter(&self) -> Option<&'static str> {
        match self {
            Self::Resource => Some("resource"),
            Self::Audience => Some("audience"),
            Self::Never | Self::Scope(_) => None,
        }
    }

    /// The scope that names `resource`. A code or refresh token that was asked for with it keeps it (RFC 6749
    /// §6), so token requests go without.
    pub fn scope(&self, resource: &str) -> Option<String> {
        match self {
            Self::Scope(template) => Some(template.replace(RESOURCE, resource)),
            Self::Never | Self::Resource | Self::Audience => None,
        }
    }
}

/// An IdP of several tenants, whose tokens each name the issuer of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants {
    /// Of the issuer: `TENANT` stands for the tenant.
    pub template: String,
    /// The claim that names the tenant.
    pub claim: String,
    /// Those whose people may log in. Never empty.
    pub allowed: Vec<String>,
}

/// Where the IdP says what it can and where its endpoints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// OIDC Discovery 1.0
    Oidc,
    /// RFC 8414
    Oauth,
    /// Nowhere: the endpoints are configured.
    Nowhere,
}

/// Endpoints that are configured: they replace what metadata says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub authorization: Option<Url>,
    pub token: Option<Url>,
    pub userinfo: Option<Url>,
    pub revocation: Option<Url>,
    /// RFC 7662
    pub introspection: Option<Url>,
    /// Of no standard, and so in no metadata.
    pub tokeninfo: Option<Url>,
    /// A JWK Set.
    pub keys: Option<Url>,
}

/// Where the claims about a person come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// The ID token alone.
    IdToken,
    /// The ID token, and the userinfo endpoint for what it leaves out (OIDC Core §5.3).
    Userinfo,
    /// No OIDC at all: a resource of the IdP's that answers about whoever the access token is of.
    UserResource(Url),
}

/// Where a person's groups come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsSource {
    /// `None`: nothing is known of such a claim; one that is called `groups` is read all the same.
    pub claim: Option<ClaimPath>,
    pub shape: GroupsShape,
    pub lookup: Option<GroupsLookup>,
}

/// What the value of the claim looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupsShape {
    /// A list of names, or a single name.
    List,
    /// An object whose keys are the names.
    Keys,
}

/// A claim by its name, or by a JSON Pointer (RFC 6901), which starts with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(pub String);

/// A resource of the IdP's that lists the groups of whoever the access token is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsLookup {
    pub url: Url,
    pub when: LookUp,
    /// Claims that list as many or more don't hold all groups. `None`: only if they say so.
    pub most_in_claims: Option<usize>,
    /// JSON Pointer to the list; empty if the answer is the list.
    pub list: String,
    /// JSON Pointers within an entry, whose values are joined by a slash; none if an entry is a name.
    pub name: Vec<String>,
    pub next: Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    Always,
    /// Only if the claims say that they don't hold all groups.
    Overage,
}

/// Where a page of a list names the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is one page.
    Never,
    /// In a `Link` header with `rel="next"` (RFC 8288).
    Link,
    /// At a JSON Pointer.
    Pointer(String),
}

/// Where a person's email address comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailSource {
    pub claim: ClaimPath,
    /// The claim that says whether the address is theirs.
    pub verified_claim: ClaimPath,
    /// Whether that claim may be the text "true".
    pub verified_may_be_text: bool,
    /// Asked in place of the claims.
    pub lookup: Option<EmailLookup>,
}

/// A resource of the IdP's that lists the addresses of whoever the access token is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailLookup {
    pub url: Url,
    /// JSON Pointer to the list; empty if the answer is the list.
    pub list: String,
    /// JSON Pointers within an entry.
    pub address: String,
    pub verified: String,
    /// `None`: the first that is verified counts.
    pub primary: Option<String>,
}

/// What the IdP is asked with whether a person may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecheckWith {
    RefreshToken,
    /// With the refresh token if there is one, else with the access token at the user resource.
    AccessToken,
    /// It can't be asked again.
    Nothing,
}

impl IdpSettings {
    /// An OpenID provider of which nothing more is known.
    pub fn openid_provider(issuer: String, client_id: String) -> Self {
        Self {
            issuer,
            issuer_spellings: Vec::new(),
            tenants: None,
            metadata: Metadata::Oidc,
            endpoints: Endpoints::default(),
            client_id,
            client_secret: None,
            client_authentication: ClientAuthentication::Basic,
            scopes: vec!["openid".to_owned()],
            authorization_parameters: Vec::new(),
            another_account_parameters: Vec::new(),
            token_parameters: Vec::new(),
            resource_indicator: ResourceIndicator::Never,
            identity: IdentitySource::IdToken,
            user_key: vec!["sub".to_owned()],
            groups: GroupsSource { claim: None, shape: GroupsShape::List, lookup: None },
            kept_claims: Vec::new(),
            email: EmailSource {
                claim: ClaimPath("email".to_owned()),
                verified_claim: ClaimPath("email_verified".to_owned()),
                verified_may_be_text: false,
                lookup: None,
            },
            recheck_with: RecheckWith::RefreshToken,
            gives_refresh_tokens: false,
            refusals: Vec::new(),
            revocable_refresh_tokens: false,
            logout_ends_connections: false,
            access_tokens: AccessTokenProfile::standard(),
        }
    }

    /// Whether that is the `iss` of something the IdP signs or answers: its one issuer however it spells it,
    /// or that of a tenant whose people may log in.
    pub fn is_issuer(&self, text: &str) -> bool {
        match &self.tenants {
            Some(Tenants { template, allowed, .. }) => {
                allowed.iter().any(|tenant| text == template.replace(TENANT, tenant))
            }
            None => text == self.issuer || self.issuer_spellings.iter().any(|other| other == text),
        }
    }

    /// Whether both read the same in what the IdP publishes about itself.
    pub fn discovers_as(&self, other: &Self) -> bool {
        let read = |of: &Self| (of.issuer.clone(), of.metadata, of.endpoints.clone());
        read(self) == read(other)
            && self.tenants == other.tenants
            && self.identity == other.identity
    }

    /// Whether a login brings what the IdP can be asked with again, as far as is known.
    pub fn can_be_asked_again(&self) -> bool {
        let offline = ("access_type", "offline");
        let mut parameters = self.authorization_parameters.iter();
        match self.recheck_with {
            RecheckWith::Nothing => false,
            RecheckWith::AccessToken => true,
            RecheckWith::RefreshToken => {
                self.gives_refresh_tokens
                    || self.scopes.iter().any(|scope| scope == "offline_access")
                    || parameters.any(|(name, value)| (name.as_str(), value.as_str()) == offline)
            }
        }
    }

    /// Whether people's groups can be known.
    pub fn tells_groups(&self) -> bool {
        self.groups.claim.is_some() || self.groups.lookup.is_some()
    }

    /// What can't be had from this IdP as it is configured, and what to do about it.
    pub fn limits(&self) -> Vec<(&'static str, &'static str)> {
        let limits = [
            (
                !self.tells_groups(),
                (
                    "this IdP tells no groups: rules about groups match nobody",
                    "set idp.groups_claim or idp.groups_lookup, if it can",
                ),
            ),
            (
                !self.can_be_asked_again(),
                (
                    "no refresh token is asked for at the IdP: it can't be asked again about a person, so a login lasts for tokens.recheck_grace",
                    "add offline_access to idp.scopes, if the provider knows it",
                ),
            ),
        ];
        limits.into_iter().filter(|(is_one, _)| *is_one).map(|(_, limit)| limit).collect()
    }
}

/// How we authenticate at the IdP's token endpoint (OIDC Core §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
}

/// Stands for the resource's URL in a scope.
pub const RESOURCE: &str = "{resource}";

/// Stands for the tenant in a template of issuers, as metadata has it.
pub const TENANT: &str = "{tenantid}";
