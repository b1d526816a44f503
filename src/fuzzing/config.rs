//! Configuration files (`config`): every mistake is told where it stands, and what is accepted is read the same
//! again.

use std::num::NonZeroUsize;
use std::path::Path;

use crate::config::{Environment, load};

pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // What is on the disk must not decide: no file is read but those that are given here, so what names others
    // is not tried.
    if text.contains("/dev/") || text.contains("/proc/") {
        return;
    }
    let environment = Environment::empty()
        .with_parallelism(NonZeroUsize::MIN)
        .with_variable("NAME", "example.com")
        .with_variable("EMPTY", "")
        .with_file(FILE, text)
        .without_secrets();
    match load(Path::new(FILE), &environment) {
        Ok(config) => {
            let again = load(Path::new(FILE), &environment).expect("refused the second time");
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
            assert!(!config.resources.is_empty());
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let told = problems.to_string();
            let places = told.lines().filter_map(|line| line.strip_prefix(FILE)?.strip_prefix(':'));
            let mut count = 0;
            for place in places {
                count += 1;
                assert_in_file(place, text);
            }
            assert_eq!(count, problems.len(), "a problem without its place: {told}");
            assert!(told.matches("\n  fix: ").count() >= problems.len(), "no fix: {told}");
        }
    }
}

/// `place` begins with a line and a column, both from 1.
fn assert_in_file(place: &str, text: &str) {
    let mut numbers = place.split(':').map(|number| number.parse::<usize>().ok());
    let (Some(Some(line)), Some(Some(column))) = (numbers.next(), numbers.next()) else {
        // Of the file as a whole.
        return;
    };
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "line {line} of {}", lines.len());
    let length = lines.get(line - 1).map_or(0, |line| line.chars().count());
    // Just behind the last character, if something is missing there.
    assert!((1..=length + 1).contains(&column), "column {column} of {length} in line {line}");
}

const FILE: &str = "fuzzed-config.yaml";
