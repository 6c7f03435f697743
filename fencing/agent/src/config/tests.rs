//! What is read of the configuration, and what is refused.

use std::path::Path;

use super::*;

const TEXT: &str = r#"
cluster = "db"
secret = "a secret of enough length"
[agent]
[nodes.alpha]
id = 1
address = "10.0.0.1:7800"
heartbeat = ["10.0.0.1:7790", "10.9.9.1:7790"]
http = "127.0.0.1:7791"
[nodes.beta]
id = 2
address = "10.0.0.2:7800"
heartbeat = ["10.0.0.2:7790", "10.9.9.2:7790"]
[nodes.gamma]
id = 3
address = "10.0.0.3:7800"
[resource.pair]
on.alpha = { backing = "/dev/vg/pair" }
on.beta = { backing = "/dev/vg/pair" }
[resource.three]
on.alpha = { backing = "/dev/vg/three" }
on.beta = { backing = "/dev/vg/three" }
on.gamma = { backing = "/dev/vg/three" }
"#;

#[test]
fn http_is_off_unless_written_and_three_nodes_are_left_alone() {
    let config = Config::parse(Path::new("t.toml"), TEXT).expect("it is right");
    let settings = |node: &str| {
        let node = config.node(node).expect("it is there");
        Settings::new(&config, node).expect("it is complete")
    };
    let (alpha, beta) = (settings("alpha"), settings("beta"));
    assert_eq!(alpha.http, "127.0.0.1:7791".parse().ok());
    assert_eq!(beta.http, None);
    assert_eq!(alpha.resources.len(), 1);
    assert_eq!(alpha.left_alone, ["three"]);
}

#[test]
fn services_that_end_are_started_again_as_it_is_written() {
    let recovery = |agent: &str| {
        let text = TEXT.replace("[agent]\n", &format!("[agent]\n{agent}\n"));
        let config = Config::parse(Path::new("t.toml"), &text).expect("it is right");
        let node = config.node("alpha").expect("it is there");
        Settings::new(&config, node)
            .map(|settings| settings.recovery)
            .map_err(|error| error.to_string())
    };
    let of = |restarts, seconds| {
        let window = Duration::from_secs(seconds);
        Ok(Some(Recovery { restarts, window }))
    };
    assert_eq!(recovery(""), of(3, 600));
    let other = "service-restarts = 0\nservice-restart-window-s = 60";
    assert_eq!(recovery(other), of(0, 60));
    assert_eq!(recovery("on-service-end = \"alarm\""), Ok(None));
    let why = recovery("service-restart-window-s = 59").expect_err("it is too short");
    assert!(why.contains("write at least 60"), "{why}");
    recovery("on-service-end = \"reboot\"").expect_err("nobody does that");
}

#[test]
fn three_nodes_that_hear_each_other_are_looked_after_in_the_order_that_is_written() {
    let heard = TEXT.replace(
        "address = \"10.0.0.3:7800\"",
        "address = \"10.0.0.3:7800\"\nheartbeat = [\"10.0.0.3:7790\", \"10.9.9.3:7790\"]",
    );
    let order = |text: &str, node: &str| {
        let config = Config::parse(Path::new("t.toml"), text).expect("it is right");
        let node = config.node(node).expect("it is there");
        let settings = Settings::new(&config, node).expect("it is complete");
        assert!(settings.left_alone.is_empty());
        let three = settings.resources.iter().find(|one| one.name == "three");
        let members = &three.expect("it is looked after").members;
        let told = members.iter().map(|member| {
            let name = settings.peers[member.peer].name.clone();
            (name, member.preferred)
        });
        told.collect::<Vec<_>>()
    };
    let named = |name: &str, preferred| (name.to_owned(), preferred);
    assert_eq!(
        order(&heard, "beta"),
        [named("alpha", true), named("gamma", false)]
    );
    let preferred = heard.clone() + "prefer = [\"gamma\"]\n";
    assert_eq!(
        order(&preferred, "beta"),
        [named("gamma", true), named("alpha", true)]
    );
    assert_eq!(
        order(&preferred, "gamma"),
        [named("alpha", false), named("beta", false)]
    );
    let narrow = heard.replace("\"10.0.0.3:7790\", ", "");
    let config = Config::parse(Path::new("t.toml"), &narrow).expect("it is right");
    let alpha = config.node("alpha").expect("it is there");
    let alpha = Settings::new(&config, alpha).expect("the pair is looked after");
    assert_eq!(alpha.left_alone, ["three"]);
    assert_eq!(alpha.resources.len(), 1);
    for wrong in ["prefer = [\"delta\"]\n", "prefer = [\"beta\", \"beta\"]\n"] {
        let text = heard.clone() + wrong;
        assert!(
            Config::parse(Path::new("t.toml"), &text).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn what_is_run_after_a_promotion_is_a_program_and_comes_after_services() {
    let read = |lines: &str| {
        let text = TEXT.replace("[resource.pair]\n", &format!("[resource.pair]\n{lines}\n"));
        let config = Config::parse(Path::new("t.toml"), &text).expect("it is right");
        let node = config.node("alpha").expect("it is there");
        let settings = Settings::new(&config, node).map_err(|error| error.to_string())?;
        Ok::<_, String>(
            settings
                .core()
                .resources
                .iter()
                .any(|one| one.after_promote),
        )
    };
    assert_eq!(read(""), Ok(false));
    let hook = "services = []\nafter-promote = [\"/usr/local/bin/tell\", \"it\"]";
    assert_eq!(read(hook), Ok(true));
    let alone = read("after-promote = [\"/usr/local/bin/tell\"]").expect_err("what is it after?");
    assert!(
        alone.contains("services = []") && alone.contains("t.toml"),
        "{alone}"
    );
    let empty = read("services = []\nafter-promote = []").expect_err("there is nothing to run");
    assert!(empty.contains("without a program"), "{empty}");
}
