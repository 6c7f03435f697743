//! The work on the filesystem, step by step: as a script, and as what must be there after each step that was synced.

use std::{collections::BTreeMap, fs, path::Path};

use crate::harness::{random::Random, write_log::SECTOR};

/// Pages of the file `table`, which are overwritten in place.
const PAGES: usize = 16;

const PAGE: usize = 4096;

const FOLDERS: [&str; 2] = ["a", "b"];

/// The steps, counted from 1; number 0 is the filesystem with an empty table.
pub(crate) struct Steps(Vec<Step>);

struct Step {
    /// Is written.
    file: String,
    lines: usize,
    /// Of `table`, is overwritten, in the way of a database's log if `direct`.
    page: usize,
    direct: bool,
    /// Is removed.
    gone: Option<String>,
    /// Is renamed.
    moved: Option<(String, String)>,
}

impl Steps {
    pub(crate) fn new(count: usize, random: &mut Random) -> Self {
        let mut names: Vec<String> = Vec::new();
        let pick = |random: &mut Random| -> usize {
            usize::try_from(random.next() >> 33).expect("31 bits")
        };
        let steps = (1..=count).map(|number| {
            let mut take = |chances: u64, random: &mut Random| {
                let some = !names.is_empty() && random.percent(chances);
                some.then(|| names.swap_remove(pick(random) % names.len()))
            };
            let gone = take(20, random);
            let moved = take(20, random).map(|from| {
                let to = format!("{}/{number}.moved", FOLDERS[pick(random) % 2]);
                (from, to)
            });
            let most = if random.percent(20) { 40_000 } else { 800 };
            let step = Step {
                file: format!("{}/{number}", FOLDERS[pick(random) % 2]),
                lines: pick(random) % most,
                page: pick(random) % PAGES,
                direct: random.percent(50),
                gone,
                moved,
            };
            names.push(step.file.clone());
            names.extend(step.moved.iter().map(|(_, to)| to.clone()));
            step
        });
        Self(steps.collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// For the shell, one by one. `promise N` is called when step N is synced.
    pub(crate) fn scripts(&self) -> impl Iterator<Item = String> {
        let table = format!(
            "cd /srv; mkdir a b; yes 'page 0' | head -c {PAGE} >page
            for _ in $(seq {PAGES}); do cat page; done >table
            rm page; sync -f .; promise 0"
        );
        let steps = self.0.iter().zip(1..);
        std::iter::once(table).chain(steps.map(|(step, number)| step.script(number)))
    }

    /// Compares a copy of the filesystem with what was promised: step `done` was synced, and nothing of the steps behind
    /// the next one had begun.
    pub(crate) fn check(&self, done: usize, copy: &Path) -> Result<(), String> {
        let next = self.0.get(done);
        let (files, table) = self.promised(done);
        for (name, text) in &files {
            let mut found = fs::read(copy.join(name));
            if let Some(next) = next {
                let is = |other: &str| other == *name;
                if found.is_err() && next.gone.as_deref().is_some_and(is) {
                    continue;
                }
                if let (Err(_), Some((from, to))) = (&found, &next.moved)
                    && from == name
                {
                    found = fs::read(copy.join(to));
                }
            }
            let found = found.map_err(|error| format!("{name} is missing: {error}"))?;
            if found != text.as_bytes() {
                let at = found
                    .iter()
                    .zip(text.as_bytes())
                    .position(|(one, other)| one != other);
                return Err(format!(
                    "{name} has {} bytes of {}, the first wrong one is {at:?}",
                    found.len(),
                    text.len()
                ));
            }
        }
        self.check_names(done, copy)?;
        let found = fs::read(copy.join("table")).map_err(|error| format!("table: {error}"))?;
        if found.len() != PAGES * PAGE {
            return Err(format!("table has {} bytes", found.len()));
        }
        for (page, promised) in table.iter().enumerate() {
            // Overwritten in place by the next step: each sector is old or new.
            let written = next.filter(|next| next.page == page).map(|_| done + 1);
            for at in (0..PAGE).step_by(SECTOR) {
                let sector = &found[page * PAGE + at..][..SECTOR];
                let is = |number: usize| *sector == page_text(number)[at..at + SECTOR];
                if !is(*promised) && !written.is_some_and(is) {
                    return Err(format!(
                        "page {page} of table at {at}: {:?} instead of step {promised}",
                        String::from_utf8_lossy(&sector[..16])
                    ));
                }
            }
        }
        Ok(())
    }

    /// Files, and the step of each page.
    fn promised(&self, done: usize) -> (BTreeMap<&str, String>, [usize; PAGES]) {
        let mut files = BTreeMap::new();
        let mut table = [0; PAGES];
        for (index, step) in self.0[..done].iter().enumerate() {
            let text = format!("file {}\n", index + 1).repeat(step.lines);
            files.insert(step.file.as_str(), text);
            table[step.page] = index + 1;
            if let Some(gone) = &step.gone {
                files.remove(gone.as_str());
            }
            if let Some((from, to)) = &step.moved {
                let text = files.remove(from.as_str()).expect("it was written before");
                files.insert(to, text);
            }
        }
        (files, table)
    }

    /// What was removed does not come back.
    fn check_names(&self, done: usize, copy: &Path) -> Result<(), String> {
        let next = self.0.get(done);
        let (mut allowed, _) = self.promised(done);
        if let Some(next) = next {
            allowed.insert(&next.file, String::new());
            if let Some((_, to)) = &next.moved {
                allowed.insert(to, String::new());
            }
        }
        for folder in FOLDERS {
            let names =
                fs::read_dir(copy.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
            for name in names {
                let name = name.map_err(|error| error.to_string())?.file_name();
                let name = format!("{folder}/{}", name.to_string_lossy());
                if !allowed.contains_key(name.as_str()) {
                    return Err(format!("{name} is there again"));
                }
            }
        }
        Ok(())
    }
}

impl Step {
    fn script(&self, number: usize) -> String {
        let Self {
            file, lines, page, ..
        } = self;
        let how = if self.direct {
            "oflag=direct,dsync"
        } else {
            "conv=fsync"
        };
        let mut script = format!(
            "cd /srv; yes 'file {number}' | head -n {lines} >{file}
            yes 'page {number}' | head -c {PAGE} |
                dd of=table bs={PAGE} seek={page} conv=notrunc {how} iflag=fullblock status=none\n"
        );
        if let Some(gone) = &self.gone {
            script += &format!("rm {gone}\n");
        }
        if let Some((from, to)) = &self.moved {
            script += &format!("mv {from} {to}\n");
        }
        script + &format!("sync {file} a b; promise {number}\n")
    }
}

fn page_text(number: usize) -> Vec<u8> {
    let mut text = format!("page {number}\n").into_bytes().repeat(PAGE / 7 + 1);
    text.truncate(PAGE);
    text
}
