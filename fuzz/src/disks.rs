//! What lies on disks: of a master, an agent, a container, a service framework.

use std::sync::Arc;

use bourse_agent::readers as agent;
use bourse_agent_core::{Record as Kept, TaskKey};
use bourse_frames::Frame;
use bourse_hostile::{judged, soon};
use bourse_init::plan::{LogLimits, Logs, Place, Plan};
use bourse_init::record::{Failure, Record};
use bourse_init::step::Step;
use bourse_master::disk::{BadRecord, event, history, registry, state};
use bourse_master::history::Stamped;
use bourse_master::wire::agent::read_register;
use bourse_master_core::history::{Entry, Kind};
use bourse_master_core::{Config, Event, LinkId, Master, Snapshot, StreamId, Subscription};
use bourse_proto::disk::PartRecord;
use bourse_service_framework::disk::{self as services, service_key, service_value};
use bourse_service_framework::wanted::Wanted;
use bourse_types::{
    AgentId, Epoch, FrameworkId, FrameworkInfo, MasterId, Now, Role, Size, Source, TaskId, TaskState,
    TaskStatus, Wall,
};
use prost::Message as _;

use crate::{Target, samples};

pub const TARGETS: &[Target] = &[
    Target { name: "input", samples: inputs, try_it: read_input },
    Target { name: "registry", samples: records, try_it: read_record },
    Target { name: "history", samples: entries, try_it: read_entry },
    Target { name: "part", samples: parts, try_it: read_part },
    Target { name: "frames", samples: framed, try_it: read_frames },
    Target { name: "checkpoint", samples: checkpoints, try_it: read_checkpoint },
    Target { name: "plan", samples: plans, try_it: read_plan },
    Target { name: "exit-record", samples: ends, try_it: read_end },
    Target { name: "service-state", samples: services_kept, try_it: read_services },
];

/// What a master is told: an agent, a framework, some time.
fn events() -> Vec<Event> {
    let registration = read_register(samples::register()).expect("a good one");
    let mut info = FrameworkInfo::new("batch");
    info.roles = vec![Role::any()];
    let subscription = Subscription { info, suppressed: Vec::new(), principal: None };
    vec![
        Event::AgentRegisters { link: LinkId(1), registration: Box::new(registration) },
        Event::Subscribes { stream: StreamId(1), subscription: Box::new(subscription) },
        Event::Tick,
    ]
}

fn inputs() -> Vec<Vec<u8>> {
    events().iter().map(|event| event::encode(Now::default(), event)).collect()
}

fn read_input(bytes: &[u8]) -> bool {
    let Some((now, event)) = judged(|| event::decode(bytes)) else { return false };
    let again = event::decode(&event::encode(now, &event)).expect("it was taken as it was");
    assert_eq!(again, (now, event));
    true
}

/// A master that was told all that.
fn master() -> Master {
    let id = MasterId::new("m").expect("an id");
    let mut master = Master::new(Config::default(), Epoch(7), id, 0, Snapshot::default(), Now::default());
    for event in events() {
        master.apply(Now::default(), event, &mut Vec::new());
    }
    master
}

fn records() -> Vec<Vec<u8>> {
    let records = registry::all(&master().snapshot()).into_iter();
    records.filter_map(|record| Some([record.key.as_bytes(), b"\n", &record.value?].concat())).collect()
}

/// No key is longer: it is the name of a file, or of what has an id. A refusal shows it whole.
const KEY_MAX: usize = 255;

/// The key is the first line.
fn keyed(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().take(KEY_MAX + 1).position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn read_record(bytes: &[u8]) -> bool {
    let Some((key, value)) = keyed(bytes) else { return false };
    let mut read = Snapshot::default();
    if judged(|| registry::read(key.as_bytes(), value, &mut read)).is_none() {
        return false;
    }
    let mut again = Snapshot::default();
    for registry::Record { key, value } in registry::all(&read) {
        let value = value.unwrap_or_default();
        registry::read(key.as_bytes(), &value, &mut again).expect("it was taken as it was");
    }
    assert_eq!(again, read);
    true
}

fn entries() -> Vec<Vec<u8>> {
    let entry = Entry {
        kind: Kind::Agent,
        summary: "agent S1 was admitted".to_owned(),
        agent: Some(AgentId::new("S1").expect("an id")),
        framework: None,
        task: None,
        role: None,
        reason: Some("REASON".to_owned()),
        principal: None,
    };
    vec![history::encode(&Stamped { sequence: 7, at: Wall(7), entry: Arc::new(entry) })]
}

fn read_entry(bytes: &[u8]) -> bool {
    let Some(stamped) = judged(|| history::decode(7, bytes)) else { return false };
    let again = history::decode(7, &history::encode(&stamped)).expect("it was taken as it was");
    assert_eq!(again, stamped);
    true
}

fn parts() -> Vec<Vec<u8>> {
    master().parts().map(|part| state::write(&part).encode_to_vec()).collect()
}

fn read_part(bytes: &[u8]) -> bool {
    let read = || PartRecord::decode(bytes).map_err(BadRecord::from).and_then(state::read);
    let Some(part) = judged(read) else { return false };
    let again = state::read(state::write(&part)).expect("it was taken as it was");
    assert_eq!(again, part);
    true
}

fn framed() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    for payload in [&b"one"[..], b"", b"three"] {
        bourse_frames::write(payload, &mut bytes);
    }
    vec![bytes]
}

fn read_frames(bytes: &[u8]) -> bool {
    let (mut rest, mut again) = (bytes, Vec::new());
    while let Frame::Whole { payload, after } = bourse_frames::split(rest) {
        bourse_frames::write(payload, &mut again);
        rest = after;
    }
    assert_eq!(again, bytes[..bytes.len() - rest.len()], "something was read that is not there");
    !again.is_empty()
}

fn checkpoints() -> Vec<Vec<u8>> {
    let framework = FrameworkId::new("F").expect("an id");
    let task = TaskKey { framework: framework.clone(), task: TaskId::new("t1").expect("an id") };
    let mut info = FrameworkInfo::new("batch");
    (info.id, info.user, info.roles) = (Some(framework.clone()), "nobody".to_owned(), vec![Role::any()]);
    let mut status =
        TaskStatus::new(task.task.clone(), TaskState::Running, Source::Executor, Wall::from_millis(1_500));
    status.uuid = Some([7; 16]);
    let size = Size::of("cpus:2; mem:64".parse().expect("valid"));
    let records = [
        Kept::Admitted { agent: AgentId::new("S1").expect("an id") },
        Kept::EpochSeen { epoch: Epoch(7) },
        Kept::Booted { boot: "b".to_owned() },
        Kept::FrameworkKnown { framework, info: Box::new(info) },
        Kept::UpdateMade { task: task.clone(), status: Box::new(status) },
        Kept::CoresTaken { task: task.clone(), cores: [0, 3].into() },
        Kept::ResizeBegun { task: task.clone(), size: Box::new(size) },
        Kept::TaskForgotten { task },
    ];
    let each = records.iter().map(|record| agent::write_records([record]));
    each.chain([agent::write_records(&records)]).collect()
}

fn read_checkpoint(bytes: &[u8]) -> bool {
    let Some(records) = judged(|| agent::read_records(bytes)) else { return false };
    let again = agent::read_records(&agent::write_records(&records)).expect("they were taken as they were");
    assert_eq!(again, records);
    true
}

fn plans() -> Vec<Vec<u8>> {
    let limits = LogLimits { file_bytes: 1 << 20, files: 2, bytes_per_second: 3 };
    let plan = Plan {
        place: Place::Host,
        argv: vec!["true".into()],
        env: vec!["PATH=/bin".into()],
        cwd: "/tmp".into(),
        identity: None,
        open_files: 1 << 33,
        filters: vec![vec![6, 0, 0, 0, 0, 0, 255, 127]],
        logs: Some(Logs { directory: "/s".into(), limits }),
        record: Some("/r/exit".into()),
        init_groups: vec![],
        task_groups: vec![],
        oom_score: 300,
        own_network: true,
        users: None,
        task_group: None,
    };
    vec![plan.encode()]
}

fn read_plan(bytes: &[u8]) -> bool {
    let Some(plan) = judged(|| Plan::decode(bytes)) else { return false };
    assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
    true
}

fn ends() -> Vec<Vec<u8>> {
    let failure = Failure { step: Step::Exec, errno: 2, detail: "/usr/bin/nginy".into() };
    vec![
        Record::Exited { code: 3, wall_ms: 1_700_000_000_123 }.encode(),
        Record::Signaled { signal: 9, wall_ms: 1 }.encode(),
        Record::Failed(failure).encode(),
    ]
}

fn read_end(bytes: &[u8]) -> bool {
    let Some(record) = soon(|| Record::decode(bytes)) else { return false };
    assert_eq!(Record::decode(&record.encode()), Some(record));
    true
}

/// Bytes of the checksum in front of the JSON, and the space behind it.
const SUM: usize = 9;

fn services_kept() -> Vec<Vec<u8>> {
    let mut wanted = Wanted::new(vec![]);
    wanted.deploy("name = \"web\"\ncommand = \"serve\"\nports = [\"http\"]\n", "web.toml").expect("right");
    let kept = wanted.services.iter().map(|(name, service)| (service_key(name), service_value(service)));
    let kept = kept.chain([(services::next_key(), services::next_value(7))]);
    kept.map(|(key, value)| [key.as_bytes(), b"\n", &value[SUM..]].concat()).collect()
}

/// The checksum is made right: what is only damaged comes no further than that.
fn read_services(bytes: &[u8]) -> bool {
    let Some((key, json)) = keyed(bytes) else { return false };
    let value = [format!("{:08x} ", crc32fast::hash(json)).as_bytes(), json].concat();
    judged(|| services::read(vec![], [(key, value.as_slice())])).is_some()
}
