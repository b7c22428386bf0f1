//! What travels: the cores' own values, as the doors hand them on. Wire forms have tests of their own.

use std::fmt;

use bourse_agent_core as agent;
use bourse_master_core as master;
use bourse_sdk_core as sdk;
use bourse_types::{Epoch, FrameworkInfo, Role};

/// One message on a connection.
#[derive(Clone, Debug)]
pub enum Letter {
    /// An agent speaks.
    FromAgent(agent::FromAgent),
    /// The master speaks to an agent.
    ToAgent {
        /// What the letter says about its master.
        epoch: Epoch,
        /// Whose it is in truth.
        sender: Epoch,
        /// What it says.
        message: agent::FromMaster,
    },
    /// A scheduler subscribes.
    Subscribe {
        /// What the framework says about itself.
        info: Box<FrameworkInfo>,
        /// Roles that want no offers.
        suppressed: Vec<Role>,
    },
    /// A scheduler calls, by the SDK.
    Call(sdk::Call),
    /// A client calls that was written without the SDK.
    RawCall(master::Call),
    /// The master speaks to a scheduler.
    ToScheduler(sdk::FromMaster),
    /// The door took a TEARDOWN.
    TornDown,
    /// The door understood a call and refused it.
    CallRefused {
        /// What was refused.
        call: Box<sdk::Call>,
        /// The door's words.
        why: String,
    },
}

impl Letter {
    /// Whether it may arrive twice. The first message of a connection makes it what it is, and answers about a call are
    /// the end of that call: HTTP/2 has no second of either.
    pub fn may_repeat(&self) -> bool {
        match self {
            Letter::FromAgent(agent::FromAgent::Register(_)) | Letter::Subscribe { .. } => false,
            Letter::FromAgent(_) | Letter::ToAgent { .. } | Letter::Call(_) | Letter::RawCall(_) => true,
            Letter::ToScheduler(_) => true,
            Letter::TornDown | Letter::CallRefused { .. } => false,
        }
    }
}

/// One line.
impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Letter::FromAgent(message) => message.fmt(f),
            Letter::ToAgent { epoch, message, .. } => write!(f, "{epoch}: {message:?}"),
            Letter::Subscribe { info, suppressed } => {
                let id = info.id.as_ref().map_or("new", |id| id.as_str());
                write!(f, "SUBSCRIBE {id} without {suppressed:?}")
            }
            Letter::Call(call) => call.fmt(f),
            Letter::RawCall(call) => write!(f, "raw {call:?}"),
            Letter::ToScheduler(message) => write!(f, "{message:?}"),
            Letter::TornDown => f.write_str("TEARDOWN was taken"),
            Letter::CallRefused { call, why } => write!(f, "{call} was refused: {why}"),
        }
    }
}
