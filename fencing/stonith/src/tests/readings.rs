//! What a reading of a node's power says, without a shot.

use std::{fs, slice::from_ref};

use super::fake::{Fakes, GOOD};
use crate::{AgentName, Device, Power};

const OFF: &str = r#"[ "$action" = status ] && echo "Status: OFF" && exit 2; exit 1"#;
const BROKEN: &str = r#"echo "usage: fence_broken" >&2; exit 2"#;
const ON: &str = r#"[ "$action" = status ] && exit 0; exit 1"#;
const DENIED: &str = "exit 3";

fn off(what: &str) -> Power {
    Power::Off(what.into())
}

#[tokio::test]
async fn power_is_read_and_nobody_is_shot() {
    let fakes = Fakes::new();
    let good = fakes.agent("fence_good", GOOD);
    let fencer = fakes.fencer(&[&[good]]);
    assert_eq!(fencer.reading().await, Power::On);
    fs::write(fakes.path("power"), "off\n").unwrap();
    assert_eq!(fencer.reading().await, off("level 1, fence_good"));
    assert_eq!(fakes.shots("fence_good"), 0);
    assert_eq!(fakes.actions("fence_good"), ["status", "status"]);
}

#[tokio::test]
async fn every_device_of_a_level_has_to_read_off() {
    let fakes = Fakes::new();
    let [one, two] = ["fence_one", "fence_two"].map(|name| fakes.agent(name, OFF));
    let (on, denied) = (fakes.agent("fence_on", ON), fakes.agent("fence_no", DENIED));
    let both = fakes.fencer(&[&[one.clone(), two.clone()]]);
    assert_eq!(
        both.reading().await,
        off("level 1, fence_one and fence_two")
    );
    let half = fakes.fencer(&[&[one.clone(), on]]);
    assert_eq!(half.reading().await, Power::On);
    let half = fakes.fencer(&[&[one, denied]]);
    assert_eq!(half.reading().await, Power::Unknown);
}

#[tokio::test]
async fn the_first_level_that_can_be_read_counts() {
    let fakes = Fakes::new();
    let (out, on) = (fakes.agent("fence_off", OFF), fakes.agent("fence_on", ON));
    let denied = fakes.agent("fence_no", DENIED);
    let second = fakes.fencer(&[&[denied], from_ref(&out)]);
    assert_eq!(second.reading().await, off("level 2, fence_off"));
    let contradicted = fakes.fencer(&[from_ref(&on), from_ref(&out)]);
    assert_eq!(contradicted.reading().await, Power::On);
    // A host that has shut down: its controller says so, and its outlets have power.
    let asleep = fakes.fencer(&[&[out], &[on]]);
    assert_eq!(asleep.reading().await, off("level 1, fence_off"));
}

#[tokio::test]
async fn a_person_an_agent_that_takes_no_power_and_one_that_is_broken_prove_nothing() {
    let fakes = Fakes::new();
    let out = fakes.agent("fence_off", OFF);
    let manual = Device::new(AgentName::Manual);
    let fencer = fakes.fencer(&[&[out, manual.clone()], &[manual]]);
    assert_eq!(fencer.reading().await, Power::Unknown);
    let broken = fakes.agent("fence_broken", BROKEN);
    let fencer = fakes.fencer(&[&[broken]]);
    assert_eq!(
        fencer.reading().await,
        Power::Unknown,
        "it does not say off"
    );
    let fabric = fakes.agent("fence_fabric", OFF);
    fakes.describe_without("reboot");
    let fencer = fakes.fencer(&[&[fabric]]);
    assert_eq!(fencer.reading().await, Power::Unknown);
    assert_eq!(fakes.fencer(&[]).reading().await, Power::Unknown);
}

#[tokio::test]
async fn off_is_a_whole_line_and_not_a_word_in_another_one() {
    let fakes = Fakes::new();
    let says = async |name: &str, does: &str| {
        let device = fakes.agent(name, &format!("{does}; exit 2"));
        fakes.fencer(&[&[device]]).reading().await
    };
    for (name, text) in [
        ("usage", "Usage: fence_usage action=on|off|reboot|status"),
        ("offline", "device is offline"),
        ("both", "Status: OFF or unknown"),
        ("quoted", "'Status: OFF'"),
        ("bare", "off"),
    ] {
        let does = format!(r#"echo "{text}""#);
        assert_eq!(says(name, &does).await, Power::Unknown, "{text}");
    }
    let stderr = "echo Status: OFF >&2";
    assert_eq!(says("elsewhere", stderr).await, Power::Unknown);
    for (name, does) in [
        ("plain", "echo Status: OFF"),
        ("lower", "echo status: off"),
        (
            "among",
            "echo connected; printf '  Status: OFF \\r\\n'; echo bye",
        ),
    ] {
        let level = format!("level 1, {name}");
        assert_eq!(says(name, does).await, off(&level));
    }
}

#[tokio::test]
async fn only_levels_that_have_read_on_while_the_node_ran_say_that_it_is_off() {
    let fakes = Fakes::new();
    let good = fakes.agent("fence_good", GOOD);
    let (wrong, denied) = (
        fakes.agent("fence_off", OFF),
        fakes.agent("fence_no", DENIED),
    );
    let fencer = fakes.fencer(&[&[denied], from_ref(&good)]);
    fs::write(fakes.path("power"), "off\n").unwrap();
    let reading = fencer.checked_reading().await;
    assert_eq!(reading, Power::Unknown, "it was never seen to read on");
    fs::write(fakes.path("power"), "on\n").unwrap();
    assert_eq!(fencer.check_power().await, Power::On);
    fs::write(fakes.path("power"), "off\n").unwrap();
    assert_eq!(fencer.checked_reading().await, off("level 2, fence_good"));
    // That is news: from now on it is not believed.
    assert_eq!(fencer.check_power().await, off("level 2, fence_good"));
    assert_eq!(fencer.checked_reading().await, Power::Unknown);

    fs::write(fakes.path("power"), "on\n").unwrap();
    let fencer = fakes.fencer(&[from_ref(&good), from_ref(&wrong)]);
    let found = fencer.check_power().await;
    assert_eq!(found, off("level 2, fence_off"), "each level is looked at");
    assert_eq!(fencer.checked_reading().await, Power::On);
    let two_plugs = fakes.fencer(&[&[wrong, good]]);
    assert_eq!(two_plugs.check_power().await, Power::On, "it has power");
}

#[tokio::test]
async fn where_nobody_can_read_power_nobody_asks() {
    let fakes = Fakes::new();
    let manual = Device::new(AgentName::Manual);
    assert!(!fakes.fencer(&[from_ref(&manual)]).can_read());
    let out = fakes.agent("fence_off", OFF);
    let fencer = fakes.fencer(&[&[out.clone(), manual.clone()], from_ref(&out)]);
    assert!(fencer.can_read());
    fakes.describe_without("reboot");
    let fencer = fakes.fencer(&[from_ref(&out), from_ref(&manual)]);
    assert!(fencer.can_read(), "for all that is known");
    fencer.check().await;
    assert!(!fencer.can_read());
}
