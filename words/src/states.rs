//! States: what they are called and how they are meant.

use bourse_proto::services::Service;

/// What a state means to whoever looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Somebody should look.
    Bad,
    /// Over, or at rest.
    Faint,
    /// Just a word.
    Plain,
}

impl Tone {
    /// How a state of a task, agent, framework, service or instance is meant.
    pub fn of(state: &str) -> Tone {
        match state.trim_start_matches("TASK_").to_ascii_lowercase().as_str() {
            "running" | "active" | "finished" | "healthy" => Tone::Good,
            "staging" | "starting" | "killing" | "draining" | "drained" | "deploying" | "waiting"
            | "recovering" | "recovered" | "removing" | "backing_off" => Tone::Busy,
            "killed" | "completed" | "inactive" | "suspended" => Tone::Faint,
            "failed" | "error" | "lost" | "dropped" | "unreachable" | "gone" | "gone_by_operator"
            | "unknown" | "disconnected" | "unhealthy" => Tone::Bad,
            _ => Tone::Plain,
        }
    }
}

/// "TASK_GONE_BY_OPERATOR" as people say it: "gone by operator". A framework that is "inactive" on the wire wants
/// nothing and is well: it is idle.
pub fn state(state: &str) -> String {
    match state {
        "inactive" => "idle".into(),
        _ => state.trim_start_matches("TASK_").to_ascii_lowercase().replace('_', " "),
    }
}

/// Whether somebody should look at a service: it is not as it should be. One that was scaled to nothing says why it
/// does not run, and is just as it should be.
pub fn needs_a_look(service: &Service) -> bool {
    !service.reason.is_empty() && service.state != "suspended"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_word_and_a_tone() {
        for (name, word, tone) in [
            ("TASK_RUNNING", "running", Tone::Good),
            ("TASK_GONE_BY_OPERATOR", "gone by operator", Tone::Bad),
            ("BACKING_OFF", "backing off", Tone::Busy),
            ("inactive", "idle", Tone::Faint),
            ("whatever", "whatever", Tone::Plain),
        ] {
            assert_eq!((state(name).as_str(), Tone::of(name)), (word, tone));
        }
    }

    #[test]
    fn a_service_that_was_scaled_to_nothing_needs_no_look() {
        let service = |state: &str, reason: &str| Service {
            state: state.into(),
            reason: reason.into(),
            ..Service::default()
        };
        assert!(needs_a_look(&service("waiting", "1 of 3 instances waits")));
        assert!(needs_a_look(&service("deploying", "1 of 3 instances backs off")));
        assert!(!needs_a_look(&service("suspended", "scaled to 0")));
        assert!(!needs_a_look(&service("running", "")));
    }
}
