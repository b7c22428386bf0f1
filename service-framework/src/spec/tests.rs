use super::*;
use bourse_hostile::{judged, text as damaged};
use bourse_types::{Network, Users};
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn wrong(text: &str, expected: Expect) {
    expected.assert_eq(&parse(text, "web.toml").expect_err("the file is wrong").to_string());
}

fn right(text: &str) -> ServiceSpec {
    parse(text, "web.toml").unwrap_or_else(|bad| panic!("{bad}"))
}

const TWO_LINES: &str = "name = \"hello\"\ncommand = \"echo hello\"\n";

#[test]
fn a_name_and_a_command_are_a_whole_file() {
    let spec = right(TWO_LINES);
    assert_eq!(spec.name.as_str(), "hello");
    assert_eq!(spec.count, None);
    assert_eq!(spec.template.command, CommandLine::Shell("echo hello".into()));
    assert_eq!(
        spec.template.resources,
        Needs { cpus: Milli::new(100), mem: Milli::whole(128), disk: Milli::ZERO }
    );
    assert_eq!(spec.template.user, None, "the agent decides; nobody runs as root by accident");
    assert_eq!(spec.spread, Spread::Agents { max_per_agent: None });
}

#[test]
fn every_key_is_read() {
    let spec = right(
        r#"
        name = "web"
        command = ["nginx", "-g", "daemon off;"]
        count = 4
        user = "www-data"
        role = "web/frontend"
        ports = ["http", "my-admin"]
        spread = "agents"
        max_per_agent = 2
        kill_grace = "20s"
        rootfs = "/srv/images/web"
        volumes = ["/srv/data:/data", "/etc/web.conf:/etc/web.conf:ro"]
        network = "host"
        own_users = true
        replace_unreachable_after = "1m"

        [resources]
        cpus = 0.5
        mem = "1GiB"
        disk = "100MiB"
        exclusive_cpus = false

        [limits]
        cpus = "unlimited"
        mem = "2GiB"
        cpu_burst = 0.25
        swap = "16MiB"
        pids = 20
        io_weight = 200
        huge_pages = ["2MiB=64MiB"]
        oom_score = 300

        [env]
        MODE = "fast"
        LEVEL = 3
        DEBUG = false
        RATE = 1.50

        [health]
        http = "/health"
        port = "my-admin"
        interval = "2s"
        timeout = "500ms"
        grace = "10s"
        failures = 5

        [restart]
        start = "500ms"
        factor = 1.5
        max = "30s"
        reset_after = "5m"
        "#,
    );
    expect![[r#"
        ServiceSpec {
            name: web,
            count: Some(
                4,
            ),
            template: Template {
                command: Argv(
                    [
                        "nginx",
                        "-g",
                        "daemon off;",
                    ],
                ),
                resources: Needs {
                    cpus: 0.5,
                    mem: 1024,
                    disk: 100,
                },
                exclusive_cpus: false,
                limits: {
                    cpus: None,
                    mem: Some(
                        2048,
                    ),
                },
                controls: Controls {
                    cpu_burst: 0.25,
                    swap: 16,
                    pids: Some(
                        Pids(
                            20,
                        ),
                    ),
                    io_weight: Some(
                        IoWeight(
                            200,
                        ),
                    ),
                    huge_pages: {
                        PageSize(
                            2097152,
                        ): 64,
                    },
                    oom_score: OomScore(
                        300,
                    ),
                },
                ports: [
                    Some(
                        http,
                    ),
                    Some(
                        my-admin,
                    ),
                ],
                env: {
                    "DEBUG": "false",
                    "LEVEL": "3",
                    "MODE": "fast",
                    "RATE": "1.50",
                },
                rootfs: Some(
                    Rootfs(
                        "/srv/images/web",
                    ),
                ),
                volumes: [
                    Volume {
                        container_path: "/data",
                        host_path: Some(
                            "/srv/data",
                        ),
                        mode: ReadWrite,
                    },
                    Volume {
                        container_path: "/etc/web.conf",
                        host_path: Some(
                            "/etc/web.conf",
                        ),
                        mode: ReadOnly,
                    },
                ],
                namespaces: Namespaces {
                    network: Host,
                    users: Own,
                },
                user: Some(
                    "www-data",
                ),
                health: Some(
                    Health {
                        probe: Http {
                            path: "/health",
                            port: 1,
                        },
                        interval: 2s,
                        timeout: 500ms,
                        grace: 10s,
                        failures: 5,
                    },
                ),
                kill_grace: 20s,
                role: Some(
                    web/frontend,
                ),
            },
            restart: Backoff {
                start: 500ms,
                factor: 1.5,
                max: 30s,
                reset_after: 300s,
            },
            spread: Agents {
                max_per_agent: Some(
                    2,
                ),
            },
            replace_unreachable_after: 60s,
        }
    "#]]
    .assert_debug_eq(&spec);
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_what_was_meant() {
    wrong(
        "name = \"web\"\ncomand = \"true\"\n",
        expect![[r#"
            web.toml:2:1: unknown key `comand`; did you mean `command`?
              |
            2 | comand = "true"
              | ^^^^^^"#]],
    );
}

#[test]
fn what_is_missing_is_told_once() {
    wrong(
        "",
        expect![[r#"
        web.toml:1:1: the service has no name; write one: name = "web"

        web.toml:1:1: the service has no command; write one: command = "sleep 1000""#]],
    );
}

#[test]
fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
    wrong(
        &format!("{TWO_LINES}cpus = 1\n[resources]\nmem = \"64MiB\"\ncount = 3\n"),
        expect![[r#"
            web.toml:3:1: unknown key `cpus`; did you mean `cpus` in [resources]?
              |
            3 | cpus = 1
              | ^^^^

            web.toml:6:1: unknown key `count` in [resources]; `count` stands above the first [table]
              |
            6 | count = 3
              | ^^^^^"#]],
    );
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    wrong(
        r#"
name = "Web Server"
command = ["sh", 5]
count = -1
ports = ["http", "http", "8080"]
kill_grace = 30

[resources]
cpus = "two"
mem = 256
disk = "many"

[env]
PORT0 = "80"
LIST = [1]
"#,
        expect![[r#"
            web.toml:2:8: name: "Web Server" cannot name a service; take 1 to 63 of a-z, 0-9 and '-', first a letter and last a letter or a digit
              |
            2 | name = "Web Server"
              |        ^^^^^^^^^^^^

            web.toml:3:18: command holds 5; every argument must be in quotes
              |
            3 | command = ["sh", 5]
              |                  ^

            web.toml:4:9: count is -1; it must be a whole number from 0 to 10000
              |
            4 | count = -1
              |         ^^

            web.toml:5:18: http and http would both be PORT_HTTP; rename one
              |
            5 | ports = ["http", "http", "8080"]
              |                  ^^^^^^

            web.toml:5:26: ports holds "8080"; a port is a name such as "http": 1 to 31 of a-z, 0-9, '-' and '_', first a letter. Its number comes from the offer, in PORT_HTTP
              |
            5 | ports = ["http", "http", "8080"]
              |                          ^^^^^^

            web.toml:6:14: kill_grace is 30; write its unit, in quotes: "30s"
              |
            6 | kill_grace = 30
              |              ^^

            web.toml:9:8: resources.cpus is "two"; it must be a number from 0.01 to 100000
              |
            9 | cpus = "two"
              |        ^^^^^

            web.toml:10:7: resources.mem is 256; write its unit, in quotes: "256MiB"
               |
            10 | mem = 256
               |       ^^^

            web.toml:11:8: resources.disk: "many" is not a size; write a number and a unit such as 256MiB or 4GiB
               |
            11 | disk = "many"
               |        ^^^^^^

            web.toml:14:1: PORT0 is set by Bourse; rename yours
               |
            14 | PORT0 = "80"
               | ^^^^^

            and 1 more problem"#]],
    );
}

#[test]
fn a_health_check_asks_in_one_way_and_a_port_that_exists() {
    for (health, expected) in [
        ("interval = \"1s\"", "[health] asks nothing; write http = \"/\", tcp = true or command = \"...\""),
        ("http = \"/\"", "the health check needs a port, and the service has none; add ports = [\"http\"]"),
        (
            "tcp = true\ncommand = \"true\"",
            "[health] asks in more than one way; keep one of http, tcp and command",
        ),
        ("command = \"true\"\nport = 0", "a health command has no port; read PORT0 in the command instead"),
    ] {
        let bad = parse(&format!("{TWO_LINES}[health]\n{health}\n"), "").expect_err(health);
        assert_eq!(bad.problems[0].message, expected);
    }
    for (port, expected) in [
        ("\"admin\"", "health.port is \"admin\"; it must be a number from 0 to 1, or one of http, other"),
        ("2", "health.port is 2; it must be a number from 0 to 1, or one of http, other"),
    ] {
        let text = format!("{TWO_LINES}ports = [\"http\", \"other\"]\n[health]\ntcp = true\nport = {port}\n");
        assert_eq!(parse(&text, "").expect_err(port).problems[0].message, expected);
    }
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    wrong(
        "name = web\ncommand = \"true\"\nname = \"again\"\n",
        expect![[r#"
            web.toml:1:8: string values must be quoted, expected literal string
              |
            1 | name = web
              |        ^^^

            web.toml:3:1: duplicate key
              |
            3 | name = "again"
              | ^^^^"#]],
    );
}

#[test]
fn a_file_of_the_wrong_size_or_depth_is_refused_and_no_panic() {
    let large = format!("{TWO_LINES}# {}", "x".repeat(FILE_BYTES_MAX));
    assert!(parse(&large, "").expect_err("too large").to_string().contains("the most is 65536"));
    let deep = format!("{TWO_LINES}ports = {}", "[".repeat(10_000));
    parse(&deep, "").expect_err("too deep");
    parse("", "").expect_err("empty");
}

#[test]
fn many_problems_are_counted_and_not_all_printed() {
    let text: String = (0..30).map(|n| format!("what{n} = 1\n")).collect();
    let bad = parse(&text, "").expect_err("all wrong");
    assert_eq!(bad.problems.len(), PROBLEMS_MAX);
    assert_eq!(bad.more, 22);
    assert!(bad.to_string().len() < 6_000, "it must fit a header");
}

#[test]
fn what_is_told_of_a_file_fits_a_header_however_long_and_odd_what_it_holds_is() {
    let odd = "\\u001b[2J".repeat(1_000);
    let many: String = (0..20).map(|n| format!("\"BOURSE_{n}{odd}\" = 1\n")).collect();
    let long = "9".repeat(10_000);
    for text in [
        format!("{TWO_LINES}[env]\n{}", many.chars().take(60_000).collect::<String>()),
        format!("{TWO_LINES}count = {long}\nkill_grace = {long}\n"),
        format!("{TWO_LINES}[env]\n\"BOURSE_{odd}\" = 1\n\"a{odd}\" = []\n\"b={odd}\" = 1\n"),
        format!("{TWO_LINES}volumes = [{}]\n", "\"\\u0001:/b\", ".repeat(3_000)),
    ] {
        assert!(judged(|| parse(&text, &"\u{1b}".repeat(1_000))).is_none(), "{text}");
    }
}

#[test]
fn a_file_with_a_problem_in_every_line_is_refused_at_once_and_all_are_counted() {
    let text: String = (0..6_000).map(|n| format!("w{n}=1\n")).collect();
    let bad = judged(|| parse(&text, "web.toml").map_err(|bad| bad.more));
    assert!(bad.is_none());
    let bad = parse(&text, "web.toml").expect_err("all wrong");
    assert_eq!(bad.problems.len() + bad.more, 6_002);
}

const WHOLE: &str = r#"
name = "web"
command = ["serve", "--port", "$PORT0"]
count = 3
user = "www-data"
role = "web/frontend"
ports = ["http", "admin"]
volumes = ["/srv/data:/data", "cache:/var/cache:ro"]
kill_grace = "1m30s"
spread = "agents"
max_per_agent = 2

[resources]
cpus = 0.5
mem = "64MiB"

[limits]
cpus = "unlimited"
pids = 100
huge_pages = ["2MiB=64MiB"]

[env]
MODE = "fast"
"odd key" = 0x10

[health]
http = "/health"
port = "admin"
interval = "5s"

[restart]
start = "1s"
factor = 1.5
"#;

proptest! {
    #[test]
    fn a_damaged_service_file_is_refused_in_words_or_is_a_service(given in damaged(Just(WHOLE.to_owned()))) {
        if let Some(spec) = judged(|| parse(&given, "web.toml")) {
            prop_assert!(spec.count.is_none_or(|count| count <= COUNT_MAX));
            prop_assert!(spec.template.ports.len() <= PORTS_MAX && spec.restart.start <= spec.restart.max);
        }
    }
}

#[test]
fn the_undamaged_service_file_is_a_good_one() {
    right(WHOLE);
}

#[test]
fn a_wait_grows_by_its_factor_up_to_its_maximum() {
    let seconds = Duration::from_secs;
    let backoff =
        Backoff { start: seconds(1), factor: Milli::whole(2), max: seconds(10), reset_after: seconds(60) };
    let waits: Vec<u64> = (0..7).map(|ends| backoff.wait(ends).as_secs()).collect();
    assert_eq!(waits, [0, 1, 2, 4, 8, 10, 10]);
    assert_eq!(backoff.wait(u32::MAX), seconds(10));
    assert_eq!(Backoff { factor: Milli::whole(1), ..backoff }.wait(u32::MAX), seconds(1));
    assert_eq!(Backoff { max: Duration::MAX, ..backoff }.wait(u32::MAX), Duration::from_nanos(u64::MAX));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\n\tä\"'=\\[\\]{}]{0,200}") {
        let _ = parse(&text, "any.toml");
    }

    #[test]
    fn no_value_makes_the_parser_panic(
        key in proptest::sample::select(
            fields::TABLES.iter().flat_map(|&(_, keys)| keys.iter().copied()).collect::<Vec<_>>()),
        table in proptest::sample::select(vec!["", "[resources]", "[limits]", "[env]", "[health]", "[restart]"]),
        value in proptest::sample::select(vec![
            "1", "-1", "1e400", "nan", "true", "\"\"", "\"x\"", "[]", "[[]]", "{}", "{ http = 1 }",
            "2000-01-01", "0xffffffffffffffff", "99999999999999999999", "\"\\u0000\"", "\"99999999999w\"",
        ]),
    ) {
        let _ = parse(&format!("name = \"a\"\ncommand = \"b\"\n{table}\n{key} = {value}\n"), "any.toml");
    }
}

#[test]
fn limits_that_no_task_can_have_are_told_with_their_place() {
    let told = |line: &str| {
        let text = format!("{TWO_LINES}[limits]\n{line}\n");
        parse(&text, "a.toml").expect_err("it is wrong").to_string()
    };
    for (line, expected) in [
        // What [resources] asks for when it is not there.
        ("cpus = 0.05", "a.toml:4:8: limits.cpus is 0.05; it must be a number from 0.1 to 100000"),
        ("mem = \"64MiB\"", "limits.mem is \"64MiB\"; it must be from 128MiB to 64TiB"),
        ("mem = \"none\"", "limits.mem: \"none\" is not a size"),
        ("pids = 0", "limits.pids is 0; it must be a whole number from 1 to 4194304"),
        ("io_weight = 10001", "limits.io_weight is 10001; it must be a whole number from 1 to 10000"),
        ("oom_score = -1", "limits.oom_score is -1; it must be a whole number from 0 to 1000"),
        ("swap = 16", "limits.swap is 16; write its unit, in quotes: \"16MiB\""),
        ("huge_pages = [\"2MiB\"]", "limits.huge_pages: \"2MiB\" names no huge pages"),
        ("huge_pages = [\"2MB=1MiB\", \"2MiB=2MiB\"]", "huge pages of 2MiB have two amounts"),
        ("huge_pages = \"2MiB=64MiB\"", "it must be an array of sizes and amounts"),
        ("disk = \"1MiB\"", "unknown key `disk` in [limits]; did you mean `disk` in [resources]?"),
    ] {
        let said = told(line);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_root_that_no_task_can_have_is_told_with_its_place() {
    let told = |line: &str| {
        let text = format!("name = \"a\"\ncommand = \"b\"\n{line}\n");
        parse(&text, "a.toml").expect_err("it is wrong").to_string()
    };
    assert!(
        told("rootfs = \"images/web\"").contains("a.toml:3:10: rootfs: \"images/web\" can be no task's root")
    );
    assert!(told("rootfs = 1").contains("a path of the agent's machine"));
}

#[test]
fn an_instance_with_a_network_of_its_own_is_asked_by_a_command_only() {
    let with = |rest: &str| parse(&format!("{TWO_LINES}ports = 1\nnetwork = \"none\"\n{rest}"), "a.toml");
    let template = with("[health]\ncommand = \"true\"\n").expect("it runs inside").template;
    assert_eq!(template.namespaces, Namespaces { network: Network::Loopback, users: Users::Machine });
    for health in ["http = \"/\"", "tcp = true"] {
        let bad = with(&format!("[health]\n{health}\n")).expect_err("nobody gets there").to_string();
        assert!(bad.contains("a.toml:4:11: an instance with a network of its own"), "{bad}");
    }
    let told = |line: &str| {
        let text = format!("{TWO_LINES}{line}\n");
        parse(&text, "a.toml").expect_err("it is wrong").to_string()
    };
    assert!(
        told("network = \"bridge\"").contains("a.toml:3:11: network: \"bridge\" is no network; write host")
    );
    assert!(told("network = 1").contains("must be \"host\" or \"none\""));
    assert!(told("own_users = \"yes\"").contains("own_users is \"yes\"; it must be true or false"));
}

#[test]
fn cores_of_its_own_are_a_whole_number() {
    let file = |cpus: &str, own: &str| {
        format!("name = \"a\"\ncommand = \"b\"\n[resources]\ncpus = {cpus}\nexclusive_cpus = {own}\n")
    };
    assert!(right(&file("2", "true")).template.exclusive_cpus);
    assert!(!right(&file("0.5", "false")).template.exclusive_cpus);
    let told =
        |cpus: &str, own: &str| parse(&file(cpus, own), "a.toml").expect_err("it is wrong").to_string();
    assert!(
        told("0.5", "true")
            .contains("a.toml:5:18: resources.exclusive_cpus wants whole cores, and cpus is 0.5")
    );
    assert!(told("2", "1").contains("must be true or false"));
}

#[test]
fn a_volume_that_no_task_can_have_is_told_with_its_place() {
    let told = |line: &str| {
        let text = format!("name = \"a\"\ncommand = \"b\"\n{line}\n");
        parse(&text, "a.toml").expect_err("it is wrong").to_string()
    };
    assert!(
        told("volumes = [\"/srv/data\"]").contains("a.toml:3:12: volumes: \"/srv/data\" is no volume; write")
    );
    assert!(told("volumes = [\"/a:/proc\"]").contains("each container's own"));
    assert!(told("volumes = [\"/a:/d\", \"/b:/d\"]").contains("two volumes have the container path \"/d\""));
    assert!(told("volumes = [1]").contains("every volume must be in quotes"));
    assert!(told("volumes = \"/a:/d\"").contains("it must be an array of texts"));
}
