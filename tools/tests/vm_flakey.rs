//! A standby whose disk goes bad, with the kernel's `dm-flakey` between it and its disk and a filesystem on the device: a
//! disk that says that it fails takes itself out, and the service goes on; one that loses writes in silence is found
//! out by a verify.

mod harness;

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::{
    eventually,
    programs::have,
    vm::{Job, Lab, PROGRAMS, pair_configuration},
};

/// The device.
const SIZE: usize = 64 << 20;

const DISK: u64 = 80 << 20;

#[test]
fn a_failing_disk_takes_itself_out_and_the_service_goes_on() {
    let Some(mut pair) = Pair::new("/dev/ubdc") else {
        return;
    };
    pair.disk("flakey /dev/ubdb 0 0 3600 1 error_writes");
    pair.call(BETA_HAS_FAILED);
    // It has stored that it failed, which is a release: nobody has to say anything.
    pair.until_more("the primary goes on");
    let alpha = pair.call("on alpha twindisk status --json");
    assert!(
        alpha.contains(r#""in-sync":[1]"#) && alpha.contains(r#""suspended":null"#),
        "{alpha}"
    );
    let refused = pair.call("! on beta twindisk promote");
    assert!(refused.contains("refused"), "{refused}");
    pair.call("on beta stop");
    pair.replace_disk();
    pair.end(3);
}

#[test]
fn a_disk_that_fails_with_its_metadata_takes_itself_out_too() {
    let Some(mut pair) = Pair::new("internal") else {
        return;
    };
    pair.disk("flakey /dev/ubdb 0 0 3600 1 error_writes");
    pair.call(BETA_HAS_FAILED);
    // It can store nothing, and says so for as long as its process lives: that is enough.
    pair.until_more("the primary goes on");
    pair.call("on beta kill_server");
    pair.replace_disk();
    pair.end(3);
}

#[test]
fn a_verify_finds_what_a_disk_loses_in_silence() {
    let Some(mut pair) = Pair::new("/dev/ubdc") else {
        return;
    };
    pair.disk("flakey /dev/ubdb 0 0 3600 1 drop_writes");
    pair.until_more("files are lost");
    pair.disk("linear /dev/ubdb 0");
    pair.until_more("files are written");
    // Nobody could know.
    pair.call("on alpha until_in_sync");
    let found = pair.call("on alpha twindisk verify --wait && exit 1; [ $? = 14 ]");
    let differ = blocks(&found, "blocks differ");
    assert!(differ > 0, "{found}");
    let repaired = pair.call("on alpha twindisk verify --repair --wait");
    assert!(blocks(&repaired, "repaired") > 0, "{repaired}");
    let again = pair.call("on alpha twindisk verify --wait");
    assert_eq!(blocks(&again, "blocks differ"), 0, "{again}");
    println!("{differ} blocks that were lost in silence were found and repaired");
    pair.end(1);
}

#[test]
fn metadata_that_dies_in_silence_is_found_on_a_quiet_standby() {
    let Some(mut lab) = quiet_pair() else {
        return;
    };
    let machine = &mut lab.machines[0];
    machine.call("metadata_of_beta 'flakey /dev/ubdc 0 0 3600 1 error_writes'");
    machine.call(
        r#"on beta until_true says '"disk":"Failed"'
        on alpha until_true says '"in-sync":\[1\]'
        on beta says '"faults":\["the metadata of this node can.t be written'
        on alpha says '"faults":\["the disk or the metadata of beta has failed'
        write_something
        ! on beta twindisk promote"#,
    );
    machine.call(
        r#"metadata_of_beta 'linear /dev/ubdc 0'
        on beta kill_server
        on beta serve
        on alpha until_in_sync
        on alpha until_true says '"faults":\[\]'
        write_something
        end"#,
    );
    machine.shut_down();
}

#[test]
fn metadata_that_hangs_is_found_on_a_quiet_standby_which_comes_back_by_itself() {
    let Some(mut lab) = quiet_pair() else {
        return;
    };
    let machine = &mut lab.machines[0];
    machine.call("dmsetup suspend --nolockfs --noflush meta");
    machine.call(
        r#"on alpha until_true says '"in-sync":\[1\]'
        on beta says '"disk":"Outdated"'
        on beta says 'the metadata device of this node hangs'
        on alpha says '"faults":\["the disk or the metadata of beta has failed'
        write_something
        ! on beta twindisk promote"#,
    );
    machine.call(
        r#"dmsetup resume meta
        on alpha until_in_sync
        on alpha until_true says '"faults":\[\]'
        on beta until_true says '"faults":\[\]'
        write_something
        end"#,
    );
    machine.shut_down();
}

/// A pair that nobody writes to, the standby's metadata on a device of its own under the device mapper.
fn quiet_pair() -> Option<Lab> {
    if !have(&[PROGRAMS, &["dmsetup"]].concat()) {
        return None;
    }
    let mut lab = Lab::new(1, &[DISK; 3]);
    let members = [
        "backing = \"/dev/ubda\", metadata = \"internal\"".to_owned(),
        "backing = \"/dev/ubdb\", metadata = \"/dev/mapper/meta\"".to_owned(),
    ];
    let configuration = pair_configuration(members);
    let hasty = "request-timeout = \"9s\"\nflush-interval";
    lab.prepare(&configuration.replace("flush-interval", hasty), QUIET);
    let machine = &mut lab.machines[0];
    machine.power_on();
    machine.until_ready();
    machine.call(
        "metadata_of_beta 'linear /dev/ubdc 0'
        start_pair --size 64MiB
        write_something",
    );
    Some(lab)
}

/// What the scripts of a quiet pair call.
const QUIET: &str = r#"
metadata_of_beta() {
    device_mapper meta "0 $(blockdev --getsz /dev/ubdc) $1"
}

write_something() {
    dd if=/dev/urandom of=/dev/nbd0 bs=4096 count=16 oflag=direct conv=fsync
}

end() {
    on alpha twindisk detach /dev/nbd0
    on alpha twindisk demote
    on alpha stop
    on beta stop
}
"#;

/// The number in front of some words.
fn blocks(text: &str, words: &str) -> u64 {
    let before = text.split(words).next().expect("there is always one");
    let number = before.split_whitespace().next_back();
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number of {words} in {text}"))
}

const BETA_HAS_FAILED: &str =
    r#"on beta until_true says '"term":[0-9]*,"disk":"Failed","disk-why":".*failed'"#;

/// Two nodes in one machine, the standby's disk under the device mapper, and a filesystem that is written to.
struct Pair {
    lab: Lab,
    writer: Job,
    promised: PathBuf,
}

impl Pair {
    /// None when programs are missing. `metadata` is the standby's.
    fn new(metadata: &str) -> Option<Self> {
        let needed = ["dmsetup", "mkfs.ext4", "e2fsck", "mount"];
        if !have(&[PROGRAMS, &needed].concat()) {
            return None;
        }
        let mut lab = Lab::new(1, &[DISK; 4]);
        let members = [
            "backing = \"/dev/ubda\", metadata = \"internal\"".to_owned(),
            format!("backing = \"/dev/mapper/standby\", metadata = \"{metadata}\""),
        ];
        lab.prepare(&pair_configuration(members), FUNCTIONS);
        let promised = lab.shared().join("promised");
        let machine = &mut lab.machines[0];
        machine.power_on();
        machine.until_ready();
        machine.call(
            "standby 'linear /dev/ubdb 0'
            start_pair --size 64MiB
            mkfs.ext4 -q -E nodiscard /dev/nbd0
            mount /dev/nbd0 /srv",
        );
        let writer = machine.start_call("write_until_enough");
        let pair = Self {
            lab,
            writer,
            promised,
        };
        pair.until_more("files are written");
        Some(pair)
    }

    fn call(&mut self, script: &str) -> String {
        self.lab.machines[0].call(script)
    }

    /// Puts another table beneath the standby.
    fn disk(&mut self, table: &str) {
        self.call(&format!("standby '{table}'"));
    }

    /// Waits until the writer has been promised ten more files.
    fn until_more(&self, what: &str) {
        let before = count(&self.promised);
        eventually(
            what,
            || self.writer.output(),
            || {
                assert_eq!(self.writer.ended(), None, "{}", self.writer.output());
                (count(&self.promised) >= before + 10).then_some(())
            },
        );
    }

    /// The standby gets an empty disk.
    fn replace_disk(&mut self) {
        self.disk("linear /dev/ubdd 0");
        self.call(
            "on beta twindisk init --size 64MiB --force-overwrite
            on beta serve
            on alpha until_in_sync",
        );
        self.until_more("files are written to the new disk");
    }

    /// All is there, and both replicas are equal; the standby's is on the disk of this index.
    fn end(mut self, disk: usize) {
        self.call(
            "touch /run/enough
            until_true [ -e /run/done ]
            on alpha until_in_sync
            check
            umount /srv
            e2fsck -fn /dev/nbd0
            on alpha twindisk detach /dev/nbd0
            on alpha twindisk demote
            on alpha stop
            on beta stop",
        );
        self.lab.machines[0].shut_down();
        let disks = [0, disk].map(|index| fs::read(self.lab.disk(1, index)).expect("a disk"));
        assert!(
            disks[0][..SIZE] == disks[1][..SIZE],
            "the disks differ, though both were in sync and at rest"
        );
    }
}

/// Lines that are whole.
fn count(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.matches('\n').count()
}

/// What the scripts in the machine call.
const FUNCTIONS: &str = r#"
standby() {
    device_mapper standby "0 $(blockdev --getsz /dev/ubdb) $1"
}

# Some 50 files are written over and over. Each time, its name and what is in it are told once it is synced.
write_until_enough() {
    number=0
    until [ -e /run/enough ]; do
        number=$((number + 1))
        yes "line $number" | head -n 1000 >/srv/$((number % 50))
        sync /srv/$((number % 50))
        echo $number >>/job/shared/promised
    done
    touch /run/done
}

check() {
    tail -n 50 /job/shared/promised | while read -r number; do
        yes "line $number" | head -n 1000 | cmp - /srv/$((number % 50))
    done
}
"#;
