//! Parameters of a query or of a form body (OAuth 2.1 §3.1, §3.2).

use url::form_urlencoded;

/// Parameters in the order in which they came. An empty value counts as left out (OAuth 2.1 §3.1).
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

/// A parameter came twice: `invalid_request` (OAuth 2.1 §3.1, §3.2).
#[derive(Debug, PartialEq, Eq)]
pub struct Repeated;

impl Form {
    pub fn parse(encoded: &[u8]) -> Self {
        Self(
            form_urlencoded::parse(encoded)
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The value of `name`, which may come once at most.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Repeated),
        }
    }

    /// Every value of `name`; for `resource` alone, which may repeat (RFC 8707 §2).
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_comes_once_or_is_an_error() {
        let form = Form::parse(b"a=1&b=x%20y&b=2&c=");

        assert_eq!(form.one("a"), Ok(Some("1")));
        assert_eq!(form.one("b"), Err(Repeated));
        assert_eq!(form.one("c"), Ok(None));
        assert_eq!(form.all("b").collect::<Vec<_>>(), ["x y", "2"]);
    }
}
