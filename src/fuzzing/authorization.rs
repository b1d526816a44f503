//! `Authorization` (`protected_resource::guard`): one bearer token or none, and never another than the bytes that
//! were sent. Each line is a header.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::protected_resource::guard::{NoBearer, bearer};

pub fn authorization(data: &[u8]) {
    let lines: Vec<HeaderValue> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let headers: HeaderMap = lines.iter().map(|line| (AUTHORIZATION, line.clone())).collect();

    match (bearer(&headers), &lines[..]) {
        (Ok(token), [line]) => {
            let (scheme, rest) = line.as_bytes().split_at(7);
            assert!(scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty());
            assert_eq!(token, rest);
        }
        (Err(NoBearer::Missing), []) | (Err(NoBearer::Repeated), [_, _, ..]) => {}
        (Err(NoBearer::Unreadable), [line]) => {
            let (scheme, rest) = line.as_bytes().split_at(line.len().min(7));
            assert!(!scheme.eq_ignore_ascii_case(b"Bearer ") || rest.is_empty());
        }
        (read, lines) => panic!("{read:?} of {lines:?}"),
    }
}
