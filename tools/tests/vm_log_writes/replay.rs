//! Every moment at which the standby could have lost its power, checked: its metadata, the filesystem on it, the files,
//! and each sector against what the client wrote and flushed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    DISK, SIZE, configuration,
    harness::{
        process::clean_command,
        programs::{output, told},
        random::Random,
        write_log::{Entry, SECTOR, WriteLog, save},
    },
    steps::Steps,
};

/// What is checked against what.
pub(crate) struct Replay<'a> {
    /// Of the standby's whole disk, data and metadata.
    pub(crate) standby: &'a WriteLog,
    /// Of the device as its client sees it.
    pub(crate) client: &'a WriteLog,
    pub(crate) steps: &'a Steps,
    /// Where images are put, and a configuration that names them.
    pub(crate) scratch: &'a Path,
    pub(crate) seed: u64,
}

/// Where ext4 counts on a disk that does not tear blocks.
const SUPERBLOCK: Range<usize> = 0..4096;

/// How much was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Flushes, and writes with FUA.
    pub(crate) points: usize,
    /// Images of a filesystem.
    pub(crate) filesystems: usize,
    /// Those among them where a part of what was under way had reached the disk.
    pub(crate) torn: usize,
    /// Writes of data with FUA.
    pub(crate) fua: usize,
    /// Sectors that were compared with what the client wrote.
    pub(crate) sectors: usize,
}

/// One image and what is promised on it.
struct Moment<'a> {
    image: &'a [u8],
    /// Step that was synced.
    done: usize,
    what: String,
    torn: bool,
}

impl Replay<'_> {
    /// Checks the moments up to an entry; as one of several workers, every so-manieth of them.
    pub(crate) fn check(&self, until: usize, worker: usize, workers: usize) -> Tally {
        let versions = Versions::new(self.client);
        let mut tally = Tally::default();
        let mut image = vec![0; DISK];
        let mut floor = Floor::default();
        let mut done = None;
        // Since the last moment that was looked at.
        let mut sectors = BTreeSet::new();
        let mut data_changed = true;
        for (index, entry) in self.standby.entries[..until].iter().enumerate() {
            self.standby.apply(entry, &mut image);
            let range = entry.range();
            let is_data = range.start < SIZE && !range.is_empty();
            data_changed |= is_data;
            sectors.extend(range.step_by(SECTOR).filter(|at| *at < SIZE));
            if let Some(step) = step_of(entry) {
                done = Some(step);
                floor = Floor(self.client.mark(&step.to_string()));
                sectors = versions.sectors();
            }
            let is_mark = matches!(entry, Entry::Mark(_));
            if !entry.is_stable_point() && !is_mark {
                continue;
            }
            tally.points += usize::from(!is_mark);
            tally.fua += usize::from(is_data && *entry != Entry::Flush && !is_mark);
            for &at in &sectors {
                let found = &image[at..at + SECTOR];
                if let Err(why) = versions.allow(self.client, at, found, floor) {
                    panic!("entry {index} {entry:?}, step {done:?}: sector at {at}: {why}");
                }
            }
            tally.sectors += sectors.len();
            sectors.clear();
            let Some(done) = done else { continue };
            let mine = tally.points % workers == worker;
            if mine {
                let what = format!("cut behind entry {index} {entry:?}");
                let moment = Moment {
                    image: &image,
                    done,
                    what,
                    torn: false,
                };
                let file = self.save(&moment);
                self.metadata(&moment, &file);
                if data_changed || is_mark {
                    self.filesystem(&moment, &file);
                    tally.filesystems += 1;
                }
            }
            data_changed &= !mine;
            if mine
                && (*entry == Entry::Flush || is_mark)
                && let Some(next) = self.standby.next_flush(index + 1)
                && next < until
                && self.has_unstable(index + 1..next)
            {
                self.cut(index, next, done, &image);
                tally.filesystems += 1;
                tally.torn += 1;
            }
        }
        if worker > 0 {
            // Every worker walks the whole log and sees these; they count once.
            tally.points = 0;
            tally.fua = 0;
            tally.sectors = 0;
        }
        tally
    }

    /// Cuts the power somewhere between what is behind entry `index` and the flush `next`.
    fn cut(&self, index: usize, next: usize, done: usize, image: &[u8]) {
        let entries = index + 1..next;
        let mut image = image.to_vec();
        let mut random = Random::new(self.seed ^ index as u64);
        self.standby
            .cut_power(entries.clone(), &mut image, &SUPERBLOCK, &mut random);
        // All that is stable before that flush is there, and so is what was promised by then.
        let mut later = self.standby.entries[entries].iter().rev();
        let done = later.find_map(step_of).unwrap_or(done);
        let moment = Moment {
            image: &image,
            done,
            what: format!("cut at entry {next}, behind {index}"),
            torn: true,
        };
        let file = self.save(&moment);
        self.metadata(&moment, &file);
        self.filesystem(&moment, &file);
    }

    /// Whether there is something that a cut could lose.
    fn has_unstable(&self, entries: Range<usize>) -> bool {
        let mut entries = self.standby.entries[entries].iter();
        entries.any(|entry| !entry.is_stable_point() && !entry.range().is_empty())
    }

    /// The metadata can be used, and it says that this disk is UpToDate.
    fn metadata(&self, moment: &Moment<'_>, image: &Path) {
        let config = self.scratch.join("twindisk.toml");
        let image = image.display().to_string();
        fs::write(&config, configuration(&image, &image)).expect("a file");
        let output = clean_command()
            .args(["metadata", "dump", "--json", "--node", "beta", "--config"])
            .arg(&config)
            .output()
            .expect("the program runs");
        let said = told(&output);
        assert!(output.status.success(), "{}: {said}", moment.what);
        let dump: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let disk = &dump["superblock"]["disk"];
        assert_eq!(disk, "UpToDate", "{}: {said}", moment.what);
        let findings = dump["findings"].as_array().expect("a list");
        let is_torn = |finding: &serde_json::Value| {
            finding.as_str().is_some_and(|text| text.contains("torn"))
        };
        assert!(
            findings.iter().all(is_torn) && (moment.torn || findings.is_empty()),
            "{}: {said}",
            moment.what
        );
    }

    /// The filesystem needs what a mount does and nothing else, and what was synced is there.
    fn filesystem(&self, moment: &Moment<'_>, image: &Path) {
        let path = image.to_str().expect("our own names");
        // Replays the journal, forgets the files that were being removed, and goes on to repair what is marked bad.
        let mounted = run("e2fsck", &["-p", path]);
        assert!(
            matches!(mounted.0, 0 | 1) && !mounted.1.contains("UNEXPECTED"),
            "{}: e2fsck -p: {mounted:?}",
            moment.what
        );
        let checked = run("e2fsck", &["-fn", path]);
        assert_eq!(checked.0, 0, "{}: e2fsck -fn: {}", moment.what, checked.1);
        let copy = self.scratch.join("copy");
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).expect("a folder");
        let request = format!("rdump / {}", copy.display());
        let copied = run("debugfs", &["-R", &request, path]);
        if let Err(why) = self.steps.check(moment.done, &copy) {
            panic!(
                "{}, step {} was synced: {why}\n{}",
                moment.what, moment.done, copied.1
            );
        }
    }

    fn save(&self, moment: &Moment<'_>) -> PathBuf {
        let path = self.scratch.join("image");
        save(moment.image, &path);
        path
    }
}

fn run(program: &str, arguments: &[&str]) -> (i32, String) {
    let output = output(program, arguments, Duration::from_secs(60));
    (output.status.code().unwrap_or(-1), told(&output))
}

/// The step that a mark says is synced.
fn step_of(entry: &Entry) -> Option<usize> {
    match entry {
        Entry::Mark(name) => name.parse().ok(),
        Entry::Write { .. } | Entry::Discard(_) | Entry::Flush => None,
    }
}

/// What the client wrote, sector by sector, oldest first: numbers of entries of its log.
struct Versions(BTreeMap<usize, Vec<Version>>);

#[derive(Clone, Copy)]
struct Version {
    entry: usize,
    /// Flushes before it in the log.
    flushes: usize,
    fua: bool,
}

/// Everything before this entry of the client's log was acknowledged as stable.
#[derive(Clone, Copy, Default)]
struct Floor(usize);

impl Versions {
    fn new(client: &WriteLog) -> Self {
        let mut versions: BTreeMap<usize, Vec<Version>> = BTreeMap::new();
        let mut flushes = 0;
        for (entry, what) in client.entries.iter().enumerate() {
            flushes += usize::from(*what == Entry::Flush);
            let fua = what.is_stable_point();
            for at in what.range().step_by(SECTOR) {
                let version = Version {
                    entry,
                    flushes,
                    fua,
                };
                versions.entry(at).or_default().push(version);
            }
        }
        Self(versions)
    }

    fn sectors(&self) -> BTreeSet<usize> {
        self.0.keys().copied().collect()
    }

    /// Whether a sector may look like this on a replica: as the newest write to it that was acknowledged as stable, or
    /// as a later one.
    fn allow(
        &self,
        client: &WriteLog,
        at: usize,
        found: &[u8],
        Floor(floor): Floor,
    ) -> Result<(), String> {
        let versions = self.0.get(&at).map(Vec::as_slice).unwrap_or_default();
        let stable = versions.partition_point(|version| version.entry < floor);
        let Some(mut first) = stable.checked_sub(1) else {
            let is_new = versions
                .iter()
                .any(|version| self.is(client, *version, at, found));
            return if is_new || found.iter().all(|byte| *byte == 0) {
                Ok(())
            } else {
                Err("it holds what the client never wrote".to_owned())
            };
        };
        // Between two flushes, the log says nothing of the order of a write with FUA and one without.
        while first > 0
            && versions[first - 1].flushes == versions[first].flushes
            && versions[first - 1].fua != versions[first].fua
        {
            first -= 1;
        }
        if versions[first..]
            .iter()
            .any(|version| self.is(client, *version, at, found))
        {
            return Ok(());
        }
        let older = versions[..first].iter().rev();
        let older = older
            .clone()
            .find(|version| self.is(client, **version, at, found));
        Err(match older {
            Some(older) => format!(
                "it is as old as the client's entry {}, while entry {} was acknowledged as stable",
                older.entry, versions[first].entry
            ),
            None => "it holds what the client never wrote".to_owned(),
        })
    }

    fn is(&self, client: &WriteLog, version: Version, at: usize, found: &[u8]) -> bool {
        client.sector(&client.entries[version.entry], at) == found
    }
}
