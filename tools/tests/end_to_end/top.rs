//! `twindisk top` on a real pair: a frame for pipes, and live in a terminal.

use std::{
    fs,
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{cluster::Cluster, eventually, process::program, programs::have};

#[test]
fn a_frame_for_pipes_has_no_escapes_and_fits() {
    let mut cluster = Cluster::pair("32MiB", "");
    let frame = |node: &str, more: &[&str]| {
        let command = [&["top", "--once", "--interval", "200ms"], more].concat();
        cluster.ok(node, &command)
    };
    let (alpha, beta) = (frame("alpha", &[]), frame("beta", &[]));
    let one = frame("alpha", &["r0"]);
    for text in [&alpha, &beta, &one] {
        assert!(!text.contains('\x1b'), "{text}");
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{longest:?}: {text}");
    }
    assert!(
        alpha.contains("take over: beta could: in sync; by hand"),
        "{alpha}"
    );
    assert!(
        beta.contains("take over: beta could: in sync; by hand"),
        "{beta}"
    );
    assert!(
        one.contains("WHO COULD TAKE OVER") && one.contains("32 MiB"),
        "{one}"
    );
    assert_eq!(cluster.run("alpha", &["top", "--once", "r1"]).code, 2);
    let live = cluster.run("alpha", &["top"]);
    assert_eq!(live.code, 2, "there is no terminal: {live:?}");
    assert!(live.err.contains("--once"), "{live:?}");
    cluster.stop("beta");
    let silent = cluster.run("beta", &["top", "--once", "--interval", "100ms"]);
    assert_eq!(silent.code, 12, "{silent:?}");
    assert!(silent.out.contains("serve says NOTHING"), "{silent:?}");
    let alone = cluster.ok("alpha", &["top", "--once", "--interval", "100ms"]);
    assert!(alone.contains("take over: beta could NOT"), "{alone}");
}

/// A terminal with `top` in it. It ends with the test.
struct Screen {
    script: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    pid: String,
}

impl Screen {
    fn open(cluster: &Cluster) -> Self {
        let file = cluster.path("top.pid");
        let top = format!(
            "stty cols 80 rows 24; echo $$ > {}; exec {} --config {} --node alpha top --interval 100ms",
            file.display(),
            program().display(),
            cluster.path("twindisk.toml").display()
        );
        let mut script = Command::new("script")
            .args(["-qec", &top, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut screen = script.stdout.take().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = screen.read(&mut buffer) {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.extend_from_slice(&buffer[..length]);
                }
            }
        });
        let mut this = Self {
            keys: script.stdin.take().unwrap(),
            script,
            seen,
            reader: Some(reader),
            pid: String::new(),
        };
        this.shows("RESOURCES on alpha");
        this.pid = fs::read_to_string(file).unwrap().trim().to_owned();
        this
    }

    /// Everything that was written to it.
    fn text(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    fn shows(&self, what: &str) {
        let text = || self.text();
        eventually(what, text, || self.text().contains(what).then_some(()));
    }

    /// Only what changes is written; Ctrl-L makes that everything.
    fn press(&mut self, key: &str) {
        self.keys
            .write_all(format!("{key}\x0c").as_bytes())
            .unwrap();
    }

    /// `top` is gone, or its parent has not yet looked.
    fn until_gone(&self) {
        let stat = format!("/proc/{}/stat", self.pid);
        eventually("top ends", String::new, || {
            let stat = fs::read_to_string(&stat);
            stat.map_or(true, |stat| stat.contains(") Z "))
                .then_some(())
        });
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn in_a_terminal_keys_turn_pages_and_it_leaves_as_it_came() {
    if !have(&["script"]) {
        return;
    }
    let cluster = Cluster::pair("32MiB", "");
    let mut screen = Screen::open(&cluster);
    assert!(screen.text().contains("\x1b[?1049h"), "a screen of its own");
    screen.press("\r");
    screen.shows("WHO COULD TAKE OVER");
    screen.press("?");
    screen.shows("HELP");
    screen.keys.write_all(b"q").unwrap();
    assert!(screen.script.wait().unwrap().success());
    screen.reader.take().unwrap().join().unwrap();
    assert!(
        screen.text().contains("\x1b[?1049l"),
        "the screen of before is back"
    );

    let screen = Screen::open(&cluster);
    let pid = Pid::from_raw(screen.pid.parse().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    screen.shows("\x1b[?1049l");
    screen.until_gone();

    // The terminal goes away, as a window that is closed.
    let mut screen = Screen::open(&cluster);
    screen.script.kill().unwrap();
    screen.until_gone();
}
