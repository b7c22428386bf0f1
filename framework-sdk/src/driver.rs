//! The loop that carries out what a session decides.
//!
//! One task owns the session: it takes an input, applies it, makes durable what must be, then lets the rest out.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bourse_client::{CallError, ConnectError, SettingsError};
use bourse_sdk_core::{Config, End, FromMaster, Input, Note, Output, Scheduler, Session, Write};
use bourse_types::{BadRole, FrameworkId, Mono, Now, Wall};
use tokio::sync::mpsc;

use crate::handle::Said;
use crate::state::{StateDir, StateError};
use crate::subscription::{Lost, Report, Reports, Subscription, Way};

/// At most this many events wait for the scheduler; then the stream waits, and in the end the master.
const EVENTS_WAITING: usize = 256;

/// How long the last calls may take to leave after the session ended.
const FLUSH: Duration = Duration::from_secs(5);

/// How long the process waits to be torn down when it was asked to end and the master cannot be reached.
const TEARDOWN_PATIENCE: Duration = Duration::from_secs(10);

/// Why a framework stopped running, other than by its own will.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A role that the author gave is none.
    #[error("the framework's role cannot be used")]
    Role(#[from] BadRole),
    /// The framework has no name.
    #[error("the framework has no name; give it one")]
    NoName,
    /// The master's address or the token cannot be found out.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No master was reached in time, or the connection can never work.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The master refused the subscription, or did not answer it in time.
    #[error(transparent)]
    Subscribe(#[from] CallError),
    /// No master was reached in time.
    #[error("no subscription within {patience:?}: {why}")]
    NoMaster {
        /// How long it was tried.
        patience: Duration,
        /// What came of the last try.
        why: String,
    },
    /// The master does not want the framework: it refused it, or another one took its place, or it was torn down.
    #[error("the master ended the framework: {why}{advice}")]
    Refused {
        /// The master's words.
        why: String,
        /// What to do, where that is the framework's own affair.
        advice: String,
    },
    /// It was to be torn down, and no master could be reached.
    #[error(
        "no master could be reached to tear the framework down; it and its tasks go on, end it with `bourse teardown {framework}`"
    )]
    NotTornDown {
        /// The one that goes on.
        framework: FrameworkId,
    },
    /// What must be durable could not be written. Nothing that rests on it was said.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Everything that a run needs.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) way: Way,
    pub(crate) state: Option<StateDir>,
    /// How long the first subscription may take; `None` for ever.
    pub(crate) patience: Option<Duration>,
    pub(crate) until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(crate) teardown_at_end: bool,
}

/// Both clocks, read together.
struct Clock(Instant);

impl Clock {
    fn now(&self) -> Now {
        let mono = Mono(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(); // Before 1970: the epoch.
        Now { mono, wall: Wall(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)) }
    }

    fn instant(&self, mono: Mono) -> Option<Instant> {
        self.0.checked_add(mono.since(Mono::ZERO))
    }
}

struct Driver<S: Scheduler> {
    session: Session<S>,
    plan: Plan,
    clock: Clock,
    subscription: Option<Subscription>,
    framework: Option<FrameworkId>,
    reports: Reports,
    /// The master has known the framework in this run.
    was_subscribed: bool,
    /// Why the last try failed, before the first subscription.
    lost: Option<Lost>,
    /// There is no connection, and the log knows it.
    down: bool,
    /// The process was asked to end then.
    ending_since: Option<Instant>,
}

/// Runs the scheduler until it stops, is asked to, or the master does not want it.
pub(crate) async fn run<S>(
    plan: Plan,
    scheduler: S,
    mut inbox: mpsc::Receiver<Said<S::Message>>,
) -> Result<S, RunError>
where
    S: Scheduler,
{
    let (said, mut heard) = mpsc::channel(EVENTS_WAITING);
    let (done, mut came_of_calls) = mpsc::unbounded_channel();
    let mut driver = Driver {
        session: Session::new(plan.config.clone(), scheduler),
        framework: plan.config.info.id.clone(),
        plan,
        clock: Clock(Instant::now()),
        subscription: None,
        reports: Reports { said, done },
        was_subscribed: false,
        lost: None,
        down: false,
        ending_since: None,
    };
    let mut until = driver.plan.until.take();
    let mut input = Input::Start;
    loop {
        if let Some(end) = driver.apply(input).await? {
            return driver.finish(end).await;
        }
        input = loop {
            let deadline = driver.deadline();
            tokio::select! {
                Some(report) = next(&mut came_of_calls, &mut heard) => break driver.heard(report)?,
                said = inbox.recv(), if !inbox.is_closed() || !inbox.is_empty() => match said {
                    Some(Said::Message(message)) => break Input::Message(message),
                    Some(Said::Stop) => break driver.ending(false),
                    Some(Said::Teardown) => break driver.ending(true),
                    None => {} // No handle is left: nobody will say anything.
                },
                () = wait(&mut until) => {
                    until = None;
                    break driver.ending(driver.plan.teardown_at_end);
                }
                () = sleep_until(deadline) => {
                    driver.give_up_in_time()?;
                    driver.be_patient()?;
                    break Input::Tick;
                }
            }
        };
    }
}

impl<S: Scheduler> Driver<S> {
    /// Applies one input, makes durable what must be, and lets the rest out.
    async fn apply(&mut self, input: Input<S::Message>) -> Result<Option<End>, RunError> {
        let mut out = Vec::new();
        self.session.apply(self.clock.now(), input, &mut out);
        make_durable(self.plan.state.as_ref(), &out).await?;
        for output in out {
            match output {
                Output::Persist(framework) => self.framework = Some(framework),
                Output::Write(_) => {}
                Output::Subscribe { attempt, info, suppressed } => {
                    tracing::debug!(attempt = attempt.0, "subscribing");
                    let way = self.plan.way.clone();
                    let subscription =
                        Subscription::open(attempt, way, *info, suppressed, self.reports.clone());
                    self.subscription = Some(subscription);
                }
                Output::Unsubscribe(attempt) => {
                    self.subscription.take_if(|subscription| subscription.attempt == attempt);
                }
                Output::Call(call) => {
                    if let (Some(subscription), Some(framework)) = (&self.subscription, &self.framework) {
                        subscription.call(framework.clone(), call).await;
                    }
                }
                Output::Note(note) => self.note(note),
                Output::End(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }

    /// A report as an input; an error if it ends the run.
    fn heard(&mut self, report: Report) -> Result<Input<S::Message>, RunError> {
        Ok(match report {
            Report::Heard(attempt, message) => {
                self.was_subscribed |= matches!(message, FromMaster::Subscribed { .. });
                Input::Heard(attempt, message)
            }
            Report::Refused { attempt, call, why } => Input::Refused { attempt, call, why },
            Report::TornDown(attempt) => Input::TornDown(attempt),
            Report::Closed { attempt, why } => {
                let closed = Input::Closed { attempt, why: why.to_string() };
                if !self.was_subscribed {
                    if why.is_lasting() {
                        return Err(self.no_master(Some(why)));
                    }
                    self.lost = Some(why);
                }
                closed
            }
        })
    }

    /// Until when the first subscription is waited for.
    fn patience_ends(&self) -> Option<Instant> {
        let patience = self.plan.patience.filter(|_| !self.was_subscribed)?;
        self.clock.0.checked_add(patience)
    }

    /// A master that takes a connection and says nothing is waited for no longer than one that is not there.
    fn be_patient(&mut self) -> Result<(), RunError> {
        match self.patience_ends() {
            Some(end) if end <= Instant::now() => {
                let lost = self.lost.take();
                Err(self.no_master(lost))
            }
            _ => Ok(()),
        }
    }

    fn no_master(&self, lost: Option<Lost>) -> RunError {
        let tried = self.clock.0.elapsed();
        let patience = self.plan.patience.map_or(tried, |patience| patience.min(tried));
        match lost {
            Some(Lost::Connect(error)) => error.into(),
            Some(Lost::Call(error)) => error.into(),
            Some(why @ (Lost::Ended | Lost::Slow(_) | Lost::NoStreamId)) => {
                RunError::NoMaster { patience, why: why.to_string() }
            }
            None => RunError::NoMaster {
                patience,
                why: "the master does not answer; is it stopped or overloaded?".into(),
            },
        }
    }

    fn ending(&mut self, teardown: bool) -> Input<S::Message> {
        self.ending_since.get_or_insert_with(Instant::now);
        if teardown { Input::Teardown } else { Input::Stop }
    }

    /// Who was asked to end does not wait for a lost master for ever.
    fn give_up_in_time(&self) -> Result<(), RunError> {
        match (self.ending_since, &self.framework) {
            (Some(since), Some(framework)) if since.elapsed() >= TEARDOWN_PATIENCE => {
                Err(RunError::NotTornDown { framework: framework.clone() })
            }
            _ => Ok(()),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let session = self.session.next_deadline().and_then(|mono| self.clock.instant(mono));
        let ending = self.ending_since.map(|since| since + TEARDOWN_PATIENCE);
        session.into_iter().chain(ending).chain(self.patience_ends()).min()
    }

    fn note(&mut self, note: Note) {
        let name = &self.plan.config.info.name;
        match note {
            Note::Subscribed { framework, again } => {
                self.down = false;
                tracing::info!(framework = name, framework_id = %framework, again, "subscribed");
            }
            Note::Disconnected { why, retry } => {
                let retry_ms = retry.as_millis() as u64;
                // One line for the change; that it goes on is no news.
                if std::mem::replace(&mut self.down, true) {
                    tracing::debug!(
                        framework = name,
                        reason = why,
                        retry_ms,
                        "still not connected to the master"
                    );
                } else {
                    tracing::warn!(
                        framework = name,
                        reason = why,
                        retry_ms,
                        "not connected to the master, trying again"
                    );
                }
            }
            Note::Reconciled => {
                tracing::debug!(framework = name, "every task has been accounted for since the subscription")
            }
            Note::BegunAnew(old) => {
                tracing::warn!(framework = name, framework_id = %old, "the framework was torn down, beginning anew");
            }
            Note::LostTaskRuns(task) => {
                tracing::warn!(framework = name, task_id = %task, "a task reported lost is running; killing it");
            }
            Note::Refused(why) => tracing::warn!(framework = name, reason = why, "the master refused"),
        }
    }

    /// Lets the last calls out, and gives the scheduler back.
    async fn finish(mut self, end: End) -> Result<S, RunError> {
        if let Some(subscription) = self.subscription.take() {
            subscription.finish(FLUSH).await;
        }
        match end {
            End::Stopped => Ok(self.session.into_scheduler()),
            End::TornDown => {
                if let Some(state) = self.plan.state.take() {
                    blocking(move || state.clear()).await?;
                }
                Ok(self.session.into_scheduler())
            }
            End::Refused(why) => {
                // An id that the master will never take again is kept in that folder.
                let advice = match &self.plan.state {
                    Some(_) if self.plan.config.begin_anew => {
                        "; if it was torn down, start it again to begin anew".to_owned()
                    }
                    Some(state) => {
                        format!("; if it was torn down, remove {} to begin anew", state.path().display())
                    }
                    None => String::new(),
                };
                Err(RunError::Refused { why, advice })
            }
        }
    }
}

/// One write for all of an input: nothing of it is said before this has returned.
async fn make_durable(state: Option<&StateDir>, out: &[Output]) -> Result<(), RunError> {
    let Some(state) = state.cloned() else { return Ok(()) };
    let mut id = None;
    let mut writes: Vec<Write> = Vec::new();
    for output in out {
        match output {
            Output::Persist(framework) => id = Some(framework.clone()),
            Output::Write(write) => writes.push(write.clone()),
            Output::Subscribe { .. }
            | Output::Unsubscribe(_)
            | Output::Call(_)
            | Output::Note(_)
            | Output::End(_) => {}
        }
    }
    if id.is_none() && writes.is_empty() {
        return Ok(());
    }
    blocking(move || {
        if let Some(id) = id {
            state.keep_id(&id)?;
        }
        if writes.is_empty() { Ok(()) } else { state.write(&writes) }
    })
    .await
}

/// Files are written on a thread that may wait.
async fn blocking(work: impl FnOnce() -> Result<(), StateError> + Send + 'static) -> Result<(), RunError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(RunError::State),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// What became of a call first: the end of its subscription, which is told behind it, makes it void.
async fn next(
    came_of_calls: &mut mpsc::UnboundedReceiver<Report>,
    heard: &mut mpsc::Receiver<Report>,
) -> Option<Report> {
    tokio::select! {
        biased;
        Some(report) = came_of_calls.recv() => Some(report),
        report = heard.recv() => report,
    }
}

async fn wait(until: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match until {
        Some(until) => until.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
