//! The schema: the committed one is this one, it accepts what `check` accepts, and refuses what has
//! the wrong shape. After a change: `UPDATE_EXPECTED=1 cargo test config`, then read the difference.

use std::fs;
use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use crate::config::tests::{cases, loaded, minimal_and, root};
use crate::config::tree::{self, Node};
use crate::config::{presets, schema};

/// The schema, compiled by somebody else's code.
struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("urn:mcp-doorman:config", parsed()).unwrap();
        // Also refuses what is not a schema by the meta-schema of its draft.
        let index = compiler.compile("urn:mcp-doorman:config", &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// What is wrong with the shape of a file.
    fn refusal(&self, file: &Value) -> Option<String> {
        self.schemas.validate(file, self.index).err().map(|error| format!("{error:#}"))
    }
}

fn parsed() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

fn json_of(node: Node) -> Value {
    match node.value {
        tree::Value::Empty => Value::Null,
        tree::Value::Flag(flag) => json!(flag),
        tree::Value::Whole(number) => json!(number),
        tree::Value::OtherNumber => json!(-0.5),
        tree::Value::Text(text) => json!(text),
        tree::Value::List(nodes) => nodes.into_iter().map(json_of).collect(),
        tree::Value::Map(entries) => {
            entries.into_iter().map(|entry| (entry.name, json_of(entry.node))).collect()
        }
    }
}

fn file(yaml: &str) -> Value {
    json_of(tree::parse(yaml).unwrap())
}

fn example() -> String {
    fs::read_to_string(root().join("config.example.yaml")).unwrap()
}

/// Every key of `schema` with its own schema, and the path to it in a file with one entry per list.
fn keys(schema: &Value, path: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        found.extend(keys(inner, &path));
        found.push((path, inner.clone()));
    }
    for forms in schema["anyOf"].as_array().into_iter().flatten() {
        found.extend(keys(forms, path));
    }
    if schema["items"].is_object() {
        found.extend(keys(&schema["items"], &format!("{path}/0")));
    }
    found
}

#[test]
fn the_committed_schema_is_the_one_that_check_prints() {
    let committed = root().join("docs/config.schema.json");
    let printed = schema() + "\n";

    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&committed, &printed).unwrap();
    }

    assert!(
        fs::read_to_string(&committed).unwrap() == printed,
        "docs/config.schema.json is not up to date: run UPDATE_EXPECTED=1 cargo test config"
    );
}

#[test]
fn what_check_accepts_has_the_right_shape() {
    let validator = Validator::new();
    let valid = cases("valid");

    assert!(valid.len() >= 5, "only {} cases were found", valid.len());
    for path in valid.into_iter().chain([root().join("config.example.yaml")]) {
        let refusal = validator.refusal(&file(&fs::read_to_string(&path).unwrap()));
        assert_eq!(refusal, None, "{}", path.display());
    }
}

/// All but those that are listed below. One that comes to be seen leaves the list.
#[test]
fn a_mistake_of_shape_is_seen_in_an_editor() {
    let validator = Validator::new();
    let (mut seen, mut unseen) = (0, Vec::new());

    for path in cases("invalid") {
        // What is not YAML needs no schema.
        let Ok(document) = tree::parse(&fs::read_to_string(&path).unwrap()) else { continue };
        match validator.refusal(&json_of(document)) {
            Some(_) => seen += 1,
            None => unseen.push(name_of(&path)),
        }
    }

    assert!(seen >= 25, "only {seen} mistakes were seen");
    assert_eq!(unseen, FOR_CHECK_ONLY);
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn what_must_be_given_is_required() {
    let validator = Validator::new();
    let minimal = file(&minimal_and(""));
    let mut tried = 0;

    for (path, _) in keys(&parsed(), "") {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut without = minimal.clone();
        let taken = without.pointer_mut(parent).and_then(Value::as_object_mut);
        if taken.is_some_and(|parent| parent.remove(name).is_some()) {
            assert!(loaded(&without.to_string()).is_err(), "{path} can be left out");
            assert!(validator.refusal(&without).is_some(), "{path} is not required");
            tried += 1;
        }
    }

    // With the source of the sealing key, and `idp` itself.
    assert_eq!(tried, 9);
}

#[test]
fn the_issuer_is_required_unless_the_preset_has_it() {
    let validator = Validator::new();
    let mut config = file(&minimal_and(""));
    let holders = presets::names_with("issuer");

    assert!(!holders.is_empty());
    config["idp"] = json!({ "client_id": "doorman" });
    assert!(validator.refusal(&config).is_some());
    for preset in presets::names() {
        for typed in [preset.clone(), format!("${{PRESET:-{preset}}}")] {
            config["idp"]["preset"] = json!(typed);
            let has_issuer = holders.contains(&preset);
            // What a variable holds is not known to an editor.
            let passes = has_issuer || typed != preset;
            assert_eq!(loaded(&config.to_string()).is_ok(), has_issuer, "{typed}");
            assert_eq!(validator.refusal(&config).is_none(), passes, "{typed}");
        }
    }
}

#[test]
fn durations_may_come_from_variables() {
    let validator = Validator::new();

    for (duration, is_fine) in [
        ("90s", true),
        ("500ms", true),
        ("${TTL}", true),
        ("${HOURS:-2}h", true),
        ("90", false),
        ("1w", false),
        ("1h30m", false),
        ("1.5h", false),
        ("", false),
    ] {
        let mut config = file(&minimal_and(""));
        config["tokens"] = json!({ "access_ttl": duration });
        assert_eq!(validator.refusal(&config).is_none(), is_fine, "{duration}");
    }
}

/// `check` has its defaults in other words.
#[test]
fn the_defaults_that_are_shown_are_those_that_are_used() {
    let minimal = file(&minimal_and(""));
    let with_client = file(&minimal_and(CLIENT));
    let mut tried = 0;

    for (path, schema) in keys(&parsed(), "") {
        let Some(default) = schema.get("default") else { continue };
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut config = if parent == "/clients/0" { &with_client } else { &minimal }.clone();
        if parent == "/state/redis" {
            config["state"] = json!({ "redis": { "address": "redis:6379" } });
        }
        let unset = format!("{:?}", loaded(&config.to_string()).unwrap());
        if config.pointer(parent).is_none() {
            let (above, stanza) = parent.rsplit_once('/').unwrap();
            config.pointer_mut(above).unwrap()[stanza] = json!({});
        }
        config.pointer_mut(parent).unwrap()[name] = default.clone();
        let set = loaded(&config.to_string()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(format!("{set:?}"), unset, "{path}");
        tried += 1;
    }

    assert!(tried >= 16, "only {tried} defaults were found");
}

#[test]
fn the_examples_that_are_shown_are_accepted() {
    let validator = Validator::new();
    let minimal = file(&minimal_and(CLIENT));
    let mut tried = 0;

    for (path, schema) in keys(&parsed(), "") {
        let Some(example) = schema.pointer("/examples/0") else { continue };
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut config = minimal.clone();
        config["health"] = json!({});
        config["admin"] = json!({});
        match parent {
            "/state" => config["state"] = json!({}),
            "/state/redis" => config["state"] = json!({ "redis": {} }),
            _ => {}
        }
        config["registration"] = json!({});
        config["tokens"] = json!({});
        config["resources"][0]["access"] = json!([{ "groups": "staff" }]);
        config.pointer_mut(parent).unwrap()[name] = example.clone();
        assert!(loaded(&config.to_string()).is_ok(), "{path}");
        assert_eq!(validator.refusal(&config), None, "{path}");
        tried += 1;
    }

    assert!(tried >= 10, "only {tried} examples were found");
}

/// A key that is read but not in the example would be known to nobody.
#[test]
fn the_example_has_every_key_that_is_read() {
    let example = example();
    let keys = keys(&parsed(), "");

    assert!(keys.len() >= 35, "only {} keys were found", keys.len());
    for (path, _) in keys {
        let (_, name) = path.rsplit_once('/').unwrap();
        assert!(example.contains(&format!("{name}:")), "{path}");
    }
}

#[test]
fn the_example_names_its_schema() {
    let example = example();
    let modeline = example.lines().next().unwrap();
    let schema = modeline.strip_prefix("# yaml-language-server: $schema=").unwrap();

    assert!(root().join(schema).exists(), "{schema}");
}

/// One more key at the end of a file.
const CLIENT: &str = "clients: [{ id: a, name: A, redirect_uris: [https://a.example/cb] }]\n\
    service_accounts: [{ id: b, secret: { insecure_inline: 0123456789abcdef0123456789 } }]";

/// Mistakes in what a value means, in how values go together, in files and variables.
const FOR_CHECK_ONLY: [&str; 89] = [
    "access_groups_without_claim",
    "admin_socket_is_a_directory",
    "admin_socket_relative",
    "admin_socket_too_long",
    "allowed_metadata_domains",
    "allowed_origins",
    "audience_by_client",
    "audience_of_our_own_tokens",
    "audiences",
    "client_ids",
    "client_keys",
    "client_redirect_uris",
    "client_secret_too_short",
    "duplicate_keys",
    "duration_out_of_range",
    "identity_headers_twice",
    "identity_headers_unfit",
    "idp_endpoints_left_out",
    "idp_endpoints_missing",
    "idp_issuer_from_a_variable",
    "idp_issuer_is_a_document",
    "idp_issuer_not_absolute",
    "idp_issuer_not_https",
    "idp_issuer_with_a_fragment",
    "idp_lookups",
    "idp_placeholder",
    "idp_reserved_parameter",
    "idp_resource_indicator",
    "idp_resource_scope",
    "idp_scopes_without_openid",
    "idp_tenants",
    "idp_tenants_in_key",
    "issuer_and_resources_at_once",
    "issuer_not_https",
    "issuer_with_a_query",
    "limits_request_body",
    "limits_request_body_too_small",
    "listen_same_port",
    "listen_without_port",
    "machines",
    "machines_without_audience",
    "pinned_documents",
    "pinned_documents_while_off",
    "probed_documents",
    "redirect_schemes",
    "refresh_shorter_than_access",
    "resource_not_absolute",
    "resource_not_https",
    "resource_not_normal",
    "resource_on_an_endpoint",
    "resource_on_an_endpoint_of_the_issuer",
    "resource_scopes",
    "resource_twice",
    "resource_with_password",
    "sealing_key_not_encoded",
    "sealing_key_not_random",
    "sealing_key_sample",
    "sealing_key_too_short",
    "sealing_key_twice",
    "secret_file_empty",
    "secret_file_is_a_directory",
    "secret_file_missing",
    "secret_variable_empty",
    "secret_variable_unset",
    "state_ca_without_tls",
    "state_dir_relative",
    "state_redis_twice",
    "state_redis_url",
    "state_sentinels_without_master",
    "tls_another_key",
    "tls_ended",
    "tls_file_missing",
    "tls_key_not_pem",
    "tls_not_begun",
    "tls_not_pem",
    "tls_plain_urls",
    "tls_unreadable",
    "tokens_not_before",
    "trusted_proxies",
    "upstream_headers",
    "upstream_not_http",
    "upstream_socket",
    "upstream_tls",
    "upstream_with_password",
    "validation_tokeninfo",
    "validation_without_endpoints",
    "validation_without_secret",
    "variable_malformed",
    "variable_unset",
];
