//! Operators' commands: one reply to each.

use bourse_types::{Now, Principal};

use crate::effect::{Effect, Effects};
use crate::event::{Command, RequestId};
use crate::master::Master;

impl Master {
    /// Carries out a command, or says why not. The reply comes after what the command caused.
    pub(crate) fn on_operate(
        &mut self,
        now: Now,
        request: RequestId,
        principal: Option<&Principal>,
        command: Command,
        out: &mut Effects,
    ) {
        let reply = match command {
            Command::Kill { framework, task, policy } => {
                self.on_operator_kill(&framework, &task, policy, principal, out)
            }
            Command::Teardown { framework } => self.on_teardown(now, &framework, principal, out),
            Command::Drain { agent, deadline, mark_gone } => {
                self.on_drain(now, &agent, deadline, mark_gone, principal, out)
            }
            Command::Reactivate { agent } => self.on_reactivate(&agent, principal, out),
            Command::MarkGone { agent } => self.on_mark_gone(now, &agent, principal, out),
            Command::SetWeight { role, weight } => self.on_set_weight(role, weight, principal, out),
        };
        out.push(Effect::Reply { request, reply });
    }
}
