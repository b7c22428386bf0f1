//! What is wrong is refused by its path, with what is wrong and what to do.

use std::fmt::Display;

use bourse_proto::v1;
use bourse_types::{FrameworkId, Role};
use bourse_wire::task::Owner;
use bourse_wire::{framework, health, linux_info, resources, status, task, volumes};
use expect_test::{Expect, expect};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn scalar(name: &str, units: f64) -> v1::Resource {
    v1::Resource {
        name: text(name),
        r#type: Some(v1::value::Type::Scalar as i32),
        scalar: Some(v1::value::Scalar { value: Some(units) }),
        ..Default::default()
    }
}

fn valid_task() -> v1::TaskInfo {
    v1::TaskInfo {
        name: text("t"),
        task_id: Some(v1::TaskId { value: text("t1") }),
        agent_id: Some(v1::AgentId { value: text("a1") }),
        resources: vec![scalar("cpus", 1.0), scalar("mem", 64.0)],
        command: Some(v1::CommandInfo { value: text("true"), ..Default::default() }),
        ..Default::default()
    }
}

/// Each change to a valid message and the refusal that it brings, a line each.
fn check<M: Clone, T, E: Display>(
    valid: &M,
    read: impl Fn(&M) -> Result<T, E>,
    changes: &[&dyn Fn(&mut M)],
    refusals: Expect,
) {
    if let Err(refused) = read(valid) {
        panic!("the valid message is refused: {refused}");
    }
    let mut lines = String::new();
    for change in changes {
        let mut changed = valid.clone();
        change(&mut changed);
        let refused = read(&changed).err().map_or("accepted".to_owned(), |refused| refused.to_string());
        lines.push_str(&format!("{refused}\n"));
    }
    refusals.assert_eq(&lines);
}

#[test]
fn a_resource_is_refused_with_the_remedy() {
    use v1::resource::{ReservationInfo, disk_info, reservation_info::Type};
    let reserved = |kind: Type, role: &str| ReservationInfo {
        r#type: Some(kind as i32),
        role: text(role),
        ..Default::default()
    };
    check(
        &scalar("cpus", 1.0),
        resources::read_one,
        &[
            &|r| r.name = None,
            &|r| r.r#type = None,
            &|r| r.r#type = Some(77),
            &|r| r.r#type = Some(v1::value::Type::Text as i32),
            &|r| r.scalar = None,
            &|r| r.scalar = Some(v1::value::Scalar { value: None }),
            &|r| r.scalar = Some(v1::value::Scalar { value: Some(-1.0) }),
            &|r| r.scalar = Some(v1::value::Scalar { value: Some(f64::NAN) }),
            &|r| r.scalar = Some(v1::value::Scalar { value: Some(1e300) }),
            &|r| r.set = Some(v1::value::Set::default()),
            &|r| r.reservation = Some(ReservationInfo::default()),
            &|r| r.reservations = vec![ReservationInfo::default()],
            &|r| r.reservations = vec![reserved(Type::Dynamic, "*")],
            &|r| r.reservations = vec![reserved(Type::Dynamic, "eng"), reserved(Type::Dynamic, "web")],
            &|r| r.reservations = vec![reserved(Type::Static, "eng"), reserved(Type::Static, "eng/web")],
            &|r| {
                let source = disk_info::Source { r#type: Some(0), ..Default::default() };
                r.disk = Some(v1::resource::DiskInfo { source: Some(source), ..Default::default() });
            },
        ],
        expect![[r#"
            name: the field is required and was not sent; set it
            type: the field is required and was not sent; set it
            type: 77 is not the number of a value type; send 0 (SCALAR), 1 (RANGES) or 2 (SET)
            type: a resource cannot be TEXT; send SCALAR, RANGES or SET
            scalar: the field is required and was not sent; set it
            scalar.value: the field is required and was not sent; set it
            scalar.value: cpus is -1; it must be a number from 0 to 1e12
            scalar.value: cpus is NaN; it must be a number from 0 to 1e12
            scalar.value: cpus is 1e300; it must be a number from 0 to 1e12
            set: the type is SCALAR, but this value is set too; leave it out
            role: role * means unreserved; name the role that the reservation is for, or leave the reservation out
            reservations[0].type: the reservation is neither STATIC nor DYNAMIC; set its type
            reservations[0].role: role * means unreserved; name the role that the reservation is for, or leave the reservation out
            reservations[1].role: role web does not refine eng; name a role below it, such as eng/web
            reservations[1].type: only the first reservation of a stack can be STATIC; send DYNAMIC
            disk.source.type: 0 is not a value of Resource.DiskInfo.Source.Type that this release knows; leave it out or send a known one
        "#]],
    );
}

#[test]
fn ranges_are_refused_with_the_remedy() {
    let ports = v1::Resource {
        name: text("ports"),
        r#type: Some(v1::value::Type::Ranges as i32),
        ranges: Some(v1::value::Ranges { range: vec![v1::value::Range { begin: Some(1), end: Some(2) }] }),
        ..Default::default()
    };
    let range = |begin, end| Some(v1::value::Ranges { range: vec![v1::value::Range { begin, end }] });
    check(
        &ports,
        resources::read_one,
        &[&|r| r.ranges = range(Some(2), Some(1)), &|r| r.ranges = range(Some(2), None), &|r| {
            r.r#type = Some(v1::value::Type::Set as i32);
            r.ranges = None;
            r.set = Some(v1::value::Set { item: vec!["a".into(), "b,c".into()] });
        }],
        expect![[r#"
            ranges.range[0]: the range 2-1 ends before it begins; send the smaller number as begin
            ranges.range[0].end: the field is required and was not sent; set it
            set.item[1]: the item "b,c" is empty or holds a comma, semicolon, brace or control character; rename it
        "#]],
    );
}

#[test]
fn a_task_is_refused_with_the_remedy() {
    let owner = || Owner { framework: FrameworkId::new("f").expect("valid"), role: Role::any() };
    let container = |kind: v1::container_info::Type| v1::ContainerInfo {
        r#type: Some(kind as i32),
        ..Default::default()
    };
    let with_root = |path: &str| v1::ContainerInfo {
        mesos: Some(v1::container_info::MesosInfo { rootfs: text(path), ..Default::default() }),
        ..container(v1::container_info::Type::Mesos)
    };
    let with_own_network = || v1::ContainerInfo {
        linux_info: Some(v1::LinuxInfo { own_network: Some(true), ..Default::default() }),
        ..container(v1::container_info::Type::Mesos)
    };
    let with_linux = |linux: v1::LinuxInfo| v1::ContainerInfo {
        linux_info: Some(linux),
        ..container(v1::container_info::Type::Mesos)
    };
    let alone = || with_linux(v1::LinuxInfo { exclusive_cpus: Some(true), ..Default::default() });
    check(
        &valid_task(),
        |form| task::read(form, owner()),
        &[
            &|t| t.container = Some(container(v1::container_info::Type::Mesos)),
            &|t| t.task_id = None,
            &|t| t.resources.clear(),
            &|t| t.resources = vec![scalar("cpus", 0.0)],
            &|t| t.resources[1] = scalar("mem", -1.0),
            &|t| resources::allocate(&mut t.resources[1..], &Role::new("web").expect("valid")),
            &|t| t.command = None,
            &|t| {
                let uri = v1::command_info::Uri { value: text("http://x/y"), ..Default::default() };
                t.command = Some(v1::CommandInfo { uris: vec![uri], ..Default::default() });
            },
            &|t| {
                let variable = v1::environment::Variable { name: text("A"), ..Default::default() };
                let environment = Some(v1::Environment { variables: vec![variable] });
                t.command = Some(v1::CommandInfo { environment, ..Default::default() });
            },
            &|t| t.executor = Some(v1::ExecutorInfo::default()),
            &|t| t.container = Some(container(v1::container_info::Type::Docker)),
            &|t| {
                let hostname = text("h");
                t.container =
                    Some(v1::ContainerInfo { hostname, ..container(v1::container_info::Type::Mesos) });
            },
            &|t| t.container = Some(with_root("/srv/web.tar")),
            &|t| t.container = Some(with_root("srv/web")),
            &|t| t.container = Some(with_own_network()),
            &|t| {
                t.container = Some(with_own_network());
                t.health_check = Some(v1::HealthCheck {
                    r#type: Some(v1::health_check::Type::Tcp as i32),
                    tcp: Some(v1::health_check::TcpCheckInfo { port: Some(80), ..Default::default() }),
                    ..Default::default()
                });
            },
            &|t| {
                let linux_info = Some(v1::LinuxInfo { shm_size: Some(1), ..Default::default() });
                t.container =
                    Some(v1::ContainerInfo { linux_info, ..container(v1::container_info::Type::Mesos) });
            },
            &|t| {
                let linux_info = Some(v1::LinuxInfo { oom_score: Some(1001), ..Default::default() });
                t.container =
                    Some(v1::ContainerInfo { linux_info, ..container(v1::container_info::Type::Mesos) });
            },
            &|t| t.container = Some(alone()),
            &|t| {
                t.resources[0] = scalar("cpus", 1.5);
                t.container = Some(alone());
            },
            &|t| {
                t.limits.insert("mem".into(), v1::value::Scalar { value: Some(f64::NEG_INFINITY) });
            },
            &|t| {
                t.limits.insert("gpus".into(), v1::value::Scalar { value: Some(1.0) });
            },
            &|t| t.max_completion_time = Some(v1::DurationInfo { nanoseconds: Some(-1) }),
            &|t| t.labels = Some(v1::Labels { labels: vec![v1::Label::default()] }),
        ],
        expect![[r#"
            accepted
            task_id: the field is required and was not sent; set it
            resources: the task uses no resources; give it at least cpus and mem
            resources: the task uses no resources; give it at least cpus and mem
            resources[1].scalar.value: mem is -1; it must be a number from 0 to 1e12
            resources[1].allocation_info.role: allocated to role web, but the offer was to *; send the offer's allocation_info or none
            command: the task has no command; set it
            command.uris: this release does not fetch files; leave uris out and let the command fetch what it needs
            command.environment.variables[0].value: the field is required and was not sent; set it
            executor: this release runs plain command tasks; leave executor out
            container.type: this release runs plain command tasks; leave container.type out
            container.hostname: this release runs plain command tasks; leave container.hostname out
            accepted
            container.mesos.rootfs: "srv/web" can be no task's root; write the absolute path of a directory or a tar file, without empty parts, `.` and `..`, and not as /
            accepted
            health_check.type: the task has a network of its own, where checks by HTTP and TCP do not reach it; use a command check, which runs inside
            container.linux_info.shm_size: this release's agents decide that for every task; leave shm_size out
            container.linux_info.oom_score: the OOM score is 1001; it must be from 0 to 1000
            accepted
            container.linux_info.exclusive_cpus: the task wants 1.5 cpus for itself alone; take a whole number of them
            limits["mem"].value: mem is -inf; it must be a number from 0 to 1e12
            limits["gpus"]: "gpus" cannot have a limit; limits are for cpus and mem
            max_completion_time.nanoseconds: -1 ns is negative; send 0 or more
            labels.labels[0].key: the field is required and was not sent; set it
        "#]],
    );
}

#[test]
fn a_setting_of_linux_is_refused_with_the_remedy() {
    use v1::linux_info::HugePages;
    let pages = |page_bytes, mem| HugePages { page_bytes: Some(page_bytes), mem: Some(mem) };
    let valid = v1::LinuxInfo {
        cpu_burst: Some(0.5),
        swap: Some(64.0),
        pids: Some(100),
        io_weight: Some(10_000),
        huge_pages: vec![pages(2 << 20, 64.0), pages(1 << 30, 0.0)],
        oom_score: Some(1000),
        ..Default::default()
    };
    check(
        &valid,
        |form| linux_info::read(Some(form)),
        &[
            &|l| l.cpu_burst = Some(-0.5),
            &|l| l.swap = Some(f64::INFINITY),
            &|l| l.pids = Some(0),
            &|l| l.io_weight = Some(10_001),
            &|l| l.oom_score = Some(u32::MAX),
            &|l| l.huge_pages[1].page_bytes = None,
            &|l| l.huge_pages[1].mem = Some(-1.0),
            &|l| l.huge_pages[1] = pages(3 << 20, 1.0),
            &|l| l.huge_pages[1] = pages(2 << 20, 1.0),
            &|l| l.effective_capabilities = Some(v1::CapabilityInfo::default()),
            &|l| l.shm_size = Some(64),
        ],
        expect![[r#"
            cpu_burst: cpu_burst is -0.5; it must be a number from 0 to 1e12
            swap: swap is inf; it must be a number from 0 to 1e12
            pids: a task without a process cannot run; let it have 1 at least
            io_weight: the io weight is 10001; it must be from 1 to 10000
            oom_score: the OOM score is 4294967295; it must be from 0 to 1000
            huge_pages[1].page_bytes: the field is required and was not sent; set it
            huge_pages[1].mem: mem is -1; it must be a number from 0 to 1e12
            huge_pages[1].page_bytes: no page has the size "3145728B"; name a size of huge pages, such as 2MiB
            huge_pages[1]: huge pages of 2MiB have two amounts; give them one
            effective_capabilities: this release's agents decide that for every task; leave effective_capabilities out
            shm_size: this release's agents decide that for every task; leave shm_size out
        "#]],
    );
}

#[test]
fn a_volume_is_refused_with_the_remedy() {
    use v1::volume::source::{HostPath, SandboxPath, Type, sandbox_path};
    let from = |kind: Type| v1::volume::Source { r#type: Some(kind as i32), ..Default::default() };
    let in_sandbox = |whose: sandbox_path::Type, path: &str| v1::volume::Source {
        sandbox_path: Some(SandboxPath { r#type: Some(whose as i32), path: text(path) }),
        ..from(Type::SandboxPath)
    };
    let host = HostPath { path: text("/srv"), ..Default::default() };
    let valid = v1::Volume {
        mode: Some(v1::volume::Mode::Ro as i32),
        container_path: text("/data"),
        host_path: text("/srv"),
        ..Default::default()
    };
    check(
        &vec![valid],
        |forms| volumes::read(forms),
        &[
            &|v| v[0].mode = None,
            &|v| v[0].mode = Some(7),
            &|v| v[0].host_path = None,
            &|v| v[0].host_path = text("/a/../b"),
            &|v| v[0].container_path = text("/proc/1"),
            &|v| v[0].image = Some(v1::Image::default()),
            &|v| v[0].source = Some(from(Type::HostPath)),
            &|v| {
                (v[0].host_path, v[0].source) = (
                    None,
                    Some(v1::volume::Source { host_path: Some(host.clone()), ..from(Type::HostPath) }),
                );
            },
            &|v| (v[0].host_path, v[0].source) = (None, Some(from(Type::Secret))),
            &|v| (v[0].host_path, v[0].source) = (None, Some(in_sandbox(sandbox_path::Type::Self_, "cache"))),
            &|v| (v[0].host_path, v[0].source) = (None, Some(in_sandbox(sandbox_path::Type::Self_, "/a"))),
            &|v| (v[0].host_path, v[0].source) = (None, Some(in_sandbox(sandbox_path::Type::Parent, "a"))),
            &|v| v.push(v[0].clone()),
        ],
        expect![[r#"
            [0].mode: the field is required and was not sent; set it
            [0].mode: 7 is no mode of a volume; send RW or RO
            [0]: the volume has no host path; set it
            [0]: the host path "/a/../b" is empty or goes up; write it without empty parts, `.` and `..`
            [0]: the container path "/proc/1" is empty, goes up, or is each container's own; write it without empty parts, `.` and `..`, and not as / or in /proc, /sys or /dev
            [0].image: this release mounts paths of the machine and of the task's own sandbox; leave image out
            [0]: host_path and source both say where the volume is from; leave one out
            accepted
            [0].source.type: this release mounts paths of the machine and of the task's own sandbox; leave source.type out
            accepted
            [0].source.sandbox_path.path: the host path "/a" is empty or goes up; write it without empty parts, `.` and `..`
            [0].source.sandbox_path of a parent: this release mounts paths of the machine and of the task's own sandbox; leave source.sandbox_path of a parent out
            two volumes have the container path "/data"; give each its own
        "#]],
    );
}

#[test]
fn a_health_check_is_refused_with_the_remedy() {
    use v1::health_check::{HttpCheckInfo, TcpCheckInfo, Type};
    let http = || HttpCheckInfo { port: Some(80), ..Default::default() };
    let valid = v1::HealthCheck { r#type: Some(Type::Http as i32), http: Some(http()), ..Default::default() };
    check(
        &valid,
        health::read,
        &[
            &|c| c.r#type = None,
            &|c| c.http = None,
            &|c| c.tcp = Some(TcpCheckInfo::default()),
            &|c| c.http = Some(HttpCheckInfo { port: Some(0), ..http() }),
            &|c| c.http = Some(HttpCheckInfo { port: Some(65536), ..http() }),
            &|c| c.http = Some(HttpCheckInfo { path: text("health"), ..http() }),
            &|c| c.http = Some(HttpCheckInfo { scheme: text("ftp"), ..http() }),
            &|c| c.http = Some(HttpCheckInfo { statuses: vec![200, 700], ..http() }),
            &|c| c.http = Some(HttpCheckInfo { protocol: Some(2), ..http() }),
            &|c| c.delay_seconds = Some(-1.0),
            &|c| c.interval_seconds = Some(f64::INFINITY),
        ],
        expect![[r#"
            type: the health check is neither COMMAND, HTTP nor TCP; set its type
            http: the field is required and was not sent; set it
            tcp: the type is HTTP, but this part is set too; leave it out
            http.port: 0 is no port; send a number from 1 to 65535
            http.port: 65536 is no port; send a number from 1 to 65535
            http.path: the path "health" does not begin with a slash; write it as /health
            http.scheme: the scheme "ftp" is not known; send http or https
            http.statuses[1]: 700 is no HTTP status; send numbers from 100 to 599
            http.protocol: this release checks health over IPv4 only; leave the protocol out
            delay_seconds: -1 s is no span of time; send a number from 0 to 1e10
            interval_seconds: inf s is no span of time; send a number from 0 to 1e10
        "#]],
    );
}

#[test]
fn a_framework_is_refused_with_the_remedy() {
    use v1::framework_info::{Capability, capability};
    let multi_role = || vec![Capability { r#type: Some(capability::Type::MultiRole as i32) }];
    let valid = v1::FrameworkInfo { name: text("f"), user: text("nobody"), ..Default::default() };
    check(
        &valid,
        framework::read,
        &[
            &|f| f.user = None,
            &|f| f.roles = vec!["a".into()],
            &|f| {
                f.capabilities = multi_role();
                f.role = text("a");
            },
            &|f| {
                f.capabilities = multi_role();
                f.roles = vec!["a".into(), "b".into(), "a".into()];
            },
            &|f| f.failover_timeout = Some(-1.0),
            &|f| f.failover_timeout = Some(1e11),
            &|f| {
                let quantities =
                    [("cpus".to_owned(), v1::value::Scalar { value: Some(-1.0) })].into_iter().collect();
                let quantities = vec![v1::offer_filters::ResourceQuantities { quantities }];
                let minimum = v1::offer_filters::MinAllocatableResources { quantities };
                let filters = v1::OfferFilters { min_allocatable_resources: Some(minimum) };
                f.offer_filters.insert("web".into(), filters);
            },
        ],
        expect![[r#"
            user: the field is required and was not sent; set it
            roles: roles need the capability MULTI_ROLE; add it, or send one role as role
            role: a framework with MULTI_ROLE has roles and no role; leave role out and put it into roles
            roles[2]: role a is there twice; leave one out
            failover_timeout: -1 s is no span of time; send a number from 0 to 1e10
            failover_timeout: 100000000000 s is no span of time; send a number from 0 to 1e10
            offer_filters["web"].min_allocatable_resources.quantities[0].quantities["cpus"].value: cpus is -1; it must be a number from 0 to 1e12
        "#]],
    );
}

#[test]
fn a_status_is_refused_with_the_remedy() {
    let valid = v1::TaskStatus {
        task_id: Some(v1::TaskId { value: text("t1") }),
        state: Some(v1::TaskState::TaskRunning as i32),
        source: Some(v1::task_status::Source::Agent as i32),
        timestamp: Some(1.5),
        ..Default::default()
    };
    check(
        &valid,
        status::read,
        &[
            &|s| s.state = None,
            &|s| s.state = Some(99),
            &|s| s.source = None,
            &|s| s.source = Some(7),
            &|s| s.reason = Some(999),
            &|s| s.timestamp = Some(f64::NAN),
            &|s| s.uuid = Some(bytes::Bytes::from_static(b"abc")),
            &|s| s.unreachable_time = Some(v1::TimeInfo { nanoseconds: Some(-5) }),
            &|s| s.exit = Some(v1::Exit::default()),
            &|s| s.exit = Some(v1::Exit { code: Some(1), signal: Some(9) }),
            &|s| s.size = Some(v1::TaskSize::default()),
        ],
        expect![[r#"
            state: the field is required and was not sent; set it
            state: 99 is not a TaskState that this release knows; send one of bourse.v1.TaskState
            source: the field is required and was not sent; set it
            source: 7 is not a TaskStatus.Source that this release knows; send one of bourse.v1.TaskStatus.Source
            reason: 999 is not a TaskStatus.Reason that this release knows; send one of bourse.v1.TaskStatus.Reason
            timestamp: NaN s is no time; send seconds since the Unix epoch
            uuid: the uuid has 3 bytes; send 16 random ones
            unreachable_time.nanoseconds: -5 ns is negative; send 0 or more
            exit: a process ends by a code or by a signal; send exactly one of the two
            exit: a process ends by a code or by a signal; send exactly one of the two
            size.resources: the task uses no resources; give it at least cpus and mem
        "#]],
    );
}

/// The texts of these refusals are those of the types; where they happened is ours to say.
#[test]
fn what_the_types_refuse_is_refused_at_its_path() {
    fn path<T, W>(refused: Result<T, bourse_wire::At<W>>) -> String {
        refused.err().map_or("accepted".to_owned(), |refused| refused.path().to_owned())
    }
    let resource = |change: &dyn Fn(&mut v1::Resource)| {
        let mut form = scalar("cpus", 1.0);
        change(&mut form);
        path(resources::read(&[scalar("mem", 1.0), form]))
    };
    assert_eq!(resource(&|r| r.name = text("c p u s")), "[1].name");
    assert_eq!(resource(&|r| r.role = text("-web")), "[1].role");
    let set = |r: &mut v1::Resource| {
        r.r#type = Some(v1::value::Type::Set as i32);
        r.scalar = None;
        r.set = Some(v1::value::Set { item: vec!["a".into(), "b,c".into()] });
    };
    assert_eq!(resource(&set), "[1].set.item[1]");

    let task = |change: &dyn Fn(&mut v1::TaskInfo)| {
        let mut form = valid_task();
        change(&mut form);
        path(task::read(&form, Owner { framework: FrameworkId::new("f").expect("valid"), role: Role::any() }))
    };
    assert_eq!(task(&|t| t.task_id = Some(v1::TaskId { value: text("a/b") })), "task_id.value");
    assert_eq!(task(&|t| t.command = Some(v1::CommandInfo::default())), "command");

    let framework = |change: &dyn Fn(&mut v1::FrameworkInfo)| {
        let mut form = v1::FrameworkInfo { name: text("f"), user: text("nobody"), ..Default::default() };
        change(&mut form);
        path(framework::read(&form))
    };
    assert_eq!(framework(&|f| f.id = Some(v1::FrameworkId { value: text("..") })), "id.value");
    assert_eq!(framework(&|f| f.role = text("/")), "role");
    assert_eq!(framework(&|f| f.principal = text("")), "principal");
}
