//! The agents alone: what they say of themselves, and to whom.

use std::path::{Path, PathBuf};

use crate::harness::{
    cluster::{ALPHA, Cluster},
    process::program,
    programs::{command, have, run, told},
};

fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("pacemaker")
        .join(name)
}

#[test]
fn the_scripts_are_good_shell() {
    if have(&["shellcheck"]) {
        run("shellcheck", &[ours("twindisk"), ours("fence_twindisk")]);
    }
}

/// A level of fencing devices must not fail by the one that only tells.
#[test]
fn the_fence_agent_never_fails() {
    let agent = ours("fence_twindisk");
    for action in [
        "off", "on", "reboot", "status", "monitor", "list", "metadata",
    ] {
        let script = format!(
            "printf 'action={action}\\nplug=alpha\\nconfig=/nonexistent\\n' | '{}'",
            agent.display()
        );
        let output = command("sh")
            .args(["-c", &script])
            .output()
            .expect("sh runs");
        assert!(output.status.success(), "{action}: {}", told(&output));
        let metadata = String::from_utf8_lossy(&output.stdout).contains("<resource-agent");
        assert_eq!(metadata, action == "metadata", "{}", told(&output));
    }
}

/// The cluster's own test of an agent: every action, also where there is nothing to do, beside no cluster.
#[test]
fn ocf_tester_has_nothing_to_say() {
    ocf_tester("own");
}

/// The same with one process for the host, in which the resource comes and goes.
#[test]
fn ocf_tester_has_nothing_to_say_beside_a_process_of_the_host() {
    ocf_tester("host");
}

fn ocf_tester(serve: &str) {
    if !have(&["ocf-tester", "setsid", "xmllint"]) || !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut cluster = Cluster::new(&[ALPHA], "arbiter = \"external\"");
    cluster.ok(ALPHA, &["init", "--first", "--size", "8MiB"]);
    if serve == "host" {
        cluster.serve(ALPHA);
        cluster.ok(ALPHA, &["down"]);
    }
    let text = |key: &str, value: &Path| format!("{key}={}", value.display());
    let agent = ours("twindisk");
    let parameters = [
        "resource=r0".to_owned(),
        format!("serve={serve}"),
        text("config", &cluster.path("twindisk.toml")),
        text("program", &program()),
        text("log", &cluster.path("log")),
    ];
    let mut arguments = vec!["-n", "r0"];
    for parameter in &parameters {
        arguments.extend(["-o", parameter]);
    }
    arguments.push(agent.to_str().expect("a path of ours"));
    let said = run("ocf-tester", &arguments);
    assert!(said.contains("passed all tests"), "{said}");
}
