//! The pair with its hosts, and what a test does to it.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    book::{ALL, Verdict, tables},
    client::{Clients, psql},
    harness::{
        LOOK,
        arena::{Arena, CONFIG, Plan, What},
        cluster::{ALPHA, BETA},
        eventually,
        host::{self, Host},
        namespaces::Namespaces,
        process::assert_same_bytes,
        programs::{command, have, have_loop_and_fuse, postgresql, told},
        random::seed,
        unpowered::{self, Disk},
    },
    image, services,
};

const PROGRAMS: &[&str] = &[
    "e2fsck",
    "mkfs.ext4",
    "mountpoint",
    "nbdkit",
    "setpriv",
    "setsid",
    "umount",
];

/// Where nothing stops as it should, and a node is shot in the end, it takes the time of all these attempts.
const LONGEST: Duration = Duration::from_secs(180);

/// Where an agent answers HTTP.
pub(crate) const HTTP: u16 = 7791;

/// Two nodes, and the clients.
pub(crate) struct Site {
    // Dropped in this order.
    pub(crate) clients: Clients,
    hosts: [Option<Host>; 2],
    pub(crate) arena: Arena,
    disks: [Disk; 2],
    _dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Site {
    /// A pair with a database on alpha, beta in sync, clients busy. `None`: not here.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::with(test, "")
    }

    /// The same, with these lines in the table of the resource.
    pub(crate) fn with(test: &str, resource: &str) -> Option<Self> {
        Self::serving(test, resource, services::config)
    }

    /// The same, with these services.
    pub(crate) fn serving(
        test: &str,
        resource: &str,
        services: fn(&Path) -> String,
    ) -> Option<Self> {
        if !have(&[PROGRAMS, host::PROGRAMS, unpowered::PROGRAMS].concat()) || !have_loop_and_fuse()
        {
            return None;
        }
        let bin = postgresql()?;
        let namespaces = Namespaces::new(test)?;
        let clients = namespaces.clients().to_owned();
        let disks_dir = tempfile::Builder::new()
            .prefix("twindisk-disks-")
            .tempdir()
            .expect("a scratch directory");
        // They forget what was not flushed. The metadata lies on the same disk and shares its fate.
        let power = seed("TWINDISK_POSTGRES_SEED");
        let disks = [ALPHA, BETA].map(|node| {
            let seed = power + u64::from(node == BETA);
            Disk::new(&disks_dir.path().join(node), image::SIZE + (32 << 20), seed)
        });
        let member = |disk: &Disk| format!("backing = {:?}, metadata = \"internal\"", disk.link());
        let arena = Arena::new(Plan {
            agent: "max-failovers = 1000\nservice-restarts = 1000",
            resource: resource.to_owned(),
            namespaces: Some(namespaces),
            size: Some(image::SIZE),
            services: Some(services),
            members: Some([member(&disks[0]), member(&disks[1])]),
            ..Plan::default()
        });
        answer_http(&arena);
        let dir = arena.cluster.dir.path().to_owned();
        image::open_to_all(&dir);
        std::fs::create_dir(services::run(&dir)).expect("a folder");
        services::install(&dir);
        // Nothing runs yet: what is on alpha is the initial data. Beta has the same, and does not know it.
        for disk in &disks {
            image::make(&disk.link(), &bin, &tables());
        }
        let mut site = Self {
            clients: Clients::new(),
            hosts: [None, None],
            arena,
            disks,
            _dir: disks_dir,
            bin,
        };
        for node in [ALPHA, BETA] {
            site.boot(node);
        }
        site.arena.until_primary(ALPHA);
        site.until_in_sync(ALPHA);
        site.arena.until_agents_see(ALPHA, BETA);
        site.clients.start(&clients, &site.bin);
        site.until_served(Instant::now());
        Some(site)
    }

    /// Where PostgreSQL's programs are.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        self.arena.namespaces.as_ref().expect("it has some")
    }

    pub(crate) fn host(&self, node: &str) -> &Host {
        let host = self.hosts[usize::from(node == BETA)].as_ref();
        host.unwrap_or_else(|| panic!("{node} has no power"))
    }

    /// The host comes up with both processes.
    pub(crate) fn boot(&mut self, node: &str) {
        let at = usize::from(node == BETA);
        // What was shot has run nothing since then: its disk may have lost its power then, or now.
        if let Some(old) = &self.hosts[at] {
            old.kill();
            self.disks[at].power_off();
            self.disks[at].power_on();
        }
        let run = services::run(self.arena.cluster.dir.path());
        let host = Host::boot(self.namespaces(), node, &run);
        std::fs::create_dir(host.path(&run.join("srv"))).expect("a folder");
        self.arena.ways[at] = host.way();
        let end = host.end_of(self.namespaces(), node);
        self.arena.switch.plug_in_host(node, &end);
        self.hosts[at] = Some(host);
        self.arena.boot(node);
    }

    /// The switch reads off, and everything is gone.
    pub(crate) fn lose_power(&mut self, node: &str) {
        self.arena.lose_power(node);
        self.disks[usize::from(node == BETA)].power_off();
    }

    /// Everything there stands still, and nothing is gone.
    pub(crate) fn freeze(&self, node: &str) {
        self.host(node).signal(None, Signal::SIGSTOP);
    }

    /// Which node is primary, and open.
    pub(crate) fn primary(&self) -> &'static str {
        let found = || {
            let mut nodes = [ALPHA, BETA].into_iter();
            nodes.find(|node| self.arena.is_primary(node))
        };
        eventually("one is primary", || self.logs(), found)
    }

    /// Somebody switches a node on, unless an agent has.
    pub(crate) fn switch_on(&mut self, node: &str) {
        if !self.arena.switch.is_on(node) {
            self.arena.switch.restore(node);
        }
        self.boot(node);
    }

    /// Waits until a primary goes on without the other one.
    pub(crate) fn until_alone(&self, primary: &str) {
        self.arena.cluster.until(primary, "alone", |replica| {
            let peer = &replica["peers"][0];
            replica["suspended"].is_null() && peer["connection"] != "established"
        });
    }

    /// A node that was fenced is switched on by the other's agent, boots, and is brought up to date while clients write.
    pub(crate) fn come_home(&mut self, node: &str, primary: &str) {
        let switch = &self.arena.switch;
        eventually(
            &format!("{node} is switched on again"),
            || self.logs(),
            || switch.is_on(node).then_some(()),
        );
        self.boot(node);
        self.until_in_sync(primary);
        assert_eq!(self.arena.cluster.replica(node)["role"], "standby");
        self.arena.until_agents_see(primary, node);
    }

    /// Waits until clients got on with what they began after a moment, and until nothing is left to be done.
    pub(crate) fn until_served(&self, moment: Instant) {
        self.patiently("service", || self.clients.book().since(moment) >= 50);
    }

    /// Waits until the other node has everything: while clients write, on a busy machine, a resync takes its time.
    pub(crate) fn until_in_sync(&self, primary: &str) {
        self.patiently("equal copies", || {
            let replica = self.arena.cluster.try_replica(primary);
            replica.is_some_and(|replica| {
                let peer = &replica["peers"][0];
                (peer["in-sync"] == true || peer["protocol"] == "A")
                    && peer["connection"] == "established"
                    && peer["progress"].is_null()
            })
        });
    }

    fn patiently(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LONGEST;
        while !is_so() {
            let late = Instant::now() > deadline;
            assert!(!late, "NO {what} for {LONGEST:?}\n{}", self.logs());
            std::thread::sleep(LOOK);
        }
    }

    /// What is there now of what had been promised before.
    pub(crate) fn verdict(&self) -> Verdict {
        let promised = self.clients.book().promised();
        let answer = self.ask(ALL);
        self.clients.book().judge(&promised, &answer)
    }

    /// Fails unless every row that was acknowledged is there.
    pub(crate) fn check(&self) {
        let verdict = self.verdict();
        assert_eq!(
            verdict,
            Verdict::default(),
            "LOST OR WRONG\n{}",
            self.logs()
        );
    }

    /// What the server answers. It must.
    pub(crate) fn ask(&self, sql: &str) -> String {
        eventually(
            "the server answers",
            || self.logs(),
            || {
                let mut psql = psql(self.namespaces().clients(), &self.bin)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("ip runs");
                let mut to = psql.stdin.take().expect("it is a pipe");
                // One that could not connect reads nothing.
                let _ = to.write_all(format!("{sql};\n").as_bytes());
                drop(to);
                let output = psql.wait_with_output().expect("it is ours");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                output.status.success().then_some(text)
            },
        )
    }

    /// Everything that can be said of the database, the filesystem and the two copies when all is over.
    pub(crate) fn end(mut self, primary: &'static str) {
        let standby = if primary == ALPHA { BETA } else { ALPHA };
        self.until_served(Instant::now());
        self.clients.end();
        self.check();
        let rows = self.clients.book().promised().len();
        self.amcheck(primary);
        self.until_in_sync(primary);
        // Nobody takes over what is stopped now.
        self.arena.stop(standby, What::Agent);
        self.arena.cluster.ok(primary, &["agent", "yield"]);
        self.arena.cluster.ok(primary, &["verify", "--wait"]);
        self.arena.stop(primary, What::Agent);
        self.arena.stop(standby, What::Serve);
        self.arena.stop(primary, What::Serve);
        for disk in &mut self.disks {
            disk.power_off();
        }
        let images = self.disks.each_ref().map(Disk::platter);
        let [left, right] = images.each_ref().map(|image| data(image));
        assert_same_bytes([&images[0], &images[1]], [&left, &right]);
        image::check(&images[0], &self.bin);
        println!(
            "{rows} rows were acknowledged, and all are there; the database, the filesystem and the copies are whole"
        );
    }

    /// Tables beside their indexes, and every page.
    fn amcheck(&self, primary: &str) {
        let way = self.host(primary).way();
        let output = command(&way[0])
            .args(&way[1..])
            .arg(self.bin.join("pg_amcheck"))
            .args(["--install-missing", "--heapallindexed", "--parent-check"])
            .args(["-h", "127.0.0.1", "-U", "postgres", "postgres"])
            .output()
            .expect("nsenter runs");
        assert!(
            output.status.success(),
            "{}\n{}",
            told(&output),
            self.logs()
        );
    }

    /// What agents, servers and databases have logged.
    pub(crate) fn logs(&self) -> String {
        let mut text = self.arena.logs();
        let logs = [ALPHA, BETA].map(|node| format!("{node}-device.log"));
        let logs = logs.map(|name| self.arena.cluster.path(&name));
        let servers = services::log(self.arena.cluster.dir.path());
        for path in logs.into_iter().chain([servers]) {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(25)..].join("\n");
            let name = path.file_name().unwrap_or_default().display();
            text += &format!("--- {name}\n{end}\n");
        }
        text
    }
}

/// The agents tell proxies which node is primary, where the clients are.
fn answer_http(arena: &Arena) {
    let path = arena.cluster.path(CONFIG);
    let mut text = std::fs::read_to_string(&path).expect("the configuration");
    for node in [ALPHA, BETA] {
        let table = format!("[nodes.{node}]\n");
        let address = Namespaces::at_clients(node);
        let key = format!("{table}http = \"{address}:{HTTP}\"\n");
        text = text.replace(&table, &key);
    }
    std::fs::write(&path, text).expect("the configuration");
}

/// What clients see of a disk; the rest is metadata.
fn data(image: &Path) -> Vec<u8> {
    let mut data = Vec::new();
    let file = std::fs::File::open(image).expect("an image");
    file.take(image::SIZE)
        .read_to_end(&mut data)
        .expect("an image");
    data
}
