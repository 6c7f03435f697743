//! How long a client waits whose server has lost its power, by the way that it came and by what it was told about waiting.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::psql_to,
    harness::{
        LOOK,
        cluster::{ALPHA, BETA},
        eventually,
        namespaces::{Namespaces, VIRTUAL_IP},
        programs::{command, have},
    },
    site::{HTTP, Site},
};

/// As the guide has them, for libpq.
const OURS: &str = "connect_timeout=2 tcp_user_timeout=2000 keepalives_idle=1 keepalives_interval=1 keepalives_count=2";

/// Where the proxy listens, in the network of the clients.
const PROXY: &str = "host=127.0.0.1 port=6432";

/// Who has noticed nothing by then is said to wait on.
const LONG: Duration = Duration::from_secs(40);

/// As the guide has it, but for the addresses.
fn proxy_config() -> String {
    let servers = [ALPHA, BETA].map(|node| {
        let address = Namespaces::at_clients(node);
        format!("    server {node} {address}:5432\n")
    });
    format!(
        "defaults\n    timeout connect 2s\n    timeout client 1h\n    timeout server 1h\nlisten database\n    bind 127.0.0.1:6432\n    mode tcp\n\
         \x20   option httpchk\n    http-check send meth OPTIONS uri /primary/r0\n    http-check expect status 200\n\
         \x20   default-server check port {HTTP} inter 1s fastinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n{}",
        servers.concat()
    )
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client that is in the middle of something.
struct Waiting {
    what: String,
    to: String,
    late: bool,
    psql: Process,
    noticed: Option<Duration>,
}

impl Waiting {
    /// `late`: it asks when the server is gone already. Else it has asked before, and its question was taken.
    fn new(site: &Site, way: &str, conninfo: &str, late: bool) -> Self {
        let mut psql = psql_to(site.namespaces().clients(), site.bin(), conninfo);
        psql.stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut psql = Process(psql.spawn().expect("ip runs"));
        let first: &[u8] = if late {
            b"select 1 as late;\n"
        } else {
            b"select pg_sleep(1000);\n"
        };
        let to = psql.0.stdin.as_mut().expect("it is a pipe");
        to.write_all(first).expect("psql reads");
        let what = if late {
            "asks after the loss"
        } else {
            "waits for an answer"
        };
        Self {
            what: format!("{way}: {what}"),
            to: conninfo.to_owned(),
            late,
            psql,
            noticed: None,
        }
    }

    fn has_ended(&mut self) -> bool {
        self.psql.0.try_wait().expect("it is ours").is_some()
    }

    /// A busy machine may have been too slow for a check of the proxy.
    fn keep_up(&mut self, site: &Site) {
        if self.has_ended() {
            let way = self.what.split(':').next().unwrap_or_default();
            *self = Self::new(site, way, &self.to, self.late);
        }
    }

    fn ask(&mut self) {
        if let Some(to) = &mut self.psql.0.stdin {
            let _ = to.write_all(b"select 2;\n");
        }
    }

    fn look(&mut self, since: Instant) {
        if self.noticed.is_none() && self.has_ended() {
            self.noticed = Some(since.elapsed());
        }
    }
}

/// When a client that connects anew has the first answer of the new primary. `None`: it waits on.
fn connects_anew(site: &Site, to: &str, since: Instant) -> thread::JoinHandle<Option<Duration>> {
    let (clients, bin) = (
        site.namespaces().clients().to_owned(),
        site.bin().to_owned(),
    );
    let to = to.to_owned();
    thread::spawn(move || {
        loop {
            let mut psql = psql_to(&clients, &bin, &to);
            psql.args(["-c", "select 3"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut psql = Process(psql.spawn().expect("ip runs"));
            let ended = loop {
                if let Some(ended) = psql.0.try_wait().expect("it is ours") {
                    break ended;
                }
                if since.elapsed() > LONG {
                    return None;
                }
                thread::sleep(LOOK);
            };
            if ended.success() {
                return Some(since.elapsed());
            }
            thread::sleep(LOOK);
        }
    })
}

/// As a cell of the guide's table.
fn cell(after: Option<Duration>) -> String {
    after.map_or_else(
        || format!("not within {} s", LONG.as_secs()),
        |after| format!("{:.1} s", after.as_secs_f64()),
    )
}

fn proxy(site: &Site) -> Process {
    let config = site.arena.cluster.path("haproxy.cfg");
    std::fs::write(&config, proxy_config()).expect("our own folder");
    let checked = command("haproxy").arg("-c").arg("-f").arg(&config).output();
    let checked = checked.expect("haproxy runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{said}");
    let mut proxy = Command::new("ip");
    proxy
        .args(["netns", "exec", site.namespaces().clients()])
        .args(["haproxy", "-q", "-db", "-f"])
        .arg(&config)
        .stdin(Stdio::null());
    Process(proxy.spawn().expect("ip runs"))
}

#[test]
fn a_client_notices_as_soon_as_it_was_told_to() {
    if !have(&["haproxy"]) {
        return;
    }
    let Some(mut site) = Site::start("patience") else {
        return;
    };
    let _proxy = proxy(&site);
    let anew = |to: &str| {
        let mut psql = psql_to(site.namespaces().clients(), site.bin(), to);
        psql.args(["-c", "select 4"]).stdin(Stdio::null());
        psql.output().expect("ip runs").status.success()
    };
    eventually(
        "the proxy leads to the primary",
        || site.logs(),
        || anew(PROXY).then_some(()),
    );
    let address = format!("host={VIRTUAL_IP}");
    let [alpha, beta] = [ALPHA, BETA].map(Namespaces::at_clients);
    let hosts = format!("host={alpha},{beta} target_session_attrs=read-write");
    let mut waiting: Vec<Waiting> = [
        ("virtual address, defaults", address.clone()),
        ("virtual address, ours", format!("{address} {OURS}")),
        ("list of hosts, defaults", hosts.clone()),
        ("list of hosts, ours", format!("{hosts} {OURS}")),
        ("HAProxy, defaults", PROXY.to_owned()),
    ]
    .iter()
    .flat_map(|(way, to)| [false, true].map(|late| Waiting::new(&site, way, to, late)))
    .collect();
    let asked = "select 'clients', count(*) filter (where query like 'select pg_sleep%'), \
                 count(*) filter (where query like '%as late%' and state = 'idle') from pg_stat_activity";
    eventually(
        "all of them have asked",
        || site.logs(),
        || {
            for one in &mut waiting {
                one.keep_up(&site);
            }
            (site.ask(asked).trim() == "clients|5|5").then_some(())
        },
    );

    let moment = Instant::now();
    site.lose_power(ALPHA);
    let new = [
        ("virtual address, ours", format!("{address} {OURS}")),
        ("list of hosts, defaults", hosts.clone()),
        ("list of hosts, ours", format!("{hosts} {OURS}")),
        ("HAProxy, ours", format!("{PROXY} {OURS}")),
    ]
    .map(|(way, to)| (way, connects_anew(&site, &to, moment)));
    for one in &mut waiting {
        one.ask();
    }
    while moment.elapsed() < LONG && waiting.iter().any(|one| one.noticed.is_none()) {
        for one in &mut waiting {
            one.look(moment);
        }
        thread::sleep(LOOK);
    }
    for one in &waiting {
        println!("| {} | {} |", one.what, cell(one.noticed));
    }
    for (way, new) in new {
        let after = new.join().expect("no client panicked");
        println!("| {way}: connects anew | {} |", cell(after));
        let is_told = way.contains("ours");
        assert!(!is_told || after.is_some(), "{way}\n{}", site.logs());
    }
    for one in &waiting {
        let is_told = one.what.contains("ours") || one.what.contains("HAProxy");
        let after = one.noticed.unwrap_or(LONG);
        assert!(!is_told || after < LONG / 3, "{}: {after:?}", one.what);
        // What the guide warns of: else this is no test of what is told.
        let patient = one.what.contains("defaults: waits") && !is_told;
        assert!(!patient || one.noticed.is_none(), "{}: {after:?}", one.what);
    }
    drop(waiting);
    site.check();
    site.come_home(ALPHA, BETA);
    site.end(BETA);
}
