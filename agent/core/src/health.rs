//! Health checks: when to probe, what a result means, when enough is enough.
//!
//! As Mesos' built-in executors do it: failures inside the grace period do not count until a first success; each
//! unhealthy result is told, and the first healthy one after it; `consecutive_failures` in a row kill the task, whose
//! end then says that it was unhealthy. A check that the agent could not make is none. Probing itself is the shell's.

use bourse_types::{ContainerId, HealthCheck, Mono, Now, Reason, Source, TaskState};
use std::time::Duration;

use crate::agent::Agent;
use crate::checkpoint::{Health, KillCause, Record};
use crate::effect::Effect;
use crate::event::{Checked, TaskKey, Work};

/// A probe whose result does not come within its own timeout and this much more is counted as failed.
const ANSWER_SLACK: Duration = Duration::from_secs(5);

/// When a task is probed next.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    /// Probes asked for so far.
    round: u64,
    stage: Stage,
    /// Until then failures do not count.
    grace_until: Mono,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Waiting {
        until: Mono,
    },
    /// `None`: a check without timeout may take for ever.
    Probing {
        give_up: Option<Mono>,
    },
}

impl Prober {
    /// `ago`: how long the task has run already, when its agent comes back.
    pub(crate) fn new(check: &HealthCheck, ago: Duration, now: Now) -> Prober {
        let until = now.mono + check.delay.saturating_sub(ago);
        let grace_until = now.mono + check.grace_period.saturating_sub(ago);
        Prober { round: 0, stage: Stage::Waiting { until }, grace_until }
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        match self.stage {
            Stage::Waiting { until } => Some(until),
            Stage::Probing { give_up } => give_up,
        }
    }
}

/// What one result makes of what was known.
#[derive(Debug, PartialEq)]
struct Verdict {
    health: Health,
    tell: bool,
    kill: bool,
}

fn judge(known: Health, check: &HealthCheck, in_grace: bool, healthy: bool) -> Verdict {
    if healthy {
        let health = Health { failures: 0, passed: true, healthy: Some(true) };
        return Verdict { health, tell: known.healthy != Some(true), kill: false };
    }
    if in_grace && !known.passed {
        return Verdict { health: known, tell: false, kill: false };
    }
    let health = Health { failures: known.failures.saturating_add(1), healthy: Some(false), ..known };
    Verdict { health, tell: true, kill: health.failures >= check.consecutive_failures }
}

impl Agent {
    /// Probes that are due are asked for; one whose answer is overdue has failed.
    pub(crate) fn tick_health(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        let Some(check) = self.health_check(key) else { return };
        let container = match self.state.tasks.get(key) {
            Some(task) => task.container.clone(),
            None => return,
        };
        let Some(prober) = self.live.get_mut(key).and_then(|live| live.prober.as_mut()) else { return };
        if prober.deadline().is_none_or(|deadline| deadline > now.mono) {
            return;
        }
        match prober.stage {
            Stage::Waiting { .. } => {
                prober.round += 1;
                let round = prober.round;
                let give_up = (!check.timeout.is_zero()).then(|| now.mono + check.timeout + ANSWER_SLACK);
                prober.stage = Stage::Probing { give_up };
                out.push(Effect::Probe { container, round, check: Box::new(check) });
            }
            Stage::Probing { .. } => {
                let round = prober.round;
                let silent = Checked::Unhealthy("the check gave no answer".into());
                self.on_probed(now, &container, round, silent, out);
            }
        }
    }

    /// Counts a result. One of an older round, or for a task that is being killed, is dropped; where nothing could be
    /// found out, all stays as it was until the next check.
    pub(crate) fn on_probed(
        &mut self,
        now: Now,
        container: &ContainerId,
        round: u64,
        outcome: Checked,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(check) = self.health_check(&key) else { return };
        let Some(prober) = self.live.get_mut(&key).and_then(|live| live.prober.as_mut()) else { return };
        if prober.round != round || !matches!(prober.stage, Stage::Probing { .. }) {
            return;
        }
        prober.stage = Stage::Waiting { until: now.mono + check.interval };
        let unhealthy = match outcome {
            Checked::Healthy => None,
            Checked::Unhealthy(why) => Some(why),
            Checked::Unknown(_) => return,
        };
        let in_grace = now.mono < prober.grace_until;
        let Some(known) = self.state.tasks.get(&key).map(|task| task.health) else { return };

        let verdict = judge(known, &check, in_grace, unhealthy.is_none());
        if verdict.health != known {
            self.keep(Record::HealthSeen { task: key.clone(), health: verdict.health }, out);
        }
        if verdict.tell {
            let mut status = self.status(now, &key, TaskState::Running, Source::Executor);
            status.reason = Some(Reason::TaskHealthCheckStatusUpdated);
            status.healthy = verdict.health.healthy;
            status.message = unhealthy.map(|why| {
                format!(
                    "health check failed ({} of {} in a row): {why}",
                    verdict.health.failures, check.consecutive_failures
                )
            });
            self.tell(now, &key, status, out);
        }
        if verdict.kill {
            self.begin_kill(now, &key, KillCause::Unhealthy, self.own_grace(&key), out);
        }
    }

    /// The check of a task, if it has one.
    pub(crate) fn health_check(&self, key: &TaskKey) -> Option<HealthCheck> {
        match &self.state.tasks.get(key)?.assignment.work {
            Work::Run(spec) => spec.health.clone(),
            Work::Refuse(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_types::HealthKind;

    fn check() -> HealthCheck {
        HealthCheck::new(HealthKind::Tcp { port: 80 })
    }

    #[test]
    fn failures_in_grace_do_not_count_before_the_first_success_and_do_after_it() {
        let fresh = Health::default();
        let quiet = judge(fresh, &check(), true, false);
        assert_eq!(quiet, Verdict { health: fresh, tell: false, kill: false });
        let passed = judge(fresh, &check(), true, true).health;
        assert_eq!(judge(passed, &check(), true, false).health.failures, 1);
    }

    #[test]
    fn each_failure_is_told_and_only_the_first_success_after_it() {
        let first = judge(Health::default(), &check(), false, true);
        assert!(first.tell);
        assert!(!judge(first.health, &check(), false, true).tell);
        let failed = judge(first.health, &check(), false, false);
        assert!(failed.tell && judge(failed.health, &check(), false, false).tell);
        assert!(judge(failed.health, &check(), false, true).tell);
    }

    #[test]
    fn the_last_of_the_consecutive_failures_kills_and_a_success_starts_the_count_anew() {
        let one = judge(Health::default(), &check(), false, false);
        let two = judge(one.health, &check(), false, false);
        assert!(!one.kill && !two.kill);
        assert!(judge(two.health, &check(), false, false).kill);
        let healed = judge(two.health, &check(), false, true);
        assert!(!judge(healed.health, &check(), false, false).kill);
    }
}
