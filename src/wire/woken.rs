//! Counts how often somebody was woken, for tests.

use std::mem;
use std::sync::{Arc, Mutex};
use std::task::Wake;

#[derive(Debug, Default)]
pub struct Woken(Mutex<usize>);

impl Woken {
    pub fn take(&self) -> usize {
        mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}
