//! The Debian package from its making to its removal: two machines with nothing but Debian on them, a pair with agents in
//! ten commands, an upgrade under load, a lost machine, and what a removal leaves. `just package` has a clean tree for it;
//! without one (`TWINDISK_TREE`) the machines are made over this one's own files.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod machine;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use harness::{
    client::Client,
    fence_agent,
    process::{program, said},
    programs,
};
use machine::Machine;

/// The power of the machines is with the test.
const DEED: &str = r#"case $action in
off)
    : >"$power/$plug.shot"
    while [ ! -e "$power/$plug.off" ]; do sleep 0.05; done
    ;;
status) [ ! -e "$power/$plug.off" ] || exit 2 ;;
esac
"#;

/// The repository.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The package of this program, in that revision, as machines find it.
fn package(revision: &str, into: &Path) -> String {
    let mut command = Command::new(top().join("tools/package/build"));
    command.arg("--program").arg(program());
    command.args(["--revision", revision]);
    // The folder of the test takes what is built, and it need not be small.
    command
        .env("CARGO_TARGET_DIR", into)
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    let said = said(&command.output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    let deb = said
        .out
        .lines()
        .find(|line| line.ends_with(".deb"))
        .unwrap();
    let name = Path::new(deb).file_name().unwrap();
    format!("/packages/package/{}", name.display())
}

/// What is next, as `twindisk setup` says it: each line on its machine.
fn run(step: &str, [alpha, beta]: [&Machine; 2]) {
    let (name, line) = step.split_once("# ").unwrap();
    let machine = [alpha, beta]
        .into_iter()
        .find(|one| one.name == name)
        .unwrap();
    if line.starts_with("scp ") {
        assert!(line.contains(" root@127.88.0.2:/etc/twindisk/"), "{line}");
        alpha.ok("cp -p /etc/twindisk/twindisk.toml /etc/twindisk/secret /packages/");
        beta.ok("mv /packages/twindisk.toml /packages/secret /etc/twindisk/");
    } else if line.contains(" fence test ") {
        // The agent begins to run as it is asked.
        machine.until(line);
    } else {
        machine.ok(line);
    }
}

fn until_in_sync(primary: &Machine) {
    primary.until(
        r#"twindisk status --json | tr -d ' \n' | grep -q '"role":"primary".*"in-sync":true'"#,
    );
}

/// Whether every process of it runs the program that is installed now.
fn runs_what_is_installed(machine: &Machine) -> bool {
    let stale = machine.said("ls -l /proc/[0-9]*/exe | grep 'twindisk.*(deleted)'");
    stale.code != 0
}

/// What machines share; `None`: it can't be tested here.
fn shared() -> Option<tempfile::TempDir> {
    let systemd = machine::tree().join("lib/systemd/systemd").exists();
    let root = nix::unistd::geteuid().is_root();
    let makers = &["dpkg-deb", "dpkg-shlibdeps", "objcopy", "strip"];
    let tools = [machine::PROGRAMS, makers].concat();
    if !programs::have(&tools)
        || !programs::answer("root, and a tree with systemd", root && systemd)
    {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    // No package can help, so that this says so and passes in CI as well.
    if let Some(why) = machine::obstacle(dir.path()) {
        println!("NOT TESTED: no machine can be made here: {why}");
        return None;
    }
    for shared in ["power", "packages"] {
        fs::create_dir(dir.path().join(shared)).unwrap();
    }
    Some(dir)
}

#[test]
fn its_scripts_are_sound() {
    if !programs::have(&["shellcheck"]) {
        return;
    }
    let mut command = programs::command("sh");
    command.args(["-c", "shellcheck build debian/*"]);
    let said = said(
        &command
            .current_dir(top().join("tools/package"))
            .output()
            .unwrap(),
    );
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_package_is_installed_used_upgraded_and_removed() {
    let Some(dir) = shared() else { return };
    let packages = dir.path().join("packages");
    let [old, new] = ["1", "2"].map(|revision| package(revision, &packages));
    let fence = dir.path().join("power/fence_test");
    fs::write(&fence, fence_agent::script("/power", DEED)).unwrap();
    fs::set_permissions(&fence, fs::Permissions::from_mode(0o755)).unwrap();
    witness(&Machine::boot("gamma", dir.path()), &old);

    let mut alpha = Machine::boot("alpha", dir.path());
    let beta = Machine::boot("beta", dir.path());
    install([&alpha, &beta], &old);
    begin([&alpha, &beta]);
    let uri = |machine: &Machine| {
        let socket = machine.path("run/twindisk/r0.sock");
        let text = format!("nbd+unix:///r0?socket={}", socket.display());
        text.parse().unwrap()
    };
    let client = Client::of([&alpha, &beta].map(uri).to_vec());
    upgrade([&alpha, &beta], &new, &client);

    // The role goes back by hand, and then by the loss of its host.
    beta.ok("twindisk switchover");
    until_in_sync(&alpha);
    client.until_busy();
    alpha.lose_power();
    fs::write(dir.path().join("power/alpha.off"), "").unwrap();
    client.until_busy();
    // Its first one, and one for each time that the role went: a restart of what was upgraded cost none.
    assert_eq!(client.end(&uri(&beta)), 4);
    let shot = dir.path().join("power/beta.shot").exists();
    assert!(!shot, "nobody is shot for an upgrade");
    remove(&beta);
}

/// On the third host: it runs as a user of its own.
fn witness(gamma: &Machine, deb: &str) {
    gamma.ok(&format!("dpkg --install {deb}"));
    let said = gamma.ok(
        "twindisk setup alpha=127.88.0.1 beta=127.88.0.2 --backing /srv/r0.img --size 32MiB --witness 127.88.0.3",
    );
    let here = said
        .lines()
        .find_map(|line| line.strip_prefix("127.88.0.3# "));
    gamma.ok(here.unwrap());
    gamma.until("twindisk witness status");
    gamma.ok("test \"$(stat -c %U /proc/$(systemctl show --property MainPID --value twindisk-witness))\" = twindisk");
    gamma.ok("test \"$(stat -c %U:%a /var/lib/twindisk-witness /etc/twindisk/secret | tr '\\n' ' ')\" = 'twindisk:700 twindisk:600 '");
    gamma.ok("dpkg --purge twindisk && ! systemctl is-active twindisk-witness");
}

/// Nothing starts by itself, and nothing will at the next boot.
fn install(both: [&Machine; 2], deb: &str) {
    for machine in both {
        machine.ok(&format!("dpkg --install {deb}"));
        machine.ok("id twindisk && test -x /usr/lib/ocf/resource.d/twindisk/twindisk");
        for unit in ["twindisk", "twindisk-agent", "twindisk-witness"] {
            assert_ne!(machine.said(&format!("systemctl is-active {unit}")).code, 0);
            assert_ne!(
                machine.said(&format!("systemctl is-enabled {unit}")).code,
                0
            );
        }
    }
    for example in ["agents", "by-hand"] {
        let file = format!("/usr/share/doc/twindisk/examples/{example}.toml");
        let found = both[0].said(&format!("twindisk --config {file} config check --json"));
        assert!(found.out.starts_with('['), "{example}: {found:?}");
    }

    both[0].ok(
        "tar -xzf /packages/package/*.tar.gz -C /tmp && /tmp/twindisk-*/usr/bin/twindisk --version",
    );
}

/// From nothing in ten commands: an installation each, a setup, and what that says.
fn begin(both: [&Machine; 2]) {
    let [alpha, _] = both;
    let said = alpha.ok(
        "twindisk setup alpha=127.88.0.1,127.88.1.1 beta=127.88.0.2,127.88.1.2 --backing /srv/r0.img --size 32MiB \
         --fence 'alpha=/power/fence_test plug=alpha' --fence 'beta=/power/fence_test plug=beta'",
    );
    let next: Vec<&str> = said
        .lines()
        .skip_while(|line| *line != "Next:")
        .skip(1)
        .collect();
    assert!(next.len() + 3 <= 10, "{next:#?}");
    for step in next {
        run(step, both);
    }
    until_in_sync(alpha);
}

/// As operations.md has it: agents in maintenance, then the standby, the role, the other one. Alpha is primary.
fn upgrade(both: [&Machine; 2], deb: &str, client: &Client) {
    let [alpha, beta] = both;
    for machine in both {
        machine.ok("twindisk agent maintenance on");
    }
    for machine in both {
        let before = machine.ok("systemctl show --property MainPID twindisk twindisk-agent");
        machine.ok(&format!("dpkg --install {deb}"));
        let after = machine.ok("systemctl show --property MainPID twindisk twindisk-agent");
        assert_eq!(before, after, "an upgrade restarts nothing");
        assert!(!runs_what_is_installed(machine));
        machine.ok("systemctl restart twindisk-agent");
    }
    for machine in both {
        machine.until("twindisk agent status | grep -E '^peer .* heard'");
        machine.ok("twindisk agent maintenance off");
    }
    beta.ok("systemctl restart twindisk");
    until_in_sync(alpha);
    client.until_busy();
    alpha.ok("twindisk switchover");
    until_in_sync(beta);
    alpha.ok("systemctl restart twindisk");
    until_in_sync(beta);
    client.until_busy();
    for machine in both {
        assert!(runs_what_is_installed(machine), "{}", machine.name);
        assert!(machine.ok("dpkg-query --show twindisk").contains("-2"));
    }
}

/// In good order; what tells whose data a device holds stays.
fn remove(beta: &Machine) {
    beta.ok("dpkg --remove twindisk");
    let left = beta.said("pgrep -x twindisk || ls -l /proc/[0-9]*/exe | grep /twindisk");
    assert_ne!(left.code, 0, "{left:?}");
    beta.ok("dpkg --purge twindisk");
    beta.ok("test -e /var/lib/twindisk/r0.meta && test -e /etc/twindisk/twindisk.toml");
    let left = beta.ok("find /usr /etc/systemd -xdev -iname '*twindisk*' -not -path '/usr/src/*'");
    assert_eq!(left, "", "a purge leaves nothing of the package");
}
