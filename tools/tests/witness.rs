//! `twindisk witness` from outside: it forgets nothing, whenever it is killed, and says what it does not believe.
#![allow(clippy::unwrap_used)]

#[path = "harness/mod.rs"]
mod harness;

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use harness::{
    eventually,
    process::{Said, clean_command, free_port, pause, said},
    random::Random,
    register::{ask, refused, swap},
};
use tempfile::TempDir;
use twindisk_witness::{Answer, Ask, Nonce, Record, Seal, Witness};

const SECRET: &str = "the secret of the cluster";

/// A witness with its folder; the process comes and goes.
struct Site {
    folder: TempDir,
    address: String,
    process: Option<Child>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        let text = format!(
            "listen = \"{address}\"\nstate-dir = \"state\"\n[cluster.db]\nsecret-file = \"secret\"\n\
             [cluster.mail]\nsecret-file = \"secret\"\n"
        );
        fs::write(folder.path().join("witness.toml"), text).unwrap();
        Self {
            folder,
            address,
            process: None,
        }
    }

    fn start(&mut self) {
        let config = self.folder.path().join("witness.toml");
        let child = clean_command()
            .args(["witness", "--log", "error", "--witness-config"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(child);
        eventually("the witness listens", String::new, || {
            TcpStream::connect(&self.address).ok()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn status(&self) -> Said {
        let config = self.folder.path().join("witness.toml");
        let mut command = clean_command();
        command.args(["witness", "status", "--witness-config"]);
        said(&command.arg(config).output().unwrap())
    }

    fn asker(&self, cluster: &str) -> Witness {
        let seal = Seal::new(SECRET.as_bytes(), cluster);
        Witness::new(self.address.clone(), seal)
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("state/db/r0.register")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What it has answered is there after it was killed at any moment, and of what was under way all or nothing.
#[test]
fn killed_at_any_moment_it_has_forgotten_nothing() {
    let mut site = Site::new();
    let mut random = Random::new(7);
    let mut last: Option<Record> = None;
    let mut nonce = 0;
    let mut lost_answers = 0;
    let mut rounds = 0;
    let written = |last: &Option<Record>| last.as_ref().map_or(0, |last| last.stamp.version.seq);
    // On a busy machine it takes more of them.
    while rounds < 40 || written(&last) <= 100 && rounds < 400 {
        rounds += 1;
        site.start();
        let witness = site.asker("db");
        // As an agent does: read, then go on from there.
        let known = last.as_ref().map(|record| record.stamp.version);
        let held = match ask(&witness, known, Ask::Read) {
            Some(Answer::Held(held)) => held,
            other => panic!("{other:?}"),
        };
        if held != last {
            lost_answers += 1;
            let (new, old) = (held.as_ref().unwrap(), last.as_ref());
            let follows = old.map_or(1, |old| old.stamp.version.seq + 1);
            assert_eq!(
                (new.stamp.nonce, new.stamp.version.seq),
                (Nonce(nonce), follows)
            );
        }
        last = held;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    nonce += 1;
                    let (to, answer) = swap(&witness, last.as_ref(), nonce);
                    match answer {
                        Some(Answer::Done(done)) => {
                            assert_eq!(done, to);
                            last = Some(to);
                        }
                        None => break, // It was killed: whether that is done is not known.
                        Some(other) => panic!("{other:?}"),
                    }
                }
            });
            pause(
                &mut random,
                Duration::from_millis(1),
                Duration::from_millis(60),
            );
            site.kill();
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        });
    }
    let seq = written(&last);
    println!("{seq} records, {lost_answers} of them with a lost answer");
    assert!(seq > 100, "only {seq} records were written");
}

#[test]
fn it_says_what_it_holds_and_what_it_does_not_believe() {
    let mut site = Site::new();
    assert_eq!(site.status().code, 12, "nobody serves");
    site.start();
    let said = site.status();
    assert_eq!(
        (said.code, said.out.contains("no record yet")),
        (0, true),
        "{}",
        said.out
    );
    let witness = site.asker("db");
    let (first, answer) = swap(&witness, None, 1);
    assert_eq!(answer, Some(Answer::Done(first.clone())));
    let snapshot = fs::read(site.file()).unwrap();
    let (second, _) = swap(&witness, Some(&first), 2);
    let said = site.status();
    assert!(
        said.out.contains("db r0: record 1.2, term 2"),
        "{}",
        said.out
    );
    // A snapshot of its host is restored: who has seen the later record says so.
    site.kill();
    fs::write(site.file(), snapshot).unwrap();
    site.start();
    let known = Some(second.stamp.version);
    let answer = ask(&witness, known, Ask::Read);
    assert!(matches!(answer, Some(Answer::Refused { .. })), "{answer:?}");
    refuses(&mut site, "rolled back");
    // Its file is cut, or emptied.
    for length in [0, 40] {
        site.kill();
        cut(&site.file(), length);
        site.start();
        refuses(&mut site, "damaged");
    }
}

/// Everybody is refused, and the status says why.
fn refuses(site: &mut Site, why: &str) {
    let said = refused(&site.asker("db"), None, Ask::Read);
    assert!(said.contains(why), "{said}");
    let status = site.status();
    assert_eq!(status.code, 13);
    assert!(status.out.contains("REFUSES EVERY CLAIM"), "{}", status.out);
}

fn cut(path: &Path, length: usize) {
    let whole = fs::read(path).unwrap();
    fs::write(path, &whole[..length.min(whole.len())]).unwrap();
}

#[test]
fn who_does_not_know_the_secret_or_is_not_named_hears_nothing() {
    let mut site = Site::new();
    site.start();
    let strangers = [
        Witness::new(
            site.address.clone(),
            Seal::new(b"another secret, of some length", "db"),
        ),
        site.asker("shop"),
    ];
    for stranger in strangers {
        assert_eq!(ask(&stranger, None, Ask::Read), None);
    }
    // Two clusters have a resource of the same name: each has its own record.
    let (db, mail) = (site.asker("db"), site.asker("mail"));
    let (first, _) = swap(&db, None, 1);
    assert_eq!(ask(&mail, None, Ask::Read), Some(Answer::Held(None)));
    assert_eq!(ask(&db, None, Ask::Read), Some(Answer::Held(Some(first))));
}
