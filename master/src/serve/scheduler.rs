//! The door for schedulers: Mesos' v1 scheduler API.
//!
//! **What is this room for?** [`Schedulers`] is the door without a transport: a subscription is a stream of events, and
//! every other call names its subscription by a stream id. gRPC is one transport for it, at the end of this file.
//!
//! **What does it promise?** A call that was taken reaches the core, after all calls that were taken before it. A call of
//! a stream that is over, of another framework or of another principal is refused. A refused call changes nothing, and
//! the subscription goes on.
//!
//! **What does it leave to others?** What a call does: the core. What it says: [`wire`](crate::wire::scheduler).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bourse_master_core::{Event, StreamId, Subscription};
use bourse_proto::v1::carrier;
use bourse_proto::v1::scheduler as wire;
use bourse_proto::v1::scheduler::scheduler_server::Scheduler;
use bourse_types::{FrameworkId, FrameworkInfo, OfferId, Principal, Role};
use bourse_wire::Form;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use tracing::{Instrument as _, debug, info_span};
use uuid::Uuid;

use super::auth::{Caller, Kind};
use super::callback::Callbacks;
use crate::driver::{Handle, Held, Stopped};
use crate::metrics::Metrics;
use crate::sessions::{StreamMessage, StreamReceiver};
use crate::wire::scheduler::{self as form, BadCall, Heard, MasterIdentity};

/// Names a subscription in the metadata of its calls.
pub const STREAM_ID: &str = "bourse-stream-id";

/// Events that wait for the connection itself. What does not fit stays in the queue of the driver's sessions, which has
/// its own bound.
const OUTBOUND: usize = 16;

/// Why a call was refused. Each transport says it in its own codes.
#[derive(Debug, thiserror::Error)]
pub enum CallRefused {
    /// It is not understood.
    #[error(transparent)]
    Bad(#[from] BadCall),
    /// It is not what this way is for.
    #[error("{0}")]
    Misplaced(&'static str),
    /// The framework says to be somebody else's.
    #[error(
        "subscribe.framework_info.principal: it is {said}, but this call was made by {caller}; leave it out or use the \
         token of {said}"
    )]
    Principal {
        /// In the message.
        said: Principal,
        /// By the token.
        caller: Principal,
    },
    /// The framework is somebody else's.
    #[error(
        "framework {framework} belongs to another principal than {caller}; use the token it subscribed with first"
    )]
    NotYours {
        /// The framework.
        framework: FrameworkId,
        /// By the token.
        caller: Principal,
    },
    /// The call names no subscription.
    #[error("this call names no subscription; subscribe, and send the answer's {STREAM_ID} with each call")]
    NoStream,
    /// The subscription is over, or is another framework's.
    #[error("the subscription that this call names is over or is not one of {framework}; subscribe again")]
    Stale {
        /// Who the call says to be.
        framework: FrameworkId,
    },
    /// There is no driver to tell.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<CallRefused> for Status {
    fn from(refused: CallRefused) -> Status {
        let text = refused.to_string();
        match refused {
            CallRefused::Bad(BadCall::Malformed { .. })
            | CallRefused::Principal { .. }
            | CallRefused::Misplaced(_) => Status::invalid_argument(text),
            CallRefused::Bad(BadCall::Unsupported { .. }) => Status::unimplemented(text),
            CallRefused::NotYours { .. } => Status::permission_denied(text),
            CallRefused::NoStream | CallRefused::Stale { .. } => Status::failed_precondition(text),
            CallRefused::Stopped(_) => Status::unavailable(text),
        }
    }
}

/// A subscription's stream id, and its events.
pub(crate) struct Subscribed {
    pub(crate) stream_id: String,
    pub(crate) events: mpsc::Receiver<Result<wire::Event, Status>>,
}

/// One open subscription.
#[derive(Debug)]
struct Entry {
    stream: StreamId,
    principal: Principal,
    /// Known when the core has answered.
    framework: Option<FrameworkId>,
}

/// The door, whatever the transport.
#[derive(Clone)]
pub(crate) struct Schedulers {
    driver: Handle,
    master: Arc<MasterIdentity>,
    callbacks: Callbacks,
    metrics: Metrics,
    /// By stream id. A leaf lock, held for a look.
    streams: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Schedulers {
    pub(super) fn new(
        driver: Handle,
        master: Arc<MasterIdentity>,
        callbacks: Callbacks,
        metrics: Metrics,
    ) -> Schedulers {
        Schedulers { driver, master, callbacks, metrics, streams: Arc::default() }
    }

    /// Reads a call, as any transport decoded it.
    pub(crate) fn read(&self, call: carrier::Call) -> Result<Heard, CallRefused> {
        let picture = self.driver.picture();
        let role_of = |offer: &OfferId| -> Option<Role> { Some(picture.view.offer(offer)?.role.clone()) };
        Ok(form::read(call, &role_of)?)
    }

    /// Subscribes. What the core has against it arrives as an ERROR event, after which the events end. `held` is let go
    /// when the driver has the subscription.
    pub(crate) async fn subscribe(
        &self,
        caller: Caller,
        held: Option<Held>,
        mut info: FrameworkInfo,
        suppressed: Vec<Role>,
    ) -> Result<Subscribed, CallRefused> {
        let principal = caller.principal.clone();
        match &info.principal {
            Some(said) if *said != principal => {
                return Err(CallRefused::Principal { said: said.clone(), caller: principal });
            }
            Some(_) => {}
            // Kept with the framework, so that nobody else can take it over.
            None => info.principal = Some(principal.clone()),
        }
        if let Some(id) = &info.id {
            let picture = self.driver.picture();
            let owner = picture.view.framework(id).and_then(|known| known.info.principal.as_ref());
            if owner.is_some_and(|owner| *owner != principal) {
                return Err(CallRefused::NotYours { framework: id.clone(), caller: principal });
            }
        }
        let subscription = Subscription { info, suppressed, principal: Some(principal.clone()) };
        let (stream, messages) = self.driver.holding(held).open_stream(subscription).await?;
        let stream_id = Uuid::new_v4().to_string();
        self.streams().insert(stream_id.clone(), Entry { stream, principal, framework: None });
        let (outbound, events) = mpsc::channel(OUTBOUND);
        let pump = Pump { door: self.clone(), caller, stream, stream_id: stream_id.clone(), outbound };
        let span = info_span!("serve", call = "subscribe", principal = %pump.caller.principal);
        tokio::spawn(pump.run(messages).instrument(span));
        Ok(Subscribed { stream_id, events })
    }

    /// Takes any other call. `held` is let go when the driver has it.
    pub(crate) async fn call(
        &self,
        caller: &Caller,
        held: Option<Held>,
        stream_id: &str,
        framework: FrameworkId,
        call: Option<bourse_master_core::Call>,
    ) -> Result<(), CallRefused> {
        let stream = {
            let streams = self.streams();
            let entry = streams.get(stream_id).filter(|entry| entry.framework.as_ref() == Some(&framework));
            let Some(entry) = entry else { return Err(CallRefused::Stale { framework }) };
            if entry.principal != caller.principal {
                return Err(CallRefused::NotYours { framework, caller: caller.principal.clone() });
            }
            entry.stream
        };
        if let Some(call) = call {
            self.driver.holding(held).tell(Event::Call { framework, stream, call }).await?;
        }
        Ok(())
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        // No method here stops half way.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries the events of one subscription from the driver to the connection, with heartbeats in between.
struct Pump {
    door: Schedulers,
    caller: Caller,
    stream: StreamId,
    stream_id: String,
    outbound: mpsc::Sender<Result<wire::Event, Status>>,
}

impl Pump {
    async fn run(self, messages: StreamReceiver) {
        let open = self.door.metrics.subscribed();
        let ended = self.carry(messages).await;
        drop(open);
        self.door.streams().remove(&self.stream_id);
        // Every opened stream is closed once, whatever ended it. Without a driver there is nobody to tell.
        let _ = self.door.driver.close_stream(self.stream).await;
        debug!("a subscription ends");
        if let Err(status) = ended {
            // Whoever does not read may take long to hear of it, or never does.
            let _ = timeout(super::LAST_WORD, self.outbound.send(Err(status))).await;
        }
    }

    /// Until the scheduler is gone or has heard its last event, or with the reason why it hears no more.
    async fn carry(&self, mut messages: StreamReceiver) -> Result<(), Status> {
        let mut subscribed: Option<(FrameworkId, Interval)> = None;
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = beat(subscribed.as_mut().map(|(_, interval)| interval)) => {
                    if !self.say(form::heartbeat(), &mut messages).await? {
                        return Ok(());
                    }
                    continue;
                }
                () = self.outbound.closed() => return Ok(()),
            };
            let message = message.ok_or_else(|| self.cut_off())?;
            if let StreamMessage::Subscribed { framework, heartbeat } = &message {
                if let Some(entry) = self.door.streams().get_mut(&self.stream_id) {
                    entry.framework = Some(framework.clone());
                }
                self.door.callbacks.framework(framework, &self.caller);
                subscribed = Some((framework.clone(), interval_at(Instant::now() + *heartbeat, *heartbeat)));
            }
            let last = matches!(message, StreamMessage::Fail(_));
            let event = match &subscribed {
                Some((framework, _)) => {
                    form::write(message, framework, self.form(framework), &self.door.master)
                }
                // The only thing that the core says without SUBSCRIBED is why not.
                None => match message {
                    StreamMessage::Fail(text) => form::error(text),
                    _ => continue,
                },
            };
            if !self.say(event, &mut messages).await? || last {
                return Ok(());
            }
        }
    }

    /// Says it, however long the scheduler takes to read, until it is cut off. `false`: it is gone.
    async fn say(&self, event: wire::Event, messages: &mut StreamReceiver) -> Result<bool, Status> {
        tokio::select! {
            // What has room is said: the cut comes after what was said before it.
            biased;
            said = self.outbound.send(Ok(event)) => Ok(said.is_ok()),
            _ = &mut messages.cut => Err(self.cut_off()),
        }
    }

    fn cut_off(&self) -> Status {
        match self.door.driver.is_stopped() {
            true => super::stopping(Stopped),
            false => Status::resource_exhausted(
                "the events of this subscription were not read fast enough; subscribe again and reconcile",
            ),
        }
    }

    /// How the framework wants its resources now: UPDATE_FRAMEWORK may change it.
    fn form(&self, framework: &FrameworkId) -> Form {
        let picture = self.door.driver.picture();
        picture.view.framework(framework).map_or(Form::Refined, |framework| form::form_for(&framework.info))
    }
}

async fn beat(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// The door over gRPC.
#[derive(Clone)]
pub(super) struct SchedulerDoor(pub(super) Schedulers);

/// Who may run a scheduler: the command line runs tasks by an operator's token.
const MAY: &[Kind] = &[Kind::Framework, Kind::Operator];

#[tonic::async_trait]
impl Scheduler for SchedulerDoor {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<wire::Event, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<carrier::Call>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let caller = Caller::of(&request)?.must_be(MAY)?;
        if request.metadata().contains_key(STREAM_ID) {
            return Err(CallRefused::Misplaced(
                "a SUBSCRIBE opens a stream; send it without bourse-stream-id",
            )
            .into());
        }
        let held = request.extensions().get::<Held>().cloned();
        let Heard::Subscribe { info, suppressed } = self.0.read(request.into_inner())? else {
            return Err(CallRefused::Misplaced(
                "type: only SUBSCRIBE opens a stream; send other calls by Call",
            )
            .into());
        };
        let Subscribed { stream_id, events } = self.0.subscribe(caller, held, *info, suppressed).await?;
        let mut response: Response<Self::SubscribeStream> =
            Response::new(Box::pin(ReceiverStream::new(events)));
        let stream_id = MetadataValue::try_from(stream_id).expect("a UUID is ASCII");
        response.metadata_mut().insert(STREAM_ID, stream_id);
        Ok(response)
    }

    async fn call(&self, request: Request<carrier::Call>) -> Result<Response<wire::CallAccepted>, Status> {
        let caller = Caller::of(&request)?.must_be(MAY)?;
        let stream_id = request.metadata().get(STREAM_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let stream_id = stream_id.ok_or(CallRefused::NoStream)?;
        let held = request.extensions().get::<Held>().cloned();
        match self.0.read(request.into_inner())? {
            Heard::Subscribe { .. } => {
                Err(CallRefused::Misplaced("type: a SUBSCRIBE opens a stream; send it by Subscribe").into())
            }
            Heard::Call { framework, call } => {
                self.0.call(&caller, held, &stream_id, framework, call).await?;
                Ok(Response::new(wire::CallAccepted {}))
            }
        }
    }
}
