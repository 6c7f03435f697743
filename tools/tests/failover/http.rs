//! What reverse proxies and Prometheus are told over HTTP, by real agents.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use twindisk_nbd::client::Fua;

use crate::{
    harness::{
        PATIENCE,
        arena::{Arena, CONFIG, Plan, What},
        cluster::{ALPHA, BETA},
        eventually,
    },
    services::Marker,
};

/// Two nodes whose agents answer HTTP.
fn running(plan: Plan) -> Arena {
    let mut arena = Arena::new(plan);
    let mut text = fs::read_to_string(arena.cluster.path(CONFIG)).expect("the configuration");
    for node in [ALPHA, BETA] {
        let table = format!("[nodes.{node}]\n");
        let key = format!("{table}http = \"{}\"\n", address(&arena, node));
        text = text.replace(&table, &key);
    }
    fs::write(arena.cluster.path(CONFIG), text).expect("the configuration");
    arena.start();
    arena
}

/// Where a node's agent answers: TCP at its second heartbeat path.
fn address<'a>(arena: &'a Arena, node: &str) -> &'a str {
    &arena.heartbeats(node)[1]
}

/// The code and the body of an answer.
type Answer = (u16, String);

fn try_ask(address: &str, method: &str, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"
    )
    .ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let (head, body) = said.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

fn ask(arena: &Arena, node: &str, path: &str) -> Answer {
    let answer = try_ask(address(arena, node), "GET", path);
    answer.unwrap_or_else(|| panic!("{node}{path}: no answer\n{}", arena.logs()))
}

fn until(arena: &Arena, node: &str, path: &str, wanted: u16) -> String {
    let what = format!("{node}{path} is {wanted}");
    let look = || try_ask(address(arena, node), "GET", path).filter(|(code, _)| *code == wanted);
    eventually(&what, || arena.logs(), look).1
}

/// The value of a sample.
fn sample(page: &str, name: &str) -> Option<f64> {
    let mut lines = page.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map(|value| value.parse().expect("a number"))
}

#[test]
fn a_proxy_is_led_to_the_primary_and_to_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let marker = Marker::install(dir.path());
    let arena = running(Plan {
        agent: "on-service-end = \"alarm\"",
        resource: marker.config(),
        ..Plan::default()
    });
    until(&arena, ALPHA, "/primary", 200);
    for (node, path, wanted) in [
        (ALPHA, "/primary/r0", 200),
        (ALPHA, "/standby", 503),
        (ALPHA, "/health", 200),
        (ALPHA, "/primary/r1", 404),
        (BETA, "/primary", 503),
        (BETA, "/primary/r0", 503),
        (BETA, "/standby/r0", 200),
        (BETA, "/health", 200),
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let code = try_ask(address(&arena, node), method, path).map(|answer| answer.0);
            assert_eq!(code, Some(wanted), "{node}: {method} {path}");
        }
    }
    let said: Value = serde_json::from_str(&ask(&arena, BETA, "/primary").1).expect("JSON");
    assert_eq!(said["resources"][0]["why"][0], "it is standby here");
    numbers_are_right(&arena);

    arena.cluster.ok(ALPHA, &["switchover"]);
    let deadline = Instant::now() + PATIENCE;
    let mut seen = vec![(true, false)];
    while !seen.ends_with(&[(false, true)]) {
        assert!(Instant::now() < deadline, "{seen:?}\n{}", arena.logs());
        let now = [ALPHA, BETA].map(|node| ask(&arena, node, "/primary").0 == 200);
        assert_ne!(now, [true, true], "a proxy would see two");
        if seen.last() != Some(&now.into()) {
            seen.push(now.into());
        }
    }
    // Beta's services came up 0.7 s after alpha's began to go down: nobody was ready meanwhile.
    assert_eq!(seen, [(true, false), (false, false), (false, true)]);
    until(&arena, ALPHA, "/standby", 200);
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}

fn numbers_are_right(arena: &Arena) {
    let (code, page) = ask(arena, ALPHA, "/metrics");
    assert_eq!(code, 200);
    let path = arena.heartbeats(BETA)[0].clone();
    let heartbeat = format!("twindisk_heartbeat_up{{peer=\"beta\",path=\"{path}\"}}");
    for (name, wanted) in [
        ("twindisk_primary{resource=\"r0\"}", 1.0),
        ("twindisk_serve_up", 1.0),
        ("twindisk_role{resource=\"r0\",role=\"primary\"}", 1.0),
        (
            "twindisk_disk_state{resource=\"r0\",state=\"UpToDate\"}",
            1.0,
        ),
        ("twindisk_suspended{resource=\"r0\"}", 0.0),
        ("twindisk_services{resource=\"r0\",state=\"up\"}", 1.0),
        ("twindisk_peer_in_sync{resource=\"r0\",peer=\"beta\"}", 1.0),
        (
            "twindisk_peer_connection{resource=\"r0\",peer=\"beta\",state=\"established\"}",
            1.0,
        ),
        ("twindisk_fence_up{peer=\"beta\"}", 1.0),
        ("twindisk_failovers_total{resource=\"r0\"}", 0.0),
        (&heartbeat, 1.0),
    ] {
        assert_eq!(sample(&page, name), Some(wanted), "{name}\n{page}");
    }
    counts_are_right(arena);
    promtool_agrees(&page);
}

/// What one client does is counted, and nothing else: nobody else is there.
fn counts_are_right(arena: &Arena) {
    const COUNTS: [&str; 5] = ["writes", "written_bytes", "reads", "read_bytes", "flushes"];
    let counts = || {
        let page = ask(arena, ALPHA, "/metrics").1;
        COUNTS.map(|name| {
            let name = format!("twindisk_{name}_total{{resource=\"r0\"}}");
            sample(&page, &name).unwrap_or_else(|| panic!("no {name}\n{page}"))
        })
    };
    let before = counts();
    let mut client = arena.cluster.client(ALPHA);
    client.write(0, &[7; 4096], Fua::No).expect("written");
    client.write(8192, &[8; 12_288], Fua::No).expect("written");
    client.read(0, &mut [0; 8192]).expect("read");
    client.flush().expect("flushed");
    let mut wanted = before;
    for (count, more) in wanted.iter_mut().zip([2.0, 16_384.0, 1.0, 8192.0, 1.0]) {
        *count += more;
    }
    let look = || (counts() == wanted).then_some(());
    eventually(
        "what a client did is counted",
        || format!("{before:?} {:?}", counts()),
        look,
    );
    let page = ask(arena, ALPHA, "/metrics").1;
    let writes = sample(&page, "twindisk_writes_total{resource=\"r0\"}");
    for family in [
        "twindisk_request_duration_seconds_count{resource=\"r0\",operation=\"write\",stage=\"total\"}",
        "twindisk_request_duration_seconds_count{resource=\"r0\",operation=\"write\",stage=\"disk\"}",
        "twindisk_peer_duration_seconds_bucket{resource=\"r0\",peer=\"beta\",operation=\"write\",le=\"+Inf\"}",
    ] {
        assert_eq!(sample(&page, family), writes, "{family}\n{page}");
    }
}

/// Prometheus' own eye for names and types, where it is installed.
fn promtool_agrees(page: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return eprintln!("left out: there is no promtool here");
        }
        started => started.expect("promtool runs"),
    };
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(page.as_bytes()).expect("it reads");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let quiet = output.stderr.is_empty() && output.stdout.is_empty();
    assert!(output.status.success() && quiet, "{output:?}\n{page}");
}

#[test]
fn nobody_is_led_to_a_serve_that_is_silent_or_gone_and_strangers_harm_nobody() {
    let mut arena = running(Plan::default());
    until(&arena, ALPHA, "/primary", 200);
    strangers_harm_nobody(&arena);

    // What the agents would do about it is not the subject.
    for node in [ALPHA, BETA] {
        arena.cluster.ok(node, &["agent", "maintenance", "on"]);
    }
    arena.freeze_one(ALPHA, What::Serve);
    let said = until(&arena, ALPHA, "/primary", 503);
    assert!(
        said.contains("twindisk serve has not answered for"),
        "{said}"
    );
    until(&arena, ALPHA, "/health", 503);
    let page = ask(&arena, ALPHA, "/metrics").1;
    assert_eq!(sample(&page, "twindisk_serve_up"), Some(0.0), "{page}");
    assert_eq!(
        sample(&page, "twindisk_agent_maintenance"),
        Some(1.0),
        "{page}"
    );
    assert!(!page.contains("twindisk_role"), "{page}");
    arena.thaw(ALPHA);
    until(&arena, ALPHA, "/health", 200);

    arena.kill(BETA, What::Serve);
    let said = until(&arena, BETA, "/health", 503);
    assert!(said.contains("twindisk serve does not run"), "{said}");
    let said = until(&arena, BETA, "/standby/r0", 503);
    assert!(said.contains("twindisk serve does not run"), "{said}");
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}

/// Garbage, half requests, and many of them: proxies are answered, and the agents go on hearing each other.
fn strangers_harm_nobody(arena: &Arena) {
    let told = arena.told(ALPHA);
    let mut open = Vec::new();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for bytes in [
            &b"GET /primary HTTP/1.1\r\nHost:"[..],
            &[0xff; 9000],
            b"\r\n",
            b"",
        ] {
            let mut stream = TcpStream::connect(address(arena, ALPHA)).expect("it listens");
            let _ = stream.write_all(bytes);
            open.push(stream);
        }
        if open.len() > 200 {
            open.drain(..4);
        }
        assert_eq!(ask(arena, ALPHA, "/primary").0, 200, "{}", arena.logs());
    }
    assert!(open.len() > 100, "only {} connections", open.len());
    let news = arena.told(ALPHA).split_off(told.len());
    let stood_still = |told: &String| told.contains("stood still");
    assert!(!news.iter().any(stood_still), "it had to wait: {news:?}");
    let peer = &arena.agent_says(BETA)["peers"][0];
    assert_eq!(peer["state"], "heard", "{peer}");
    assert_eq!(ask(arena, BETA, "/health").0, 200);
}
