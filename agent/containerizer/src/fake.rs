//! A containerizer for tests of others: it runs nothing, remembers what it was asked, and ends containers
//! when the test says so.
//!
//! Its promises are those of [`Containerizer`]; an agent process that is "killed" in a test is a new agent on
//! the same fake, which recovers what ran.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bourse_types::{ContainerId, Exit};
use tokio::sync::watch;

use crate::containerizer::{
    Check, CheckEnd, ContainerError, Containerizer, Ended, LaunchError, Launched, Limitation, Outcome,
    RecoverError, Recovered, RecoveredState, Usage,
};
use crate::spec::ContainerSpec;

/// Runs nothing. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct FakeContainerizer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    containers: BTreeMap<ContainerId, Fake>,
    asked: Vec<Asked>,
    fail_launches: Vec<String>,
    check_ends: BTreeMap<ContainerId, CheckEnd>,
    launches: u32,
}

#[derive(Debug)]
struct Fake {
    launched: Launched,
    usage: Usage,
    end: watch::Sender<Option<Ended>>,
}

/// What a test's agent has asked for, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// `launch`.
    Launch(Box<ContainerSpec>),
    /// `signal`, with the number.
    Signal(ContainerId, i32),
    /// `kill_all`.
    KillAll(ContainerId),
    /// `destroy`.
    Destroy(ContainerId),
    /// `exec`.
    Exec(ContainerId, Check),
}

impl FakeContainerizer {
    /// Nothing runs.
    pub fn new() -> FakeContainerizer {
        FakeContainerizer::default()
    }

    /// The next launch fails with this text; several calls queue up.
    pub fn fail_next_launch(&self, what: impl Into<String>) {
        self.state().fail_launches.push(what.into());
    }

    /// The task of this container ends by itself. Nothing happens when it has ended or is not there.
    pub fn end(&self, id: &ContainerId, exit: Exit) {
        self.end_with(id, Outcome::Exited(exit), None);
    }

    /// The container ends in a way of the test's choice.
    pub fn end_with(&self, id: &ContainerId, outcome: Outcome, limitation: Option<Limitation>) {
        if let Some(fake) = self.state().containers.get(id) {
            fake.end_once(outcome, limitation);
        }
    }

    /// What `usage` answers from now on.
    pub fn set_usage(&self, id: &ContainerId, usage: Usage) {
        if let Some(fake) = self.state().containers.get_mut(id) {
            fake.usage = usage;
        }
    }

    /// What checks of this container answer from now on; before, they succeed.
    pub fn set_check(&self, id: &ContainerId, end: CheckEnd) {
        self.state().check_ends.insert(id.clone(), end);
    }

    /// Everything that was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// The containers that were launched and not destroyed.
    pub fn containers(&self) -> Vec<ContainerId> {
        self.state().containers.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fake {
    fn end_once(&self, outcome: Outcome, limitation: Option<Limitation>) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(Ended { outcome, at: None, limitation, usage: Some(self.usage) });
            }
            first
        });
    }
}

impl State {
    fn find(&self, id: &ContainerId) -> Result<&Fake, ContainerError> {
        self.containers.get(id).ok_or_else(|| ContainerError::Unknown(id.clone()))
    }
}

impl Containerizer for FakeContainerizer {
    async fn launch(&self, spec: &ContainerSpec) -> Result<Launched, LaunchError> {
        let mut state = self.state();
        let id = spec.container_id.clone();
        state.asked.push(Asked::Launch(Box::new(spec.clone())));
        spec.check().map_err(|bad| LaunchError::Spec { id: id.clone(), bad })?;
        if state.containers.contains_key(&id) {
            return Err(LaunchError::Exists(id));
        }
        if !state.fail_launches.is_empty() {
            let what = state.fail_launches.remove(0);
            return Err(LaunchError::Start { id, what });
        }
        state.launches += 1;
        let launched = Launched { pid: 1000 + state.launches, start_time: u64::from(state.launches) };
        let fake = Fake { launched, usage: Usage::default(), end: watch::Sender::new(None) };
        state.containers.insert(id, fake);
        Ok(launched)
    }

    async fn recover(&self) -> Result<Vec<Recovered>, RecoverError> {
        let recovered = self
            .state()
            .containers
            .iter()
            .map(|(id, fake)| Recovered {
                container_id: id.clone(),
                state: match &*fake.end.borrow() {
                    None => RecoveredState::Running(fake.launched),
                    Some(ended) => RecoveredState::Ended(ended.clone()),
                },
            })
            .collect();
        Ok(recovered)
    }

    async fn wait(&self, id: &ContainerId) -> Result<Ended, ContainerError> {
        let mut end = self.state().find(id)?.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.map(|ended| ended.clone());
        match ended {
            Ok(Some(ended)) => Ok(ended),
            _ => Err(ContainerError::Unknown(id.clone())),
        }
    }

    async fn signal(&self, id: &ContainerId, signal: i32) -> Result<(), ContainerError> {
        let mut state = self.state();
        state.asked.push(Asked::Signal(id.clone(), signal));
        match state.find(id)?.end.borrow().is_some() {
            true => Err(ContainerError::Ended(id.clone())),
            false => Ok(()),
        }
    }

    async fn kill_all(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let mut state = self.state();
        state.asked.push(Asked::KillAll(id.clone()));
        state.find(id)?.end_once(Outcome::Exited(Exit::Signal(libc::SIGKILL)), None);
        Ok(())
    }

    async fn destroy(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let mut state = self.state();
        state.asked.push(Asked::Destroy(id.clone()));
        if let Some(fake) = state.containers.remove(id) {
            fake.end_once(Outcome::Exited(Exit::Signal(libc::SIGKILL)), None);
        }
        Ok(())
    }

    async fn usage(&self, id: &ContainerId) -> Result<Usage, ContainerError> {
        self.state().find(id).map(|fake| fake.usage)
    }

    async fn exec(&self, id: &ContainerId, check: &Check) -> Result<CheckEnd, ContainerError> {
        let mut state = self.state();
        state.asked.push(Asked::Exec(id.clone(), check.clone()));
        if state.find(id)?.end.borrow().is_some() {
            return Err(ContainerError::Ended(id.clone()));
        }
        Ok(state.check_ends.get(id).copied().unwrap_or(CheckEnd::Exited(Exit::Code(0))))
    }
}

#[cfg(test)]
mod tests {
    use bourse_types::Milli;

    use super::*;
    use crate::spec::{Isolation, Limits};

    fn spec(id: &str) -> ContainerSpec {
        ContainerSpec {
            container_id: ContainerId::new(id).expect("a good id"),
            argv: vec!["true".into()],
            env: vec![],
            user: None,
            sandbox: "/sandbox".into(),
            cwd: None,
            hostname: None,
            limits: Limits {
                cpus: Milli::new(100),
                cpu_quota: None,
                memory_bytes: None,
                swap_bytes: 0,
                pids: None,
            },
            hide: vec![],
            isolation: Isolation::Linux,
        }
    }

    #[tokio::test]
    async fn a_container_ends_once_and_in_the_way_the_test_said_first() {
        let fake = FakeContainerizer::new();
        let spec = spec("c1");
        fake.launch(&spec).await.expect("nothing speaks against it");
        fake.end(&spec.container_id, Exit::Code(3));
        fake.kill_all(&spec.container_id).await.expect("it is known");
        let ended = fake.wait(&spec.container_id).await.expect("it is known");
        assert_eq!(ended.outcome, Outcome::Exited(Exit::Code(3)));
        let late = fake.signal(&spec.container_id, 15).await;
        assert!(matches!(late, Err(ContainerError::Ended(_))), "{late:?}");
    }

    #[tokio::test]
    async fn the_next_agent_finds_what_the_last_one_launched_until_it_is_destroyed() {
        let fake = FakeContainerizer::new();
        let spec = spec("c1");
        let launched = fake.launch(&spec).await.expect("nothing speaks against it");
        let found = fake.clone().recover().await.expect("it never fails");
        assert_eq!(found[0].state, RecoveredState::Running(launched));
        fake.destroy(&spec.container_id).await.expect("it never fails");
        assert!(fake.recover().await.expect("it never fails").is_empty());
        assert_eq!(fake.asked().len(), 2);
    }

    #[tokio::test]
    async fn launches_fail_as_often_as_the_test_said() {
        let fake = FakeContainerizer::new();
        fake.fail_next_launch("no luck");
        let error = fake.launch(&spec("c1")).await.expect_err("the script says so");
        assert!(error.to_string().contains("no luck"), "{error}");
        fake.launch(&spec("c1")).await.expect("the script says no more");
    }
}
