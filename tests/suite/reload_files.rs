//! The program's config on the disk, as operators and Kubernetes change it while it runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::program::{LOCAL, Program};

/// As a `ConfigMap` is: another file takes its place.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn closed_to_all(config: &str) -> String {
    assert!(config.contains("access: any"));
    config.replace("access: any", "access: [{ groups: [nobody] }]")
}

#[tokio::test]
async fn a_signal_has_the_config_read_again() {
    let mut program = Program::start(LOCAL, &[]).await;
    program.read_log();
    program.line_with("the IdP answers").await;
    program.door().send(program.request()).await.assert_status(200);
    let config = fs::read_to_string(program.config()).unwrap();

    replace(&program.config(), &closed_to_all(&config));
    program.hang_up();

    let line = program.line_with("config reloaded").await;
    assert_eq!(line["because"], "SIGHUP");
    program.door().send(program.request()).await.assert_json_rpc_error(403);
}

/// Nobody signals to the process in a pod when its `ConfigMap` changes.
#[tokio::test]
async fn a_changed_file_is_noticed() {
    let program = Program::started(LOCAL, &[]).await;
    let config = fs::read_to_string(program.config()).unwrap();

    replace(&program.config(), &closed_to_all(&config));

    let line = program.line_with("config reloaded").await;
    assert_eq!(line["because"], format!("changed: {}", program.config().display()));
    assert_eq!(line["waits_for_restart"].as_str(), None);
    program.door().send(program.request()).await.assert_json_rpc_error(403);
}

#[tokio::test]
async fn keys_that_wait_for_a_restart_are_told() {
    let program = Program::started(LOCAL, &[]).await;
    let config = fs::read_to_string(program.config()).unwrap();

    replace(&program.config(), &format!("{config}limits: {{ request_body: 1MiB }}\n"));
    program.hang_up();

    assert_eq!(program.line_with("config reloaded").await["waits_for_restart"], "limits");
}

/// Fault 35: none of the many ways to get a config wrong costs anybody a call.
#[tokio::test]
async fn a_config_that_is_wrong_changes_nothing_and_says_where_it_is_wrong() {
    let program = Program::started(LOCAL, &[]).await;
    let good = fs::read_to_string(program.config()).unwrap();
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (door, request) = (program.door(), program.request());
    let calling = tokio::spawn({
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        async move {
            while !stop.load(Ordering::Relaxed) {
                door.send(request.clone()).await.assert_status(200);
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut wrong: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|is| is == "yaml")).collect();
    wrong.sort();
    assert!(wrong.len() > 100);

    for (number, path) in wrong.iter().enumerate() {
        replace(&program.config(), &fs::read_to_string(path).unwrap_or_default());
        program.hang_up();
        program.until_lines("the changed config can't be used", number + 1).await;
    }

    let place = program.config().display().to_string();
    for line in program.lines_with("the changed config can't be used") {
        assert!(line["problems"].as_str().unwrap().starts_with(&place), "{line}");
    }
    let before = calls.load(Ordering::Relaxed);
    replace(&program.config(), &good);
    program.hang_up();
    program.line_with("config reloaded").await;
    stop.store(true, Ordering::Relaxed);
    calling.await.unwrap();
    assert!(before > 0);
}
