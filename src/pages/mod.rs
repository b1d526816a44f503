//! Pages for people: the consent form and everything that can go wrong in a browser.
//!
//! No script, nothing loaded from elsewhere; every text from outside is escaped by the template engine.

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use crate::wire::{RequestId, Response, answer};

/// The templates, compiled.
#[derive(Debug)]
pub struct Pages {
    templates: Environment<'static>,
    /// Whom people ask for help, as configured.
    contact: Option<String>,
}

/// What the full consent page shows.
#[derive(Debug, Serialize)]
pub struct ConsentPage {
    pub client_name: String,
    /// Where the answer goes: a host, or a scheme.
    pub destination: String,
    /// The same in full.
    pub redirect_uri: String,
    /// Whether that is on the person's own machine, where any program may be listening.
    pub is_local: bool,
    /// Who says that this is its name, in words.
    pub known_by: String,
    /// The host whose document says so.
    pub document_host: Option<String>,
    /// Whether no answer to this client ever goes anywhere but to the person's own machine.
    pub is_only_local: bool,
    pub resource: String,
    pub resource_name: Option<String>,
    pub scopes: Vec<String>,
    pub idp: String,
    /// The name of a person who has signed in before they were asked.
    pub signed_in_as: Option<String>,
    pub action: String,
    pub ticket: String,
}

/// The page for a person who consented to the same not long ago: shows less of it.
#[derive(Debug, Serialize)]
pub struct ShortPage {
    pub page: ConsentPage,
    /// The name of the person who did.
    pub person: String,
    /// The address of the full page.
    pub everything: String,
}

/// Something went wrong in front of a person.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub title: &'static str,
    /// What happened, in plain words.
    pub what: String,
    /// What the person can do.
    pub advice: &'static str,
    pub links: Vec<Link>,
}

/// A way on, which the person takes only if they want to.
#[derive(Debug, Serialize)]
pub struct Link {
    pub href: String,
    pub text: &'static str,
}

/// A template of ours does not compile: a fault of this build.
#[derive(Debug, thiserror::Error)]
#[error("a page template is broken: {0}")]
pub struct BrokenTemplate(#[from] minijinja::Error);

impl Pages {
    pub fn new(contact: Option<String>) -> Result<Self, BrokenTemplate> {
        let mut templates = Environment::new();
        templates.add_template("frame.html", include_str!("frame.html"))?;
        templates.add_template("connect.html", include_str!("connect.html"))?;
        templates.add_template("consent.html", include_str!("consent.html"))?;
        templates.add_template("short.html", include_str!("short.html"))?;
        templates.add_template("problem.html", include_str!("problem.html"))?;
        Ok(Self { templates, contact })
    }

    pub fn consent(&self, page: &ConsentPage) -> Response {
        self.render(StatusCode::OK, "consent.html", context! { page => Value::from(Serde(page)) })
    }

    pub fn short(&self, short: &ShortPage) -> Response {
        let values = Value::from(Serde(short));
        self.render(StatusCode::OK, "short.html", values)
    }

    pub fn problem(&self, problem: &Problem, request: RequestId) -> Response {
        let values = context! {
            title => problem.title,
            what => problem.what.clone(),
            advice => problem.advice,
            links => Value::from(Serde(&problem.links)),
            contact => self.contact.as_deref(),
            request => request.to_string(),
        };
        let mut response = self.render(problem.status, "problem.html", values);
        if problem.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }

    /// What a person sees at an MCP URL: the same for everybody, so rendered once.
    pub fn connect(&self, name: &str, url: &str) -> Result<String, BrokenTemplate> {
        Ok(self.templates.get_template("connect.html")?.render(context! { name, url })?)
    }

    fn render(&self, status: StatusCode, template: &str, values: Value) -> Response {
        let rendered = self.templates.get_template(template).and_then(|page| page.render(values));
        match rendered {
            Ok(html) => answer::page(status, html),
            Err(error) => {
                tracing::error!(fault = %error, "a page could not be rendered");
                answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "this page could not be shown")
            }
        }
    }
}

/// Text from a stranger, made fit to be read: one line, no control or direction characters that could
/// make it look like something else, at most 64 characters; a `…` says that there were more.
pub fn readable(text: &str) -> String {
    let mut visible = text.chars().filter(|c| !c.is_control() && !is_invisible(*c));
    let start: String = visible.by_ref().take(64).collect();
    let start = start.trim();
    if visible.any(|c| !c.is_whitespace()) { format!("{start}…") } else { start.to_owned() }
}

/// Zero-width and direction-changing characters.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_hide_what_it_is() {
        assert_eq!(readable("Cla\u{200b}ude\u{202e}\n\u{7}"), "Claude");
        assert_eq!(readable(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(readable(&format!("{} \u{200b}", "x".repeat(64))), "x".repeat(64));
        assert_eq!(readable(&"x".repeat(1000)), "x".repeat(64) + "…");
    }

    /// WCAG 2.2 §1.4.3, on the white and the near-black that browsers paint.
    #[test]
    fn quiet_text_can_be_read() {
        let frame = include_str!("frame.html");
        let (_, colours) = frame.split_once("--quiet: light-dark(").unwrap();
        let (light, dark) = colours.split_once(')').unwrap().0.split_once(", ").unwrap();

        for (text, page) in [(light, "#ffffff"), (dark, "#121212")] {
            let (one, other) = (luminance(text) + 0.05, luminance(page) + 0.05);
            let contrast = one.max(other) / one.min(other);
            assert!(contrast >= 4.5, "{text} on {page}: {contrast}");
        }
    }

    fn luminance(colour: &str) -> f64 {
        let part = |at| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }
}
