//! Any valid domain value, for properties.

use std::time::Duration;

use bourse_types::*;
use bytes::Bytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ._-]{1,12}".prop_filter("a name", |text| text != "." && text != "..")
}

macro_rules! ids {
    ($($name:ident: $id:ident,)*) => {$(
        pub fn $name() -> impl Strategy<Value = $id> {
            text().prop_map(|text| $id::new(text).expect("the pattern gives ids"))
        }
    )*};
}

ids! {
    agent_id: AgentId,
    framework_id: FrameworkId,
    task_id: TaskId,
    executor_id: ExecutorId,
    container_id: ContainerId,
    principal: Principal,
}

pub fn role() -> impl Strategy<Value = Role> {
    "[a-c]{1,2}(/[a-c]{1,2}){0,2}".prop_map(|name| Role::new(name).expect("the pattern gives roles"))
}

pub fn labels() -> impl Strategy<Value = Labels> {
    vec(("[a-c]{0,2}", option::of("[x-z]{0,2}")), 0..3).prop_map(Labels::from_iter)
}

pub fn wall() -> impl Strategy<Value = Wall> {
    (0..9_000_000_000_000u64).prop_map(Wall::from_millis)
}

/// Whole milliseconds up to 28 years, as float seconds carry them exactly.
pub fn millis() -> impl Strategy<Value = Duration> {
    (0..900_000_000_000u64).prop_map(Duration::from_millis)
}

/// Whole nanoseconds, as far as the wire can say them.
pub fn nanos() -> impl Strategy<Value = Duration> {
    (0..=i64::MAX as u64).prop_map(Duration::from_nanos)
}

/// Up to a tenth of what a door takes, so that sums of a few can travel too.
fn milli() -> impl Strategy<Value = Milli> {
    (0..=100_000_000_000_000u64).prop_map(Milli::new)
}

fn ranges() -> impl Strategy<Value = Ranges> {
    let range = (any::<u64>(), 0..100u64).prop_map(|(begin, more)| begin..=begin.saturating_add(more));
    vec(range, 0..4).prop_map(|list| {
        let mut ranges = Ranges::new();
        list.into_iter().for_each(|range| ranges.insert(range));
        ranges
    })
}

fn value() -> impl Strategy<Value = ResourceValue> {
    prop_oneof![
        milli().prop_map(ResourceValue::Scalar),
        ranges().prop_map(ResourceValue::Ranges),
        btree_set("[a-z]{1,3}", 0..3)
            .prop_map(|items| ResourceValue::Set(ItemSet::of(items).expect("the pattern gives items"))),
    ]
}

/// A stack in which each role is below the one before.
fn stack() -> impl Strategy<Value = Vec<Reservation>> {
    let one = ("[a-c]{1,2}", option::of(principal()), labels());
    (vec(one, 0..4), any::<bool>()).prop_map(|(levels, is_static)| {
        let mut path = String::new();
        let reservation = |(at, (level, principal, labels)): (usize, (String, _, _))| {
            path = if at == 0 { level } else { format!("{path}/{level}") };
            let kind = if at == 0 && is_static { ReservationKind::Static } else { ReservationKind::Dynamic };
            Reservation { kind, role: Role::new(&path).expect("the pattern gives roles"), principal, labels }
        };
        levels.into_iter().enumerate().map(reservation).collect()
    })
}

fn disk() -> impl Strategy<Value = Disk> {
    let arc = || option::of("[a-z/]{0,4}".prop_map(std::sync::Arc::<str>::from));
    let kind = prop_oneof![
        Just(DiskSourceKind::Path),
        Just(DiskSourceKind::Mount),
        Just(DiskSourceKind::Block),
        Just(DiskSourceKind::Raw),
    ];
    let source = (kind, arc(), arc(), arc(), arc(), labels()).prop_map(
        |(kind, root, id, vendor, profile, metadata)| {
            let has_root = matches!(kind, DiskSourceKind::Path | DiskSourceKind::Mount);
            let root = root.filter(|_| has_root);
            Box::new(DiskSource { kind, root, id, vendor, profile, metadata })
        },
    );
    let persistence = ("[a-z]{1,3}", option::of(principal()))
        .prop_map(|(id, principal)| Persistence { id: id.into(), principal });
    let mode = prop_oneof![Just(VolumeMode::ReadWrite), Just(VolumeMode::ReadOnly)];
    let volume = ("[a-z]{1,3}", arc(), mode).prop_map(|(path, host_path, mode)| Volume {
        container_path: path.into(),
        host_path,
        mode,
    });
    (option::of(persistence), option::of(volume), option::of(source))
        .prop_map(|(persistence, volume, source)| Disk { persistence, volume, source })
}

fn resource() -> impl Strategy<Value = Resource> {
    let name = prop_oneof![Just("cpus".to_owned()), Just("mem".into()), Just("ports".into()), "[a-z]{1,4}"];
    let provider = option::weighted(0.1, "[a-z]{1,3}".prop_map(std::sync::Arc::<str>::from));
    let key = (name, stack(), option::weighted(0.3, disk()), any::<bool>(), any::<bool>(), provider)
        .prop_map(|(name, reservations, disk, revocable, shared, provider)| {
            let name = Name::new(name).expect("the pattern gives names");
            ResourceKey { name, reservations, disk, revocable, shared, provider }
        });
    (key, value()).prop_map(|(key, value)| Resource { key, value })
}

pub fn resources() -> impl Strategy<Value = Resources> {
    vec(resource(), 0..5).prop_map(Resources::from_iter)
}

/// What the form before RESERVATION_REFINEMENT can say: at most one reservation, and of a static one only the
/// role.
pub fn unrefined_resources() -> impl Strategy<Value = Resources> {
    resources().prop_map(|resources| {
        let simpler = resources.into_iter().map(|mut resource| {
            resource.key.reservations.truncate(1);
            for reservation in &mut resource.key.reservations {
                if reservation.kind == ReservationKind::Static {
                    reservation.principal = None;
                    reservation.labels = Labels::new();
                }
            }
            resource
        });
        simpler.collect()
    })
}

pub fn attributes() -> impl Strategy<Value = Attributes> {
    let value = prop_oneof![
        ".{0,4}".prop_map(AttributeValue::text),
        milli().prop_map(AttributeValue::Scalar),
        ranges().prop_map(AttributeValue::Ranges),
    ];
    vec(("[a-c]{1,2}", value), 0..4).prop_map(Attributes::from_iter)
}

fn quantities() -> impl Strategy<Value = Quantities> {
    let name = "[a-z]{1,4}".prop_map(|name| Name::new(name).expect("the pattern gives names"));
    btree_map(name, milli(), 0..3).prop_map(Quantities::from_iter)
}

pub fn framework() -> impl Strategy<Value = FrameworkInfo> {
    let capabilities = any::<[bool; 8]>().prop_map(|has| Capabilities {
        partition_aware: has[0],
        task_killing: has[1],
        revocable: has[2],
        gpu: has[3],
        shared: has[4],
        multi_role: has[5],
        reservation_refinement: has[6],
        region_aware: has[7],
    });
    let who = (option::of(framework_id()), ".{0,6}", ".{0,6}", option::of(principal()), option::of(".{0,6}"));
    let what = (btree_set(role(), 1..4), millis(), any::<bool>(), capabilities, labels());
    (who, what, btree_map(role(), vec(quantities(), 0..3), 0..3)).prop_map(|(who, what, min_allocatable)| {
        let (id, name, user, principal, webui_url) = who;
        let (roles, failover_timeout, checkpoint, capabilities, labels) = what;
        let wanted = if capabilities.multi_role { roles.len() } else { 1 };
        FrameworkInfo {
            id,
            name,
            user,
            principal,
            roles: roles.into_iter().take(wanted).collect(),
            failover_timeout,
            checkpoint,
            hostname: webui_url.clone(),
            webui_url,
            capabilities,
            labels,
            min_allocatable,
        }
    })
}

pub fn agent() -> impl Strategy<Value = AgentInfo> {
    let address =
        ("[a-z0-9.-]{1,8}|::1|fe80::1", 1..=u16::MAX).prop_map(|(host, port)| Address { host, port });
    (".{0,6}", address, attributes(), resources(), ".{0,6}").prop_map(
        |(hostname, address, attributes, total, version)| AgentInfo {
            hostname,
            address,
            attributes,
            total,
            version,
        },
    )
}

pub fn command() -> impl Strategy<Value = Command> {
    let text = || "[^\0]{0,6}";
    (any::<bool>(), "[^\0]{1,6}", vec(text(), 0..3), vec(("[^\0=]{1,4}", text()), 0..3), option::of(".{0,4}"))
        .prop_map(|(shell, value, arguments, environment, user)| Command {
            shell,
            value: Some(value),
            arguments,
            environment,
            user,
        })
}

pub fn health() -> impl Strategy<Value = HealthCheck> {
    let http = (1..=u16::MAX, "/[a-z/]{0,4}", any::<bool>(), vec(100..600u16, 0..3)).prop_map(
        |(port, path, secure, statuses)| {
            let scheme = if secure { Scheme::Https } else { Scheme::Http };
            HealthKind::Http { port, path, scheme, statuses }
        },
    );
    let kind = prop_oneof![
        http,
        (1..=u16::MAX).prop_map(|port| HealthKind::Tcp { port }),
        command().prop_map(HealthKind::Command),
    ];
    (kind, millis(), millis(), millis(), any::<u32>(), millis()).prop_map(
        |(kind, delay, interval, timeout, consecutive_failures, grace_period)| HealthCheck {
            kind,
            delay,
            interval,
            timeout,
            consecutive_failures,
            grace_period,
        },
    )
}

fn volumes() -> impl Strategy<Value = Vec<Volume>> {
    let modes = prop_oneof![Just(VolumeMode::ReadWrite), Just(VolumeMode::ReadOnly)];
    let volume =
        ("/?[a-z]{1,4}(/[a-z .]{3}x)?", modes).prop_map(|(host, mode)| (Some(host.as_str().into()), mode));
    // The container's paths differ.
    vec(volume, 0..3).prop_map(|some| {
        let place = |(at, (host_path, mode)): (usize, (Option<std::sync::Arc<str>>, VolumeMode))| Volume {
            container_path: format!("/v{at}").into(),
            host_path,
            mode,
        };
        some.into_iter().enumerate().map(place).collect()
    })
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    let network = prop_oneof![Just(Network::Host), Just(Network::Loopback)];
    let users = prop_oneof![Just(Users::Machine), Just(Users::Own)];
    (network, users).prop_map(|(network, users)| Namespaces { network, users })
}

fn rootfs() -> impl Strategy<Value = Rootfs> {
    "(/[a-z .]{3}x){1,3}".prop_map(|path| Rootfs::new(&path).expect("it goes down"))
}

fn controls() -> impl Strategy<Value = Controls> {
    let size = (10..40u32).prop_map(|power| PageSize::from_bytes(1 << power).expect("a power of two"));
    let huge_pages = btree_map(size, milli(), 0..3);
    let numbers = (option::of(1..=u64::MAX), option::of(1..=10_000u64), 0..=1000u64);
    let some = (milli(), milli(), numbers, huge_pages).prop_map(
        |(cpu_burst, swap, (pids, io_weight, oom_score), huge_pages)| Controls {
            cpu_burst,
            swap,
            pids: pids.map(|number| Pids::new(number).expect("1 at least")),
            io_weight: io_weight.map(|weight| IoWeight::new(weight).expect("in its range")),
            huge_pages,
            oom_score: OomScore::new(oom_score).expect("in its range"),
        },
    );
    prop_oneof![Just(Controls::default()), some]
}

pub fn task() -> impl Strategy<Value = TaskSpec> {
    let whose = (task_id(), ".{0,6}", framework_id(), agent_id(), role());
    let cpus = Resource::scalar(Name::cpus(), Milli::new(1));
    let some = resources().prop_map(move |mut resources| {
        resources.insert(cpus.clone());
        resources
    });
    let limited = prop_oneof![Just(Name::cpus()), Just(Name::mem())];
    let limits = btree_map(limited, option::of(milli()), 0..3);
    let how = (
        some,
        limits,
        (command(), option::of(rootfs()), volumes(), (controls(), namespaces(), any::<bool>())),
        option::of(health()),
        option::of(nanos()),
        option::of(nanos()),
        labels(),
    );
    (whose, how).prop_map(|((id, name, framework, agent, role), how)| {
        let (mut resources, limits, what, health, grace, max_completion_time, labels) = how;
        let (command, rootfs, volumes, (controls, namespaces, exclusive_cpus)) = what;
        // A network of its own is reached by commands only.
        let reaches =
            |check: &HealthCheck| namespaces.network == Network::Host || !check.kind.asks_the_network();
        let health = health.filter(reaches);
        if exclusive_cpus {
            // Only whole cpus can be had for oneself.
            let missing = 1000 - resources.cpus().thousandths() % 1000;
            resources.insert(Resource::scalar(Name::cpus(), Milli::new(missing)));
        }
        TaskSpec {
            id,
            name,
            framework,
            agent,
            role,
            resources,
            limits,
            controls,
            exclusive_cpus,
            command,
            rootfs,
            volumes,
            namespaces,
            health,
            kill_policy: KillPolicy { grace },
            max_completion_time,
            labels,
        }
    })
}

/// One that the form before refinement can say as well.
pub fn size() -> impl Strategy<Value = Size> {
    let limited = prop_oneof![Just(Name::cpus()), Just(Name::mem())];
    let cpus = Resource::scalar(Name::cpus(), Milli::new(1));
    (unrefined_resources(), btree_map(limited, option::of(milli()), 0..3)).prop_map(
        move |(mut resources, limits)| {
            resources.insert(cpus.clone());
            Size { resources, limits }
        },
    )
}

pub fn status() -> impl Strategy<Value = TaskStatus> {
    let ids = (task_id(), option::of(agent_id()), option::of(executor_id()));
    let state = (
        proptest::sample::select(TaskState::ALL),
        proptest::sample::select(Source::ALL),
        option::of(proptest::sample::select(Reason::ALL)),
        option::of(".{0,6}"),
        wall(),
    );
    let container = (container_id(), option::of(any::<u32>()))
        .prop_map(|(container_id, pid)| ContainerStatus { container_id, pid });
    let exit = prop_oneof![(0..256i32).prop_map(Exit::Code), (1..65i32).prop_map(Exit::Signal)];
    let rest = (
        option::of(any::<[u8; 16]>()),
        option::of(any::<bool>()),
        labels(),
        vec(any::<u8>(), 0..4),
        option::of(wall()),
        unrefined_resources(),
        option::of(container),
        option::of(exit),
        option::of(size()),
    );
    (ids, state, rest).prop_map(|((task_id, agent_id, executor_id), state, rest)| {
        let (state, source, reason, message, timestamp) = state;
        let (uuid, healthy, labels, data, unreachable_since, limitation, container, exit, size) = rest;
        TaskStatus {
            task_id,
            agent_id,
            executor_id,
            state,
            source,
            reason,
            message,
            timestamp,
            uuid,
            healthy,
            labels,
            data: Bytes::from(data),
            unreachable_since,
            limitation,
            container,
            exit,
            size: size.map(Box::new),
        }
    })
}

pub fn owner(task: &TaskSpec) -> bourse_wire::task::Owner {
    bourse_wire::task::Owner { framework: task.framework.clone(), role: task.role.clone() }
}
