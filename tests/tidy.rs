//! House rules the compiler cannot check. Each failure names the file, the rule and the way out.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own sources should stop")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest floor first. A module may use only modules on floors strictly below its own.
const FLOORS: &[&[&str]] = &[
    &["clock", "chance", "secret"],
    &["oauth", "mcp"],
    &["telemetry", "wire"],
    &["seal", "tls"],
    &["store", "outbound"],
    &["browser", "jose", "pages", "budget"],
    &["idp"],
    &["grants"],
    &["token"],
    &["policy"],
    &["protected_resource", "authorization_server", "account", "proxy"],
    &["router", "admin"],
    &["server"],
    &["config"],
    &["app"],
    &["doctor", "inject", "demo"],
    &["cli"],
    &["fuzzing"],
];
const BRANDS: &[&str] = &[
    "google",
    "entra",
    "okta",
    "keycloak",
    "auth0",
    "github",
    "cognito",
    "gitlab",
    "authentik",
    "zitadel",
    "hydra",
    "workos",
    "descope",
];
const PRESETS: &str = "src/config/idp_presets.yaml";

#[test]
fn modules_import_only_from_lower_floors() {
    for Source { path, text } in sources("src") {
        let own_module = top_module(&path);
        if ["lib", "main"].contains(&own_module.as_str()) {
            continue;
        }
        let own_floor = floor_of(&own_module);
        assert!(own_floor.is_some(), "{}: give `{own_module}` a floor in FLOORS", path.display());
        for used in code(&text).flat_map(crate_paths) {
            let floor = floor_of(used);
            assert!(
                used == own_module || (floor.is_some() && floor < own_floor),
                "{}: `{own_module}` may not use `crate::{used}`; pass a value in, or move the type down",
                path.display(),
            );
        }
    }
}

#[test]
fn identity_providers_are_data_not_branches() {
    for Source { path, text } in sources("src") {
        let code = product_code(&text).collect::<Vec<_>>().join("\n").to_lowercase();
        let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric()).collect();
        for brand in BRANDS {
            assert!(!words.contains(brand), "{}: `{brand}` belongs in {PRESETS}", path.display());
        }
    }
}

#[test]
fn the_config_says_what_it_accepts() {
    for Source { path, text } in sources("src/config") {
        for line in code(&text).filter(|line| line.contains("serde(")) {
            for vague in ["untagged", "flatten"] {
                assert!(
                    !line.contains(vague),
                    "{}: serde `{vague}` loses line numbers and unknown keys; write a visitor",
                    path.display(),
                );
            }
        }
    }
}

#[test]
fn each_way_out_has_one_door() {
    for Source { path, text } in sources("src") {
        for line in code(&text) {
            let reaches_upstream = ["hyper::client", "hyper_util::client"];
            // The command line asks our own process, by a socket that has no address.
            assert!(
                path.starts_with("src/proxy/upstream")
                    || path == Path::new("src/admin/ask.rs")
                    || !reaches_upstream.iter().any(|client| line.contains(client)),
                "{}: only src/proxy/upstream/ reaches the MCP server: {line}",
                path.display(),
            );
            assert!(
                path.starts_with("src/outbound") || !line.contains("reqwest"),
                "{}: only src/outbound/ reaches the internet: {line}",
                path.display(),
            );
        }
    }
}

#[test]
fn one_module_names_the_tls_library() {
    for Source { path, text } in sources("src") {
        for line in code(&text) {
            assert!(
                path == Path::new("src/tls.rs")
                    || path.starts_with("src/tls")
                    || !line.contains("rustls"),
                "{}: src/tls.rs has the types for that: {line}",
                path.display(),
            );
        }
    }
}

/// Which keys are good, and for which algorithm, is decided in one place.
#[test]
fn signatures_of_others_are_verified_in_one_module() {
    let mut uses = 0;
    for Source { path, text } in sources("src") {
        let words = ["ParsedPublicKey", "UnparsedPublicKey", "RsaPublicKeyComponents"];
        for line in code(&text).filter(|line| words.iter().any(|word| line.contains(word))) {
            let is_there = path == Path::new("src/jose/key_set.rs");
            assert!(is_there, "{}: src/jose/key_set.rs does that: {line}", path.display());
            uses += 1;
        }
    }
    assert!(uses > 0, "nobody verifies any");
}

#[test]
fn no_lint_is_silenced_and_no_test_is_skipped() {
    // Put together here, so that this file does not find itself.
    let silenced = ["allow(", "ignore]", "ignore ="].map(|what| format!("[{what}"));
    for Source { path, text } in sources("src").into_iter().chain(sources("tests")) {
        for line in code(&text) {
            for attribute in &silenced {
                assert!(
                    !line.contains(attribute.as_str()),
                    "{}: `{}`: say #[expect(…, reason = \"…\")], or delete the test",
                    path.display(),
                    line.trim(),
                );
            }
        }
    }
}

/// Tests judge from outside: two wrongs in the product and in its test would agree.
#[test]
fn the_test_vocabulary_makes_no_tokens() {
    let mut seen = 0;
    for Source { path, text } in sources("tests/suite") {
        for module in ["jose", "token", "seal"] {
            let used = format!("mcp_doorman::{module}::");
            for line in code(&text).filter(|line| line.contains(&used)) {
                assert!(
                    line.ends_with("seal::KeyMaterial;"),
                    "{}: `{module}` is under test; forge by hand instead: {line}",
                    path.display(),
                );
            }
        }
        seen += 1;
    }
    assert!(seen > 10, "no suite found");
}

#[test]
fn tidy_sees_the_sources() {
    let found = sources("src").len();
    assert!(found > 20, "no sources found: every other rule here would pass in silence");
}

struct Source {
    path: PathBuf,
    text: String,
}

fn sources(root: &str) -> Vec<Source> {
    let mut folders = vec![PathBuf::from(root)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_foreign = path.file_name().is_some_and(|name| name == "node_modules");
            if path.is_dir() && !is_foreign {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path, text });
            }
        }
    }
    found
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// `code` without the tests at the end of the file, which may name anything.
fn product_code(text: &str) -> impl Iterator<Item = &str> {
    code(text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text))
}

/// `use crate::store::Store;` → `store`. A grouped `crate::{…}` yields `{`, which is on no floor.
fn crate_paths(line: &str) -> impl Iterator<Item = &str> {
    let name_end =
        |rest: &str| rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    line.split("crate::").skip(1).map(move |rest| rest.get(..name_end(rest).max(1)).unwrap_or(rest))
}

fn top_module(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}
