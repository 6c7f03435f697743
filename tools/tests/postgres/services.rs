//! What the agent runs where the resource is primary: a device, the filesystem on it, the server, its address.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::harness::{arena::CONFIG, namespaces::VIRTUAL, process::program};

/// Of a service that is a command: `start`, `stop`, `status`.
const SCRIPT: &str = r#"
export LC_ALL=C
logs=$dir/$TWINDISK_NODE
# A process that is dead and that nobody has waited for is gone.
lives() { [ -e "$run/$1.pid" ] && grep -qs '^State:.[^XZ]' "/proc/$(cat "$run/$1.pid")/status"; }
until_gone() { while lives "$1"; do sleep 0.05; done; rm -f "$run/$1.pid"; }

# The device that nobody else has written to since (R17), by the name that says so.
device_start() {
    bound=$("$twindisk" status r0 --json --config "$config" --node "$TWINDISK_NODE" |
        sed -n 's/.*"binding": *"\([^"]*\)".*/\1/p')
    [ -n "$bound" ]
    mkdir -p "$run/fuse"
    uri="nbd+unix:///r0@$bound?socket=$dir/$TWINDISK_NODE/r0.sock"
    setsid nbdfuse "$run/fuse/disk" [ nbdkit --exit-with-parent --filter=retry nbd "uri=$uri" \
        retries=1000000 retry-delay=1 retry-exponential=no ] >>"$logs-device.log" 2>&1 &
    echo $! >"$run/nbdfuse.pid"
    until [ -e "$run/fuse/disk" ]; do
        lives nbdfuse
        sleep 0.05
    done
    loop=$(losetup --find --show --direct-io=on "$run/fuse/disk")
    # The kernel lets go of the loop device with its last user: this one, or a mount.
    setsid sleep infinity <"$loop" >/dev/null 2>&1 &
    echo $! >"$run/loop.pid"
    until [ "$(readlink "/proc/$(cat "$run/loop.pid")/fd/0")" = "$loop" ]; do sleep 0.02; done
    losetup --detach "$loop"
    ln -s "$loop" "$run/device"
}
device_stop() {
    rm -f "$run/device"
    if lives loop; then kill "$(cat "$run/loop.pid")"; fi
    until_gone loop
    while mountpoint -q "$run/fuse"; do
        fusermount3 -u "$run/fuse" 2>/dev/null || sleep 0.1
    done
    if lives nbdfuse && [ ! -e "$run/fuse/disk" ]; then kill "$(cat "$run/nbdfuse.pid")" || :; fi
    until_gone nbdfuse
}
device_status() {
    if lives nbdfuse && lives loop && [ -e "$run/device" ]; then exit 0; fi
    if lives nbdfuse || lives loop; then exit 4; fi
    exit 3
}

cd /
"$1_$2"
"#;

/// How much time each has to stop: a test waits for the sum where nothing stops.
const STOP: &str = "stop-timeout = \"6s\"";

/// Where a node has its own files, as `/run`.
pub(crate) fn run(dir: &Path) -> PathBuf {
    dir.join("run")
}

/// The line in the table of the resource. Everything lies in `dir`.
pub(crate) fn config(dir: &Path) -> String {
    with_database(dir, STOP)
}

/// The same; a database that is silent for [`ANSWER`] has ended.
pub(crate) fn impatient(dir: &Path) -> String {
    let timeout = format!("answer-timeout = \"{}s\"", ANSWER.as_secs());
    with_database(dir, &format!("{timeout}, {STOP}"))
}

pub(crate) const ANSWER: Duration = Duration::from_secs(5);

fn with_database(dir: &Path, more: &str) -> String {
    let run = run(dir).display().to_string();
    let device = command(dir, "device");
    let mount =
        format!("{{ mount = \"{run}/srv\", device = \"{run}/device\", type = \"ext4\", {STOP} }}");
    let log = log(dir).display().to_string();
    let postgres = format!(
        "{{ postgresql = \"{run}/srv/data\", user = \"postgres\", log = \"{log}\", {more} }}"
    );
    format!("services = [{device}, {mount}, {postgres}, {VIRTUAL}]")
}

/// What the servers say, on both nodes.
pub(crate) fn log(dir: &Path) -> PathBuf {
    dir.join("postgres.log")
}

/// One that will not stop is killed by its name, wherever it is on this machine: each test has names of its own.
fn command(dir: &Path, service: &str) -> String {
    let script = dir.join("service");
    let commands = ["start", "stop", "status"].map(|verb| {
        format!(
            "{verb} = [\"{}\", \"{service}\", \"{verb}\"], ",
            script.display()
        )
    });
    let test = dir.file_name().expect("a folder").display();
    let commands = commands.concat();
    format!("{{ name = \"{service} of {test}\", {commands}{STOP} }}")
}

/// Writes the script, and makes the log.
pub(crate) fn install(dir: &Path) {
    let script = dir.join("service");
    let names = [
        ("dir", dir.to_owned()),
        ("run", run(dir)),
        ("config", dir.join(CONFIG)),
        ("twindisk", program()),
    ];
    let names = names.map(|(name, path)| format!("{name}='{}'\n", path.display()));
    fs::write(
        &script,
        format!("#!/bin/sh\nset -e\n{}{SCRIPT}", names.concat()),
    )
    .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
    // The server writes it, and it is another user.
    fs::write(log(dir), "").expect("a file");
    fs::set_permissions(log(dir), fs::Permissions::from_mode(0o666)).expect("our own file");
}
