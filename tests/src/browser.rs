//! A real browser without a window: Chromium, driven by WebDriver (<https://www.w3.org/TR/webdriver2/>) over plain HTTP.
//!
//! WebDriver is a handful of requests with JSON bodies, so there is no client library here. Browser and driver have a
//! folder and a process group of their own, and end with the value.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, binary, wait_for};

/// A call that takes longer than this will never be answered.
const CALL: Duration = Duration::from_secs(60);

/// Chromium with this profile, and the address at which it is driven.
fn open_chromium(profile: &Path) -> (Child, String) {
    let chromium = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        // Only what it is told by its arguments, and a group of its own, so that its many processes end with it.
        .env("HOME", profile)
        .env("TMPDIR", profile)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium can be started; `scripts/install-missing test` installs it");
    let port = wait_for("chromium to say its port", PATIENCE, || {
        let said =
            fs::read_to_string(profile.join("DevToolsActivePort")).map_err(|error| error.to_string())?;
        let port = said.split_once('\n').and_then(|(port, _)| port.parse::<u16>().ok());
        port.ok_or_else(|| format!("it said {said:?}"))
    });
    (chromium, format!("{}:{port}", Ipv4Addr::LOCALHOST))
}

/// A browser with one page.
pub struct Browser {
    driver: Child,
    chromium: Child,
    port: u16,
    /// The path of the session, once there is one.
    session: String,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether its owner likes it dark.
    pub dark: bool,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    /// When `chromedriver` or Chromium is not installed or does not start.
    pub fn start() -> Browser {
        let profile =
            tempfile::Builder::new().prefix("bourse-browser-").tempdir().expect("a folder can be made");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver can be started; `scripts/install-missing test` installs it");
        let mut said = BufReader::new(driver.stdout.take().expect("it is piped"));
        let port = loop {
            let mut line = String::new();
            let read = said.read_line(&mut line).expect("it is text");
            assert!(read > 0, "chromedriver ended without a port");
            let digits = line
                .trim_end()
                .trim_end_matches('.')
                .rsplit_once("on port ")
                .map(|(_, port)| port.to_owned());
            if let Some(port) = digits.and_then(|port| port.parse().ok()).filter(|port| *port != 0) {
                break port;
            }
        };
        // It goes on talking: somebody must listen, or it would stop at a full pipe.
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        // Left to itself, the driver would look for the browser at "localhost": a minimal system has no such name.
        let (chromium, address) = open_chromium(profile.path());
        let mut browser = Browser { driver, chromium, port, session: String::new(), _profile: profile };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "debuggerAddress": address },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "/session", &wanted);
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("an id"));
        browser
    }

    /// Opens a page and waits until it is there.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// What a script returns.
    #[track_caller]
    pub fn script(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script's expression is true.
    ///
    /// # Panics
    /// When it is not in time, with the text of the page.
    #[track_caller]
    pub fn wait(&self, what: impl Display, expression: &str) {
        wait_for(&what.to_string(), PATIENCE, || match self.script(&format!("return !!({expression})")) {
            Value::Bool(true) => Ok(()),
            _ => Err(self.text()),
        });
    }

    /// What can be read on the page.
    #[track_caller]
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key, as on a keyboard.
    #[track_caller]
    pub fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.ask(
            "POST",
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] }),
        );
    }

    /// What the page has complained about in the console since the last call.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a list").iter();
        let severe = entries.filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// Forgets the cookies of the page.
    #[track_caller]
    pub fn forget(&self) {
        self.ask("DELETE", "/cookie", &Value::Null);
    }

    /// Looks at pages in this way from now on.
    #[track_caller]
    pub fn screen(&self, screen: Screen) {
        let Screen { width, height, dark } = screen;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Whether pages may run scripts from now on.
    #[track_caller]
    pub fn scripts(&self, allowed: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
    }

    /// Keeps a picture of the page in `target/screenshots`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn picture(&self, name: &str) {
        let picture = self.ask("GET", "/screenshot", &Value::Null);
        let bytes = from_base64(picture.as_str().expect("a text"));
        let folder = pictures();
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("making {}: {error}", folder.display()));
        fs::write(folder.join(format!("{name}.png")), bytes).expect("the folder is ours");
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut answer =
            self.try_call(method, path, body).unwrap_or_else(|why| panic!("{method} {path}: {why}"));
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{method} {path} {body}: {}: {}", value["error"], value["message"]);
        value
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(CALL))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        serde_json::from_slice(&answer).map_err(std::io::Error::other)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_call("DELETE", &self.session, &Value::Null);
        // Politely first: some of the browser's processes leave the group.
        let _ = kill(Pid::from_raw(self.chromium.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.chromium.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        for group in [&mut self.chromium, &mut self.driver] {
            let _ = killpg(Pid::from_raw(group.id() as i32), Signal::SIGKILL);
            let _ = group.wait();
        }
    }
}

/// Where pictures are kept: beside the logs of tests.
pub fn pictures() -> PathBuf {
    let logs = binary::logs();
    logs.parent().unwrap_or(Path::new(".")).join("screenshots")
}

/// The bytes of a text in base 64 (RFC 4648).
fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::from_base64;

    #[test]
    fn base_64_is_read_as_the_standard_writes_it() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE=", "fooba")]
        {
            assert_eq!(from_base64(text), bytes.as_bytes(), "{text}");
        }
        assert_eq!(from_base64("+/8="), [0xfb, 0xff]);
    }
}
