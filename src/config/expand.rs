//! `${VAR}` and `${VAR:-default}` in a text. After parsing, so that a value can't become YAML.

use crate::config::environment::Environment;

/// Why a text can't be expanded. Completes "…: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unexpandable {
    #[error("uses the environment variable {0}, which is not set")]
    Unset(String),
    #[error("uses the environment variable {0}, which is not UTF-8 text")]
    NotText(String),
    #[error("has a ${{ that is not a variable")]
    NotAVariable,
}

/// `$${` stands for `${`. A variable that is set to nothing counts as unset where there is a default,
/// as in a shell. What a variable holds is not expanded again.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, Unexpandable> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let (inside, after) = after.split_once('}').ok_or(Unexpandable::NotAVariable)?;
        expanded.push_str(before);
        expanded.push_str(look_up(inside, environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn look_up<'a>(inside: &'a str, environment: &'a Environment) -> Result<&'a str, Unexpandable> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) || default.is_some_and(|default| default.contains("${")) {
        return Err(Unexpandable::NotAVariable);
    }
    match (environment.variable(name), default) {
        (Some(Err(_)), _) => Err(Unexpandable::NotText(name.to_owned())),
        (Some(Ok("")) | None, Some(default)) => Ok(default),
        (Some(Ok(value)), _) => Ok(value),
        (None, None) => Err(Unexpandable::Unset(name.to_owned())),
    }
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Unexpandable> {
        let environment = Environment::empty()
            .with_variable("HOST", "a.example")
            .with_variable("EMPTY", "")
            .with_variable("NESTED", "${HOST}");
        expand(text, &environment)
    }

    #[test]
    fn variables_defaults_and_escapes() {
        for (text, expected) in [
            ("plain $HOST $ {HOST}", "plain $HOST $ {HOST}"),
            ("https://${HOST}/mcp", "https://a.example/mcp"),
            ("${HOST}${HOST}", "a.examplea.example"),
            ("${NONE:-b.example}", "b.example"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-c}", "c"),
            ("${NESTED}", "${HOST}"),
            ("$${HOST}", "${HOST}"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_variable_is_not_passed_on() {
        for text in ["${", "${HOST", "${}", "${1A}", "${HO ST}", "${HOST:?m}", "${A:-${HOST}}"] {
            assert_eq!(expanded(text), Err(Unexpandable::NotAVariable), "{text}");
        }
        assert_eq!(expanded("${NONE}"), Err(Unexpandable::Unset("NONE".to_owned())));
    }
}
