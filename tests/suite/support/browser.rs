//! A browser: keeps cookies, shows a page, fills in its form, follows redirects as far as it is told.
//!
//! Two browsers are two jars. Cookies are kept and sent back by origin and name, `Secure` ones too: in
//! front of the product under test stands, as far as the browser can tell, an ingress with TLS.

use std::sync::Mutex;

use url::{Position, Url};

use crate::support::exchange::{Door, Exchange, Landing, Request};

#[derive(Debug)]
pub struct Browser {
    /// Origin and way of each server that the browser can reach.
    servers: Vec<(String, Door)>,
    jar: Mutex<Vec<Cookie>>,
}

#[derive(Clone, Debug)]
pub struct Cookie {
    pub origin: String,
    pub name: String,
    pub value: String,
}

/// The one form of a page.
#[derive(Clone, Debug)]
pub struct PageForm {
    pub action: Url,
    pub hidden: Vec<(String, String)>,
    /// `value` of each submit button named `decision`.
    pub decisions: Vec<String>,
}

impl Browser {
    pub fn new(servers: Vec<(String, Door)>) -> Self {
        Self { servers, jar: Mutex::default() }
    }

    /// One request, no redirect followed.
    pub async fn get(&self, url: &str) -> Exchange {
        let request = Request::get(url)
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-site", "cross-site");
        self.send(url, request).await
    }

    /// Go to `url` and on, until there is a page or the way leads to somebody else (the client).
    pub async fn open(&self, url: &str) -> Exchange {
        let mut exchange = self.get(url).await;
        let mut hops = 0;
        while let Some(next) = self.next_hop(&exchange) {
            hops += 1;
            assert!(hops < 10, "redirected in circles\n{exchange}");
            exchange = self.get(&next).await;
        }
        exchange
    }

    /// Press `approve`, and no further: the redirect to the IdP is the answer.
    pub async fn approve(&self, page: &Exchange) -> Exchange {
        self.decide(page, "approve").await
    }

    pub async fn deny(&self, page: &Exchange) -> Exchange {
        self.decide(page, "deny").await
    }

    pub async fn decide(&self, page: &Exchange, decision: &str) -> Exchange {
        let form = page.form();
        assert!(form.decisions.iter().any(|own| own == decision), "no {decision} button\n{page}");
        self.submit(&form, decision).await
    }

    /// Send the form as our own page sends it.
    pub async fn submit(&self, form: &PageForm, decision: &str) -> Exchange {
        let origin = form.action.origin().ascii_serialization();
        self.submit_from(form, decision, &origin, "same-origin").await
    }

    /// Send the form as a page of `origin` sends it.
    pub async fn submit_from(
        &self,
        form: &PageForm,
        decision: &str,
        origin: &str,
        site: &str,
    ) -> Exchange {
        let mut fields: Vec<(&str, &str)> =
            form.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields.push(("decision", decision));
        let request = Request::post(form.action.as_str())
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("origin", origin)
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", site)
            .form(&fields);
        self.send(form.action.as_str(), request).await
    }

    /// The whole way: consent page, approval, login at the IdP, back to the client.
    pub async fn log_in(&self, authorize: &str) -> Landing {
        self.arrive(authorize).await.landing()
    }

    /// `log_in` that need not succeed: whatever the browser shows, or where it is sent, at the end.
    pub async fn arrive(&self, authorize: &str) -> Exchange {
        let page = self.open(authorize).await;
        if !page.status.is_success() {
            return page;
        }
        let mut exchange = self.approve(&page).await;
        while let Some(next) = self.next_hop(&exchange) {
            exchange = self.get(&next).await;
        }
        exchange
    }

    /// Approve and log in at the IdP. The URL that the IdP then sends this browser to.
    pub async fn up_to_the_callback(&self, authorize: &str) -> String {
        let page = self.open(authorize).await;
        let to_idp = self.approve(&page).await.location();
        let back = self.get(to_idp.as_str()).await;
        assert_eq!(back.status.as_u16(), 302, "the IdP refused\n{back}");
        back.header("location").to_owned()
    }

    pub fn cookies(&self) -> Vec<Cookie> {
        self.jar.lock().unwrap().clone()
    }

    /// As if another application of `origin` had set one.
    pub fn keep_cookie(&self, origin: &str, name: &str, value: &str) {
        let (origin, name, value) = (origin.to_owned(), name.to_owned(), value.to_owned());
        self.jar.lock().unwrap().push(Cookie { origin, name, value });
    }

    /// As if the person had deleted them.
    pub fn forget_cookies(&self) {
        self.jar.lock().unwrap().clear();
    }

    async fn send(&self, url: &str, request: Request) -> Exchange {
        let origin = origin_of(url);
        let server = self.servers.iter().find(|(own, _)| *own == origin);
        let (_, door) = server.unwrap_or_else(|| panic!("the browser can't reach {url}"));
        let cookies: Vec<String> = self
            .cookies()
            .iter()
            .filter(|cookie| cookie.origin == origin)
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        let request = if cookies.is_empty() {
            request
        } else {
            request.header("cookie", &cookies.join("; "))
        };
        let exchange = door.send(request).await;
        self.keep_cookies(&origin, &exchange);
        exchange
    }

    fn keep_cookies(&self, origin: &str, exchange: &Exchange) {
        let mut jar = self.jar.lock().unwrap();
        for header in exchange.headers.get_all("set-cookie") {
            let header = header.to_str().unwrap();
            let (pair, attributes) = header.split_once(';').unwrap_or((header, ""));
            let (name, value) = pair.split_once('=').unwrap();
            jar.retain(|cookie| cookie.origin != origin || cookie.name != name);
            let is_removal = attributes.to_ascii_lowercase().contains("max-age=0");
            if !is_removal {
                let (origin, name, value) = (origin.to_owned(), name.to_owned(), value.to_owned());
                jar.push(Cookie { origin, name, value });
            }
        }
    }

    fn next_hop(&self, exchange: &Exchange) -> Option<String> {
        if !exchange.status.is_redirection() {
            return None;
        }
        let location = exchange.header("location");
        let is_known = self.servers.iter().any(|(own, _)| *own == origin_of(location));
        is_known.then(|| location.to_owned())
    }
}

impl Exchange {
    /// The page with its character references resolved.
    pub fn shown(&self) -> String {
        unescape(&self.text())
    }

    /// Where the link with this text leads.
    #[track_caller]
    pub fn link(&self, text: &str) -> String {
        let html = self.text();
        let end = html.find(&format!(">{text}</a>")).unwrap_or_else(|| panic!("no {text}\n{self}"));
        let start = html[..end].rfind("<a ").unwrap();
        attribute(&html[start + 1..end], "href").unwrap()
    }

    /// The form of this page.
    #[track_caller]
    pub fn form(&self) -> PageForm {
        self.assert_status(200);
        let html = self.text();
        let start = html.find("<form").unwrap_or_else(|| panic!("no form\n{self}"));
        let form = &html[start..html.find("</form>").unwrap()];
        let tags = form.split('<').skip(1).filter_map(|tag| tag.split('>').next());
        let on_one_line = |tag: &str| tag.split_whitespace().collect::<Vec<_>>().join(" ");
        let tags: Vec<String> = tags.map(on_one_line).collect();
        assert_eq!(attribute(&tags[0], "method").unwrap().to_lowercase(), "post", "\n{self}");
        let base = Url::parse(PUBLIC_ORIGIN).unwrap();
        let action = base.join(&attribute(&tags[0], "action").unwrap()).unwrap();
        let of_kind = |tag: &&String, kind: &str| attribute(tag, "type").as_deref() == Some(kind);
        let hidden = tags.iter().filter(|tag| of_kind(tag, "hidden"));
        let hidden = hidden.map(|tag| {
            (attribute(tag, "name").unwrap(), attribute(tag, "value").unwrap_or_default())
        });
        let decisions = tags
            .iter()
            .filter(|tag| attribute(tag, "name").as_deref() == Some("decision"))
            .map(|tag| attribute(tag, "value").unwrap());
        PageForm { action, hidden: hidden.collect(), decisions: decisions.collect() }
    }
}

fn origin_of(url: &str) -> String {
    let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    // `origin()` of a private-use scheme is opaque, which is nobody the browser knows.
    url[..Position::BeforePath].to_owned()
}

/// `value` of `name="value"` in a tag, its character references resolved.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, after) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescape(after.split('"').next().unwrap()))
}

fn unescape(text: &str) -> String {
    let mut pieces = text.split('&');
    let mut plain = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (reference, rest) = piece.split_once(';').unwrap();
        plain.push(match reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let code = match reference.strip_prefix("#x") {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => reference.trim_start_matches('#').parse(),
                };
                char::from_u32(code.unwrap()).unwrap()
            }
        });
        plain.push_str(rest);
    }
    plain
}

const PUBLIC_ORIGIN: &str = "https://tools.example.com";
