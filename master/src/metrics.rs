//! What can be counted and timed, for Prometheus.
//!
//! **What is this room for?** Counters and histograms that the driver and the doors add to; what the cluster looks like
//! is read from the newest view when somebody asks, in [`serve`](crate::serve).
//!
//! **What does it promise?** Every kind of event and effect counts itself, under a name that stays the same.
//!
//! **What does it leave to others?** Keeping the figures over time: Prometheus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bourse_master_core::effect::{Effect, ToAgent, ToScheduler};
use bourse_master_core::event::{Call, Event};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counters and histograms of one master; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    events: Family<Kind, Counter>,
    effects: Family<Kind, Counter>,
    apply: Family<Kind, Histogram, fn() -> Histogram>,
    batch_events: Histogram,
    batch_time: Histogram,
    sync_time: Histogram,
    queue_wait: Histogram,
    agents_linked: Gauge,
    schedulers_subscribed: Gauge,
    watchers: Gauge,
    recorded_bytes: Counter,
    recording_gaps: Counter,
    recording_resting: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// From 10 microseconds, doubling, to some 20 seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 21))
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::default();
        let inner = Inner {
            events: Family::default(),
            effects: Family::default(),
            apply: Family::new_with_constructor(seconds as fn() -> Histogram),
            batch_events: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            batch_time: seconds(),
            sync_time: seconds(),
            queue_wait: seconds(),
            agents_linked: Gauge::default(),
            schedulers_subscribed: Gauge::default(),
            watchers: Gauge::default(),
            recorded_bytes: Counter::default(),
            recording_gaps: Counter::default(),
            recording_resting: Gauge::default(),
            registry: Registry::default(),
        };
        let ours = registry.sub_registry_with_prefix("bourse_master");
        ours.register("events", "Events applied, by kind", inner.events.clone());
        ours.register("effects", "Effects, by kind", inner.effects.clone());
        let help = "Time to apply one event in seconds, by kind; allocation is part of it";
        ours.register("apply_seconds", help, inner.apply.clone());
        ours.register("batch_events", "Events in one batch", inner.batch_events.clone());
        let help = "Time of one batch in seconds: apply, sync, deliver";
        ours.register("batch_seconds", help, inner.batch_time.clone());
        ours.register("sync_seconds", "Time of one synced write of the registry", inner.sync_time.clone());
        let help = "Time that an event waited for the driver in seconds";
        ours.register("queue_wait_seconds", help, inner.queue_wait.clone());
        ours.register("agents_linked", "Open links of agents", inner.agents_linked.clone());
        let help = "Open subscriptions of schedulers";
        ours.register("schedulers_subscribed", help, inner.schedulers_subscribed.clone());
        ours.register("watchers", "Readers of the event stream", inner.watchers.clone());
        let help = "Bytes written to the recording of what the master is told";
        ours.register("recorded_bytes", help, inner.recorded_bytes.clone());
        let help = "Times that the recording fell behind and lacks what was told meanwhile";
        ours.register("recording_gaps", help, inner.recording_gaps.clone());
        let help =
            "Whether the recording rests: the disk took nothing, or the master is too large for its bound";
        ours.register("recording_resting", help, inner.recording_resting.clone());
        Metrics { inner: Arc::new(Inner { registry, ..inner }) }
    }
}

impl Metrics {
    /// All that is counted, to be written out.
    pub(crate) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    pub(crate) fn applied(&self, kind: &'static str, took: Duration) {
        let kind = Kind { kind };
        self.inner.events.get_or_create(&kind).inc();
        self.inner.apply.get_or_create(&kind).observe(took.as_secs_f64());
    }

    pub(crate) fn effect(&self, effect: &Effect) {
        self.inner.effects.get_or_create(&Kind { kind: effect_kind(effect) }).inc();
    }

    pub(crate) fn batch(&self, events: usize, took: Duration) {
        self.inner.batch_events.observe(events as f64);
        self.inner.batch_time.observe(took.as_secs_f64());
    }

    pub(crate) fn waited(&self, wait: Duration) {
        self.inner.queue_wait.observe(wait.as_secs_f64());
    }

    pub(crate) fn recorded(&self, bytes: usize) {
        self.inner.recorded_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn recording_gap(&self) {
        self.inner.recording_gaps.inc();
    }

    pub(crate) fn recording_rests(&self, rests: bool) {
        self.inner.recording_resting.set(i64::from(rests));
    }

    pub(crate) fn sync_time(&self) -> Timer {
        Timer { since: Instant::now(), histogram: self.inner.sync_time.clone() }
    }

    /// Counts an open link until it is dropped.
    pub(crate) fn linked(&self) -> Open {
        Open::new(&self.inner.agents_linked)
    }

    /// Counts an open subscription until it is dropped.
    pub(crate) fn subscribed(&self) -> Open {
        Open::new(&self.inner.schedulers_subscribed)
    }

    /// Counts a reader of the event stream until it is dropped.
    pub(crate) fn watching(&self) -> Open {
        Open::new(&self.inner.watchers)
    }
}

/// Measures from its making to [`stop`](Timer::stop).
pub(crate) struct Timer {
    since: Instant,
    histogram: Histogram,
}

impl Timer {
    pub(crate) fn stop(self) {
        self.histogram.observe(self.since.elapsed().as_secs_f64());
    }
}

/// One more of something, as long as this lives.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Open {
        gauge.inc();
        Open(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The name of an event's kind. A promise: dashboards ask for it.
pub(crate) fn event_kind(event: &Event) -> &'static str {
    match event {
        Event::AgentRegisters { .. } => "agent_registers",
        Event::AgentsHeard { .. } => "agents_heard",
        Event::AgentLinkClosed { .. } => "agent_link_closed",
        Event::StatusUpdate { .. } => "status_update",
        Event::TaskResized { .. } => "task_resized",
        Event::Subscribes { .. } => "subscribes",
        Event::StreamClosed { .. } => "stream_closed",
        Event::Call { call, .. } => match call {
            Call::Accept(_) => "accept",
            Call::Decline { .. } => "decline",
            Call::Revive { .. } => "revive",
            Call::Suppress { .. } => "suppress",
            Call::Kill { .. } => "kill",
            Call::Acknowledge { .. } => "acknowledge",
            Call::Reconcile { .. } => "reconcile",
            Call::UpdateFramework { .. } => "update_framework",
            Call::Teardown => "teardown",
        },
        Event::Operate { .. } => "operate",
        Event::Tick => "tick",
    }
}

/// The name of an effect's kind. A promise, too.
fn effect_kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Persist(_) => "persist",
        Effect::ToAgent { message, .. } => match message {
            ToAgent::Registered { .. } => "agent_registered",
            ToAgent::Run { .. } => "run_task",
            ToAgent::Kill { .. } => "kill_task",
            ToAgent::Resize { .. } => "resize_task",
            ToAgent::Acknowledge { .. } => "acknowledge_update",
            ToAgent::ShutdownFramework { .. } => "shutdown_framework",
        },
        Effect::CloseLink { .. } => "close_link",
        Effect::ToScheduler { message, .. } => match message {
            ToScheduler::Subscribed { .. } => "subscribed",
            ToScheduler::Offers(_) => "offers",
            ToScheduler::Rescind { .. } => "rescind",
            ToScheduler::Update(_) => "update",
            ToScheduler::AgentFailed { .. } => "agent_failed",
            ToScheduler::AgentDraining { .. } => "agent_draining",
        },
        Effect::CloseStream { .. } => "close_stream",
        Effect::Reply { .. } => "reply",
        Effect::Record(_) => "record",
    }
}
