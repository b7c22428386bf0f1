//! What a framework is called, what it wants, and how to run it.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use bourse_client::{Connection, Settings};
use bourse_sdk_core::{Config, Scheduler};
use bourse_types::{AgentId, BadRole, FrameworkInfo, Role, TaskId};

use crate::driver::{self, Plan, RunError};
use crate::handle::{Handle, Said};
use crate::state::StateDir;
use crate::subscription::Way;

/// How long the first subscription may take, unless the author says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// A framework that keeps no state cannot come back under its id, and with it goes the right to its tasks: the master
/// waits only as long as a short disconnection may last.
const FAILOVER_WITHOUT_STATE: Duration = Duration::from_secs(60);

/// A framework, to be run with a [`Scheduler`].
///
/// The defaults are the safe ones: found by the environment or the file that `bourse dev` writes; the newer task states;
/// tasks that survive their agent's restart; and with a [`StateDir`], tasks that survive the framework's own death for a
/// week.
#[must_use = "a framework does nothing until it is run"]
pub struct Framework {
    config: Config,
    roles: Vec<Role>,
    failover_timeout: Option<Duration>,
    way: Option<Way>,
    state: Option<StateDir>,
    patience: Option<Duration>,
    until: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>,
    teardown_at_end: bool,
    wrong: Option<BadRole>,
}

impl Framework {
    /// A framework of this name, which is for people and need not be unique.
    pub fn new(name: impl Into<String>) -> Framework {
        // The standard library draws its hash keys from the system's random source, which saves a crate for 64 bits.
        let seed = RandomState::new().build_hasher().finish();
        let mut config = Config::new(&name.into(), seed);
        config.info.user = this_user();
        config.info.hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Framework {
            config,
            roles: Vec::new(),
            failover_timeout: None,
            way: None,
            state: None,
            patience: Some(PATIENCE),
            until: None,
            teardown_at_end: false,
            wrong: None,
        }
    }

    /// Takes offers for this role; may be said more than once. Without any it is `*`.
    pub fn role(mut self, role: impl AsRef<str>) -> Framework {
        match Role::new(role) {
            Ok(role) if !self.roles.contains(&role) => self.roles.push(role),
            Ok(_) => {}
            Err(wrong) => self.wrong = Some(wrong), // Told by the run: a builder that fails is no pleasure.
        }
        self
    }

    /// The user that tasks run as unless they name one; without it, who runs this process. The agents' operators decide
    /// who is allowed.
    pub fn user(mut self, user: impl Into<String>) -> Framework {
        self.config.info.user = user.into();
        self
    }

    /// How long the master waits for the framework's next life before it kills its tasks. A week with a state folder,
    /// a minute without one.
    pub fn failover_timeout(mut self, timeout: Duration) -> Framework {
        self.failover_timeout = Some(timeout);
        self
    }

    /// A label; carried and shown, never interpreted by the allocator.
    pub fn label(mut self, key: impl AsRef<str>, value: Option<&str>) -> Framework {
        self.config.info.labels.insert(key, value);
        self
    }

    /// Where the framework's own page is.
    pub fn webui_url(mut self, url: impl Into<String>) -> Framework {
        self.config.info.webui_url = Some(url.into());
        self
    }

    /// Anything else that a framework may say about itself. Roles, id and failover timeout are set elsewhere, and win.
    pub fn info(mut self, change: impl FnOnce(&mut FrameworkInfo)) -> Framework {
        change(&mut self.config.info);
        self
    }

    /// Wants no offers for any role until the scheduler revives.
    pub fn suppressed(mut self) -> Framework {
        self.config.suppressed.extend(std::iter::once(Role::any()).chain(self.roles.iter().cloned()));
        self
    }

    /// How long what is left of an accepted offer, and an offer that was let go, is not offered again; 5 minutes.
    pub fn decline_for(mut self, refuse: Duration) -> Framework {
        self.config.decline_for = refuse;
        self
    }

    /// Tasks of a former life that may be alive, as the scheduler's own state names them: their state is asked for by
    /// name, so that one that nobody knows any more is told as well.
    pub fn tasks(mut self, tasks: impl IntoIterator<Item = (TaskId, Option<AgentId>)>) -> Framework {
        self.config.tasks.extend(tasks);
        self
    }

    /// Keeps the framework's id and the scheduler's values here, so that its next life is the same framework.
    pub fn state(mut self, state: StateDir) -> Framework {
        self.state = Some(state);
        self
    }

    /// Begins anew when the framework was torn down, or timed out, while it was away: as a new framework, with what the
    /// scheduler has saved. Tasks of its former life that were named with [`Framework::tasks`] are told as TASK_GONE
    /// first. Without this the run ends then, and the state folder must be removed by hand. One that is torn down while
    /// it is subscribed ends in any case: somebody wants it to.
    pub fn begin_anew(mut self) -> Framework {
        self.config.begin_anew = true;
        self
    }

    /// Which master to call and how; without it, as [`Settings::from_env`] finds it.
    pub fn settings(mut self, settings: Settings) -> Framework {
        self.way = Some(Way::Open(settings));
        self
    }

    /// Uses a connection that is open already.
    pub fn connection(mut self, connection: Connection) -> Framework {
        self.way = Some(Way::Given(connection));
        self
    }

    /// How long the first subscription may take before the run fails; `None` for ever, 5 seconds if not said. A master
    /// that is lost later is looked for as long as the framework runs.
    pub fn patience(mut self, patience: Option<Duration>) -> Framework {
        self.patience = patience;
        self
    }

    /// Stops when this is done, such as a signal of the process. The framework and its tasks go on for its next life.
    pub fn until(mut self, done: impl Future<Output = ()> + Send + 'static) -> Framework {
        self.until = Some(Box::pin(done));
        self.teardown_at_end = false;
        self
    }

    /// Ends the framework for good, with its tasks, when this is done.
    pub fn teardown_on(mut self, done: impl Future<Output = ()> + Send + 'static) -> Framework {
        self.until = Some(Box::pin(done));
        self.teardown_at_end = true;
        self
    }

    /// Runs the scheduler until it stops, and gives it back.
    pub async fn run<S: Scheduler>(self, scheduler: S) -> Result<S, RunError> {
        let (handle, running) = self.start(scheduler);
        drop(handle);
        running.await
    }

    /// The same with a handle to reach the scheduler by. Nothing happens until the future is polled.
    pub fn start<S: Scheduler>(
        self,
        scheduler: S,
    ) -> (Handle<S::Message>, impl Future<Output = Result<S, RunError>>) {
        let (handle, inbox) = Handle::new();
        (handle, self.drive(scheduler, inbox))
    }

    async fn drive<S: Scheduler>(
        self,
        scheduler: S,
        inbox: tokio::sync::mpsc::Receiver<Said<S::Message>>,
    ) -> Result<S, RunError> {
        driver::run(self.plan()?, scheduler, inbox).await
    }

    fn plan(self) -> Result<Plan, RunError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong.into());
        }
        let mut config = self.config;
        if config.info.name.is_empty() {
            return Err(RunError::NoName);
        }
        if !self.roles.is_empty() {
            config.info.roles = self.roles;
            let suppressed = !config.suppressed.is_empty();
            config.suppressed = config.info.roles.iter().filter(|_| suppressed).cloned().collect();
        }
        config.info.failover_timeout = match (self.failover_timeout, &self.state) {
            (Some(timeout), _) => timeout,
            (None, Some(_)) => config.info.failover_timeout,
            (None, None) => FAILOVER_WITHOUT_STATE,
        };
        if let Some(state) = &self.state {
            config.info.id = state.framework_id()?;
        }
        let way = match self.way {
            Some(way) => way,
            None => Way::Open(Settings::from_env()?),
        };
        Ok(Plan {
            config,
            way,
            state: self.state,
            patience: self.patience,
            until: self.until,
            teardown_at_end: self.teardown_at_end,
        })
    }
}

impl fmt::Debug for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framework").field("name", &self.config.info.name).field("roles", &self.roles).finish()
    }
}

/// Who runs this process, by name.
fn this_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    user.map_or_else(|| "nobody".to_owned(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_outlive_a_framework_only_as_long_as_it_can_come_back_for_them() {
        let plan = |framework: Framework| {
            let target = bourse_client::Target::loopback(1);
            framework.settings(Settings::master(target)).plan().expect("good").config.info.failover_timeout
        };
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(folder.path()).expect("opened");
        assert_eq!(plan(Framework::new("f")), Duration::from_secs(60));
        assert_eq!(plan(Framework::new("f").state(state)), Duration::from_secs(7 * 24 * 3600));
        assert_eq!(plan(Framework::new("f").failover_timeout(Duration::ZERO)), Duration::ZERO);
    }

    #[test]
    fn roles_replace_the_default_and_a_bad_one_is_told_by_the_run() {
        let target = || Settings::master(bourse_client::Target::loopback(1));
        let plan = Framework::new("f")
            .suppressed()
            .role("a")
            .role("b")
            .role("a")
            .settings(target())
            .plan()
            .expect("good");
        assert_eq!(plan.config.info.roles, [Role::new("a").expect("valid"), Role::new("b").expect("valid")]);
        assert_eq!(plan.config.suppressed.len(), 2);
        assert!(matches!(Framework::new("f").role("a//b").settings(target()).plan(), Err(RunError::Role(_))));
        assert!(matches!(Framework::new("").settings(target()).plan(), Err(RunError::NoName)));
    }
}
