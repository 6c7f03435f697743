//! Commands that need no running node, and what they say when there is none.

use std::{fs, os::unix::fs::FileExt, process::Stdio};

use crate::harness::{cluster::Cluster, process::run};

#[test]
fn help_names_every_exit_code_and_bad_usage_is_one() {
    let help = run(&["--help"]);
    assert_eq!(help.code, 0);
    for code in ["10", "11", "12", "13", "14"] {
        assert!(help.out.contains(code), "{}", help.out);
    }
    assert_eq!(run(&["promotee"]).code, 2);
    assert!(run(&["promotee"]).err.contains("promote"));
}

#[test]
fn a_bad_configuration_is_told_by_line_and_key() {
    let cluster = Cluster::new(&["alpha", "beta"], "peer-timeout = \"5s\"");
    cluster.edit("peer-timeout", "peer-timeuot");
    let said = cluster.run("alpha", &["status"]);
    assert_eq!(said.code, 10);
    assert!(said.err.contains("twindisk.toml:"), "{said:?}");
    assert!(said.err.contains("did you mean `peer-timeout`"), "{said:?}");
    let missing = run(&["status", "--config", "/nonexistent"]);
    assert_eq!(missing.code, 10);
    assert!(missing.err.contains("--config"), "{missing:?}");
    let said = cluster.run("gamma", &["status"]);
    assert_eq!(said.code, 10);
}

#[test]
fn the_check_lists_what_is_missing_until_nothing_is() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    let before = cluster.run("alpha", &["config", "check"]);
    assert_eq!(before.code, 10, "{before:?}");
    assert!(
        before.out.contains("missing: resource.r0.on.alpha.backing"),
        "{before:?}"
    );
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    let after = cluster.run("alpha", &["config", "check", "--json"]);
    assert_eq!(after.code, 0, "{after:?}");
    let findings: serde_json::Value = serde_json::from_str(&after.out).unwrap();
    let severities: Vec<_> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["severity"])
        .collect();
    assert!(
        severities.iter().all(|severity| *severity != "missing"),
        "{findings}"
    );
    assert_eq!(
        cluster.run("alpha", &["config", "check", "--strict"]).code,
        10
    );
}

#[test]
fn init_writes_the_file_whole_and_destroys_nothing() {
    use std::os::unix::fs::MetadataExt;
    let cluster = Cluster::new(&["alpha", "beta"], "");
    let missing = cluster.run("alpha", &["init"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("--size"), "{missing:?}");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    let image = fs::metadata(cluster.path("alpha.img")).unwrap();
    assert_eq!(image.len(), 8 << 20);
    assert!(image.blocks() * 512 >= image.len(), "no holes");
    let again = cluster.refused("alpha", &["init", "--first"]);
    assert!(
        again.contains("valid metadata") && again.contains("--force-overwrite"),
        "{again}"
    );
    cluster.ok("alpha", &["init", "--first", "--force-overwrite"]);

    fs::write(cluster.path("beta.img"), vec![0; 1 << 20]).unwrap();
    let small = cluster.run("beta", &["init", "--size", "8MiB"]);
    assert_eq!(small.code, 1);
    assert!(small.err.contains("room for 1 MiB"), "{small:?}");
    fs::create_dir(cluster.path("beta")).unwrap();
    fs::write(cluster.path("beta/r0.meta"), "something precious").unwrap();
    let precious = cluster.run("beta", &["init"]);
    assert_ne!(precious.code, 0, "{precious:?}");
    assert_eq!(
        fs::read(cluster.path("beta/r0.meta")).unwrap(),
        b"something precious"
    );
}

/// A raw image with a GPT has any number of sectors, and the backup of the table stands in the last one.
#[test]
fn init_says_what_of_an_image_is_no_part_of_the_device() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    let mut image = vec![0; (4 << 20) + 512];
    fs::write(cluster.path("beta.img"), &image).unwrap();
    let empty = cluster.run("beta", &["init", "--first"]);
    assert_eq!(empty.code, 0, "{empty:?}");
    assert!(
        empty.err.contains("its last 512 bytes are no part"),
        "{empty:?}"
    );
    image[4 << 20..][..8].copy_from_slice(b"EFI PART");
    fs::write(cluster.path("alpha.img"), &image).unwrap();
    let refused = cluster.refused("alpha", &["init", "--first"]);
    for part in [
        "4194816 bytes",
        "last 512 bytes",
        "truncate -s 4198400",
        "--size 4096KiB",
    ] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    assert!(!cluster.path("alpha/r0.meta").exists());
    let said = cluster.ok("alpha", &["init", "--first", "--size", "4096KiB"]);
    assert!(said.contains("4 MiB"), "{said}");
}

#[test]
fn a_link_local_address_without_its_interface_is_named_before_and_when_it_fails() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    let text = fs::read_to_string(cluster.path("twindisk.toml")).unwrap();
    let address = text.split("address = \"").nth(1).unwrap();
    let address = address.split('"').next().unwrap();
    let port = address.rsplit(':').next().unwrap();
    cluster.edit(address, &format!("[fe80::1]:{port}"));
    let check = cluster.run("alpha", &["config", "check"]);
    assert_eq!(check.code, 10, "{check:?}");
    assert!(
        check.out.contains("missing: nodes.alpha.address") && check.out.contains("%INTERFACE"),
        "{check:?}"
    );
    let serve = cluster.run("alpha", &["serve"]);
    assert_eq!(serve.code, 1, "{serve:?}");
    assert!(
        serve.err.contains("fe80") && serve.err.contains("interface"),
        "{serve:?}"
    );
}

#[test]
fn internal_metadata_does_not_go_over_data() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.edit(
        "backing = \"alpha.img\"",
        "backing = \"alpha.img\", metadata = \"internal\"",
    );
    let mut image = vec![0; 4 << 20];
    *image.last_mut().unwrap() = 7;
    fs::write(cluster.path("alpha.img"), &image).unwrap();
    let used = cluster.refused("alpha", &["init", "--first"]);
    assert!(used.contains("are in use"), "{used}");
    assert_eq!(fs::read(cluster.path("alpha.img")).unwrap(), image);
    cluster.ok("alpha", &["init", "--first", "--force-overwrite"]);
    let dump = cluster.ok("alpha", &["metadata", "dump", "--json"]);
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let size = dump["superblock"]["size_blocks"].as_u64().unwrap();
    assert!(size < 1024 && size > 1000, "{dump}");
}

#[test]
fn damaged_metadata_is_found_and_repaired() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    cluster.ok("alpha", &["metadata", "check"]);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(cluster.path("alpha/r0.meta"))
        .unwrap();
    // A byte of the last bitmap page.
    let length = file.metadata().unwrap().len();
    file.write_at(&[0xff], length - 2000).unwrap();
    let found = cluster.run("alpha", &["metadata", "check"]);
    assert_eq!(found.code, 13, "{found:?}");
    assert!(found.err.contains("metadata repair"), "{found:?}");
    assert_eq!(
        cluster.run("alpha", &["metadata", "repair"]).code,
        2,
        "needs --confirm"
    );
    cluster.ok("alpha", &["metadata", "repair", "--confirm", "r0"]);
    cluster.ok("alpha", &["metadata", "check"]);

    file.write_at(&[0xff; 8192], 0).unwrap();
    let lost = cluster.run("alpha", &["metadata", "check"]);
    assert_eq!(lost.code, 13, "{lost:?}");
    let serve = cluster.run("alpha", &["serve"]);
    assert_eq!(serve.code, 13, "{serve:?}");
    assert!(serve.err.contains("no usable superblock"), "{serve:?}");
}

#[test]
fn nobody_serves() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    for command in [
        &["status"][..],
        &["promote"],
        &["events"],
        &["verify", "--wait"],
    ] {
        let said = cluster.run("alpha", command);
        assert_eq!(said.code, 12, "{said:?}");
        assert!(
            said.err.contains("start it with: twindisk serve"),
            "{said:?}"
        );
    }
}

#[test]
fn what_can_lose_data_wants_the_name_of_the_resource() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    for command in [
        &["promote", "--force", "--reason", "a test"][..],
        &["receipt", "--force", "--reason", "a test"],
        &["resolve", "--discard", "beta"],
    ] {
        let said = cluster.run("alpha", command);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("--confirm r0"), "{said:?}");
        let mut wrong = command.to_vec();
        wrong.extend(["--confirm", "r1"]);
        let said = cluster.run("alpha", &wrong);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("nothing was done"), "{said:?}");
    }
    assert_eq!(cluster.run("alpha", &["receipt"]).code, 2, "which proof?");
}

#[test]
fn pages_and_completions_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let man = run(&["man", dir.path().to_str().unwrap()]);
    assert_eq!(man.code, 0, "{man:?}");
    let promote = fs::read_to_string(dir.path().join("twindisk-promote.1")).unwrap();
    assert!(promote.contains("reason"), "{promote}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, 0);
        assert!(script.out.contains("switchover"), "{shell}");
    }
}

/// A reader that goes away at once, as `head -0` does.
fn cut_off(arguments: &[&str], errors_too: bool) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = crate::harness::process::clean_command();
    command.args(arguments);
    if errors_too {
        command.stderr(writer.try_clone().unwrap());
    }
    let output = command
        .stdout(writer)
        .stdin(Stdio::null())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .unwrap();
    let said = crate::harness::process::said(&output);
    (said.code, said.err)
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    let file = cluster.path("twindisk.toml");
    let file = file.to_str().unwrap();
    let here = ["--config", file, "--node", "alpha"];
    for (command, code) in [
        (&["completions", "bash"][..], 0),
        (&["man"], 0),
        (&["config", "check"], 10),
        (&["init", "--first", "--size", "8MiB"], 0),
        (&["metadata", "dump"], 0),
    ] {
        let whole: Vec<&str> = command.iter().chain(&here).copied().collect();
        let (was, said) = cut_off(&whole, false);
        assert_eq!((was, &*said), (code, ""), "{command:?}");
    }
    let whole: Vec<&str> = ["promote"].iter().chain(&here).copied().collect();
    assert_eq!(cut_off(&whole, true).0, 12, "nobody is left to be told");
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = crate::harness::process::clean_command();
    let said = command.args(["completions", "bash"]).stdout(full).output();
    let said = crate::harness::process::said(&said.unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("standard output"), "{said:?}");
}

#[test]
fn a_process_that_stays_outlives_the_reader_of_its_log() {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = cluster
        .command("alpha", &["serve"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    cluster.wait_for("alpha", "an answer of a process without a log", |cluster| {
        let said = cluster.run("alpha", &["status"]);
        (said.code == 0).then_some(())
    });
    // It has things to say: each ends where the log was.
    cluster.ok("alpha", &["disconnect"]);
    assert!(child.try_wait().unwrap().is_none(), "it has gone");
    crate::harness::process::signal(&child, nix::sys::signal::Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
}
