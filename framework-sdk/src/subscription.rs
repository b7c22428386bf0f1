//! One subscription: its stream of events, and the calls that belong to it, in their order.

use std::time::Duration;

use bourse_client::{CallError, ConnectError, Connection, Service, Settings};
use bourse_proto::v1::scheduler::Event;
use bourse_proto::v1::scheduler::scheduler_client::SchedulerClient;
use bourse_sdk_core::{Attempt, Call, FromMaster};
use bourse_types::{FrameworkId, FrameworkInfo, Role};
use bourse_wire::Form;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status, Streaming};

use crate::wire;

/// At most this many calls wait to be sent. Then the scheduler waits, and with it the stream, until the master has caught
/// up.
const CALLS_WAITING: usize = 1024;

/// At most this many acknowledgements are on their way: with a round trip of half a millisecond more than any framework
/// has updates, and few enough that what comes behind them is not held up.
const ACKNOWLEDGEMENTS_MAX: usize = 64;

/// A call that is not taken within this time is a gap: the session begins anew and says again what matters.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a call names its subscription.
const STREAM_ID: &str = "bourse-stream-id";

/// How a subscription reaches the master.
#[derive(Clone)]
pub(crate) enum Way {
    /// A connection of its own each time, so that a token that has changed is read anew.
    Open(Settings),
    /// The author's, which opens itself again when it was lost.
    Given(Connection),
}

/// How a subscription reaches the driver.
#[derive(Clone)]
pub(crate) struct Reports {
    /// What the master says; waits while the driver is behind.
    pub(crate) said: mpsc::Sender<Report>,
    /// What became of calls. It never waits: the driver may itself be waiting for room among the calls. One report a
    /// call at most, so it is bounded by what the scheduler asked for.
    pub(crate) done: mpsc::UnboundedSender<Report>,
}

/// What a subscription tells the driver.
pub(crate) enum Report {
    Heard(Attempt, FromMaster),
    Refused { attempt: Attempt, call: Box<Call>, why: String },
    TornDown(Attempt),
    Closed { attempt: Attempt, why: Lost },
}

/// Why a subscription is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the master closed the stream of events")]
    Ended,
    #[error("the master did not take a call within {0:?}")]
    Slow(Duration),
    #[error("the master named no {STREAM_ID}; it is not a master of Bourse, or of another release")]
    NoStreamId,
}

impl Lost {
    /// Whether trying again is of no use until somebody changes something.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Lost::Connect(ConnectError::NoAnswer { .. } | ConnectError::Failed { .. }) => false,
            Lost::Connect(
                ConnectError::Plain { .. } | ConnectError::CaFile { .. } | ConnectError::Token(_),
            ) => true,
            Lost::Call(CallError::Unreachable { .. }) => false,
            Lost::Call(CallError::Token { .. }) => true,
            Lost::Call(CallError::Refused { status }) => {
                is_refusal(status) || status.code() == Code::Unauthenticated
            }
            Lost::NoStreamId => true,
            Lost::Ended | Lost::Slow(_) => false,
        }
    }
}

/// A running subscription. Dropped, it is given up at once, with all calls that were not sent.
pub(crate) struct Subscription {
    pub(crate) attempt: Attempt,
    calls: Option<mpsc::Sender<(FrameworkId, Call)>>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Begins to subscribe; what comes of it is reported.
    pub(crate) fn open(
        attempt: Attempt,
        way: Way,
        info: FrameworkInfo,
        suppressed: Vec<Role>,
        reports: Reports,
    ) -> Subscription {
        let (calls, waiting) = mpsc::channel(CALLS_WAITING);
        let task = tokio::spawn(async move {
            let Err(why) = run(attempt, way, info, suppressed, waiting, &reports).await else { return };
            let _ = reports.said.send(Report::Closed { attempt, why }).await; // The driver is gone: so is the session.
        });
        Subscription { attempt, calls: Some(calls), task }
    }

    /// Sends a call after all that were sent before; waits while too many wait.
    pub(crate) async fn call(&self, framework: FrameworkId, call: Call) {
        if let Some(calls) = &self.calls {
            // Closed: the subscription is over, and has said so or will. The session says again what matters.
            let _ = calls.send((framework, call)).await;
        }
    }

    /// Sends what still waits, for at most this long, and ends.
    pub(crate) async fn finish(mut self, patience: Duration) {
        self.calls = None;
        let _ = timeout(patience, &mut self.task).await; // What is not sent by then is lost, as in a crash.
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `Ok`: all calls were sent and no more will come.
async fn run(
    attempt: Attempt,
    way: Way,
    info: FrameworkInfo,
    suppressed: Vec<Role>,
    waiting: mpsc::Receiver<(FrameworkId, Call)>,
    reports: &Reports,
) -> Result<(), Lost> {
    let connection = match way {
        Way::Open(settings) => Connection::open(&settings).await?,
        Way::Given(connection) => connection,
    };
    let mut client = connection.scheduler();
    let form = if info.capabilities.reservation_refinement { Form::Refined } else { Form::PreRefinement };
    let answer = client
        .subscribe(Request::new(wire::subscribe(&info, &suppressed)))
        .await
        .map_err(|status| connection.explain(status))?;
    let stream_id = answer.metadata().get(STREAM_ID).ok_or(Lost::NoStreamId)?.clone();
    let mouth = Mouth { client, form, stream_id };
    // Both at once: while the driver waits for room among the calls, calls still leave, whatever is waiting to be told.
    // Whichever ends first ends the other, and with it the queue that the driver may be waiting for.
    tokio::select! {
        lost = listen(attempt, answer.into_inner(), &connection, &reports.said) => Err(lost),
        sent = speak(attempt, mouth, waiting, &connection, &reports.done) => sent,
    }
}

async fn listen(
    attempt: Attempt,
    mut stream: Streaming<Event>,
    connection: &Connection,
    reports: &mpsc::Sender<Report>,
) -> Lost {
    loop {
        let event = match stream.message().await {
            Ok(Some(event)) => event,
            Ok(None) => return Lost::Ended,
            Err(status) => return connection.explain(status).into(),
        };
        match wire::read(&event) {
            Ok(said) => {
                for message in said {
                    if reports.send(Report::Heard(attempt, message)).await.is_err() {
                        return Lost::Ended;
                    }
                }
            }
            Err(wrong) => {
                tracing::warn!(event = event.r#type().as_str_name(), %wrong, "an event is not understood, passed over");
            }
        }
    }
}

/// What a call needs beside itself.
struct Mouth {
    client: SchedulerClient<Service>,
    form: Form,
    stream_id: MetadataValue<Ascii>,
}

/// A call that the master has answered, or not in time.
struct Answered {
    call: Call,
    answer: Result<Result<(), Status>, Elapsed>,
}

impl Mouth {
    /// Sends a call; comes back with its answer.
    fn say(&self, framework: &FrameworkId, call: Call) -> impl Future<Output = Answered> + Send + use<> {
        tracing::debug!(%call, "call");
        let mut request = Request::new(wire::write(framework, &call, self.form));
        request.metadata_mut().insert(STREAM_ID, self.stream_id.clone());
        let mut client = self.client.clone();
        async move {
            let answer = timeout(CALL_TIMEOUT, client.call(request)).await;
            Answered { call, answer: answer.map(|answer| answer.map(drop)) }
        }
    }
}

/// Sends calls in their order. Only acknowledgements are on their way together, so that a framework is not held to one
/// update for each round trip: of one task there is one update under way at a time, so that they may overtake each other.
/// Nothing else overtakes anything.
async fn speak(
    attempt: Attempt,
    mouth: Mouth,
    mut waiting: mpsc::Receiver<(FrameworkId, Call)>,
    connection: &Connection,
    reports: &mpsc::UnboundedSender<Report>,
) -> Result<(), Lost> {
    let settle = |Answered { call, answer }: Answered| {
        let report = match answer.map_err(|_| Lost::Slow(CALL_TIMEOUT))? {
            Ok(()) if call == Call::Teardown => Report::TornDown(attempt),
            Ok(()) => return Ok(()),
            Err(status) if is_refusal(&status) || status.code() == Code::ResourceExhausted => {
                Report::Refused { attempt, call: Box::new(call), why: status.message().to_owned() }
            }
            Err(status) => return Err(Lost::from(connection.explain(status))),
        };
        let _ = reports.send(report); // Where the driver is gone, so is whoever would send more.
        Ok(())
    };
    // Dropped with this future, it gives up what is on its way.
    let mut acknowledgements = JoinSet::new();
    loop {
        let next = tokio::select! {
            Some(answered) = acknowledgements.join_next() => {
                settle(unless_panicked(answered))?;
                continue;
            }
            next = waiting.recv(), if acknowledgements.len() < ACKNOWLEDGEMENTS_MAX => next,
        };
        match next {
            Some((framework, call @ Call::Acknowledge { .. })) => {
                acknowledgements.spawn(mouth.say(&framework, call));
            }
            other => {
                while let Some(answered) = acknowledgements.join_next().await {
                    settle(unless_panicked(answered))?;
                }
                let Some((framework, call)) = other else { return Ok(()) };
                settle(mouth.say(&framework, call).await)?;
            }
        }
    }
}

fn unless_panicked(answered: Result<Answered, JoinError>) -> Answered {
    // None of them is aborted while it is waited for.
    answered.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Whether the master has looked at the message and will never take it. Of a call, RESOURCE_EXHAUSTED is a refusal too: it
/// is too large, and would be the next time. Of a subscription it means later.
fn is_refusal(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::NotFound => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}
