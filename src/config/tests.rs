//! Whole files: those in `tests/config/valid` load, those in `tests/config/invalid` say what is wrong
//! as in the `.expected` beside them. To write these anew: `UPDATE_EXPECTED=1 cargo test config`,
//! then read the difference.

mod schema;

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use crate::authorization_server::clients::Authentication;
use crate::authorization_server::clients::document::Support;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::config::check::SAMPLES;
use crate::config::{Config, Environment, Problems, load, presets};
use crate::idp::profile::IdentitySource;
use crate::idp::{ClientAuthentication, ResourceIndicator};
use crate::oauth::{PublicUrl, Scopes};
use crate::policy::{Access, AccessEntry};
use crate::secret;

/// In every secret of these tests, and in no message.
const CANARY: &str = "s3cr3t";
/// 2026-09-21
const NOW: u64 = 1_790_000_000;

fn key(seed: &str) -> String {
    STANDARD.encode(secret::sha256(seed.as_bytes()))
}

fn environment() -> Environment {
    let now = ManualClock::starting_at(Timestamp::from_seconds(NOW));
    Environment::empty()
        .with_clock(Clock::Manual(now))
        .with_parallelism(NonZeroUsize::new(4).unwrap())
        .with_variable("DOMAIN", "example.com")
        .with_variable("EMPTY", "")
        .with_variable("HOSTILE", "a\nidp: { issuer: x }")
        .with_variable("INSECURE_URL", "http://user:s3cr3t@login.example")
        .with_variable("IDP_CLIENT_SECRET", "s3cr3t from the environment\n")
        .with_variable("CHATGPT_CLIENT_SECRET", "s3cr3t that is long enough for a client")
        .with_variable("DOORMAN_PREVIOUS_SEALING_KEY", &key("previous"))
        .with_file("/run/secrets/idp/client-secret", "s3cr3t from a file\n")
        .with_file("/run/secrets/doorman/sealing-key", key("current") + "\n")
        // Where the example and the README have them.
        .with_file("/run/secrets/mcp-doorman/client-secret", "s3cr3t from a file\n")
        .with_file("/run/secrets/mcp-doorman/nightly-report", "s3cr3t that is long enough")
        .with_file("/run/secrets/mcp-doorman/sealing-key", key("current") + "\n")
        .with_file("/run/secrets/empty", "\n")
        .with_file("/run/secrets/short", STANDARD.encode("s3cr3t but short"))
        .with_file("/run/secrets/not-encoded", "s3cr3t that was typed by hand!")
        .with_file("/run/secrets/not-random", STANDARD.encode("s3cr3t".repeat(6)))
        .with_file("/run/secrets/sample", SAMPLES[0])
        .with_file("/etc/doorman/client.json", client_document("client", ""))
        .with_file(
            "/etc/doorman/secret.json",
            client_document("secret", r#", "client_secret": "s3cr3t""#),
        )
        .with_file("/run/secrets/clients/chatgpt", "s3cr3t that is long enough for a client\n")
        .with_file("/etc/doorman/ca.pem", &PEMS.authority)
        .with_file("/etc/doorman/garbage.pem", pem("CERTIFICATE", b"garbage"))
        .with_file("/etc/doorman/not.pem", "s3cr3t")
        .with_file("/etc/doorman/client.pem", &PEMS.certificate)
        .with_file("/etc/doorman/ended.pem", &PEMS.ended)
        .with_file("/etc/doorman/not-begun.pem", &PEMS.not_begun)
        .with_file("/run/secrets/client-key.pem", &PEMS.key)
        .with_file("/run/secrets/another-key.pem", &PEMS.another_key)
        .with_file("/run/secrets/two-lines", "s3cr3t\r\ns3cr3t")
        .with_file("/etc/mcp-doorman/our-agent.jwks.json", format!(r#"{{"keys":[{{{KEY}}}]}}"#))
        .with_file(
            "/etc/mcp-doorman/private.jwks.json",
            format!(r#"{{"keys":[{{{KEY},"d":"s3cr3t"}}]}}"#),
        )
        .with_file(
            "/etc/mcp-doorman/weak.jwks.json",
            format!(
                r#"{{"keys":[{{{KEY}}},{{"kty":"RSA","n":"{}","e":"AQAB"}}]}}"#,
                "_".repeat(171)
            ),
        )
}

/// A certificate, the key of it, and what else TLS is tried with.
struct Pems {
    authority: String,
    certificate: String,
    /// The same, before and after its time.
    not_begun: String,
    ended: String,
    key: String,
    another_key: String,
}

static PEMS: LazyLock<Pems> = LazyLock::new(|| {
    let [own, another] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let certificate = params.self_signed(&own).unwrap();
    let mut other = params.clone();
    other.not_before = date_time_ymd(2100, 1, 1);
    let not_begun = other.self_signed(&own).unwrap();
    (other.not_before, other.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2026, 9, 20));
    let ended = other.self_signed(&own).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&another).unwrap();
    Pems {
        authority: pem("CERTIFICATE", authority.der()),
        certificate: pem("CERTIFICATE", certificate.der()),
        not_begun: pem("CERTIFICATE", not_begun.der()),
        ended: pem("CERTIFICATE", ended.der()),
        key: pem("PRIVATE KEY", own.serialized_der()),
        another_key: pem("PRIVATE KEY", another.serialized_der()),
    }
});

fn secret_der(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// What a client would publish at <https://client.example/> and `name`.
fn client_document(name: &str, more: &str) -> String {
    format!(
        r#"{{ "client_id": "https://client.example/{name}.json", "client_name": "Example",
            "redirect_uris": ["http://127.0.0.1/callback"]{more} }}"#
    )
}

/// The public key of RFC 7515 A.3.
const KEY: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

fn loaded(yaml: &str) -> Result<Config, Problems> {
    load(Path::new("config.yaml"), &environment().with_file("config.yaml", yaml))
}

/// The smallest file that loads, with `more` at its end.
fn minimal_and(more: &str) -> String {
    format!(
        "resources:
  - url: https://tools.example.com/mcp
    upstream: http://127.0.0.1:3000/mcp
    access: any
sealing_keys: [{{ file: /run/secrets/doorman/sealing-key }}]
idp:
  issuer: https://login.example.com
  client_id: doorman
{more}"
    )
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(root().join("tests/config").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_valid_file_loads() {
    let cases = cases("valid");

    assert!(cases.len() >= 5, "only {} cases were found", cases.len());
    for case in cases {
        if let Err(problems) = loaded(&fs::read_to_string(&case).unwrap()) {
            panic!("{}:\n{problems}", case.display());
        }
    }
}

#[test]
fn every_invalid_file_is_told_as_expected() {
    let cases = cases("invalid");
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();

    assert!(cases.len() >= 40, "only {} cases were found", cases.len());
    for case in cases {
        let Err(problems) = loaded(&fs::read_to_string(&case).unwrap()) else {
            panic!("{} loads", case.display());
        };
        let told = format!("{problems}\n");
        let beside = case.with_extension("expected");
        if update {
            fs::write(&beside, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&beside).unwrap(), "{}", case.display());
        assert!(!told.contains(CANARY), "{} tells a secret", case.display());
    }
}

#[test]
fn the_example_loads_and_means_what_its_comments_say() {
    let config = loaded(&fs::read_to_string(root().join("config.example.yaml")).unwrap()).unwrap();
    let defaults = loaded(&minimal_and("")).unwrap();

    assert_eq!(config.resources.len(), 2);
    assert_eq!(config.sealing_keys.len(), 2);
    assert_eq!(config.issuer, defaults.issuer);
    assert_eq!(config.tokens, defaults.tokens);
    assert_eq!(config.streams, defaults.streams);
    assert_eq!(config.registration, defaults.registration);
    assert_eq!(config.identity_headers, defaults.identity_headers);
    assert_eq!(config.log, defaults.log);
    assert_eq!(config.listen.address, defaults.listen.address);
    assert_eq!(config.health.address, defaults.health.address);
    assert_eq!(config.clients.len(), 3);
    assert_eq!(config.idp.scopes, defaults.idp.scopes);
    assert_eq!(config.idp.user_key, defaults.idp.user_key);
    assert_eq!(config.idp.groups, defaults.idp.groups);
    assert_eq!(config.idp.email, defaults.idp.email);
    assert_eq!(config.idp.identity, defaults.idp.identity);
}

#[test]
fn lines_may_end_as_on_windows() {
    let example = fs::read_to_string(root().join("config.example.yaml")).unwrap();
    let unix = loaded(&example).unwrap();

    let windows = loaded(&example.replace('\n', "\r\n")).unwrap();

    assert_eq!(format!("{windows:?}"), format!("{unix:?}"));
}

#[test]
fn the_example_holds_nothing_that_could_be_a_secret() {
    let example = fs::read_to_string(root().join("config.example.yaml")).unwrap();

    for word in example.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c)) {
        assert!(word.len() < 40 || word.starts_with("---"), "{word}");
    }
}

#[test]
fn what_was_left_out_has_its_default() {
    let config = loaded(&minimal_and("")).unwrap();

    assert_eq!(config.listen.address, "[::]:8080".parse().unwrap());
    assert_eq!(config.listen.fallback, Some("0.0.0.0:8080".parse().unwrap()));
    assert_eq!(config.health.address, "[::]:9090".parse().unwrap());
    assert_eq!(config.health.fallback, Some("0.0.0.0:9090".parse().unwrap()));
    assert_eq!(config.workers.get(), 4);
    assert_eq!(config.issuer, PublicUrl::parse("https://tools.example.com").unwrap());
    assert_eq!(config.tokens.access, Duration::from_hours(1));
    assert_eq!(config.tokens.refresh, Duration::from_hours(14 * 24));
    assert_eq!(config.tokens.grant, Duration::from_hours(90 * 24));
    assert_eq!(config.tokens.recheck_after, Duration::from_hours(1));
    assert_eq!(config.tokens.recheck_grace, Duration::from_hours(12));
    assert_eq!(config.streams.listening_grace, Duration::from_secs(60));
    assert_eq!(config.streams.running_grace, Duration::from_mins(10));
    assert_eq!(config.streams.comment_every, Some(Duration::from_secs(25)));
    assert_eq!(config.resources[0].access, Access::Anyone);
    assert!(config.resources[0].scopes.is_empty());
    assert!(config.registration.dynamic);
    assert!(config.registration.redirect_schemes.contains(&"cursor".to_owned()));
    assert!(config.clients.is_empty());
    assert!(config.idp.client_secret.is_none());
    assert!(config.allowed_origins.is_empty());
    assert_eq!(config.admin_socket, None);
}

#[test]
fn an_address_that_was_typed_has_no_fallback() {
    let config = loaded(&minimal_and("listen: \"[::]:8080\"")).unwrap();

    assert_eq!(config.listen.fallback, None);
}

#[test]
fn there_are_never_more_default_workers_than_may_be_typed() {
    let environment = environment()
        .with_parallelism(NonZeroUsize::new(512).unwrap())
        .with_file("config.yaml", minimal_and(""));

    assert_eq!(load(Path::new("config.yaml"), &environment).unwrap().workers.get(), 256);
}

#[test]
fn secrets_come_without_the_newline_at_their_end() {
    for (source, expected) in [
        ("{ file: /run/secrets/idp/client-secret }", "s3cr3t from a file"),
        ("{ file: \"${NONE:-/run/secrets}/idp/client-secret\" }", "s3cr3t from a file"),
        ("{ env: IDP_CLIENT_SECRET }", "s3cr3t from the environment"),
        ("{ insecure_inline: \"$${s3cr3t} ${NONE}\" }", "$${s3cr3t} ${NONE}"),
    ] {
        let config = loaded(&minimal_and(&format!("  client_secret: {source}"))).unwrap();
        assert_eq!(config.idp.client_secret.unwrap().expose(), expected);
    }
}

#[test]
fn a_client_proves_itself_as_it_was_set_up() {
    let valid = root().join("tests/config/valid/clients.yaml");

    let clients = loaded(&fs::read_to_string(valid).unwrap()).unwrap().clients;

    let [claude, chatgpt, agent] = clients.as_slice() else { panic!("{clients:?}") };
    assert!(matches!(claude.authentication, Authentication::None));
    let hash = secret::sha256(b"s3cr3t that is long enough for a client");
    assert!(matches!(chatgpt.authentication, Authentication::Secret(own) if own == hash));
    assert!(matches!(agent.authentication, Authentication::Keys(_)));
    assert_eq!(chatgpt.scopes, Some(Scopes::parse("tools.read")));
    assert_eq!((&claude.scopes, claude.refreshes), (&None, true));
    assert!(!chatgpt.refreshes);
}

#[test]
fn without_secrets_everything_else_is_checked() {
    let elsewhere = |yaml: &str| {
        let environment = Environment::empty().without_secrets().with_file("config.yaml", yaml);
        load(Path::new("config.yaml"), &environment)
    };
    // A certificate comes with its key, as a rule.
    let tls = "tls: { cert: /run/tls/tls.crt, key: { file: /run/tls/tls.key } }";
    let yaml = minimal_and(&format!("  client_secret: {{ env: IDP_CLIENT_SECRET }}\n{tls}"));

    let config = elsewhere(&yaml).unwrap();
    assert!(config.sealing_keys.is_empty() && config.idp.client_secret.is_none());
    assert!(config.tls.is_none());
    // What stands in the file itself is looked at.
    for (wrong, told) in [
        (yaml.replace("tools.example.com", "tools.example.com:x"), "resources[0].url"),
        (yaml.replace("{ file: /run/secrets/doorman/sealing-key }", ""), "sealing_keys"),
        (yaml.replace("{ env: IDP_CLIENT_SECRET }", "{ insecure_inline: \" \" }"), "is empty"),
        (yaml.replace("{ env: IDP_CLIENT_SECRET }", "hunter2"), "where the secret comes from"),
        (yaml.replace("cert: /run/tls/tls.crt, ", ""), "tls.cert: is missing"),
    ] {
        let problems = elsewhere(&wrong).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(problems.to_string().contains(told), "{problems}");
    }
    // With secrets, these are missed.
    let there = Environment::empty().with_file("config.yaml", yaml);
    assert_eq!(load(Path::new("config.yaml"), &there).unwrap_err().len(), 4);
}

#[test]
fn a_sealing_key_that_every_user_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sealing-key");
    fs::write(&file, key("current")).unwrap();
    let yaml = minimal_and("").replace("/run/secrets/doorman/sealing-key", file.to_str().unwrap());
    let with_mode = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        loaded(&yaml)
    };

    let told = with_mode(0o644).unwrap_err().to_string();
    assert!(told.contains("every user of this machine may read"), "{told}");
    assert!(told.contains(&format!("fix: chmod 600 {}", file.display())), "{told}");
    with_mode(0o600).unwrap();
}

#[test]
fn a_variable_cannot_become_yaml() {
    let config = loaded(&minimal_and("  groups_claim: ${HOSTILE}")).unwrap();

    assert_eq!(config.idp.groups.claim.unwrap().0, "a\nidp: { issuer: x }");
    assert_eq!(config.idp.issuer, "https://login.example.com");
}

#[test]
fn access_is_one_value_or_a_list_in_lower_case_where_case_means_nothing() {
    let yaml = minimal_and("").replace(
        "access: any",
        "access: [{ groups: Ops, emails: [Ada@Example.com] }, { email_domains: Example.COM }]",
    );

    let config = loaded(&yaml).unwrap();

    let Access::Only(entries) = &config.resources[0].access else { panic!("anyone") };
    assert_eq!(
        entries[0],
        AccessEntry {
            groups: vec!["Ops".to_owned()],
            emails: vec!["ada@example.com".to_owned()],
            ..AccessEntry::default()
        }
    );
    assert_eq!(entries[1].email_domains, ["example.com"]);
}

#[test]
fn documents_are_advertised_in_any_case_where_nobody_can_register() {
    for (typed, support) in [
        ("dynamic: true", Support::WithinReach),
        ("metadata_documents: auto", Support::WithinReach),
        ("metadata_documents: ${NONE:-true}", Support::Always),
        ("metadata_documents: false", Support::Never),
        ("dynamic: false", Support::Always),
        ("{ dynamic: false, metadata_documents: auto }", Support::Always),
        ("{ dynamic: false, metadata_documents: false }", Support::Never),
    ] {
        let config = loaded(&minimal_and(&format!("registration:\n  {typed}"))).unwrap();
        assert_eq!(config.registration.documents.support, support, "{typed}");
    }
}

#[test]
fn what_may_not_be_fetched_is_not_probed() {
    let probed = |registration: &str| {
        let config = loaded(&minimal_and(&format!("registration: {registration}"))).unwrap();
        let probed = config.registration.documents.probed;
        probed.iter().map(|url| url.host().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(probed("{}"), ["claude.ai", "chatgpt.com", "vscode.dev"]);
    assert_eq!(
        probed("{ allowed_metadata_domains: [vscode.dev, \"*.ai\"] }"),
        ["claude.ai", "vscode.dev"]
    );
    assert!(probed("{ allowed_metadata_domains: intranet.example.com }").is_empty());
}

/// What each of them does at a login is for `tests/suite/presets.rs`.
#[test]
fn every_preset_means_something() {
    let names = presets::names();

    assert!(names.len() >= 16, "only {names:?}");
    assert!(names.contains(&presets::DEFAULT.to_owned()));
    for name in names {
        let config = loaded(&minimal_and(&format!("  preset: {name}")))
            .unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let is_oidc = !matches!(config.idp.identity, IdentitySource::UserResource(_));
        assert_eq!(config.idp.scopes.contains(&"openid".to_owned()), is_oidc, "{name}");
        assert!(!config.idp.user_key.is_empty(), "{name}");
    }
}

#[test]
fn what_the_operator_sets_replaces_the_preset() {
    let config = loaded(&minimal_and(
        "  preset: oidc\n  user_key: [employee]\n  client_authentication: post\n  scopes: [openid]",
    ))
    .unwrap();

    assert_eq!(config.idp.user_key, ["employee"]);
    assert_eq!(config.idp.client_authentication, ClientAuthentication::Post);
    assert_eq!(config.idp.scopes, ["openid"]);
}

/// RFC 8707: what issues tokens for a resource is told of it, and that is us.
#[test]
fn the_idp_is_told_of_no_resource_unless_the_operator_says_how() {
    let indicator = |yaml: &str| loaded(&minimal_and(yaml)).unwrap().idp.resource_indicator;
    let template = |text: &str| ResourceIndicator::Scope(text.to_owned());

    for name in presets::names() {
        assert_eq!(indicator(&format!("  preset: {name}")), ResourceIndicator::Never, "{name}");
        let replaced = indicator(&format!("  preset: {name}\n  resource_indicator: audience"));
        assert_eq!(replaced, ResourceIndicator::Audience, "{name}");
    }
    let of = |word: &str| indicator(&format!("  resource_indicator: {word}"));
    assert_eq!(of("none"), ResourceIndicator::Never);
    assert_eq!(of("resource"), ResourceIndicator::Resource);
    assert_eq!(of("scope"), template("{resource}/.default"));
    assert_eq!(of("scope\n  resource_scope: \"x:{resource}\""), template("x:{resource}"));
    // It counts for nothing without the other.
    assert_eq!(indicator("  resource_scope: \"x:{resource}\""), ResourceIndicator::Never);
}

#[test]
fn files_that_were_not_given_are_read_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (config, sealing_key) = (folder.path().join("config.yaml"), folder.path().join("key"));
    let yaml = minimal_and("")
        .replace("/run/secrets/doorman/sealing-key", &sealing_key.display().to_string());
    fs::write(&config, yaml).unwrap();
    fs::write(&sealing_key, key("on disk")).unwrap();
    fs::set_permissions(&sealing_key, fs::Permissions::from_mode(0o600)).unwrap();

    assert!(load(&config, &Environment::of_this_process()).is_ok());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems = load(Path::new("/nowhere/config.yaml"), &environment()).unwrap_err();

    insta::assert_snapshot!(problems, @"
    /nowhere/config.yaml: does not exist
      fix: create it (config.example.yaml shows every key), or name another with --config

    1 problem in /nowhere/config.yaml
    ");
}

/// One level unfolds to a hundred entries, six levels to 10^12.
#[test]
fn an_alias_bomb_is_defused() {
    let levels = (1..7).map(|level| {
        let aliases = vec![format!("*a{}", level - 1); 100].join(",");
        format!("a{level}: &a{level} [{aliases}]")
    });
    let yaml: Vec<_> = std::iter::once("a0: &a0 [x]".to_owned()).chain(levels).collect();

    let problems = loaded(&yaml.join("\n")).unwrap_err();

    assert_eq!(problems.len(), 1);
    assert!(problems.to_string().contains("is too much for a configuration"), "{problems}");
}

#[test]
fn debug_of_a_configuration_shows_no_secret() {
    let upstream = "upstream: https://mcp.internal/mcp
    upstream_tls:
      client_certificate: /etc/doorman/client.pem
      client_key: { file: /run/secrets/client-key.pem }
    upstream_headers: [{ name: X-Api-Key, value: { insecure_inline: s3cr3t } }]";
    let tls = "tls:
  cert: /etc/doorman/client.pem
  key: { file: /run/secrets/client-key.pem }";
    let yaml = minimal_and(&format!("  client_secret: {{ env: IDP_CLIENT_SECRET }}\n{tls}"))
        .replace("upstream: http://127.0.0.1:3000/mcp", upstream);
    let config = loaded(&yaml).unwrap();

    let shown = format!("{config:?}");

    assert!(shown.contains("x-api-key") && !shown.contains(CANARY));
    let private = format!("{:?}", secret_der(&PEMS.key));
    assert!(!shown.contains(&private[1..20]), "{shown}");
    assert!(!shown.contains(&key("current")));
}

proptest! {
    /// Whatever was typed, there is an answer, and a refusal has a reason.
    #[test]
    fn no_file_is_answered_with_silence(lines in prop::collection::vec(
        "( |  |- )?(url|idp|issuer|access|tokens|sealing_keys|<<|&a|[*]a)?:? ?[a-z0-9{}\\[\\]:$\"'|>&*!-]{0,8}", 0..12,
    )) {
        if let Err(problems) = loaded(&lines.join("\n")) {
            prop_assert!(!problems.is_empty());
        }
    }
}
