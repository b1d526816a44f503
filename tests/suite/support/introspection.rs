//! What the fake IdP says of access tokens that only it can read (RFC 7662), and of its own kind beside.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::sync::watch;

/// The tokens that it knows, and how it answers.
#[derive(Debug)]
pub struct Introspection {
    known: Mutex<HashMap<String, String>>,
    /// In place of all that.
    instead: Mutex<Option<(u16, String)>>,
    is_held: watch::Sender<bool>,
}

impl Introspection {
    pub fn new() -> Self {
        let is_held = watch::Sender::new(false);
        Self { known: Mutex::default(), instead: Mutex::default(), is_held }
    }

    /// From now on this is said of `token`, to the letter.
    pub fn say(&self, token: &str, text: impl Into<String>) {
        self.known.lock().unwrap().insert(token.to_owned(), text.into());
    }

    /// From now on `token` is worth nothing.
    pub fn revoke(&self, token: &str) {
        self.known.lock().unwrap().remove(token);
    }

    /// From now on everything is answered so.
    pub fn fail(&self, status: u16, text: impl Into<String>) {
        *self.instead.lock().unwrap() = Some((status, text.into()));
    }

    pub fn recover(&self) {
        *self.instead.lock().unwrap() = None;
    }

    /// From now on who asks waits.
    pub fn hold(&self) {
        self.is_held.send_replace(true);
    }

    pub fn release(&self) {
        self.is_held.send_replace(false);
    }

    /// §2.2: of what it does not know, it says no more than that.
    pub async fn answer(&self, token: &str, refusal: (u16, Value)) -> (u16, String) {
        let mut is_held = self.is_held.subscribe();
        is_held.wait_for(|is_held| !is_held).await.unwrap();
        if let Some(instead) = self.instead.lock().unwrap().clone() {
            return instead;
        }
        match self.known.lock().unwrap().get(token) {
            Some(text) => (200, text.clone()),
            None => (refusal.0, refusal.1.to_string()),
        }
    }
}

/// RFC 7662 §2.2
pub fn inactive() -> (u16, Value) {
    (200, json!({ "active": false }))
}
