//! The program as a process: found, started clean, signalled, listened to; and what it leaves behind compared.

use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::random::Random;

/// The program. Another one, installed somewhere, can be put to the same tests.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TWINDISK_PROGRAM").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_twindisk")),
        PathBuf::from,
    )
}

/// The program without anything inherited that it would listen to.
pub(crate) fn clean_command() -> Command {
    let mut command = Command::new(program());
    for name in [
        "TWINDISK_CONFIG",
        "TWINDISK_NODE",
        "TWINDISK_LOG",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
    ] {
        command.env_remove(name);
    }
    command
}

/// A program that is started by another one.
pub(crate) fn through(
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    command: &Command,
) -> Command {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program());
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        outer.env_remove(name);
    }
    outer
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program without a cluster.
pub(crate) fn run(arguments: &[&str]) -> Said {
    said(
        &clean_command()
            .args(arguments)
            .output()
            .expect("the program runs"),
    )
}

pub(crate) fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Sends a signal to a child of ours.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().expect("process numbers are small"));
    kill(pid, signal).expect("it is ours to signal");
}

/// A port that nobody uses as long as this is held.
pub(crate) fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has free ports")
}

/// A moment between `from` and `to`, for tests that strike at random moments.
pub(crate) fn pause(random: &mut Random, from: Duration, to: Duration) {
    let span = u64::try_from((to - from).as_micros()).expect("short");
    thread::sleep(from + Duration::from_micros(random.below(span.max(1))));
}

/// Fails unless two files hold the same bytes, and says where they differ.
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let contents = [one, other].map(|file| fs::read(file).expect("an image"));
    assert_same_bytes([one, other], [&contents[0], &contents[1]]);
}

/// The same of what was read from them.
pub(crate) fn assert_same_bytes([one, other]: [&Path; 2], [left, right]: [&[u8]; 2]) {
    assert_eq!(
        left.len(),
        right.len(),
        "{} and {}",
        one.display(),
        other.display()
    );
    let differ: Vec<usize> = left
        .chunks(4096)
        .zip(right.chunks(4096))
        .enumerate()
        .filter(|(_, (left, right))| left != right)
        .map(|(block, _)| block)
        .collect();
    assert!(
        differ.is_empty(),
        "{} and {} differ in {} blocks: {:?}",
        one.display(),
        other.display(),
        differ.len(),
        &differ[..differ.len().min(20)]
    );
}
