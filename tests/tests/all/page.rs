//! The status page in a real browser.

use std::fs;
use std::path::PathBuf;
use std::process::Child;

use bourse_proto::v1::Offer;
use bourse_tests::browser::{Browser, Screen};
use bourse_tests::cluster::token;
use bourse_tests::{Cluster, PATIENCE, Plan, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hostile::Bare;

const DESK: Screen = Screen { width: 1280, height: 900, dark: false };
const NIGHT: Screen = Screen { width: 1280, height: 900, dark: true };
const PHONE: Screen = Screen { width: 360, height: 780, dark: false };

const SERVICE: &str = "name = \"web\"\ncommand = \"echo serving on $PORT0; exec sleep 1000\"\ncount = 2\nports = 1\n\
                       [resources]\ncpus = 0.2\nmem = \"64MiB\"\n";

/// A cluster in use: a service, a task that failed, and a task that writes a line whenever the test lets it.
struct Used {
    cluster: Cluster,
    /// `bourse run`, which follows the task.
    running: Child,
    task: bourse_proto::operator::Task,
    gate: PathBuf,
}

impl Used {
    fn start() -> Used {
        let resources = "cpus:7; cpus(held):1; mem:4096; disk:1024";
        let cluster = Plan::agents(3).resources(resources).services().start();
        cluster.api.deploy(SERVICE).expect("a good file");
        wait_for("the service to run", PATIENCE, || cluster.api.settled("web", 2));
        let ran = cluster.cli().run(["run", "--name", "failing", "--", "sh", "-c", "echo oh no >&2; exit 3"]);
        assert_eq!(ran.code(), 3, "{ran}");
        let gate = cluster.shared().join("gate");
        let script = format!(
            "echo first line; until [ -e {} ]; do sleep 0.05; done; echo second line; exec sleep 1000",
            gate.display()
        );
        let running = cluster
            .cli()
            .command([
                "run", "--name", "writer", "--cpus", "0.5", "--mem", "64MiB", "--", "sh", "-c", &script,
            ])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let task = wait_for("the task to run and to be measured", PATIENCE, || {
            let running = cluster.api.running().map_err(|status| status.message().to_owned())?;
            let writer = running.into_iter().find(|task| task.name == "writer" && task.used.is_some());
            writer.ok_or_else(|| "no such task runs".to_owned())
        });
        Used { cluster, running, task, gate }
    }

    fn address(&self, page: &str) -> String {
        format!("http://{}{page}", self.cluster.master())
    }

    /// A browser that has been here with a token.
    fn browser(&self) -> Browser {
        let browser = Browser::start();
        browser.screen(DESK);
        browser.open(&self.address(&format!("/?token={}", token("operator"))));
        browser
    }

    fn task_page(&self) -> String {
        format!("/tasks/{}/{}", self.task.framework_id, self.task.id)
    }

    /// Ends the task as Ctrl-C at its terminal does, so that the cluster stops with nothing left to do.
    fn end(mut self) {
        kill(Pid::from_raw(self.running.id() as i32), Signal::SIGINT).expect("a child of ours");
        self.running.wait().expect("a child of ours");
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        // A test that fails has not ended it.
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// A framework that keeps what it was offered for as long as the test has it.
struct Holder {
    offer: Offer,
    _bare: Bare,
    _threads: tokio::runtime::Runtime,
}

impl Holder {
    fn of(cluster: &Cluster) -> Holder {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let threads = threads.expect("a thread");
        let (bare, offer) = threads.block_on(async {
            let mut bare = Bare::subscribe(cluster, "bystander").await;
            let offer = bare.next("offer", |event| event.offers.as_ref()?.offers.first().cloned()).await;
            (bare, offer)
        });
        Holder { offer, _bare: bare, _threads: threads }
    }
}

#[test]
fn every_page_opens_with_real_data_on_a_desk_at_night_and_on_a_phone_and_its_console_stays_empty() {
    let used = Used::start();
    // Whoever holds what is free takes it from those that want more: nobody does by now.
    let holder = Holder::of(&used.cluster);
    let holds = holder.offer.hostname();
    let failed = used.cluster.api.tasks().expect("it answers");
    let failed = failed.into_iter().find(|task| task.name == "failing").expect("it is remembered");
    let frameworks = used.cluster.api.frameworks().expect("it answers");
    let services = frameworks
        .iter()
        .find(|framework| framework.state != "completed" && framework.name.contains("service"));
    let services = services.unwrap_or_else(|| panic!("no service framework in {frameworks:?}"));
    let pages = [
        ("overview", "/".to_owned(), vec!["3", "agents active", "allocated", "What happened last"]),
        ("services", "/services".to_owned(), vec!["web", "running"]),
        ("service", "/services/web".to_owned(), vec!["web.0", "web.1", "agent-", "count = 2"]),
        ("tasks", "/tasks?all=1".to_owned(), vec!["writer", "failing", "running", "failed", "exit 3"]),
        ("task", used.task_page(), vec!["running", "first line", "0.5 allocated", "64MiB allocated"]),
        (
            "task-failed",
            format!("/tasks/{}/{}", failed.framework_id, failed.id),
            vec!["failed", "exit 3", "oh no"],
        ),
        (
            "agents",
            "/agents".to_owned(),
            vec![
                "agent-1",
                "agent-2",
                "agent-3",
                "active",
                "8 total",
                "allocated",
                "offered",
                "1 reserved",
                "used",
            ],
        ),
        ("agent", "/agents/agent-1".to_owned(), vec!["agent-1", "last heard", "bourse drain agent-1"]),
        (
            "frameworks",
            "/frameworks?all=1".to_owned(),
            vec![services.name.as_str(), "completed", "dominant share"],
        ),
        (
            "framework",
            format!("/frameworks/{}", services.id),
            vec![services.name.as_str(), "Why it gets what it gets"],
        ),
        ("offers", "/offers".to_owned(), vec!["bystander", holds, "cpus"]),
        ("roles", "/roles".to_owned(), vec!["weight"]),
        ("events", "/events".to_owned(), vec!["was launched"]),
        ("search", "/search?q=agent-".to_owned(), vec!["agent-1", "agent-2"]),
    ];
    let browser = used.browser();
    for (name, page, texts) in &pages {
        for (way, screen) in [("desk", DESK), ("night", NIGHT), ("phone", PHONE)] {
            browser.screen(screen);
            browser.open(&used.address(page));
            // Names of states and headings may be set in capitals, which innerText tells.
            let shown = || browser.text().to_lowercase();
            for text in texts {
                wait_for(&format!("{name} to show {text:?}"), PATIENCE, || {
                    let shown = shown();
                    if shown.contains(&text.to_lowercase()) { Ok(()) } else { Err(shown) }
                });
            }
            browser.wait(format!("{name} to be current"), "document.getElementById('strip').hidden");
            let overflow = browser.script("return document.documentElement.scrollWidth - innerWidth");
            assert!(
                overflow.as_i64().is_some_and(|pixels| pixels <= 0),
                "{name} is {overflow} pixels too wide on a {way}"
            );
            browser.picture(&format!("{name}-{way}"));
            let complaints = browser.complaints();
            assert!(complaints.is_empty(), "{name} on a {way}: {complaints:#?}");
        }
    }
    drop(browser);
    drop(holder);
    used.end();
}

#[test]
fn a_log_line_a_new_task_and_an_agent_that_goes_appear_without_a_reload() {
    let mut used = Used::start();
    let log = used.browser();
    log.open(&used.address(&used.task_page()));
    log.wait(
        "the log's beginning",
        "document.getElementById('log-stdout').textContent.includes('first line')",
    );
    log.wait(
        "the log to be followed",
        "document.querySelector('[data-log-state=stdout]').textContent === 'live'",
    );
    // A page that was loaded again has forgotten this.
    log.script("window.same = true");
    // Whoever reads a log may want it to stand still.
    log.script("document.getElementById('pause').click()");
    let state = "document.querySelector('[data-log-state=stdout]').textContent";
    log.wait("the log to stand still", &format!("{state} === 'paused'"));
    log.script("document.getElementById('pause').click()");
    log.wait("the log to be followed again", &format!("{state} === 'live'"));
    fs::write(&used.gate, "").expect("a test's own folder is writable");
    log.wait(
        "the next line",
        "window.same && document.getElementById('log-stdout').textContent.includes('second line')",
    );
    assert_eq!(log.complaints(), Vec::<String>::new());
    drop(log);

    let tasks = used.browser();
    tasks.open(&used.address("/tasks"));
    tasks.script("window.same = true");
    used.cluster.api.scale("web", 3).expect("it is known");
    tasks.wait("the new instance", "window.same && document.body.innerText.includes('web.2')");
    assert_eq!(tasks.complaints(), Vec::<String>::new());
    tasks.open(&used.address("/"));
    tasks.script("window.same = true");
    used.cluster.part("agent-3").kill9();
    tasks.wait(
        "the verdict to tell of the agent",
        "window.same && document.querySelector('.tiles').innerText.match(/^2\\s+agents active/m) \
         && !document.getElementById('problems').hidden",
    );
    tasks.picture("overview-problem");
    drop(tasks);
    used.cluster.part("agent-3").start();
    used.cluster.wait_ready(3, true);
    used.end();
}

#[test]
fn a_page_says_how_old_it_is_while_its_master_is_away_and_goes_on_when_it_is_back() {
    let mut used = Used::start();
    let browser = used.browser();
    browser.open(&used.address("/agents"));
    browser.script("window.same = true");
    let epoch = |browser: &Browser| {
        browser.script("return document.querySelector('footer').innerText.match(/epoch (\\d+)/)[1]")
    };
    let before = epoch(&browser);
    used.cluster.part("master").kill9();
    browser.wait(
        "the page to say that it is old",
        "!document.getElementById('strip').hidden && /Disconnected.* s old/.test(document.getElementById('strip').textContent)",
    );
    browser.picture("disconnected");
    used.cluster.part("master").start();
    // The new master has another epoch, which the foot tells: such a page is loaded again.
    browser.wait("the page to go on", "!window.same && document.getElementById('strip').hidden");
    browser.wait("its agents", "document.querySelectorAll('#agents .state.good').length === 3");
    assert_ne!(epoch(&browser), before, "the foot tells of the master that is there");

    // Whoever is not let in any more is told so, and not that nobody answers.
    browser.forget();
    used.cluster.part("master").kill9();
    used.cluster.part("master").start();
    browser.wait(
        "the page to say that its token is not known",
        "/does not know the token/.test(document.getElementById('strip').textContent)",
    );
    drop(browser);
    used.cluster.wait_ready(3, true);
    used.end();
}

#[test]
fn a_page_can_be_read_without_a_script_and_used_with_keys_alone() {
    let used = Used::start();
    let browser = used.browser();
    browser.press("/");
    browser.wait("the filter to be in focus", "document.activeElement.id === 'find'");
    for key in ["w", "r", "i", "t", "e", "r", "\u{e007}"] {
        browser.press(key);
    }
    browser.wait("the task that was meant", &format!("location.pathname === {:?}", used.task_page()));
    browser.press("g");
    browser.press("a");
    browser.wait("the agents", "location.pathname === '/agents'");
    browser.press("j");
    browser.press("\u{e007}");
    browser.wait("the first agent", "location.pathname.startsWith('/agents/')");
    assert_eq!(browser.complaints(), Vec::<String>::new());

    browser.scripts(false);
    browser.open(&used.address("/agents"));
    // WebDriver's own scripts still run.
    let page = browser.text();
    for text in ["agent-1", "agent-2", "agent-3", "active", "8 total"] {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
    browser.open(&used.address(&used.task_page()));
    let page = browser.text();
    // A time that no script keeps true is told in full.
    assert!(page.contains("first line") && page.contains(" UTC") && !page.contains(" ago"), "{page}");
    browser.picture("task-no-script");
    drop(browser);
    used.end();
}
