//! The status page, as a browser gets it.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::services::{Attempt, Instance, Service};
use bourse_proto::v1;
use bourse_types::TaskState;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::*;
use crate::stage::{FakeServices, Listening, Log, agent_api, services_api};
use crate::tokens::cookie;

/// An answer of HTTP.
struct Answer {
    code: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Asks for a page as a browser with this cookie would. By HTTP/1.0, whose bodies come as they are.
async fn get_as(cluster: &Cluster, token: &str, path: &str) -> Answer {
    let cookie = cookie(cluster, token).await;
    let mut answer = open(cluster, path, &format!("Cookie: {cookie}\r\n")).await;
    let headers = head(&mut answer).await;
    let mut body = String::new();
    within(answer.read_to_string(&mut body)).await.expect("a body of UTF-8");
    Answer { code: headers.0, headers: headers.1, body }
}

async fn get(cluster: &Cluster, path: &str) -> Answer {
    get_as(cluster, OPERATOR, path).await
}

async fn open(cluster: &Cluster, path: &str, headers: &str) -> BufReader<TcpStream> {
    let target = cluster.target();
    let mut stream = TcpStream::connect((target.host(), target.port())).await.expect("the master listens");
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("the master reads");
    BufReader::new(stream)
}

async fn head(answer: &mut BufReader<TcpStream>) -> (u16, BTreeMap<String, String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        within(answer.read_line(&mut line)).await.expect("a header");
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let code = lines[0].split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let header =
        |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    (code, lines[1..].iter().filter_map(header).collect())
}

/// A stream of server-sent events.
struct Events(BufReader<TcpStream>);

#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: String,
}

impl Events {
    async fn open(cluster: &Cluster, path: &str, last: Option<&str>) -> Events {
        let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
        let cookie = cookie(cluster, OPERATOR).await;
        let headers = format!("Cookie: {cookie}\r\nAccept: text/event-stream\r\n{last}");
        let mut answer = open(cluster, path, &headers).await;
        let (code, headers) = head(&mut answer).await;
        assert_eq!((code, headers["content-type"].as_str()), (200, "text/event-stream"), "{path}");
        Events(answer)
    }

    async fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if within(self.0.read_line(&mut line)).await.expect("a line") == 0 {
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("event", value)) => event.name = value.to_owned(),
                Some(("id", value)) => event.id = value.to_owned(),
                Some(("data", value)) => event.data = value.to_owned(),
                _ if line == "\n" && !event.name.is_empty() => return Some(event),
                _ => {}
            }
        }
    }

    /// The next event that has the text in it.
    async fn with(&mut self, text: &str) -> Event {
        within(async {
            loop {
                let event = self.next().await.expect("the stream goes on");
                if event.data.contains(text) {
                    return event;
                }
            }
        })
        .await
    }
}

/// The value of an attribute of the page's body.
fn of_body<'a>(page: &'a str, attribute: &str) -> &'a str {
    let body = &page[page.find("<body").expect("a body")..];
    let from = body.find(&format!("{attribute}=\"")).expect("the attribute") + attribute.len() + 2;
    &body[from..from + body[from..].find('"').expect("its end")]
}

/// A cluster in which something happens: two agents, a framework with one running and one failed task, a service
/// framework.
pub struct Scene {
    pub cluster: Cluster,
    pub scheduler: FakeScheduler,
    pub log: Log,
    agents: Vec<FakeAgent>,
    services_framework: Option<FakeScheduler>,
    apis: Vec<Listening>,
}

impl Scene {
    pub async fn set() -> Scene {
        let cluster = Cluster::start().await;
        let log = Log::new();
        let mut apis = Vec::new();
        let mut agents = Vec::new();
        for (host, amounts) in [
            ("host-a", "cpus:4; mem:8192; disk:50000; ports:[31000-31999]"),
            ("host-b", "cpus:6; cpus(held):2; mem:16384; disk:80000; ports:[31000-31999]"),
        ] {
            // An address is one agent's: a second one there would replace the first.
            let api = agent_api(log.clone()).await;
            let register = link::Register { address: api.address.clone(), ..registration(host, amounts) };
            apis.push(api);
            agents.push(FakeAgent::register(&cluster, register).await.expect("admitted"));
        }
        let mut scheduler = cluster.scheduler("batch").await;
        let offers = offered(&mut scheduler, 2).await;
        let offer =
            offers.iter().find(|offer| offer.hostname.as_deref() == Some("host-a")).expect("of both agents");
        let command = v1::CommandInfo {
            value: Some("while true; do echo tick; sleep 1; done".into()),
            ..Default::default()
        };
        let good = v1::TaskInfo { command: Some(command), ..task(offer, "clock", "cpus:1.5; mem:1024") };
        let bad = task(offer, "doomed", "cpus:0.5; mem:64");
        let both =
            vec![prost::Message::encode_to_vec(&good).into(), prost::Message::encode_to_vec(&bad).into()];
        scheduler.call(scheduler.accept(&[offer], both)).await.expect("taken");
        agents[0].run_task().await;
        agents[0].run_task().await;
        agents[0].update(&scheduler.framework, "clock", TaskState::Running).await;
        let failed = v1::TaskStatus {
            reason: Some(v1::task_status::Reason::ContainerLimitationMemory as i32),
            message: Some("it wanted more than 64MiB".into()),
            exit: Some(v1::Exit { code: None, signal: Some(9) }),
            ..agents[0].status("doomed", TaskState::Failed)
        };
        let framework_id = scheduler.framework.clone();
        let update = link::StatusUpdate { framework_id, latest: Some(failed.clone()), status: Some(failed) };
        agents[0].say(Said::Update(update)).await;
        for _ in 0..2 {
            let status = scheduler.update().await;
            scheduler.acknowledge(&status).await.expect("taken");
        }
        let usage = link::TaskUsage {
            framework_id: scheduler.framework.clone(),
            task_id: "clock".into(),
            cpus: 0.37,
            memory_bytes: 300 << 20,
            memory_peak_bytes: 410 << 20,
            throttled_nanos: 1_500_000_000,
            pids: 3,
            disk_used_bytes: Some(12 << 20),
            disk_limit_bytes: Some(20 << 20),
            memory_limit_bytes: Some(1 << 30),
            memory_anonymous_bytes: Some(250 << 20),
            swap_bytes: Some(16 << 20),
            io_read_bytes: Some(5 << 20),
            io_written_bytes: Some(7 << 20),
            pids_limit: Some(100),
            pids_refused: Some(2),
            cpu_pressure: Some(1250),
            ..link::TaskUsage::default()
        };
        agents[0].say(Said::Usage(link::Usage { tasks: vec![usage], disk_free_bytes: 1 << 30 })).await;

        let services = FakeServices::default();
        let services_api = services_api(services.clone()).await;
        let label = v1::Label { key: Some("bourse-api".into()), value: Some(services_api.address.clone()) };
        let info = v1::FrameworkInfo {
            labels: Some(v1::Labels { labels: vec![label] }),
            roles: vec!["services".into(), "services/web".into()],
            ..framework_info("services")
        };
        let services_framework =
            FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, info).await.expect("subscribed");
        services.framework_id.lock().expect("no panic").clone_from(&services_framework.framework);
        *services.services.lock().expect("no panic") = vec![service(&agents[1].id)];
        apis.push(services_api);
        let services_framework = Some(services_framework);
        let scene = Scene { cluster, scheduler, log, agents, services_framework, apis };
        scene.until("/tasks", "0.37 cpus").await;
        scene.until("/tasks?all=1", "container limitation memory").await;
        scene
    }

    /// Waits until a page tells this.
    pub async fn until(&self, path: &str, text: &str) -> String {
        eventually(|| async {
            let page = get(&self.cluster, path).await.body;
            page.contains(text).then_some(page)
        })
        .await
    }

    fn task(&self, id: &str) -> String {
        format!("/tasks/{}/{id}", self.scheduler.framework)
    }

    /// The address of every page.
    fn pages(&self) -> Vec<String> {
        let fixed = [
            "/",
            "/agents",
            "/frameworks",
            "/frameworks?all=1",
            "/offers",
            "/roles",
            "/services",
            "/services/web",
            "/tasks",
            "/tasks?all=1",
            "/tasks?all=1&state=TASK_FAILED",
            "/events",
            "/events?kind=agent",
            "/search?q=host",
        ];
        let agents = self.agents.iter().map(|agent| format!("/agents/{}", agent.id));
        let framework = format!("/frameworks/{}", self.scheduler.framework);
        let named = agents.chain([framework, self.task("clock"), self.task("doomed")]);
        fixed.into_iter().map(str::to_owned).chain(named).collect()
    }
}

async fn offered(scheduler: &mut FakeScheduler, count: usize) -> Vec<v1::Offer> {
    let mut offers = Vec::new();
    while offers.len() < count {
        offers.extend(scheduler.offers().await);
    }
    offers
}

fn service(agent: &str) -> Service {
    let running = |slot: u32| Instance {
        name: format!("web.{slot}"),
        slot,
        task_id: format!("web.{slot}.1"),
        agent_id: agent.into(),
        hostname: "host-b".into(),
        state: "TASK_RUNNING".into(),
        healthy: Some(true),
        ports: vec![31_000 + slot],
        since_ms: 1_700_000_000_000,
        ..Instance::default()
    };
    let again = Instance {
        name: "web.2".into(),
        slot: 2,
        state: "BACKING_OFF".into(),
        reason: "it ended 3 times within a minute".into(),
        since_ms: 1_700_000_000_000,
        retry_ms: Some(1_700_000_030_000),
        attempts: vec![Attempt {
            task_id: "web.2.3".into(),
            hostname: "host-b".into(),
            state: "TASK_FAILED".into(),
            reason: "REASON_COMMAND_EXECUTOR_FAILED".into(),
            message: "exit 1".into(),
            started_ms: 1_699_999_990_000,
            ended_ms: 1_700_000_000_000,
        }],
        ..Instance::default()
    };
    Service {
        name: "web".into(),
        wanted: 3,
        running: 2,
        healthy: 2,
        state: "deploying".into(),
        reason: "1 of 3 instances backs off".into(),
        instances: vec![running(0), running(1), again],
        toml: "name = \"web\"\ncommand = \"nginx\"\ncount = 3\n".into(),
        version: 2,
        restarts: 3,
    }
}

#[tokio::test]
async fn every_page_is_whole_without_a_script_and_tells_the_command_that_tells_the_same() {
    let scene = Scene::set().await;
    scene.log.write(b"tick\ntick\n");
    for path in scene.pages() {
        let answer = get(&scene.cluster, &path).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.body);
        assert!(answer.headers["content-type"].starts_with("text/html"), "{path}");
        assert!(answer.body.contains("<code>bourse "), "{path} names no command");
        assert!(answer.body.len() < 200_000, "{path} has {} bytes", answer.body.len());
    }
    let says = async |path: &str, texts: &[&str]| {
        let page = get(&scene.cluster, path).await.body;
        for text in texts {
            assert!(page.contains(text), "{path} does not say {text:?}:\n{page}");
        }
    };
    says(
        "/",
        &[
            "id=\"verdict\"",
            "total",
            "reserved",
            "offered",
            "allocated",
            "used",
            "available",
            "What happened last",
        ],
    )
    .await;
    says("/agents", &["host-a", "host-b", "1.5 allocated", "2 reserved", "0.37 used"]).await;
    says(
        "/",
        &[
            r#"data-label="reserved"><svg class="swatch reserved" aria-hidden="true"><rect class="reserved" width="10" height="10" rx="2"></rect></svg>2</td>"#,
        ],
    )
    .await;
    says(&format!("/agents/{}", scene.agents[0].id), &["3 of its tasks", "16MiB of its tasks"]).await;
    says("/frameworks", &["batch", "services", "Who holds which offers"]).await;
    says("/offers", &["host-b", "batch"]).await;
    says("/roles", &["services/web", "depth-1"]).await;
    says("/services", &["web", "deploying", "1 of 3 instances backs off", "2 of 3 running, 2 healthy"]).await;
    says("/services/web", &["web.2", "backing off", "it ended 3 times", "web.2.3", "31001", "count = 3"])
        .await;
    says("/tasks", &["clock", "running", "0.37 cpus, 300MiB", "1.5 cpus, 1024MiB"]).await;
    says(
        &scene.task("clock"),
        &[
            "while true; do echo tick",
            "tick\ntick\n",
            "peak 410MiB, at most 1024MiB",
            "throttled for 1.5 s",
            "12MiB",
            "at most 20MiB",
            "3 of at most 100, 2 refused",
            "250MiB of programs, 16MiB in swap",
            "5MiB read, 7MiB written",
            "cpu 12.5% of the last 10 s",
        ],
    )
    .await;
    says(
        &scene.task("doomed"),
        &["failed", "signal 9", "container limitation memory", "it wanted more than 64MiB"],
    )
    .await;
    says("/events?kind=agent", &["was admitted"]).await;
    says("/search?q=host", &["host-a", "host-b"]).await;
}

#[tokio::test]
async fn a_browser_may_run_and_load_nothing_but_our_own_files() {
    let scene = Scene::set().await;
    for path in scene.pages() {
        let answer = get(&scene.cluster, &path).await;
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        // What the policy forbids must not be there either: it would be an error in the browser's console.
        for forbidden in [" style=", "<style", " onclick=", "javascript:", "http://", "https://"] {
            assert!(!answer.body.contains(forbidden), "{path} has {forbidden:?}");
        }
    }
    let page = get(&scene.cluster, "/").await.body;
    let mut weight = page.len();
    for asset in page.split('"').filter(|text| text.starts_with("/assets/")) {
        let answer = get(&scene.cluster, asset).await;
        assert_eq!(answer.code, 200, "{asset}");
        assert!(answer.headers["cache-control"].contains("immutable"), "{asset}");
        weight += answer.body.len();
    }
    assert!(weight < 200_000, "the first page weighs {weight} bytes");
}

#[tokio::test]
async fn what_somebody_has_named_is_never_markup() {
    let cluster = Cluster::start().await;
    let evil = "<img src=x onerror=alert(1)>\"'&";
    let _agent = cluster.agent("host<b>", "cpus:4; mem:1024").await;
    let scheduler = FakeScheduler::subscribe(&cluster, FRAMEWORK, framework_info(evil))
        .await
        .expect("any name is a name");
    let framework = format!("/frameworks/{}", scheduler.framework);
    for path in [
        "/",
        "/agents",
        "/frameworks",
        "/offers",
        "/events",
        &framework,
        "/search?q=%3Cimg%20src%3D",
        "/nowhere%3Cb%3E",
    ] {
        let body = get(&cluster, path).await.body;
        assert!(
            !body.contains("<img") && !body.contains("<b>host") && !body.contains("host<b>"),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn a_page_needs_an_operators_token_and_keeps_it_as_a_cookie() {
    let cluster = Cluster::start().await;
    let mut answer = open(&cluster, "/", "").await;
    assert_eq!(head(&mut answer).await.0, 401);
    let mut answer = open(&cluster, &format!("/agents?token={OPERATOR}"), "").await;
    let (code, headers) = head(&mut answer).await;
    assert_eq!((code, headers["location"].as_str()), (303, "/agents"));
    assert!(headers["set-cookie"].starts_with("bourse-page="), "{headers:?}");
    let answer = get_as(&cluster, FRAMEWORK, "/").await;
    assert_eq!(answer.code, 403);
    assert!(
        answer.body.contains("Not yours to see") && answer.body.contains("kind operator"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_in_words() {
    let cluster = Cluster::start().await;
    for path in ["/agents/nobody", "/frameworks/nobody", "/tasks/nobody/nothing"] {
        let answer = get(&cluster, path).await;
        assert_eq!(answer.code, 404, "{path}");
        assert!(
            answer.body.contains("nobody") && answer.body.contains("Not here"),
            "{path}: {}",
            answer.body
        );
    }
    assert_eq!(get(&cluster, "/nowhere").await.code, 404);
    assert_eq!(get(&cluster, "/assets/nothing.js").await.code, 404);
}

/// The pages that a page leads to.
fn links(page: &str) -> std::collections::BTreeSet<String> {
    let links = page.split(" href=\"/").skip(1).filter_map(|rest| rest.split('"').next());
    let links = links.filter(|link| {
        !link.starts_with("assets/") && !link.ends_with("/stdout") && !link.ends_with("/stderr")
    });
    links.map(|link| format!("/{}", link.replace("&amp;", "&"))).collect()
}

/// As a browser does: a search that finds one thing leads there.
async fn arrive(cluster: &Cluster, path: &str) -> Answer {
    let answer = get(cluster, path).await;
    match (answer.code, answer.headers.get("location")) {
        (303, Some(there)) => get(cluster, there).await,
        _ => answer,
    }
}

#[tokio::test]
async fn every_link_leads_to_a_page_also_to_a_task_that_needs_a_look_and_an_agent_that_is_gone() {
    let mut scene = Scene::set().await;
    let sick = v1::TaskStatus { healthy: Some(false), ..scene.agents[0].status("clock", TaskState::Running) };
    let framework_id = scene.scheduler.framework.clone();
    let update = link::StatusUpdate { framework_id, latest: Some(sick.clone()), status: Some(sick) };
    scene.agents[0].say(Said::Update(update)).await;
    let overview = scene.until("/", "is unhealthy").await;
    let look = format!("href=\"{}\">look</a>", scene.task("clock"));
    assert!(overview.contains(&look), "{overview}");

    let gone = scene.agents.remove(1);
    let connection = scene.cluster.connect(OPERATOR).await;
    let request = bourse_proto::operator::MarkAgentGoneRequest { agent: gone.id.clone() };
    connection.operator().mark_agent_gone(request).await.expect("carried out");
    let page = scene.until(&format!("/agents/{}", gone.id), "gone since").await;
    assert!(
        page.contains("<h1>Agent S1</h1>") && page.contains("class=\"part steer\" id=\"steer\" hidden"),
        "{page}"
    );

    let mut seen = std::collections::BTreeSet::new();
    let mut paths = scene.pages();
    paths.push(format!("/agents/{}", gone.id));
    for path in paths {
        let page = arrive(&scene.cluster, &path).await;
        assert_eq!(page.code, 200, "{path}");
        let empty = page
            .body
            .split("<a ")
            .skip(1)
            .find(|rest| rest.split_once('>').is_some_and(|(_, text)| text.starts_with("</a>")));
        assert_eq!(empty, None, "{path} has a link without a text");
        for link in links(&page.body) {
            // The service framework that the test plays has launched none of the tasks that it tells of.
            if !link.contains("/web.") && seen.insert(link.clone()) {
                let answer = arrive(&scene.cluster, &link).await;
                assert!(
                    answer.code == 200 && !answer.body.contains("Nothing is called"),
                    "{path} leads to {link}: {}",
                    answer.code
                );
            }
        }
    }
    assert!(
        seen.contains(&format!("/agents/{}", gone.id)) && seen.contains(&scene.task("clock")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_task_is_told_from_another_frameworks_task_of_the_same_id() {
    let mut scene = Scene::set().await;
    let rival = FakeScheduler::subscribe(&scene.cluster, OTHER_FRAMEWORK, framework_info("rival")).await;
    let mut rival = rival.expect("subscribed");
    drop(scene.services_framework.take());
    let offer = rival.offer().await;
    let host = offer.agent_id.as_ref().and_then(|id| id.value.as_ref());
    let agent = scene.agents.iter().position(|agent| Some(&agent.id) == host).expect("one of ours");
    rival.launch(&offer, &task(&offer, "clock", "cpus:0.5; mem:64")).await.expect("taken");
    while !matches!(scene.agents[agent].hear().await.expect("the link is open"), Told::RunTask(_)) {}
    scene.agents[agent].update(&rival.framework, "clock", TaskState::Starting).await;

    let page = scene.until(&format!("/tasks/{}/clock", rival.framework), "starting").await;
    let (own, other) = (&rival.framework, &scene.scheduler.framework);
    for command in ["task clock", "logs clock", "kill clock"] {
        assert!(page.contains(&format!("<code>bourse {command} --framework {own}")), "{command}: {page}");
    }
    assert!(!page.contains(other.as_str()), "{page}");
    let why = &page[page.find("id=\"why\"").expect("a block")..];
    assert!(!why[..why.find('>').expect("its end")].contains("hidden"), "it does not run yet: {page}");

    let ended = get(&scene.cluster, &scene.task("doomed")).await.body;
    assert!(ended.contains("bourse logs doomed") && !ended.contains("bourse kill"), "{ended}");
}

#[tokio::test]
async fn a_page_of_another_shape_or_of_a_master_of_before_is_told_to_load_again() {
    let mut scene = Scene::set().await;
    let page = get(&scene.cluster, "/agents").await.body;
    let (live, seen) = (of_body(&page, "data-live").to_owned(), of_body(&page, "data-seen").to_owned());
    let other = get(&scene.cluster, "/offers").await.body;
    let mut events = Events::open(&scene.cluster, &live, Some(of_body(&other, "data-seen"))).await;
    assert_eq!(events.next().await.expect("a word").name, "reload");

    scene.cluster.kill_and_restart().await;
    let mut events = Events::open(&scene.cluster, &live, Some(&seen)).await;
    assert_eq!(events.next().await.expect("a word").name, "reload", "the foot tells of another epoch");
    let page = get(&scene.cluster, "/agents").await.body;
    let mut events = Events::open(&scene.cluster, &live, Some(of_body(&page, "data-seen"))).await;
    assert_ne!(events.next().await.expect("a word").name, "reload", "the page is new");
}

#[tokio::test]
async fn one_viewer_too_many_is_told_so_in_words_that_its_script_can_read() {
    let scene = Scene::set().await;
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(Events::open(&scene.cluster, "/live?page=/roles", None).await);
    }
    let logs = format!("{}/logs?stdout=0", scene.task("clock"));
    for path in ["/live?page=/roles", &logs] {
        let told = Events::open(&scene.cluster, path, None).await.next().await.expect("a word");
        assert!(told.name == "trouble" && told.data.contains("too many pages are open"), "{path}: {told:?}");
    }
    drop(open.pop());
    eventually(|| async {
        let told = Events::open(&scene.cluster, "/live?page=/roles", None).await.next().await?;
        (told.name == "change").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_open_page_is_told_what_changes_and_nothing_else() {
    let scene = Scene::set().await;
    let page = get(&scene.cluster, "/agents").await.body;
    let (live, seen) = (of_body(&page, "data-live"), of_body(&page, "data-seen"));
    let mut events = Events::open(&scene.cluster, &format!("{live}&seen={seen}"), None).await;
    let first = events.next().await.expect("a beat");
    assert_eq!(
        (first.name.as_str(), first.id.as_str()),
        ("beat", seen),
        "what the page shows is not told again"
    );

    let newcomer = scene.cluster.agent("host-c", "cpus:2; mem:512").await;
    let change = events.with("host-c").await;
    assert_eq!(change.name, "change");
    assert!(
        change.data.contains(&format!("\"agent-{}\"", newcomer.id)) && !change.data.contains(">host-b<"),
        "{}",
        change.data
    );

    // The row goes with what it is about.
    let id = newcomer.id.clone();
    drop(newcomer);
    let change = events.with("disconnected").await;
    assert!(change.data.contains(&id), "{}", change.data);
}

#[tokio::test]
async fn a_browser_that_comes_back_is_told_what_it_missed_and_nothing_when_it_missed_nothing() {
    let scene = Scene::set().await;
    let page = get(&scene.cluster, "/agents").await.body;
    let (live, seen) = (of_body(&page, "data-live").to_owned(), of_body(&page, "data-seen").to_owned());
    let mut events = Events::open(&scene.cluster, &live, Some(&seen)).await;
    assert_eq!(events.next().await.expect("a beat").name, "beat");
    drop(events);

    let _newcomer = scene.cluster.agent("host-c", "cpus:2; mem:512").await;
    scene.until("/agents", "host-c").await;
    let mut events = Events::open(&scene.cluster, &live, Some(&seen)).await;
    let all = events.next().await.expect("a change");
    assert!(all.name == "change" && all.data.contains("host-a") && all.data.contains("host-c"), "{all:?}");
    // Offers of the new agent may still be on their way: what was told last is what counts.
    let now = get(&scene.cluster, "/agents").await.body;
    assert!(now.contains("host-c"));
}

#[tokio::test]
async fn a_log_is_on_the_page_and_its_next_lines_come_by_themselves() {
    let scene = Scene::set().await;
    scene.log.write("first\nzw\u{f6}lf\n".as_bytes());
    let page = scene.until(&scene.task("clock"), "zw\u{f6}lf").await;
    assert!(page.contains("data-end=\"13\""), "{page}");
    let whole = get(&scene.cluster, &format!("{}/stdout", scene.task("clock"))).await;
    assert_eq!((whole.code, whole.body.as_str()), (200, "first\nzw\u{f6}lf\n"));

    let follow = async |offset: u64| {
        Events::open(&scene.cluster, &format!("{}/logs?stdout={offset}", scene.task("clock")), None).await
    };
    let told = |event: Option<Event>| {
        let event = event.expect("the stream goes on");
        assert_eq!(event.name, "stdout", "{event:?}");
        event.data
    };
    // A task may be silent for long: that it is listened to is told at once.
    let mut events = follow(13).await;
    assert_eq!(told(events.next().await), r#"{"text":"","end":13,"ended":false}"#);
    // Half of a character, then the rest: it is shown when it is whole.
    scene.log.write(b"gr\xc3");
    assert_eq!(told(events.next().await), r#"{"text":"gr","end":15,"ended":false}"#);
    scene.log.write(b"\xbcn\n");
    assert_eq!(told(events.next().await), "{\"text\":\"\u{fc}n\\n\",\"end\":19,\"ended\":false}");
    drop(events);

    let mut events = follow(15).await;
    told(events.next().await);
    assert!(told(events.next().await).contains("\u{fc}n"), "a browser goes on where it was");
    scene.log.end();
    assert_eq!(told(events.next().await), r#"{"text":"","end":19,"ended":true}"#);
    assert!(events.next().await.is_none());
    let mut both =
        Events::open(&scene.cluster, &format!("{}/logs?stdout=19&stderr=0", scene.task("clock")), None).await;
    let mut ended = Vec::new();
    while let Some(event) = both.next().await {
        ended.extend(event.data.contains("\"ended\":true").then_some(event.name));
    }
    ended.sort();
    assert_eq!(ended, ["stderr", "stdout"]);
}

#[tokio::test]
async fn services_are_told_with_their_age_when_the_service_framework_is_away() {
    let mut scene = Scene::set().await;
    assert!(!get(&scene.cluster, "/services").await.body.contains("cannot be asked"));
    drop(scene.services_framework.take());
    scene.apis.pop();
    let page = scene.until("/services", "What is shown is from").await;
    assert!(page.contains("deploying") && page.contains("go on running"), "{page}");
    assert_eq!(get(&scene.cluster, "/services/web").await.code, 200);
}

#[tokio::test]
async fn without_a_service_framework_the_page_says_so_and_how_to_start_one() {
    let cluster = Cluster::start().await;
    let page = get(&cluster, "/services").await;
    assert_eq!(page.code, 200);
    assert!(
        page.body.contains("no service framework is running") && page.body.contains("bourse services"),
        "{}",
        page.body
    );
    assert_eq!(get(&cluster, "/services/web").await.code, 503);
}

#[tokio::test]
async fn a_search_goes_straight_to_what_was_surely_meant() {
    let scene = Scene::set().await;
    let to = async |text: &str| {
        let answer = get(&scene.cluster, &format!("/search?q={text}")).await;
        (answer.code, answer.headers.get("location").cloned().unwrap_or_default())
    };
    assert_eq!(to("host-a").await, (303, format!("/agents/{}", scene.agents[0].id)));
    assert_eq!(to("clock").await, (303, scene.task("clock")));
    assert_eq!(to("web").await, (303, "/services/web".to_owned()));
    assert_eq!(to("BATC").await, (303, format!("/frameworks/{}", scene.scheduler.framework)));
    assert_eq!(to("host").await.0, 200, "two are called so");
    assert!(get(&scene.cluster, "/search?q=nothing-at-all").await.body.contains("Nothing is called"));
}

#[tokio::test]
async fn an_open_page_does_not_hold_a_master_that_stops() {
    let mut scene = Scene::set().await;
    let page = get(&scene.cluster, "/").await.body;
    let mut events = Events::open(&scene.cluster, of_body(&page, "data-live"), None).await;
    events.next().await.expect("it is open");
    tokio::time::timeout(Duration::from_secs(5), scene.cluster.stop())
        .await
        .expect("it stops")
        .expect("well");
    while events.next().await.is_some() {}
}
