//! A real PostgreSQL: started, ready, stopped with and without escalation, killed, and what it leaves behind.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};
use twindisk_services::{Io, Problem, Role, ServiceState};

use crate::{
    database::{Database, as_postgres, give},
    support::{LONG, block_on, states, tool, until},
};

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn up_is_when_a_client_can_connect_and_down_when_no_process_is_left() {
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        let mut stack = database.stack("");
        assert_eq!(states(&stack).await, [ServiceState::Down]);
        stack.start(7).await.unwrap();
        assert_eq!(database.ask("select 6 * 7"), "42");
        assert_eq!(states(&stack).await, [ServiceState::Up]);
        assert_eq!(stack.progress().in_words(), None);
        let owner = fs::metadata(format!("/proc/{}", database.postmaster())).unwrap();
        assert_eq!(
            owner.uid(),
            User::from_name("postgres").unwrap().unwrap().uid.as_raw()
        );

        // Twice, and by a stack that has not started it.
        let before = database.postmaster();
        stack.start(7).await.unwrap();
        database.stack("").start(7).await.unwrap();
        assert_eq!(database.postmaster(), before);

        // A client that would stay for long keeps nothing from stopping in good order.
        let _client = database.client().await;
        let begun = Instant::now();
        database.stack("").stop(Role::Standby).await.unwrap();
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        assert_eq!(database.processes(""), [0; 0]);
        assert_eq!(states(&stack).await, [ServiceState::Down]);
        let control = as_postgres(&[database.bin.join("pg_controldata").to_str().unwrap()])
            .arg(database.data())
            .output()
            .unwrap();
        let control = String::from_utf8_lossy(&control.stdout).into_owned();
        assert!(
            control.contains("shut down\n"),
            "not in good order: {control}"
        );
        stack.stop(Role::Standby).await.unwrap();
    });
}

#[test]
fn after_a_crash_it_replays_its_log_and_says_so() {
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        let mut stack = database.stack("");
        stack.start(7).await.unwrap();
        database.ask("create table t as select generate_series(1, 300000) n");
        for pid in database.processes("") {
            // One may end as soon as another one has.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        until("it dies", || database.processes("").is_empty()).await;
        let ended = stack.ended(Io::Flows).await;
        assert_eq!(ended.len(), 1);
        assert!(
            ended[0].for_good && ended[0].what.ends_with("data"),
            "{ended:?}"
        );

        // Its recovery stands still for a while, and whoever asks is told.
        let progress = stack.progress();
        let looked_at = database.stack("");
        let mut said = Vec::new();
        let pause = async {
            until("the recovery begins", || {
                !database.processes("startup").is_empty()
            })
            .await;
            let startup = database.processes("startup")[0];
            signal(startup, Signal::SIGSTOP);
            until("it is told what it waits for", || {
                progress
                    .in_words()
                    .is_some_and(|words| words.contains("in recovery"))
            })
            .await;
            said = states(&looked_at).await;
            signal(startup, Signal::SIGCONT);
        };
        let (started, ()) = tokio::join!(stack.start(7), pause);
        started.unwrap();
        assert!(
            matches!(&said[0], ServiceState::Unknown(why) if why.contains("in recovery")),
            "{said:?}"
        );
        assert_eq!(database.ask("select count(*) from t"), "300000");
    });
}

#[test]
fn a_recovery_that_takes_too_long_is_a_failed_start() {
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        let mut stack = database.stack(", start-timeout = '4s', stop-timeout = '1s'");
        stack.start(7).await.unwrap();
        database.ask("create table t as select generate_series(1, 300000) n");
        signal(database.postmaster(), Signal::SIGKILL);
        until("it dies", || database.processes("").is_empty()).await;
        let pause = async {
            until("the recovery begins", || {
                !database.processes("startup").is_empty()
            })
            .await;
            signal(database.processes("startup")[0], Signal::SIGSTOP);
        };
        let (started, ()) = tokio::join!(stack.start(7), pause);
        let error = started.unwrap_err();
        assert!(matches!(error.problem, Problem::NotReady { .. }), "{error}");
        assert!(error.to_string().contains("in recovery"), "{error}");
        // What hung is gone, too.
        assert!(error.still_up.is_empty(), "{error}");
        assert_eq!(database.processes(""), [0; 0]);
    });
}

#[test]
fn one_that_does_not_stop_is_told_to_stop_at_once() {
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        // A postmaster in its immediate mode kills what does not end within 5 s.
        let mut stack = database.stack(", stop-timeout = '24s'");
        stack.start(7).await.unwrap();
        let (_client, backend) = database.client().await;
        signal(backend, Signal::SIGSTOP);
        stack.stop(Role::Standby).await.unwrap();
        assert_eq!(database.processes(""), [0; 0]);
        let log = fs::read_to_string(database.scene.path("logs/log")).unwrap();
        assert!(log.contains("received fast shutdown request"), "{log}");
        assert!(log.contains("received immediate shutdown request"), "{log}");
    });
}

#[test]
fn one_that_does_not_stop_at_all_is_killed() {
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        let mut stack = database.stack(", stop-timeout = '1s'");
        stack.start(7).await.unwrap();
        for pid in database.processes("") {
            signal(pid, Signal::SIGSTOP);
        }
        stack.stop(Role::Standby).await.unwrap();
        assert_eq!(database.processes(""), [0; 0]);
        // What it left keeps nobody from starting it.
        database.stack("").start(8).await.unwrap();
        assert_eq!(database.ask("select 1"), "1");
    });
}

#[test]
fn a_postmaster_that_dies_is_noticed_and_what_it_leaves_is_ended_before_the_next_start() {
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        let mut stack = database.stack("");
        stack.start(7).await.unwrap();
        let (_client, backend) = database.client().await;
        signal(backend, Signal::SIGSTOP);
        signal(database.postmaster(), Signal::SIGKILL);
        tokio::time::timeout(LONG, stack.until_a_process_ends())
            .await
            .unwrap();
        until("the others end", || database.processes("").len() == 1).await;
        let left = states(&stack).await.pop().unwrap();
        assert!(
            matches!(&left, ServiceState::Failed(why) if why.contains("postmaster is gone")),
            "{left}"
        );
        for io in [Io::Flows, Io::Waits] {
            let ended = stack.ended(io).await;
            assert!(ended[0].what.contains("postmaster is gone"), "{ended:?}");
        }
        stack.start(7).await.unwrap();
        assert!(!database.processes("").contains(&backend));
        assert_eq!(database.ask("select 1"), "1");
    });
}

#[test]
fn one_that_answers_nobody_has_ended_after_a_while_and_is_started_again() {
    const ANSWER: Duration = Duration::from_secs(5);
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        let mut stack = database.stack(", answer-timeout = '5s', stop-timeout = '1s'");
        stack.start(7).await.unwrap();
        let before = database.postmaster();
        signal(before, Signal::SIGSTOP);
        let silent = states(&stack).await.pop().unwrap();
        assert!(
            matches!(&silent, ServiceState::Unknown(why) if why.contains("does not answer")),
            "{silent}"
        );
        // While its disk may be what it waits for, its silence does not count; afterwards it does, from then on.
        let begun = Instant::now();
        while begun.elapsed() < ANSWER * 2 {
            assert_eq!(stack.ended(Io::Waits).await, []);
        }
        let begun = Instant::now();
        let deadline = begun + LONG;
        while stack.ended(Io::Flows).await.is_empty() {
            assert!(Instant::now() < deadline, "it is not noticed");
        }
        assert!(begun.elapsed() >= ANSWER, "{:?}", begun.elapsed());
        stack.start(7).await.unwrap();
        assert_ne!(database.postmaster(), before);
        assert_eq!(database.ask("select 1"), "1");
    });
}

#[test]
fn a_stale_lock_file_whose_number_another_process_has_keeps_nobody_from_starting() {
    let Some(database) = Database::new() else {
        return;
    };
    // As a server on another host leaves it: here a process of the same user has that number.
    let mut other = as_postgres(&["sleep", "1000"]).spawn().unwrap();
    let lock = database.data().join("postmaster.pid");
    let text = format!(
        "{}\n{}\n1\n5432\n\n\n",
        other.id(),
        database.data().display()
    );
    fs::write(&lock, text).unwrap();
    give(&lock);
    let plain = as_postgres(&[database.bin.join("postgres").to_str().unwrap(), "-D"])
        .arg(database.data())
        .output()
        .unwrap();
    let plain = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(
        plain.contains("already exists"),
        "it would start by itself: {plain}"
    );
    block_on(async {
        let mut stack = database.stack("");
        stack.start(7).await.unwrap();
        assert_eq!(database.ask("select 1"), "1");
        stack.stop(Role::Standby).await.unwrap();
    });
    assert_eq!(other.try_wait().unwrap(), None, "it was none of ours");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn nothing_is_started_beside_a_process_that_has_the_data_directory() {
    let Some(database) = Database::new() else {
        return;
    };
    block_on(async {
        let mut single = as_postgres(&[database.bin.join("postgres").to_str().unwrap()]);
        single
            .args(["--single", "-D"])
            .arg(database.data())
            .arg("postgres");
        let mut single = single
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("it has its lock", || {
            database.data().join("postmaster.pid").exists()
        })
        .await;
        let error = database
            .stack(", stop-timeout = '1s'")
            .start(7)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("two servers on one data directory"), "{text}");
        assert!(text.contains("postgres ("), "{text}");
        let _ = single.kill();
        single.wait().unwrap();
    });
}

#[test]
fn it_says_why_it_cannot_start() {
    let Some(database) = Database::new() else {
        return;
    };
    let fails = |services: &str, because: &str| {
        let error = block_on(database.scene.stack(services).start(7)).unwrap_err();
        assert!(
            error.to_string().contains(because),
            "{because:?} is not in: {error}"
        );
    };
    fails("{ postgresql = 'DIR/none' }", "is its filesystem mounted?");
    fails("{ postgresql = 'DIR/sock' }", "it holds no PG_VERSION");
    fails(
        "{ postgresql = 'DIR/data', bin = '/usr' }",
        "there is no postgres and pg_isready in /usr",
    );
    fails(
        "{ postgresql = 'DIR/data', user = 'daemon' }",
        "the same uid on both nodes",
    );
    fails(
        "{ postgresql = 'DIR/data', user = 'no-such-user' }",
        "there is no user no-such-user",
    );
    fails(
        "{ postgresql = 'DIR/data', config-file = '/no/conf' }",
        "say where it is with `config-file`",
    );

    let conf = database.data().join("postgresql.conf");
    let mut text = fs::read_to_string(&conf).unwrap();
    text += "no_such_setting = 1\n";
    fs::write(&conf, text).unwrap();
    let begun = Instant::now();
    fails(
        "{ postgresql = 'DIR/data', log = 'DIR/logs/log' }",
        "no_such_setting",
    );
    assert!(begun.elapsed() < LONG / 2, "its end was not noticed");

    fs::write(database.data().join("PG_VERSION"), "9\n").unwrap();
    fails("{ postgresql = 'DIR/data' }", "there is no PostgreSQL 9 in");
    fs::write(
        database.data().join("PG_VERSION"),
        fs::read(database.data().join("base/1/PG_VERSION")).unwrap(),
    )
    .unwrap();
    for file in ["", "PG_VERSION"] {
        chown(database.data().join(file), Some(0), None).unwrap();
    }
    fails("{ postgresql = 'DIR/data' }", "does not run as root");
}

/// The server's user is another one than the agent's, which must not read for it what it may not.
#[test]
fn nothing_is_read_for_the_servers_user_that_it_could_not_read_itself() {
    const SECRET: &str = "correct horse battery staple";
    let Some(database) = Database::new() else {
        return;
    };
    let secret = database.scene.path("secret");
    fs::write(&secret, SECRET).unwrap();
    let starts = |why: &str| {
        let error = block_on(database.stack("").start(7)).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(why), "{why:?} is not in: {text}");
        assert!(!text.contains(SECRET), "{text}");
    };
    for name in ["PG_VERSION", "postmaster.pid"] {
        let file = database.data().join(name);
        let before = fs::read(&file).ok();
        let put = |why: &str, make: &dyn Fn()| {
            let _ = fs::remove_file(&file);
            make();
            starts(&format!("{name} is not read: {why}"));
        };
        put("it is a link", &|| symlink(&secret, &file).unwrap());
        put("it has 2 names", &|| fs::hard_link(&secret, &file).unwrap());
        put("it belongs to uid 0", &|| {
            fs::write(&file, SECRET).unwrap();
        });
        put("it is no plain file", &|| {
            tool("mkfifo", &[file.to_str().unwrap()]);
        });
        put("it has 1099511627776 bytes", &|| {
            let huge = fs::File::create(&file).unwrap();
            huge.set_len(1 << 40).unwrap();
            give(&file);
        });
        fs::remove_file(&file).unwrap();
        if let Some(before) = before {
            fs::write(&file, before).unwrap();
            give(&file);
        }
    }
    let file = database.data().join("PG_VERSION");
    fs::write(&file, SECRET).unwrap();
    starts("PG_VERSION holds no version of PostgreSQL");
}

#[test]
fn a_configuration_elsewhere_does_not_lead_to_other_data() {
    let Some(database) = Database::new() else {
        return;
    };
    let elsewhere = database.scene.path("elsewhere.conf");
    let mut text = fs::read_to_string(database.data().join("postgresql.conf")).unwrap();
    text += "data_directory = '/var/lib/postgresql/none'\nhba_file = '";
    text += Path::new(&database.data())
        .join("pg_hba.conf")
        .to_str()
        .unwrap();
    text += "'\n";
    fs::write(&elsewhere, text).unwrap();
    fs::remove_file(database.data().join("postgresql.conf")).unwrap();
    block_on(async {
        let mut stack = database.stack(", config-file = 'DIR/elsewhere.conf'");
        stack.start(7).await.unwrap();
        let data = database.data().display().to_string();
        assert_eq!(database.ask("show data_directory"), data);
    });
}
