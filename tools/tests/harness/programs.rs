//! Programs of other projects. Where one is missing, a test says so and passes, but never in CI: there it fails.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

/// Whether every one of these programs is here. `false`: the test shall return.
pub(crate) fn have(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| find(program).is_none())
        .collect();
    answer(&missing.join(", "), missing.is_empty())
}

/// Whether this user may make loop devices and mount filesystems in user space.
pub(crate) fn have_loop_and_fuse() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let devices = Path::new("/dev/fuse").exists() && Path::new("/dev/loop-control").exists();
    answer("root with /dev/fuse and /dev/loop-control", root && devices)
}

/// Where PostgreSQL's programs are, the newest ones, as Debian puts them.
pub(crate) fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let numbers = versions
        .flatten()
        .filter_map(|one| one.file_name().to_str()?.parse().ok());
    let newest: Option<u32> = numbers.max();
    let folder = newest.map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let needed = [
        "initdb",
        "postgres",
        "psql",
        "pg_isready",
        "pg_amcheck",
        "pg_checksums",
    ];
    let whole = folder.filter(|folder| needed.iter().all(|program| folder.join(program).exists()));
    answer("PostgreSQL's server and clients", whole.is_some()).then_some(whole)?
}

pub(crate) fn answer(what: &str, is_here: bool) -> bool {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        is_here || !ci,
        "CI=true, and this is missing: {what}. `.ci/run` names the Debian packages"
    );
    if !is_here {
        println!("NOT TESTED: this is missing here: {what}");
    }
    is_here
}

/// The distribution's directories come first: its Python has its bindings.
fn search_path() -> String {
    format!(
        "/usr/bin:/usr/sbin:/bin:/sbin:{}",
        std::env::var("PATH").unwrap_or_default()
    )
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// A command that finds the distribution's programs, in good English.
pub(crate) fn command(program: &str) -> Command {
    let path = find(program).unwrap_or_else(|| program.into());
    let mut command = Command::new(path);
    command.env("PATH", search_path()).env("LC_ALL", "C.UTF-8");
    command
}

/// Runs to the end, at most so long.
pub(crate) fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S], most: Duration) -> Output {
    let path = find(program).unwrap_or_else(|| program.into());
    let output = command("timeout")
        .arg("--kill-after=5")
        .arg(most.as_secs().max(1).to_string())
        .arg(path)
        .args(arguments)
        .output()
        .expect("coreutils has `timeout`");
    let text = || format!("{program} {}\n{}", line(arguments), told(&output));
    assert_ne!(
        output.status.code(),
        Some(124),
        "took over {most:?}: {}",
        text()
    );
    output
}

/// Runs to the end, which must be a good one; what it printed.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let output = output(program, arguments, Duration::from_secs(120));
    assert!(
        output.status.success(),
        "{program} {}: {}\n{}",
        line(arguments),
        output.status,
        told(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both streams of a program, for a message.
pub(crate) fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn line<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    let texts: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_ref().to_string_lossy().into_owned())
        .collect();
    texts.join(" ")
}
