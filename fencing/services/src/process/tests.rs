//! Commands that succeed, fail, hang, flood, and leave something behind.

use std::{fs, path::Path, thread};

use tempfile::TempDir;

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn no_environment() -> Environment {
    Environment(Vec::new())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The process whose id a script wrote to `file` is gone, or a zombie that waits for init.
#[track_caller]
fn dies(file: &Path) {
    let pid = wait_for(file);
    let deadline = std::time::Instant::now() + LONG;
    while alive(&pid) {
        assert!(std::time::Instant::now() < deadline, "{pid} lives");
        thread::sleep(limits::POLL);
    }
}

fn alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

#[track_caller]
fn wait_for(file: &Path) -> String {
    let deadline = std::time::Instant::now() + LONG;
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(std::time::Instant::now() < deadline, "no {file:?}"),
        }
        thread::sleep(limits::POLL);
    }
}

#[test]
fn keeps_both_streams_and_the_end_of_a_flood() {
    block_on(async {
        let both = run(
            &shell("echo out; echo err >&2; exit 5"),
            &no_environment(),
            LONG,
        )
        .await
        .unwrap();
        assert_eq!(both.output, "out\nerr");
        assert_eq!(both.status.code(), Some(5));

        let flood = shell("yes | head -c 300000; echo last words; exit 1");
        let flood = succeed(&flood, &no_environment(), LONG).await.unwrap_err();
        let Problem::Failed { output, how, .. } = flood else {
            panic!("{flood}");
        };
        assert!(output.ends_with("last words"), "{output}");
        assert!(output.len() <= limits::OUTPUT_BYTES + 8, "{}", output.len());
        assert!(how.contains('1'), "{how}");
    });
}

#[test]
fn says_what_cannot_be_run() {
    let words = ["/no/such/program".to_owned()];
    let error = block_on(run(&words, &no_environment(), LONG)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/no/such/program could not be run"), "{text}");
}

#[test]
fn kills_the_whole_group_at_the_deadline() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! >{}; echo told; wait", file.display());
    let error = block_on(run(
        &shell(&script),
        &no_environment(),
        Duration::from_millis(500),
    ))
    .unwrap_err();
    assert!(
        matches!(&error, Problem::TimedOut { output, .. } if output == "told"),
        "{error}"
    );
    dies(&file);
}

#[test]
fn kills_the_whole_group_when_it_is_dropped() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("pid");
    let script = shell(&format!("sleep 1000 & echo $! >{}; wait", file.display()));
    block_on(async {
        let environment = no_environment();
        let mut running = Box::pin(run(&script, &environment, LONG));
        while !file.exists() {
            let _ = timeout(limits::POLL, &mut running).await;
        }
        drop(running);
    });
    dies(&file);
}

#[test]
fn kills_what_a_failed_command_leaves_behind() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("pid");
    let script = shell(&format!("sleep 1000 & echo $! >{}; exit 1", file.display()));
    let finished = block_on(run(&script, &no_environment(), LONG)).unwrap();
    assert!(!finished.status.success());
    dies(&file);
}

#[test]
fn a_daemon_that_stays_behind_lives_and_may_go_on_printing() {
    let dir = TempDir::new().unwrap();
    let (pid, end) = (dir.path().join("pid"), dir.path().join("end"));
    let script = shell(&format!(
        "(yes | head -c 1000000; echo whole >{}; exec sleep 1000) & echo $! >{}",
        end.display(),
        pid.display()
    ));
    block_on(async {
        let finished = run(&script, &no_environment(), LONG).await.unwrap();
        assert!(finished.status.success());
        let deadline = Instant::now() + LONG;
        while !end.exists() {
            assert!(Instant::now() < deadline, "its output was not taken");
            tokio::time::sleep(limits::POLL).await;
        }
    });
    let daemon = wait_for(&pid);
    assert!(alive(&daemon));
    let daemon = Pid::from_raw(daemon.parse().unwrap());
    nix::sys::signal::kill(daemon, Signal::SIGKILL).unwrap();
}
