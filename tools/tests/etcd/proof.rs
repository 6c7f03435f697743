//! Who asks has to prove himself, and so has etcd: users with their rights, and certificates on both sides.

use std::{fs, path::Path, process::Command};

use twindisk_etcd::{Access, Seal};
use twindisk_witness::{Answer, Ask};

use crate::{
    AGENT, SECRET, access, client, fault,
    harness::{
        etcd::{Etcd, PROGRAMS, Plan},
        eventually,
        programs::have,
        register::{ask, asked, next, refused, swap},
    },
};

#[test]
fn users_need_their_password_and_the_right_to_write() {
    if !have(PROGRAMS) {
        return;
    }
    let mut etcd = Etcd::start(Plan::ONE);
    for arguments in [
        &["user", "add", "root:root"][..],
        &["role", "add", "writes"],
        &[
            "role",
            "grant-permission",
            "writes",
            "--prefix",
            "readwrite",
            "/twindisk/db/",
        ],
        &["user", "add", "agent:right"],
        &["user", "grant-role", "agent", "writes"],
        &["role", "add", "reads"],
        &[
            "role",
            "grant-permission",
            "reads",
            "--prefix",
            "read",
            "/twindisk/db/",
        ],
        &["user", "add", "guest:guest"],
        &["user", "grant-role", "guest", "reads"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        etcd.ctl(arguments);
    }
    let user = |name: &str, password: &str| {
        let file = etcd.path(&format!("{name}.{password}"));
        fs::write(&file, format!("{password}\n")).unwrap();
        Access {
            user: Some((name.to_owned(), file)),
            ..access(etcd.endpoints())
        }
    };
    let why = fault(access(etcd.endpoints()));
    assert!(why.contains("asks who this is"), "{why}");
    for (name, password) in [("agent", "wrong"), ("nobody", "right")] {
        let why = fault(user(name, password));
        assert!(why.contains("does not know this user"), "{why}");
    }
    let agent = client(user("agent", "right"));
    let (first, answer) = swap(&agent, None, 1);
    assert_eq!(answer, Some(Answer::Done(first.clone())));
    let guest = client(user("guest", "guest"));
    let held = Some(Answer::Held(Some(first.clone())));
    assert_eq!(ask(&guest, None, Ask::Read), held);
    let (_, claim) = next(Some(&first), 2);
    let why = refused(&guest, None, claim);
    assert!(why.contains("grant-permission"), "{why}");
    // Elsewhere nobody may.
    let elsewhere =
        twindisk_etcd::Etcd::new(user("agent", "right"), "mail", Seal::new(SECRET, "mail"));
    let why = asked(&elsewhere, None, Ask::Read, AGENT).unwrap_err();
    assert!(why.contains("grant-permission"), "{why}");
    // It knows no login any more that it has given before: a new one is made.
    etcd.kill(0);
    etcd.run(0);
    eventually(
        "it answers",
        || etcd.logs(),
        || asked(&agent, None, Ask::Read, 5 * AGENT).ok(),
    );
    let (second, answer) = swap(&agent, Some(&first), 3);
    assert_eq!(answer, Some(Answer::Done(second)));
    // Who logs in where nobody has to is let in as well.
    etcd.ctl_as_root(&["auth", "disable"]);
    let late = client(Access {
        user: Some(("agent".to_owned(), etcd.path("agent.right"))),
        ..access(etcd.endpoints())
    });
    assert!(matches!(
        ask(&late, None, Ask::Read),
        Some(Answer::Held(Some(_)))
    ));
    let missing = Access {
        user: Some(("agent".to_owned(), etcd.path("missing"))),
        ..access(etcd.endpoints())
    };
    let why = fault(missing);
    assert!(why.contains("missing: No such file"), "{why}");
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command
        .current_dir(folder)
        .args(arguments.split(' '))
        .output();
    let output = output.expect("openssl is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
}

/// An authority, `ca.pem`, and what it has signed: `NAME.pem` with `NAME.key`.
fn certificates(folder: &Path, ca: &str, signed: &[&str]) {
    let key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(
        folder,
        &format!("{key} -keyout {ca}.key -out {ca}.pem -subj /CN={ca}"),
    );
    // What a server shows to its own gateway is a client's, too.
    let extensions = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n";
    fs::write(folder.join("extensions"), extensions).unwrap();
    let key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let sign = format!(
        "x509 -req -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 2 -extfile extensions"
    );
    for name in signed {
        openssl(
            folder,
            &format!("{key} -keyout {name}.key -out {name}.csr -subj /O={name}"),
        );
        openssl(folder, &format!("{sign} -in {name}.csr -out {name}.pem"));
    }
}

#[test]
fn over_tls_both_sides_have_to_prove_themselves() {
    if !have(&[PROGRAMS, &["openssl"]].concat()) {
        return;
    }
    let mut etcd = Etcd::prepared(Plan {
        tls: true,
        ..Plan::ONE
    });
    let folder = etcd.path("");
    certificates(&folder, "ca", &["server", "client"]);
    certificates(&folder, "other", &["stranger"]);
    etcd.run_all();
    let file = |name: &str| etcd.path(name);
    let with = |ca: &str, own: Option<(&str, &str)>| Access {
        ca_file: Some(file(ca)),
        certificate: own.map(|(cert, key)| (file(cert), file(key))),
        ..access(etcd.endpoints())
    };
    let own = Some(("client.pem", "client.key"));
    let right = client(with("ca.pem", own));
    let (first, answer) = swap(&right, None, 1);
    assert_eq!(answer, Some(Answer::Done(first)));
    for (access, says) in [
        (with("other.pem", own), "is not believed"),
        (with("ca.pem", None), "take this node's certificate"),
        (
            with("ca.pem", Some(("stranger.pem", "stranger.key"))),
            "take this node's certificate",
        ),
        (
            with("ca.pem", Some(("client.pem", "server.key"))),
            "does not fit",
        ),
        (with("ca.key", own), "no certificate in it"),
        (with("none.pem", own), "No such file"),
        (with("extensions", own), "no certificate in it"),
    ] {
        let why = fault(access);
        assert!(why.contains(says), "{says}: {why}");
    }
    // The wrong scheme, on either side.
    let plain: Vec<String> = (etcd.endpoints().iter())
        .map(|url| url.replace("https", "http"))
        .collect();
    let why = fault(access(plain));
    // It says so and hangs up, which may be seen first.
    let told = ["HTTPS server", "where https belongs"];
    assert!(told.iter().any(|words| why.contains(words)), "{why}");
    let other = Etcd::start(Plan::ONE);
    let secure: Vec<String> = (other.endpoints().iter())
        .map(|url| url.replace("http", "https"))
        .collect();
    let why = fault(Access {
        ca_file: Some(file("ca.pem")),
        ..access(secure)
    });
    let told = ["speaks no TLS", "where https belongs"];
    assert!(told.iter().any(|words| why.contains(words)), "{why}");
    // A certificate that was renewed is used without a restart.
    let copied = |from: &str, to: &str| {
        fs::copy(file(from), file(to)).unwrap();
    };
    copied("stranger.pem", "own.pem");
    copied("stranger.key", "own.key");
    let renewed = client(with("ca.pem", Some(("own.pem", "own.key"))));
    assert_eq!(ask(&renewed, None, Ask::Read), None);
    copied("client.pem", "own.pem");
    copied("client.key", "own.key");
    assert!(ask(&renewed, None, Ask::Read).is_some());
}
