//! Every input that is kept in `tests/fuzz/corpus/`, once more.

use std::fs;
use std::path::{Path, PathBuf};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 22] = [
    ("answer_head", super::answer_head),
    ("authorization", super::authorization),
    ("basic_credentials", super::basic_credentials),
    ("chunked", super::chunked),
    ("client_metadata", super::client_metadata),
    ("config", super::config),
    ("cookies", super::cookies),
    ("discovery", super::discovery),
    ("event_ends", super::event_ends),
    ("first_event", super::first_event),
    ("form", super::form),
    ("forwarded", super::forwarded),
    ("http2_frames", super::http2_frames),
    ("idp_answers", super::idp_answers),
    ("jwks", super::jwks),
    ("jwt", super::jwt),
    ("location", super::location),
    ("redirect_uri", super::redirect_uri),
    ("registration", super::registration),
    ("request_head", super::request_head),
    ("target", super::target),
    ("token", super::token),
];

/// Names in `folder`, sorted.
fn names(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|_| panic!("there is no {folder:?}"));
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap().path())).collect();
    names.sort();
    names
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(own, _)| *own == name).unwrap();
    let folder = format!("tests/fuzz/corpus/{name}");
    let inputs = names(&folder);
    assert!(!inputs.is_empty(), "{folder} is empty");
    for input in inputs {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).join(&input);
        // What fails says which input it was.
        eprintln!("{}", path.display());
        target(&fs::read(path).unwrap());
    }
}

#[test]
fn no_target_is_forgotten() {
    let targets = TARGETS.map(|(name, _)| name);
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml"));
    let manifest = manifest.unwrap();

    assert!(targets.is_sorted());
    assert_eq!(names("tests/fuzz/corpus"), targets, "each has a corpus");
    assert_eq!(names("tests/fuzz/targets"), targets, "each has a file");
    for name in targets {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"\n")),
            "{name}"
        );
    }
    assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
}

#[test]
fn answer_head() {
    replay("answer_head");
}

#[test]
fn authorization() {
    replay("authorization");
}

#[test]
fn basic_credentials() {
    replay("basic_credentials");
}

#[test]
fn chunked() {
    replay("chunked");
}

#[test]
fn client_metadata() {
    replay("client_metadata");
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn cookies() {
    replay("cookies");
}

#[test]
fn discovery() {
    replay("discovery");
}

#[test]
fn event_ends() {
    replay("event_ends");
}

#[test]
fn first_event() {
    replay("first_event");
}

#[test]
fn form() {
    replay("form");
}

#[test]
fn forwarded() {
    replay("forwarded");
}

#[test]
fn http2_frames() {
    replay("http2_frames");
}

#[test]
fn idp_answers() {
    replay("idp_answers");
}

#[test]
fn jwks() {
    replay("jwks");
}

#[test]
fn jwt() {
    replay("jwt");
}

#[test]
fn location() {
    replay("location");
}

#[test]
fn redirect_uri() {
    replay("redirect_uri");
}

#[test]
fn registration() {
    replay("registration");
}

#[test]
fn request_head() {
    replay("request_head");
}

#[test]
fn target() {
    replay("target");
}

#[test]
fn token() {
    replay("token");
}
