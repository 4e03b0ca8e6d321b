//! Chromium without a window, driven by the DevTools protocol over two pipes: messages are JSON,
//! each ended by a zero byte.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TempDir};

/// What the tests need, and where to get it.
const INSTALL: &str = "this test drives Chromium: `apt-get install --no-install-recommends \
                       chromium`, or name another one in CHROMIUM";

/// A browser with one tab. It is ended when this is dropped.
pub(crate) struct Browser {
    process: Child,
    into: File,
    messages: Receiver<Value>,
    /// Events that arrived while an answer was waited for.
    events: VecDeque<Value>,
    session: String,
    last: u64,
    _dir: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Browser {
        let dir = TempDir::new();
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
        let found = Command::new(&program).arg("--version").stderr(Stdio::null()).output();
        assert!(found.is_ok_and(|output| output.status.success()), "{INSTALL}");
        let (commands, answers) = (dir.path().join("commands"), dir.path().join("answers"));
        let made = Command::new("mkfifo").args([&commands, &answers]).status();
        assert!(made.expect("there is mkfifo").success(), "no pipes");
        // The shell opens the pipes under the numbers that Chromium expects.
        let script = "exec \"$0\" \"$@\" 3<commands 4>answers";
        let process = Command::new("sh")
            .args(["-c", script, &program])
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-background-networking", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .arg("about:blank")
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        // Opening a pipe waits until the shell opens its other end.
        let into = OpenOptions::new().write(true).open(&commands).expect("the pipe was made");
        let messages = receive(File::open(&answers).expect("the pipe was made"));
        let (events, session, last) = (VecDeque::new(), String::new(), 0);
        let mut browser = Browser { process, into, messages, events, session, last, _dir: dir };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().expect("a session").into();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Sends a command; the result of it.
    pub(crate) fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": *parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.into.write_all(&bytes).expect("the browser runs");
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.messages.recv_timeout(left);
            let answer = answer.unwrap_or_else(|error| panic!("no answer to {method}: {error}"));
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push_back(answer);
        }
    }

    pub(crate) fn open(&mut self, address: &str) {
        let answer = self.call("Page.navigate", &json!({ "url": address }));
        assert!(answer["errorText"].is_null(), "{answer}");
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_until(&mut self, expression: &str) {
        // The page may not be there yet.
        let tried =
            format!("(() => {{ try {{ return {expression} }} catch {{ return false }} }})()");
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.value(&tried) != true {
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText");
                panic!("waited in vain for {expression} in:\n{}", text.as_str().unwrap_or(""));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "char", "keyUp"] {
            let text = if kind == "char" && key == "Enter" { "\r" } else { "" };
            if kind == "char" && text.is_empty() {
                continue;
            }
            let parameters =
                json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", &parameters);
        }
    }

    /// The size of the window, and whether the page is dark.
    pub(crate) fn show(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// The window as a PNG.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        STANDARD.decode(answer["data"].as_str().expect("an image")).expect("it is base64")
    }

    /// All errors of the page, its script or its policy up to now.
    pub(crate) fn complaints(&mut self) -> Vec<Value> {
        // Events up to now arrive before the answer to this.
        self.value("0");
        let is_complaint = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Log.entryAdded") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] != "log",
            _ => false,
        };
        self.events.drain(..).filter(is_complaint).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself when asked to, and takes its children with it.
        let close = json!({ "id": 0, "method": "Browser.close" }).to_string() + "\0";
        let _ = self.into.write_all(close.as_bytes());
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The messages that come through a pipe.
fn receive(pipe: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for message in BufReader::new(pipe).split(0).map_while(Result::ok) {
            let value = serde_json::from_slice(&message).expect("messages are JSON");
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    receiver
}
