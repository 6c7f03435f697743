//! What is accepted, and what an error says.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use super::*;

const GOOD: &str = r#"
cluster = "db"
secret = "a secret of enough length"

[nodes.alpha]
id = 1
address = "10.0.0.1:7800"

[nodes.beta]
id = 2
address = "[fd00::2]:7800"
nbd = ["tcp:127.0.0.1:10809"]

[resource.r0]
peer-timeout = "6s"
busy-poll = "50us"
on.alpha = { backing = "/dev/vg/r0", metadata = "internal" }
on.beta = { backing = "/dev/vg/r0", protocol = "A", io = "cached" }
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/twindisk/twindisk.toml"), text)
}

#[test]
fn a_good_file_with_its_defaults() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.cluster, "db");
    let alpha = config.node("alpha").unwrap();
    let beta = config.node("beta").unwrap();
    assert_eq!(beta.address.to_string(), "[fd00::2]:7800");
    assert_eq!(
        alpha.control_socket,
        Path::new("/run/twindisk/control.sock")
    );
    let r0 = config.resource("r0").unwrap();
    assert_eq!(r0.timings.peer_timeout, Duration::from_secs(6));
    assert_eq!(r0.busy_poll, BusyPoll::For(Duration::from_micros(50)));
    let on_alpha = r0.member(alpha.id).unwrap();
    assert_eq!(on_alpha.metadata, None);
    assert_eq!(
        on_alpha.nbd,
        [NbdAddress::Unix("/run/twindisk/r0.sock".into())]
    );
    let on_beta = r0.member(beta.id).unwrap();
    assert_eq!(
        on_beta.metadata.as_deref(),
        Some(Path::new("/var/lib/twindisk/r0.meta"))
    );
    assert_eq!(on_beta.protocol, Protocol::A);
    assert_eq!((on_alpha.io, on_beta.io), (IoMode::Direct, IoMode::Cached));
    assert!(on_beta.nbd.is_empty(), "the shared listener serves it");
    assert_eq!(config.pick(alpha, None).unwrap().0.name, "r0");
    assert!(
        !format!("{config:?}").contains("enough length"),
        "a secret never shows"
    );
}

#[test]
fn an_error_names_line_key_and_what_to_write() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        (
            "peer-timeout",
            "peer-timeot",
            ":15: ",
            &["`peer-timeot`", "did you mean `peer-timeout`"],
        ),
        ("secret =", "secrett =", ":3: ", &["did you mean `secret`"]),
        (
            "\"6s\"",
            "\"6 parsec\"",
            ":15: resource.r0.peer-timeout: ",
            &["no unit", "ms"],
        ),
        (
            "\"6s\"",
            "6",
            ":15: resource.r0.peer-timeout: ",
            &["no unit"],
        ),
        (
            "\"6s\"",
            "\"500ms\"",
            ":15: resource.r0.peer-timeout: ",
            &["ping-interval (1s)"],
        ),
        (
            "\"6s\"",
            "\"30h\"",
            ":15: resource.r0.peer-timeout: ",
            &["out of range"],
        ),
        (
            "\"50us\"",
            "\"1s\"",
            ":16: resource.r0.busy-poll: ",
            &["too long"],
        ),
        (
            "\"cached\"",
            "\"writeback\"",
            ":18: resource.r0.on.beta.io: ",
            &["\"writeback\"", "\"direct\" or \"cached\""],
        ),
        ("id = 2", "id = 1", ":", &["is the number of node"]),
        ("id = 2", "id = 300", ":10: nodes.beta.id: ", &["0 to 255"]),
        ("id = 2", "", ":", &["`id` is missing"]),
        (
            "[fd00::2]:7800",
            "fd00::2:7800",
            ":11: nodes.beta.address: ",
            &["[fd00::1]:7800"],
        ),
        (
            "[fd00::2]:7800",
            "10.0.0.1:7800",
            ":",
            &["is the address of node"],
        ),
        (
            "on.beta",
            "on.betta",
            ":18: resource.r0.on.betta: ",
            &["did you mean \"beta\""],
        ),
        (
            "backing = \"/dev/vg/r0\", protocol",
            "protocol",
            ":18: ",
            &["`backing` is missing"],
        ),
        (
            "protocol = \"A\"",
            "protocol = \"D\"",
            ":18: resource.r0.on.beta.protocol: ",
            &["\"D\"", "A, B, C"],
        ),
        (
            "protocol = \"A\"",
            "protocl = \"A\"",
            ":18: resource.r0.on.beta",
            &["did you mean `protocol`"],
        ),
        (
            "tcp:127",
            "http:127",
            ":12: nodes.beta.nbd: ",
            &["unix:/run"],
        ),
        (
            "nbd = [",
            "http = \"localhost:7791\"\nnbd = [",
            ":12: nodes.beta.http: ",
            &["\"localhost:7791\"", "\"127.0.0.1:7791\""],
        ),
        (
            "nbd = [",
            "http = \"127.0.0.1:0\"\nnbd = [",
            ":12: nodes.beta.http: ",
            &["no address to listen at"],
        ),
        (
            "nbd = [",
            "http = 7791\nnbd = [",
            ":12: nodes.beta.http: ",
            &["string"],
        ),
        (
            "nbd = [",
            "htpp = \"127.0.0.1:7791\"\nnbd = [",
            ":12: ",
            &["`htpp`", "did you mean `http`"],
        ),
        (
            "a secret of enough length",
            "short",
            ":3: secret: ",
            &["16"],
        ),
        (
            "secret = \"a secret of enough length\"",
            "",
            ":2: cluster: ",
            &["secret-file"],
        ),
        (
            "[resource.r0]",
            "[resource.\"r 0\"]",
            ":14: resource.\"r 0\": ",
            &["letters, digits"],
        ),
        (
            "cluster = \"db\"",
            "cluster = 7",
            ":2: cluster: ",
            &["string"],
        ),
        (
            "metadata = \"internal\"",
            "metadata = \"/dev/vg/r0\"",
            ":17: resource.r0.on.alpha.metadata: ",
            &["same file"],
        ),
        ("id = 2", "id = 2 2", ":10", &[]),
    ];
    for (from, to, place, wanted) in table {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from} is not in the file");
        let error = parse(&text).expect_err(to).to_string();
        let start = format!("/etc/twindisk/twindisk.toml{place}");
        assert!(error.starts_with(&start), "{to}: {error}");
        for part in *wanted {
            assert!(error.contains(part), "{to}: {error} lacks {part}");
        }
        assert!(
            !error.contains("enough length"),
            "a secret never shows: {error}"
        );
    }
}

#[test]
fn a_missing_file_says_how_to_name_another() {
    let error = Config::load(Path::new("/nonexistent/twindisk.toml")).unwrap_err();
    assert!(error.to_string().contains("--config FILE"), "{error}");
}

#[test]
fn which_node_this_is() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.this_node(Some("beta")).unwrap().name, "beta");
    assert!(
        config
            .this_node(Some("gamma"))
            .unwrap_err()
            .to_string()
            .contains("alpha, beta")
    );
    let named = parse(&format!("node = \"alpha\"{GOOD}")).unwrap();
    assert_eq!(named.this_node(None).unwrap().name, "alpha");
    assert_eq!(named.this_node(Some("beta")).unwrap().name, "beta");
}

#[test]
fn secrets_come_from_a_file_without_its_newline() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    assert_eq!(
        SecretSource::File(file.clone()).read().unwrap(),
        b"0123456789abcdef"
    );
    std::fs::write(&file, "short").unwrap();
    assert!(SecretSource::File(file).read().is_err());
}

#[test]
fn the_check_finds_what_is_missing_or_risky() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let sparse = dir.path().join("sparse");
    std::fs::File::create(&sparse)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let text = format!(
        r#"
cluster = "db"
secret-file = "secret"
run-dir = "run"
state-dir = "secret/state"
[nodes.alpha]
id = 1
address = "127.0.0.1:7800"
nbd = "tcp:0.0.0.0:10809"
[resource.r0]
on-peer-loss = "continue"
on.alpha = {{ backing = "sparse", metadata = "m" }}
[resource.r1]
protocol = "A"
on.alpha = {{ backing = "sparse", metadata = "m", nbd = "unix:{long}" }}
"#,
        long = "x".repeat(120)
    );
    let config = Config::parse(&dir.path().join("t.toml"), &text).unwrap();
    let found = check(&config, config.node("alpha").unwrap());
    let has = |severity, about: &str, part: &str| {
        assert!(
            found.iter().any(|finding| finding.severity == severity
                && finding.about.contains(about)
                && finding.text.contains(part)),
            "{about} {part} not in {found:#?}"
        );
    };
    has(Severity::Risk, "secret-file", "0600");
    has(Severity::Risk, "nodes", "only one node");
    has(Severity::Risk, "nodes.alpha.address", "this host only");
    has(Severity::Risk, "nodes.alpha.nbd", "no authentication");
    has(Severity::Risk, "resource.r0.on-peer-loss", "unsafe");
    has(Severity::Risk, "resource.r0.on.alpha.backing", "sparse");
    has(
        Severity::Risk,
        "resource.r1.on.alpha.protocol",
        "protocol A",
    );
    has(
        Severity::Missing,
        "resource.r0.on.alpha.metadata",
        "init r0",
    );
    has(Severity::Missing, "resource.r1.on.alpha.nbd", "107");
    has(
        Severity::Missing,
        "sparse",
        "backing of r0 and backing of r1",
    );
    has(Severity::Missing, "state", "no folder");
    assert_eq!(
        found.first().unwrap().severity,
        Severity::Missing,
        "the worst first"
    );
}

#[test]
fn a_link_local_address_needs_its_interface_wherever_it_stands() {
    let found = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        let config = parse(&GOOD.replacen(from, to, 1)).unwrap();
        let found = check(&config, config.node("alpha").unwrap());
        let zone = |finding: &&Finding| {
            finding.severity == Severity::Missing && finding.text.contains("%INTERFACE")
        };
        let found = found.iter().filter(zone);
        found
            .map(|finding| finding.about.clone())
            .collect::<Vec<_>>()
    };
    let nbd = |address: &str| format!("id = 1\nnbd = \"tcp:{address}\"");
    let http = |address: &str| format!("id = 1\nhttp = \"{address}\"");
    let address = "[fd00::2]:7800";
    assert_eq!(found(address, "[fe80::2]:7800"), ["nodes.beta.address"]);
    assert_eq!(found(address, "[fe80::2%eth0]:7800"), [""; 0]);
    assert_eq!(
        found("id = 1", &nbd("[fe80::1]:10809")),
        ["nodes.alpha.nbd"]
    );
    assert_eq!(found("id = 1", &http("[fe80::1]:80")), ["nodes.alpha.http"]);
    for well in [
        nbd("[fe80::1%eth0]:10809"),
        http("[fe80::1%2]:80"),
        nbd("[fd00::1]:10809"),
    ] {
        assert_eq!(found("id = 1", &well), [""; 0], "{well}");
    }
}

#[test]
fn http_beyond_loopback_is_a_risk_and_without_an_agent_nobody_answers() {
    let found = |http: &str, agent: &str| {
        let text = GOOD.replacen("id = 1", &format!("id = 1\nhttp = \"{http}\""), 1);
        let config = parse(&format!("{text}{agent}")).unwrap();
        let found = check(&config, config.node("alpha").unwrap());
        let about_http = |finding: &Finding| finding.about == "nodes.alpha.http";
        let found: Vec<_> = found.into_iter().filter(about_http).collect();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let agent = "\n[agent]\n";
    for inside in ["127.0.0.1:7791", "[::1]:7791", "[::ffff:127.0.0.1]:7791"] {
        assert_eq!(found(inside, agent), [""; 0], "{inside}");
    }
    for outside in ["0.0.0.0:7791", "[::]:7791", "10.0.0.1:7791"] {
        let found = found(outside, agent).join(" ");
        assert!(
            found.starts_with("risk: ") && found.contains("no authentication"),
            "{outside}: {found}"
        );
    }
    assert!(found("127.0.0.1:7791", "").join(" ").starts_with("note: "));
    let taken = found("10.0.0.1:7800", agent).join(" ");
    assert!(taken.starts_with("missing: "), "{taken}");
}

#[test]
fn every_key_stands_in_the_reference_and_is_accepted() {
    let reference = include_str!("../../../../tools/doc/twindisk.toml.md");
    for (section, keys) in keys() {
        for key in keys {
            let row = format!("| `{key}` |");
            assert!(
                reference.contains(&row),
                "{section}: {key} is not in the reference"
            );
        }
    }
    let first = reference.split("```toml").nth(1).unwrap();
    parse(
        &first
            .split("```")
            .next()
            .unwrap()
            .replace("secret-file", "secret"),
    )
    .unwrap();
}

#[test]
fn the_lists_of_keys_are_complete() {
    // An unknown key makes serde list the known ones.
    for (section, keys) in keys() {
        let text = match section {
            "top" => GOOD.replacen("cluster", "zzz = 1\ncluster", 1),
            "etcd" => GOOD.replacen("[nodes", "[etcd]\nzzz = 1\n[nodes", 1),
            "nodes.NAME" => GOOD.replacen("id = 1", "zzz = 1\nid = 1", 1),
            "resource.NAME" => GOOD.replacen("busy-poll", "zzz = 1\nbusy-poll", 1),
            _ => GOOD.replacen("protocol =", "zzz = 1, protocol =", 1),
        };
        let error = parse(&text).unwrap_err().to_string();
        let known = error.split("the keys here are ").nth(1).expect(&error);
        let mut known: Vec<&str> = known.split(", ").collect();
        let mut listed = keys.to_vec();
        known.sort_unstable();
        listed.sort_unstable();
        assert_eq!(known, listed, "{section}");
    }
}

#[test]
fn a_witness_needs_two_nodes_an_agent_and_a_place() {
    let whole = "cluster = \"db\"\nsecret = \"a secret of enough length\"\nwitness = \"10.0.0.9:7795\"\n[agent]\n\
                 [nodes.a]\nid = 1\naddress = \"10.0.0.1:7800\"\n[nodes.b]\nid = 2\naddress = \"10.0.0.2:7800\"\n\
                 [resource.r0]\narbiter = \"witness\"\non.a = { backing = \"a\" }\non.b = { backing = \"b\" }\n";
    let read = |text: &str| Config::parse(Path::new("t.toml"), text);
    let config = read(whole).expect("it is whole");
    assert_eq!(config.resources[0].arbiter, Arbiter::Witness);
    for (from, to, says) in [
        ("witness = \"10.0.0.9:7795\"\n", "", "where the witness is"),
        ("[agent]\n", "", "only agents ask"),
        ("on.b = { backing = \"b\" }\n", "", "two nodes"),
        (
            "backing = \"b\"",
            "backing = \"b\", protocol = \"A\"",
            "protocol \"A\"",
        ),
        (
            "[resource.r0]\n",
            "[resource.r0]\non-peer-loss = \"continue\"\n",
            "asks nobody",
        ),
        (
            "[resource.r0]\n",
            "[resource.r0]\nping-interval = \"500ms\"\n",
            "two ping-intervals",
        ),
    ] {
        let error = read(&whole.replace(from, to)).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    // On the host of a replica it is lost with that one.
    for (host, risky) in [("10.0.0.9", false), ("10.0.0.2", true)] {
        let config = read(&whole.replace("10.0.0.9", host)).expect("it is whole");
        let found = check(&config, config.node("a").unwrap());
        let named = found.iter().any(|finding| {
            finding.severity == Severity::Risk && finding.text.contains("on the host of b")
        });
        assert_eq!(named, risky, "{host}");
    }
}
