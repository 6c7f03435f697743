//! Two machines with an agent each, and services that follow the primary: the kernel's device, a filesystem on it, and a
//! command that writes files there.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    harness::{eventually, vm::Lab},
    power::Power,
};

/// The device; the rest of each disk is metadata.
pub(crate) const SIZE: usize = 128 << 20;

const DISK: u64 = 160 << 20;

/// The machines.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) power: Power,
    promised: PathBuf,
}

impl Site {
    /// Everything runs: node1 is primary with its services up, node2 in sync.
    pub(crate) fn running() -> Self {
        let lab = Lab::new(2, &[DISK]);
        let shared = lab.shared();
        lab.prepare(CONFIGURATION, FUNCTIONS);
        let writer = shared.join("writer");
        fs::write(&writer, WRITER).expect("a script");
        fs::set_permissions(&writer, fs::Permissions::from_mode(0o755)).expect("our own file");
        let mut site = Self {
            power: Power::install(&shared),
            promised: shared.join("promised"),
            lab,
        };
        for number in [1, 2] {
            site.boot(number);
        }
        for number in [1, 2] {
            site.until_ready(number);
        }
        site.call(1, "twindisk init --first --size 128MiB; serve");
        site.call(2, "twindisk init --size 128MiB; serve");
        site.call(
            1,
            "twindisk promote
            until_in_sync
            attach
            mkfs.ext4 -q -E nodiscard /dev/nbd0
            twindisk detach /dev/nbd0
            agent",
        );
        site.call(2, "agent");
        site.until_up(1);
        site.until_written(1);
        site
    }

    /// Runs a script that knows the functions on a machine, which must end well; what it printed.
    pub(crate) fn call(&self, number: usize, script: &str) -> String {
        let job = self.lab.machines[number - 1].start_call(script);
        let what = format!("node{number}: {script}");
        let code = eventually(&what, || self.logs(), || job.ended());
        assert_eq!(code, 0, "{what}\n{}\n{}", job.output(), self.logs());
        job.output()
    }

    fn boot(&mut self, number: usize) {
        let machine = &mut self.lab.machines[number - 1];
        machine.power_on();
        self.power.plug_in(number, machine);
    }

    fn until_ready(&mut self, number: usize) {
        self.lab.machines[number - 1].until_ready();
        self.call(number, "module block/nbd");
    }

    /// A machine loses its power.
    pub(crate) fn lose_power(&mut self, number: usize) {
        let machine = &mut self.lab.machines[number - 1];
        self.power.lose(number, machine);
    }

    /// A machine that was off is switched on by the other's agent, boots, and is brought up to date.
    pub(crate) fn come_home(&mut self, number: usize) {
        self.power.until_on(number, String::new);
        self.lab.machines[number - 1].cut_power();
        self.boot(number);
        self.until_ready(number);
        self.call(number, "serve; agent");
        self.until_in_sync(3 - number);
        self.until(
            number,
            "its agent hears the other",
            r#"agent_says '"state":"heard"'"#,
        );
    }

    /// Waits until the primary, this one, has told all to the other.
    pub(crate) fn until_in_sync(&self, number: usize) {
        let in_sync = r#"says '"connection":"established".*"in-sync":true.*"progress":null'"#;
        self.until(number, "its peer is in sync", in_sync);
    }

    /// Waits until the agent of a machine says that its services are up.
    pub(crate) fn until_up(&self, number: usize) {
        let up = r#"agent_says '"services":"up"'"#;
        self.until(number, "its services are up", up);
    }

    /// Asks a machine until a script ends well.
    pub(crate) fn until(&self, number: usize, what: &str, script: &str) {
        let machine = &self.lab.machines[number - 1];
        let asked = || {
            let job = machine.start_call(script);
            let ended = eventually(what, String::new, || job.ended());
            (ended == 0).then_some(())
        };
        eventually(&format!("node{number}: {what}"), || self.logs(), asked);
    }

    /// Waits until the service of a machine has been promised ten more files. When it was promised the first.
    pub(crate) fn until_written(&self, number: usize) -> Instant {
        let before = self.promised_by(number);
        let until = |count| {
            eventually(
                &format!("node{number} writes"),
                || self.logs(),
                || (self.promised_by(number) >= before + count).then(Instant::now),
            )
        };
        let first = until(1);
        until(10);
        first
    }

    /// Fails unless every file that was ever promised is there, on the machine where it is mounted.
    pub(crate) fn check(&self, number: usize) -> usize {
        let all: BTreeSet<u64> = self.history().into_iter().map(|(file, _)| file).collect();
        let list: String = all.iter().map(|file| format!("{file}\n")).collect();
        fs::write(self.lab.shared().join(format!("list{}", all.len())), list).expect("a file");
        self.call(number, &format!("check /job/shared/list{}", all.len()));
        all.len()
    }

    /// The machines that were promised files, each as often as it began to be.
    pub(crate) fn reigns(&self) -> Vec<usize> {
        let mut reigns: Vec<usize> = self.history().into_iter().map(|(_, by)| by).collect();
        reigns.dedup();
        reigns
    }

    fn promised_by(&self, number: usize) -> usize {
        let history = self.history();
        history.iter().filter(|(_, by)| *by == number).count()
    }

    /// Number of each file, and the machine that was promised it.
    fn history(&self) -> Vec<(u64, usize)> {
        let text = fs::read_to_string(&self.promised).unwrap_or_default();
        // The last line may not be whole.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| {
                let (file, by) = line.split_once(' ').expect("two words");
                (file.parse().expect("a number"), by.parse().expect("1 or 2"))
            })
            .collect()
    }

    /// What both agents and servers have logged.
    pub(crate) fn logs(&self) -> String {
        let jobs = self
            .lab
            .machines
            .iter()
            .enumerate()
            .map(|(index, machine)| {
                if machine.group().is_none() {
                    return format!("--- node{}: off\n", index + 1);
                }
                let job = machine.start_call("told");
                let deadline = Instant::now() + Duration::from_secs(10);
                while job.ended().is_none() && Instant::now() < deadline {
                    std::thread::sleep(crate::harness::LOOK);
                }
                format!("--- node{}\n{}", index + 1, job.output())
            });
        jobs.collect()
    }
}

const CONFIGURATION: &str = r#"
cluster = "machines"
secret = "0123456789abcdef0123456789abcdef"

[agent]
max-failovers = 100

[nodes.node1]
id = 1
address = "10.77.0.1:7800"
state-dir = "/job/shared/node1"
heartbeat = ["10.77.0.1:7790"]
fence = [{ devices = [{ agent = "/job/shared/power/fence_machine", plug = "node1" }] }]

[nodes.node2]
id = 2
address = "10.77.0.2:7800"
state-dir = "/job/shared/node2"
heartbeat = ["10.77.0.2:7790"]
fence = [{ devices = [{ agent = "/job/shared/power/fence_machine", plug = "node2" }] }]

[resource.r0]
client-buffers = "64MiB"
peer-buffers = "32MiB"
services = [
  { attach = "/dev/nbd0" },
  { mount = "/srv", device = "/dev/nbd0", type = "ext4", stop-timeout = "3s" },
  { name = "writer", start = ["/job/shared/writer", "start"], stop = ["/job/shared/writer", "stop"], status = ["/job/shared/writer", "status"] },
]
on.node1 = { backing = "/dev/ubda", metadata = "internal" }
on.node2 = { backing = "/dev/ubda", metadata = "internal" }
"#;

/// File N holds the line N a thousand times. Its number and the node's are told once it is synced.
const WRITER: &str = r#"#!/bin/bash
pid=/run/writer.pid
runs() { kill -0 "$(cat $pid 2>/dev/null)" 2>/dev/null; }
case $1 in
start)
    setsid "$0" write </dev/null >/dev/null 2>&1 &
    echo $! >$pid
    ;;
write)
    mkdir -p /srv/files
    number=$(ls /srv/files | sort -n | tail -n 1)
    while :; do
        number=$((number + 1))
        yes "line $number" | head -n 1000 >/srv/files/$number
        sync /srv/files/$number
        echo "$number ${TWINDISK_NODE#node}" >>/job/shared/promised
        sleep 0.1
    done
    ;;
stop)
    runs || exit 0
    kill "$(cat $pid)"
    while runs; do sleep 0.1; done
    ;;
status) runs || exit 3 ;;
esac
"#;

const FUNCTIONS: &str = r#"
agent_says() {
    twindisk agent status --json 2>/dev/null | grep -q "$1"
}

check() {
    # One process: each costs much here.
    awk 'FNR == 1 { sub(".*/", "", FILENAME) }
        $0 != "line " FILENAME { print "in file " FILENAME ": " $0; exit 1 }
        END { if (NR != 1000 * (ARGC - 1)) { print ARGC - 1 " files, " NR " lines"; exit 1 } }' \
        $(sed 's,^,/srv/files/,' "$1")
}

attached() {
    [ -e /sys/block/nbd0/pid ]
}

is_detached() {
    ! mounted && ! attached
}

supervisors() {
    pgrep -f 'attach r0 .*--supervise'
}

mounted() {
    grep -q "^/dev/nbd0 /srv ext4" /proc/mounts
}

told() {
    tail -n 60 /run/twindisk/*.log
    dmesg | tail -n 20
    ps -eo pid,stat,wchan:20,args | grep -v '\]$'
}
"#;
