//! Version skew: processes of the build before beside those of the present one.
//!
//! What the build before lacked is listed here and nowhere else; a release empties the list. A process changes its build
//! only when it is started, to and fro, and nobody goes back to a build that cannot read what has been written.

use bourse_agent_core as agent;
use bourse_sdk_core as sdk;

use crate::letter::Letter;
use crate::random::Random;

/// How many starts are of the build before.
const BEFORE: f64 = 0.15;

/// Which build a process is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vintage {
    /// The one before: without resizes and draining agents.
    Before,
    /// The one of today.
    Present,
}

impl Vintage {
    /// Of a process that starts; `skew`: it may be of the build before.
    pub fn draw(random: &mut Random, skew: bool) -> Vintage {
        // Drawn in any case: what comes after it is then the same with skew and without.
        let before = random.chance(BEFORE);
        if before && skew { Vintage::Before } else { Vintage::Present }
    }

    /// As a process of this build hears it. `None`: it is passed over, as a message without a known kind is.
    pub fn hears(self, letter: Letter) -> Option<Letter> {
        match (self, letter) {
            (Vintage::Present, letter) => Some(letter),
            (Vintage::Before, Letter::ToAgent { message: agent::FromMaster::Resize { .. }, .. }) => None,
            (Vintage::Before, Letter::ToScheduler(message)) => heard_before(message).map(Letter::ToScheduler),
            (Vintage::Before, letter) => Some(letter),
        }
    }

    /// As a process of this build says it. An agent that takes no resize has none to tell of.
    pub fn says(self, letter: Letter) -> Letter {
        match (self, letter) {
            (Vintage::Before, Letter::Call(sdk::Call::Accept { offers, tasks, resizes: _, refuse })) => {
                Letter::Call(sdk::Call::Accept { offers, tasks, resizes: Vec::new(), refuse })
            }
            (_, letter) => letter,
        }
    }
}

fn heard_before(message: sdk::FromMaster) -> Option<sdk::FromMaster> {
    match message {
        sdk::FromMaster::AgentDraining { .. } => None,
        sdk::FromMaster::Offers(mut offers) => {
            offers.iter_mut().for_each(|offer| offer.unavailable_from = None);
            Some(sdk::FromMaster::Offers(offers))
        }
        sdk::FromMaster::Update(mut status) => {
            status.size = None;
            Some(sdk::FromMaster::Update(status))
        }
        sdk::FromMaster::Subscribed { .. }
        | sdk::FromMaster::Rescind(_)
        | sdk::FromMaster::AgentFailed(_)
        | sdk::FromMaster::Error(_)
        | sdk::FromMaster::Heartbeat => Some(message),
    }
}
