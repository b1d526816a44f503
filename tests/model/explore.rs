//! Every state that can be reached with so many pages, logins and codes, nearest first.

use std::collections::{BTreeMap, HashSet};

use crate::model::login::{Harm, State, Step, World};

/// How many of each thing there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub pages: usize,
    pub logins: usize,
    pub idp_codes: usize,
    pub tokens: usize,
}

#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    /// A shortest way to each harm.
    pub found: BTreeMap<Harm, Vec<Step>>,
}

/// Go wherever `world` lets one go. `see` is shown every step from every state.
pub fn explore(
    world: World,
    bounds: Bounds,
    mut see: impl FnMut(&State, Step, &State),
) -> Explored {
    let mut reached = vec![(State::default(), None)];
    let mut known = HashSet::from([State::default()]);
    let mut found = BTreeMap::new();
    let mut number = 0;
    while number < reached.len() {
        let state = reached[number].0.clone();
        for harm in state.harms() {
            found.entry(harm).or_insert_with(|| way_to(&reached, number));
        }
        for step in world.steps(&state) {
            let (next, _) = world.take(&state, step);
            if next == state || !bounds.allow(&next) {
                continue;
            }
            see(&state, step, &next);
            if known.insert(next.clone()) {
                reached.push((next, Some((number, step))));
            }
        }
        number += 1;
    }
    Explored { states: reached.len(), found }
}

fn way_to(reached: &[(State, Option<(usize, Step)>)], mut number: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some((before, step)) = reached[number].1 {
        steps.push(step);
        number = before;
    }
    steps.reverse();
    steps
}

impl Bounds {
    pub fn allow(self, state: &State) -> bool {
        state.pages.len() <= self.pages
            && state.logins.len() <= self.logins
            && state.idp_codes.len() <= self.idp_codes
            && state.tokens.len() <= self.tokens
    }
}
