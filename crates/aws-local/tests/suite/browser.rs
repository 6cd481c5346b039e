//! Chromium without a window, driven by its own protocol over a pipe: messages in JSON, each with a zero byte behind it.
//!
//! The pipe is the browser's third and fourth file; a shell makes them of standard input and output. So there is no port, no
//! WebSocket and no crate: those for it bring several hundred thousand lines of generated types, for the dozen calls below.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it; or says why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&path)
            .flat_map(|folder| names.map(|name| folder.join(name)))
            .find(|file| file.is_file());
        let Some(binary) = named.or(installed).filter(|_| cfg!(unix)) else {
            return Err(format!("no {} is installed", names.join(", ")));
        };
        let profile = TempDir::new().unwrap();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(
                "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --no-proxy-server \
                 --user-data-dir=\"$1\" --remote-debugging-pipe about:blank 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null",
            )
            .arg(binary)
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (told, from) = channel();
        std::thread::spawn(move || {
            let (mut buffer, mut block) = (Vec::new(), vec![0; 1 << 16]);
            while let Ok(read @ 1..) = out.read(&mut block) {
                buffer.extend_from_slice(&block[..read]);
                while let Some(end) = buffer.iter().position(|byte| *byte == 0) {
                    let message: Vec<u8> = buffer.drain(..=end).collect();
                    if told
                        .send(serde_json::from_slice(&message[..end]).unwrap())
                        .is_err()
                    {
                        return;
                    }
                }
            }
        });
        let mut this = Self {
            child,
            to,
            from,
            session: None,
            calls: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = this.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = this.call("Target.attachToTarget", attach);
        this.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            this.call(&format!("{domain}.enable"), json!({}));
        }
        this.look_like(1280, false);
        Ok(this)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// What an expression comes to in the page; none where the page goes away meanwhile.
    fn evaluate(&mut self, expression: &str) -> Option<Value> {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        match self.ask("Runtime.evaluate", asked) {
            Ok(answer) => {
                let thrown = &answer["exceptionDetails"];
                assert!(thrown.is_null(), "{expression}: {thrown}");
                Some(answer["result"]["value"].clone())
            }
            Err(error) => {
                let text = error["message"].as_str().unwrap_or_default();
                let left = ["navigated or closed", "context was destroyed", "Cannot find"];
                assert!(left.iter().any(|part| text.contains(part)), "{error}");
                None
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let answer = self.from.recv_timeout(PATIENCE);
            let answer = answer.unwrap_or_else(|error| panic!("{method}: the browser is silent: {error}"));
            if answer["id"] == self.calls {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.clone()),
                };
            }
            match answer["method"].as_str() {
                // What a page may not do, and what a script cannot.
                Some("Log.entryAdded") if answer["params"]["entry"]["level"] == "error" => {
                    let entry = &answer["params"]["entry"];
                    self.complaints
                        .push(format!("{} {}", entry["text"], entry["url"]));
                }
                Some("Runtime.exceptionThrown") => {
                    self.complaints.push(answer["params"].to_string());
                }
                Some("Page.javascriptDialogOpening") => {
                    self.complaints.push("a dialog was opened".to_owned());
                }
                _ => {}
            }
        }
    }

    /// The width of the window, and whether the reader prefers the dark.
    pub(crate) fn look_like(&mut self, width: u32, dark: bool) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Whether scripts of pages run.
    pub(crate) fn run_scripts(&mut self, run: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !run}));
    }

    /// Opens a page and waits until it is there.
    pub(crate) fn open(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({"url": url}));
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.until("document.readyState === 'complete'");
    }

    /// What an expression comes to in the page, which stays where it is.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let value = self.evaluate(expression);
        value.unwrap_or_else(|| panic!("the page went away: {expression}"))
    }

    /// The same, of one that comes to a text.
    pub(crate) fn text(&mut self, expression: &str) -> String {
        match self.eval(expression) {
            Value::String(text) => text,
            other => panic!("{expression} is no text: {other}"),
        }
    }

    /// The same, of one that comes to a whole number.
    pub(crate) fn number(&mut self, expression: &str) -> u64 {
        let value = self.eval(expression);
        value
            .as_u64()
            .unwrap_or_else(|| panic!("{expression} is no whole number: {value}"))
    }

    /// Clicks on what a selector finds, which may lead to another page.
    pub(crate) fn click(&mut self, selector: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Waits until an expression is true. A page that is just going away counts for nothing.
    pub(crate) fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        loop {
            // Of what is not there yet, an expression may ask.
            let asked =
                format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
            if self.evaluate(&asked) == Some(Value::Bool(true)) {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let page = self.evaluate("document.body.innerText");
                panic!(
                    "it did not become true: {expression}\n{page:?}\n{:?}",
                    self.complaints
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Chooses a file in a form.
    pub(crate) fn choose(&mut self, selector: &str, file: &Path) {
        let asked = json!({"expression": format!("document.querySelector({selector:?})")});
        let found = self.call("Runtime.evaluate", asked);
        let chosen = json!({"objectId": found["result"]["objectId"], "files": [file]});
        self.call("DOM.setFileInputFiles", chosen);
    }

    /// Presses a key, as the keyboard does.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            " " => (32, " "),
            _ => (0, key),
        };
        let mut event = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Types into what has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Role and name of all that a screen reader is told of.
    pub(crate) fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes
            .filter(|node| node["ignored"] != true)
            .map(|node| (text(&node["role"]), text(&node["name"])))
            .collect()
    }

    /// A picture of the whole page in the folder that `CONSOLE_PICTURES` names, for those who want to look.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("CONSOLE_PICTURES") else {
            return;
        };
        let size = self.eval("[document.documentElement.clientWidth, document.documentElement.scrollHeight]");
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1});
        let asked = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let taken = self.call("Page.captureScreenshot", asked);
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap());
        std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), bytes.unwrap()).unwrap();
    }

    /// What the browser has complained of, and refused to do, so far.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
