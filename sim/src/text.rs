//! A session's causes as one line each, beside the master's own lines. Agents and sessions print the rest themselves.

use std::fmt;

use bourse_sdk_core::{FromMaster, Input};

pub use bourse_master_core::text::Line;

/// What happens to a session.
pub fn input<M: fmt::Debug>(input: &Input<M>) -> String {
    match input {
        Input::Heard(attempt, FromMaster::Update(status)) => {
            format!("Heard {} Update {}", attempt.0, Line(&**status))
        }
        Input::Heard(attempt, FromMaster::Offers(offers)) => {
            let ids: Vec<_> = offers.iter().map(|offer| &offer.id).collect();
            format!("Heard {} Offers {ids:?}", attempt.0)
        }
        Input::Refused { attempt, call, why } => format!("Refused {} {call}: {why}", attempt.0),
        input => format!("{input:?}"),
    }
}
