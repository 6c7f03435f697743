//! What the configuration takes, and what it says about what it does not take.

use super::*;

#[derive(Deserialize, Debug)]
struct File {
    services: Services,
}

fn read(services: &str) -> Result<Services, String> {
    toml::from_str::<File>(&format!("services = [{services}]"))
        .map(|file| file.services)
        .map_err(|error| error.to_string())
}

#[track_caller]
fn refuses(service: &str, because: &str) {
    let error = read(service).expect_err(service);
    assert!(error.contains(because), "{service}: {error}");
}

#[test]
fn takes_each_kind_with_its_times() {
    let services = read(
        r#"
        { attach = "/dev/nbd0" },
        { mount = "/srv/db", device = "/dev/nbd0", type = "ext4", options = "noatime" },
        { unit = "postgresql@15-main.service", ready = ["pg_isready", "-q"], start-timeout = "2min" },
        { postgresql = "/srv/db/data", user = "postgres", answer-timeout = "2min" },
        { name = "hook", start = ["/bin/true"], stop = ["/bin/true"], stop-timeout = "500ms" },
        { address = "10.0.0.100/24", interface = "eth0" },
        { address = "fd00::100/64", interface = "eth0" }
        "#,
    )
    .unwrap();
    let names: Vec<String> = services.iter().map(Service::name).collect();
    assert_eq!(
        names,
        [
            "attach /dev/nbd0",
            "mount /srv/db",
            "postgresql@15-main.service",
            "postgresql /srv/db/data",
            "hook",
            "address 10.0.0.100",
            "address fd00::100"
        ]
    );
    let times: Vec<_> = services
        .iter()
        .map(|service| (service.start_timeout, service.stop_timeout))
        .collect();
    let usual = limits::DEFAULT_TIMEOUT;
    assert_eq!(times[0], (usual, usual));
    assert_eq!(times[2], (Duration::from_secs(120), usual));
    assert_eq!(times[3], (limits::DATABASE_START, limits::DATABASE_STOP));
    assert_eq!(times[4], (usual, Duration::from_millis(500)));
    assert_eq!(
        services.0[2].ready.as_deref(),
        Some(&["pg_isready".to_owned(), "-q".to_owned()][..])
    );
    assert_eq!(services.0[4].ready, None);
    let Kind::PostgreSql(server) = &services.0[3].kind else {
        panic!("{services:?}");
    };
    assert_eq!(server.answer_timeout, Duration::from_secs(120));
    assert_eq!((&server.bin, &server.log), (&None, &None));
    let Kind::Mount(mount) = &services.0[1].kind else {
        panic!("{services:?}");
    };
    assert_eq!(mount.options.as_deref(), Some("noatime"));
}

#[test]
fn says_what_is_wrong_with_a_service() {
    refuses("{}", "a service needs one of");
    refuses("{ unit = \"a.service\", unti = 1 }", "unknown field `unti`");
    refuses("{ unit = \"postgresql\" }", "write its whole name");
    refuses("{ unit = \"--root=x.service\" }", "is no unit");
    refuses(
        "{ unit = \"a.service\", device = \"/dev/sda\" }",
        "`device` does not belong to a.service",
    );
    refuses(
        "{ unit = \"a.service\", mount = \"/x\", device = \"d\", type = \"ext4\" }",
        "`unit` does not belong to mount /x",
    );
    refuses("{ attach = \"/dev/sda\" }", "is no nbd device");
    refuses("{ attach = \"/dev/nbd\" }", "is no nbd device");
    refuses(
        "{ mount = \"srv\", device = \"d\", type = \"t\" }",
        "absolute path",
    );
    refuses(
        "{ mount = \"/srv/\", device = \"d\", type = \"t\" }",
        "absolute path",
    );
    refuses(
        "{ mount = \"/\", device = \"d\", type = \"t\" }",
        "absolute path",
    );
    refuses(
        "{ mount = \"/srv\", type = \"ext4\" }",
        "mount /srv needs `device`",
    );
    refuses(
        "{ mount = \"/srv\", device = \"/dev/nbd0\" }",
        "mount /srv needs `type`",
    );
    refuses(
        "{ mount = \"/srv\", device = \"--bind\", type = \"t\" }",
        "like an option",
    );
    refuses(
        "{ unit = \"a.service\", ready = [] }",
        "a.service: a command without a program",
    );
    refuses(
        "{ address = \"10.0.0.1/24\", interface = \"eth0\", ready = [\"true\"] }",
        "`ready` does not belong to address 10.0.0.1",
    );
    refuses("{ start = [\"a\"], stop = [\"b\"] }", "needs `name`");
    refuses(
        "{ name = \"x\", start = [\"a\"] }",
        "service x needs `stop`",
    );
    refuses(
        "{ name = \"x\", start = [], stop = [\"b\"] }",
        "without a program",
    );
    refuses(
        "{ name = \" \", start = [\"a\"], stop = [\"b\"] }",
        "is no name",
    );
    refuses(
        "{ address = \"10.0.0.1\", interface = \"eth0\" }",
        "write \"10.0.0.100/24\"",
    );
    refuses(
        "{ address = \"10.0.0.1/33\", interface = \"eth0\" }",
        "1 to 32",
    );
    refuses(
        "{ address = \"fd00::1/0\", interface = \"eth0\" }",
        "1 to 128",
    );
    refuses(
        "{ address = \"127.0.0.1/8\", interface = \"lo\" }",
        "none that a client can reach",
    );
    refuses(
        "{ address = \"10.0.0.1/24\" }",
        "address 10.0.0.1 needs `interface`",
    );
    refuses(
        "{ address = \"10.0.0.1/24\", interface = \"no/such\" }",
        "is no interface's name",
    );
    refuses(
        "{ unit = \"a.service\", start-timeout = \"30\" }",
        "start-timeout: \"30\" is no time",
    );
    refuses(
        "{ unit = \"a.service\", stop-timeout = \"0s\" }",
        "stop-timeout: \"0s\" is no time",
    );
    refuses(
        "{ unit = \"a.service\", stop-timeout = \"99999999999999999999h\" }",
        "is no time",
    );
}

#[test]
fn says_what_is_wrong_with_the_list() {
    refuses(
        "{ unit = \"a.service\" }, { unit = \"a.service\" }",
        "a.service is there twice",
    );
    refuses(
        "{ mount = \"/m\", device = \"/dev/nbd0\", type = \"ext4\" }, { attach = \"/dev/nbd0\" }",
        "put the attach first",
    );
    let many: Vec<String> = (0..=limits::SERVICES)
        .map(|number| format!("{{ unit = \"u{number}.service\" }}"))
        .collect();
    refuses(&many.join(","), "at most 64");
}

#[test]
fn says_what_is_wrong_with_a_database_and_what_this_host_lacks_for_it() {
    refuses(
        "{ postgresql = \"srv/data\" }",
        "postgresql: \"srv/data\" must be an absolute path",
    );
    refuses("{ postgresql = \"/\" }", "must be an absolute path below /");
    refuses(
        "{ postgresql = \"/d\", log = \"log\" }",
        "log: \"log\" must be an absolute path",
    );
    refuses(
        "{ postgresql = \"/d\", user = \"root\" }",
        "does not run as root",
    );
    refuses(
        "{ postgresql = \"/d\", user = \"-x\" }",
        "is no user's name",
    );
    refuses(
        "{ postgresql = \"/d\", answer-timeout = \"soon\" }",
        "answer-timeout: \"soon\" is no time",
    );
    refuses(
        "{ postgresql = \"/d\", ready = [\"true\"] }",
        "`ready` does not belong to postgresql /d",
    );
    refuses(
        "{ unit = \"a.service\", config-file = \"/c\" }",
        "`config-file` does not belong to a.service",
    );
    let services = read(
        r#"{ postgresql = "/d", bin = "/no/bin", user = "no-such-user", config-file = "/no/conf" }, { unit = "a.service" }"#,
    )
    .unwrap();
    let lacks = services.lacks();
    let parts = [
        "there is no postgres and pg_isready in /no/bin",
        "there is no /no/conf",
        "there is no user no-such-user",
    ];
    assert_eq!(lacks.len(), parts.len(), "{lacks:?}");
    for (lack, part) in lacks.iter().zip(parts) {
        assert!(
            lack.contains(part) && lack.contains("/d could not start"),
            "{lack}"
        );
    }
}
