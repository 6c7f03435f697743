//! `twindisk top` on a real pair: a frame for pipes, and live in a terminal.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
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

/// It ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn in_a_terminal_keys_turn_pages_and_it_leaves_as_it_came() {
    if !have(&["script"]) {
        return;
    }
    let cluster = Cluster::pair("32MiB", "");
    let config = cluster.path("twindisk.toml");
    let top = format!(
        "stty cols 80 rows 24; {} --config {} --node alpha top --interval 100ms",
        program().display(),
        config.display()
    );
    let mut child = Process(
        Command::new("script")
            .args(["-qec", &top, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut keys = child.0.stdin.take().unwrap();
    let mut screen = child.0.stdout.take().unwrap();
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
    let text = || {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    };
    let shows = |what: &str| {
        eventually(what, text, || text().contains(what).then_some(()));
    };
    shows("RESOURCES on alpha");
    assert!(text().contains("\x1b[?1049h"), "a screen of its own");
    // Only what changes is written; Ctrl-L makes that everything.
    keys.write_all(b"\r\x0c").unwrap();
    shows("WHO COULD TAKE OVER");
    keys.write_all(b"?\x0c").unwrap();
    shows("HELP");
    keys.write_all(b"q").unwrap();
    assert!(child.0.wait().unwrap().success());
    reader.join().unwrap();
    assert!(
        text().contains("\x1b[?1049l"),
        "the screen of before is back"
    );
}
