//! Properties: what was written is read back as the same value, and what is damaged is refused in words or comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bourse_hostile::{damaged, judged};
use bourse_master_core::history::Entry;
use bourse_master_core::registry::{Absence, Change, KnownAgent, KnownDrain, KnownFramework, Snapshot};
use bourse_master_core::{
    Accept, Call, Command, Event, Launch, LinkId, Registration, RequestId, Resize, StatusUpdate, StreamId,
    Subscription, TaskInfo, TaskReport, TaskResized,
};
use bourse_proto::disk as wire;
use bourse_proto::disk::PartRecord;
use bourse_types::{
    Address, AgentCapability, AgentId, AgentInfo, Epoch, FrameworkId, FrameworkInfo, KillPolicy, Labels,
    MasterId, Milli, Mono, Name, Now, OfferId, Principal, Reason, Resource, Resources, Role, Size, Source,
    TaskId, TaskState, TaskStatus, Wall,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;

use super::{BadRecord, event, history, registry, state};
use crate::history::Stamped;

mod parts;

use parts::parts;

const IDS: &str = "[a-z][a-z0-9.-]{0,8}";

macro_rules! ids {
    ($($name:ident: $id:ident),*) => {$(
        fn $name() -> impl Strategy<Value = $id> {
            IDS.prop_map(|text| $id::new(text).expect("an id"))
        }
    )*};
}

ids! { agent_id: AgentId, framework_id: FrameworkId, offer_id: OfferId, task_id: TaskId, master_id: MasterId, principal: Principal }

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::any()),
        "[a-z]{1,4}(/[a-z]{1,4})?".prop_map(|text| Role::new(text).expect("a role"))
    ]
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    vec(role(), 0..3).prop_map(|mut roles| {
        roles.sort();
        roles.dedup();
        roles
    })
}

fn resources() -> impl Strategy<Value = Resources> {
    (0..64_000u64, 0..1_000_000u64, option::of(0..100u64), option::of(role())).prop_map(
        |(cpus, mem, port, role)| {
            let mut text = format!("cpus:{}; mem:{}", Milli::new(cpus), Milli::new(mem));
            if let Some(port) = port {
                text += &format!("; ports:[{}-{}]", 31_000 + port, 31_100 + port);
            }
            let resources: Resources = text.parse().expect("resources");
            match role.filter(|role| !role.is_any()) {
                Some(role) => resources.with_role(&role),
                None => resources,
            }
        },
    )
}

fn wall() -> impl Strategy<Value = Wall> {
    (0..4_000_000_000_000u64).prop_map(Wall)
}

fn span() -> impl Strategy<Value = Duration> {
    // What the wire keeps as float seconds is exact to the microsecond in this range.
    (0..1_000_000_000u64).prop_map(Duration::from_millis)
}

fn labels() -> impl Strategy<Value = Labels> {
    vec(("[a-z]{1,4}", option::of("[a-z]{0,4}")), 0..3).prop_map(|pairs| {
        let mut labels = Labels::new();
        pairs.iter().for_each(|(key, value)| labels.insert(key, value.as_deref()));
        labels
    })
}

fn agent_info() -> impl Strategy<Value = AgentInfo> {
    ("[a-z]{1,8}", IDS, 1..u16::MAX, resources(), "[0-9.]{0,6}", "[a-z]{1,4}").prop_map(
        |(hostname, host, port, total, version, rack)| AgentInfo {
            hostname,
            address: Address { host, port },
            attributes: format!("rack:{rack}").parse().expect("attributes"),
            total,
            version,
        },
    )
}

fn framework_info() -> impl Strategy<Value = FrameworkInfo> {
    let names = ("[a-zA-Z ]{0,8}", "[a-z]{0,6}", option::of(principal()), option::of("[a-z]{1,6}"));
    let rest = (option::of(framework_id()), roles(), span(), any::<bool>(), any::<bool>(), labels());
    (names, rest).prop_map(
        |((name, user, principal, hostname), (id, roles, failover, checkpoint, several, labels))| {
            let mut info = FrameworkInfo::new(name);
            info.id = id;
            info.user = user;
            info.principal = principal;
            info.hostname = hostname;
            info.capabilities.multi_role = several;
            info.capabilities.partition_aware = checkpoint;
            // One without MULTI_ROLE has exactly one role.
            info.roles = if several { roles } else { vec![roles.first().cloned().unwrap_or_else(Role::any)] };
            info.failover_timeout = failover;
            info.checkpoint = checkpoint;
            info.labels = labels;
            info
        },
    )
}

fn state() -> impl Strategy<Value = TaskState> {
    prop_oneof![
        Just(TaskState::Staging),
        Just(TaskState::Running),
        Just(TaskState::Failed),
        Just(TaskState::Unreachable)
    ]
}

fn status() -> impl Strategy<Value = TaskStatus> {
    (
        task_id(),
        option::of(agent_id()),
        state(),
        wall(),
        option::of(any::<[u8; 16]>()),
        option::of("[a-z ]{0,8}"),
        labels(),
    )
        .prop_map(|(task, agent, state, timestamp, uuid, message, labels)| TaskStatus {
            agent_id: agent,
            uuid,
            message,
            labels,
            reason: uuid.map(|_| Reason::Reconciliation),
            healthy: uuid.map(|uuid| uuid[0] > 127),
            ..TaskStatus::new(task, state, Source::Agent, timestamp)
        })
}

fn kill_policy() -> impl Strategy<Value = KillPolicy> {
    option::of(span()).prop_map(|grace| KillPolicy { grace })
}

fn task() -> impl Strategy<Value = TaskInfo> {
    let limits = btree_map("[a-z]{1,4}", option::of((1..100_000u64).prop_map(Milli::new)), 0..3);
    let rest = (labels(), capabilities(), "[a-z ]{0,8}", vec(any::<u8>(), 0..20));
    (task_id(), "[a-z]{0,6}", agent_id(), resources(), limits, kill_policy(), rest).prop_map(
        |(id, name, agent, resources, limits, kill_policy, (labels, needs, command, message))| TaskInfo {
            id,
            name,
            agent,
            resources,
            limits,
            kill_policy,
            labels,
            needs,
            command,
            message: message.into(),
        },
    )
}

fn capabilities() -> impl Strategy<Value = BTreeSet<AgentCapability>> {
    vec(any::<bool>(), AgentCapability::ALL.len())
        .prop_map(|has| AgentCapability::ALL.into_iter().zip(has).filter(|it| it.1).map(|it| it.0).collect())
}

fn launch() -> impl Strategy<Value = Launch> {
    prop_oneof![
        task().prop_map(|task| Launch::Task(Box::new(task))),
        (task_id(), option::of(agent_id()), "[a-z ]{0,9}").prop_map(|(task, agent, why)| Launch::Invalid {
            task,
            agent,
            why
        }),
    ]
}

fn size() -> impl Strategy<Value = Size> {
    let limits = btree_map(Just(Name::cpus()), option::of((1..100_000u64).prop_map(Milli::new)), 0..2);
    let some = resources().prop_map(|mut resources| {
        resources.insert(Resource::scalar(Name::cpus(), Milli::new(1)));
        resources
    });
    (some, limits).prop_map(|(resources, limits)| Size { resources, limits })
}

fn resize() -> impl Strategy<Value = Resize> {
    let wanted =
        prop_oneof![size().prop_map(Ok::<Size, String>), "[a-z ]{1,9}".prop_map(Err::<Size, String>)];
    (task_id(), wanted).prop_map(|(task, wanted)| Resize { task, wanted })
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (vec(offer_id(), 0..3), vec(launch(), 0..3), vec(resize(), 0..3), span()).prop_map(
            |(offers, launches, resizes, refuse)| Call::Accept(Accept { offers, launches, resizes, refuse })
        ),
        (vec(offer_id(), 0..3), span()).prop_map(|(offers, refuse)| Call::Decline { offers, refuse }),
        roles().prop_map(|roles| Call::Revive { roles }),
        roles().prop_map(|roles| Call::Suppress { roles }),
        (task_id(), option::of(agent_id()), option::of(kill_policy()))
            .prop_map(|(task, agent, policy)| Call::Kill { task, agent, policy }),
        (agent_id(), task_id(), any::<[u8; 16]>()).prop_map(|(agent, task, uuid)| Call::Acknowledge {
            agent,
            task,
            uuid
        }),
        vec((task_id(), option::of(agent_id())), 0..3).prop_map(|tasks| Call::Reconcile { tasks }),
        (framework_info(), roles())
            .prop_map(|(info, suppressed)| Call::UpdateFramework { info: Box::new(info), suppressed }),
        Just(Call::Teardown),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (framework_id(), task_id(), option::of(kill_policy()))
            .prop_map(|(framework, task, policy)| Command::Kill { framework, task, policy }),
        framework_id().prop_map(|framework| Command::Teardown { framework }),
        (agent_id(), span(), any::<bool>()).prop_map(|(agent, deadline, mark_gone)| Command::Drain {
            agent,
            deadline,
            mark_gone
        }),
        agent_id().prop_map(|agent| Command::Reactivate { agent }),
        agent_id().prop_map(|agent| Command::MarkGone { agent }),
        (role(), 1..1_000_000u64)
            .prop_map(|(role, weight)| Command::SetWeight { role, weight: Milli::new(weight) }),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let report = (framework_id(), task(), role(), status(), any::<bool>(), option::of(size())).prop_map(
        |(framework, task, role, latest, resized, resizing)| TaskReport {
            framework,
            task,
            role,
            latest,
            resized,
            resizing,
        },
    );
    let resized = (framework_id(), task_id(), size(), size())
        .prop_map(|(framework, task, wanted, size)| TaskResized { framework, task, wanted, size });
    let registration = (
        option::of(agent_id()),
        agent_info(),
        vec(report, 0..3),
        vec(framework_info(), 0..2),
        any::<u64>(),
        capabilities(),
        option::of(principal()),
    )
        .prop_map(|(id, info, tasks, frameworks, epoch, capabilities, principal)| Registration {
            id,
            info,
            tasks,
            frameworks,
            epoch: Epoch(epoch),
            capabilities,
            principal,
        });
    let subscription = (framework_info(), roles(), option::of(principal()))
        .prop_map(|(info, suppressed, principal)| Subscription { info, suppressed, principal });
    let update = (framework_id(), status(), status()).prop_map(|(framework, status, latest)| StatusUpdate {
        framework,
        status,
        latest,
    });
    prop_oneof![
        (any::<u64>(), registration).prop_map(|(link, registration)| Event::AgentRegisters {
            link: LinkId(link),
            registration: Box::new(registration)
        }),
        vec(agent_id(), 0..3).prop_map(|agents| Event::AgentsHeard { agents }),
        (agent_id(), any::<u64>())
            .prop_map(|(agent, link)| Event::AgentLinkClosed { agent, link: LinkId(link) }),
        (agent_id(), any::<u64>(), update).prop_map(|(agent, link, update)| Event::StatusUpdate {
            agent,
            link: LinkId(link),
            update: Box::new(update)
        }),
        (agent_id(), any::<u64>(), resized).prop_map(|(agent, link, resized)| Event::TaskResized {
            agent,
            link: LinkId(link),
            resized: Box::new(resized)
        }),
        (any::<u64>(), subscription).prop_map(|(stream, subscription)| Event::Subscribes {
            stream: StreamId(stream),
            subscription: Box::new(subscription)
        }),
        (framework_id(), any::<u64>())
            .prop_map(|(framework, stream)| Event::StreamClosed { framework, stream: StreamId(stream) }),
        (framework_id(), any::<u64>(), call()).prop_map(|(framework, stream, call)| Event::Call {
            framework,
            stream: StreamId(stream),
            call
        }),
        (any::<u64>(), option::of(principal()), command()).prop_map(|(request, principal, command)| {
            Event::Operate { request: RequestId(request), principal, command }
        }),
        Just(Event::Tick),
    ]
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let drain = (span(), wall(), any::<bool>(), any::<bool>())
        .prop_map(|(left, at, mark_gone, drained)| KnownDrain { left, at, mark_gone, drained });
    let agent = (agent_info(), option::of(principal()), wall(), option::of(wall()), option::of(drain))
        .prop_map(|(info, principal, admitted, unreachable, drain)| KnownAgent {
            info,
            principal,
            admitted,
            unreachable,
            drain,
        });
    let absence = (span(), wall()).prop_map(|(left, at)| Absence { left, at });
    let framework = (framework_info(), wall(), option::of(absence))
        .prop_map(|(info, registered, absence)| KnownFramework { info, registered, absence });
    let weights = btree_map(role(), (1..1_000_000u64).prop_map(Milli::new), 0..3);
    let tables = (
        btree_map(agent_id(), agent, 0..3),
        btree_map(agent_id(), wall(), 0..3),
        btree_map(framework_id(), framework, 0..3),
        btree_map(framework_id(), wall(), 0..3),
    );
    (any::<u64>(), option::of(master_id()), tables, weights).prop_map(
        |(epoch, master, (agents, gone, frameworks, removed), weights)| Snapshot {
            epoch: Epoch(epoch),
            master,
            agents,
            gone,
            frameworks,
            removed,
            weights,
        },
    )
}

fn changes() -> impl Strategy<Value = Change> {
    // Few ids, so that changes meet.
    fn agent() -> impl Strategy<Value = AgentId> {
        "[ab]".prop_map(|text| AgentId::new(text).expect("an id"))
    }
    fn framework() -> impl Strategy<Value = FrameworkId> {
        "[ab]".prop_map(|text| FrameworkId::new(text).expect("an id"))
    }
    prop_oneof![
        (any::<u32>(), master_id())
            .prop_map(|(epoch, master)| Change::EpochStarted { epoch: Epoch(u64::from(epoch)), master }),
        (agent(), agent_info(), option::of(principal()), wall())
            .prop_map(|(id, info, principal, at)| Change::AgentAdmitted { id, info, principal, at }),
        (agent(), agent_info(), option::of(principal()))
            .prop_map(|(id, info, principal)| Change::AgentUpdated { id, info, principal }),
        (agent(), wall()).prop_map(|(id, since)| Change::AgentUnreachable { id, since }),
        agent().prop_map(|id| Change::AgentReachable { id }),
        (agent(), wall()).prop_map(|(id, at)| Change::AgentGone { id, at }),
        agent().prop_map(|id| Change::AgentRemoved { id }),
        (framework(), framework_info(), wall()).prop_map(|(id, info, at)| Change::FrameworkSubscribed {
            id,
            info,
            at
        }),
        (framework(), span(), wall()).prop_map(|(id, left, at)| Change::FrameworkDisconnected {
            id,
            left,
            at
        }),
        framework().prop_map(|id| Change::FrameworkConnected { id }),
        (framework(), wall()).prop_map(|(id, at)| Change::FrameworkRemoved { id, at }),
        (role(), (1..9_000u64).prop_map(Milli::new))
            .prop_map(|(role, weight)| Change::WeightSet { role, weight }),
        (agent(), span(), wall(), any::<bool>())
            .prop_map(|(agent, left, at, mark_gone)| Change::DrainStarted { agent, left, at, mark_gone }),
        agent().prop_map(|agent| Change::Drained { agent }),
        agent().prop_map(|agent| Change::DrainEnded { agent }),
    ]
}

/// What a store holds: the last value of each key.
fn store(records: impl IntoIterator<Item = registry::Record>, into: &mut BTreeMap<String, Vec<u8>>) {
    for registry::Record { key, value } in records {
        match value {
            Some(value) => drop(into.insert(key, value)),
            None => drop(into.remove(&key)),
        }
    }
}

fn load(store: &BTreeMap<String, Vec<u8>>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (key, value) in store {
        registry::read(key.as_bytes(), value, &mut snapshot).expect(key);
    }
    snapshot
}

/// A record of a registry under its own key.
fn damaged_records() -> impl Strategy<Value = (String, Vec<u8>)> {
    (snapshots(), any::<Index>()).prop_flat_map(|(snapshot, which)| {
        let records = registry::all(&snapshot);
        let registry::Record { key, value } = records[which.index(records.len())].clone();
        (Just(key), damaged(Just(value.unwrap_or_default())))
    })
}

fn damaged_entries() -> impl Strategy<Value = Vec<u8>> {
    let ids = (option::of(agent_id()), option::of(framework_id()), option::of(task_id()), option::of(role()));
    let entry =
        (ids, option::of(principal())).prop_map(|((agent, framework, task, role), principal)| Entry {
            kind: history::kind("task").expect("a kind"),
            summary: "it ended".into(),
            agent,
            framework,
            task,
            role,
            reason: Some("REASON".into()),
            principal,
        });
    let stamped = |entry| Stamped { sequence: 7, at: Wall(7), entry: Arc::new(entry) };
    damaged(entry.prop_map(move |entry| history::encode(&stamped(entry))))
}

proptest! {
    #[test]
    fn a_damaged_event_is_refused_in_words_or_comes_back(
        bytes in damaged(events().prop_map(|event| event::encode(Now { mono: Mono(7), wall: Wall(7) }, &event))),
    ) {
        if let Some((now, event)) = judged(|| event::decode(&bytes)) {
            let again = event::decode(&event::encode(now, &event)).expect("it was taken as it was");
            prop_assert_eq!(again, (now, event));
        }
    }

    #[test]
    fn a_damaged_record_of_the_registry_is_refused_in_words_or_comes_back((key, value) in damaged_records()) {
        let mut read = Snapshot::default();
        if judged(|| registry::read(key.as_bytes(), &value, &mut read)).is_some() {
            let mut kept = BTreeMap::new();
            store(registry::all(&read), &mut kept);
            prop_assert_eq!(load(&kept), read);
        }
    }

    #[test]
    fn a_damaged_entry_of_the_history_is_refused_in_words_or_comes_back(bytes in damaged_entries()) {
        if let Some(stamped) = judged(|| history::decode(7, &bytes)) {
            let again = history::decode(7, &history::encode(&stamped)).expect("it was taken as it was");
            prop_assert_eq!(again, stamped);
        }
    }

    #[test]
    fn an_event_is_read_back_as_it_was_written(event in events(), mono in any::<u64>(), wall in any::<u64>()) {
        let now = Now { mono: Mono(mono), wall: Wall(wall) };
        let read = event::decode(&event::encode(now, &event)).expect("it was written by us");
        prop_assert_eq!(read, (now, event));
    }

    #[test]
    fn a_part_of_a_master_is_read_back_as_it_was_written(part in parts()) {
        prop_assert_eq!(state::read(state::write(&part)).expect("it was written by us"), part);
    }

    #[test]
    fn a_damaged_part_of_a_master_is_refused_in_words_or_comes_back(
        bytes in damaged(parts().prop_map(|part| state::write(&part).encode_to_vec())),
    ) {
        let read = || PartRecord::decode(&bytes[..]).map_err(BadRecord::from).and_then(state::read);
        if let Some(part) = judged(read) {
            let again = state::read(state::write(&part)).expect("it was taken as it was");
            prop_assert_eq!(again, part);
        }
    }

    #[test]
    fn a_registry_is_read_back_as_it_was_written(snapshot in snapshots()) {
        let mut kept = BTreeMap::new();
        store(registry::all(&snapshot), &mut kept);
        prop_assert_eq!(load(&kept), snapshot);
    }

    #[test]
    fn the_records_of_every_change_leave_what_the_change_means(changes in vec(changes(), 0..30)) {
        let (mut applied, mut kept, mut stored) = (Snapshot::default(), BTreeMap::new(), Snapshot::default());
        for change in &changes {
            applied.apply(change);
            store(registry::apply(change, &mut stored), &mut kept);
            prop_assert_eq!(&load(&kept), &applied, "after {:?}", change);
        }
    }

    #[test]
    fn an_entry_of_the_history_is_read_back_as_it_was_written(
        kind in prop_oneof![Just("task"), Just("agent"), Just("framework"), Just("offer"), Just("operator")],
        summary in ".{0,20}",
        ids in (option::of(agent_id()), option::of(framework_id()), option::of(task_id()), option::of(role())),
        who in (option::of("[A-Z_]{1,8}"), option::of(principal())),
        sequence in any::<u64>(),
        at in wall(),
    ) {
        let (agent, framework, task, role) = ids;
        let kind = history::kind(kind).expect("a kind");
        let entry = Entry { kind, summary, agent, framework, task, role, reason: who.0, principal: who.1 };
        let stamped = Stamped { sequence, at, entry: Arc::new(entry) };
        prop_assert_eq!(history::decode(sequence, &history::encode(&stamped)).expect("written by us"), stamped);
    }

    #[test]
    fn bytes_that_nobody_wrote_are_refused_and_never_a_panic(key in ".{0,12}", value in vec(any::<u8>(), 0..40)) {
        let mut snapshot = Snapshot::default();
        for kind in ["epoch", "agent/a", "gone/a", "framework/a", "removed/a", "weight/a", key.as_str()] {
            let _ = registry::read(kind.as_bytes(), &value, &mut snapshot);
        }
        let _ = event::decode(&value);
        let _ = history::decode(1, &value);
    }
}

#[test]
fn a_record_of_a_name_that_this_build_does_not_know_is_refused() {
    let mut snapshot = Snapshot::default();
    for key in [&b"quota/a"[..], b"nonsense", b"\xff"] {
        assert!(matches!(registry::read(key, b"", &mut snapshot), Err(super::BadRecord::UnknownKey)));
    }
}

/// The messages as the build before wrote them: without the fields that are new.
#[test]
fn what_a_build_wrote_that_kept_no_owners_of_agents_is_read_as_nobodys() {
    let info = AgentInfo {
        hostname: "host".to_owned(),
        address: Address { host: "host".to_owned(), port: 5051 },
        attributes: "rack:a".parse().expect("attributes"),
        total: "cpus:4".parse().expect("resources"),
        version: "0.0.0".to_owned(),
    };
    let form = Some(super::nouns::write_agent(&info));
    let mut read = Snapshot::default();
    let record = wire::AgentRecord { info: form.clone(), admitted_ms: 7, ..wire::AgentRecord::default() };
    registry::read(b"agent/m-S0", &record.encode_to_vec(), &mut read).expect("it was well then");
    let agent = &read.agents[&AgentId::new("m-S0").expect("an id")];
    assert_eq!((&agent.info, &agent.principal), (&info, &None));

    let registers = wire::AgentRegisters { link: 7, info: form, ..wire::AgentRegisters::default() };
    let told = wire::master_event::Event::AgentRegisters(registers);
    let record = wire::InputRecord {
        event: Some(wire::MasterEvent { event: Some(told) }),
        ..wire::InputRecord::default()
    };
    let (_, event) = event::decode(&record.encode_to_vec()).expect("it was well then");
    let Event::AgentRegisters { registration, .. } = event else { panic!("{event:?}") };
    assert_eq!((registration.info, registration.principal), (info, None));

    // Who told of a newer master was not kept either.
    let head = parts::deposed_by(BTreeMap::from([(None, Epoch(9))]));
    let mut record = state::write(&head);
    let Some(wire::part_record::Part::Head(form)) = &mut record.part else { panic!("it was a head") };
    (form.deposed_by, form.deposed) = (Some(9), Vec::new());
    assert_eq!(state::read(record).expect("it was well then"), head);
}
