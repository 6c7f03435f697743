//! With `fence_dummy` of Debian's fence-agents, which keeps the power of a node in a file.

use std::{fs, time::Duration};

use super::fake::options;
use crate::{Agent, AgentName, Confirmations, Device, Fencer, Level, Power, SearchPath, Topology};

fn dummy(given: &[(&str, &str)]) -> Option<Fencer> {
    let name = AgentName::Named("fence_dummy".into());
    let search = SearchPath::default();
    if let Err(error) = Agent::find(&name, &search) {
        eprintln!("SKIPPED: {error}");
        return None;
    }
    let device = Device {
        options: options(given),
        timeout: Duration::from_secs(30),
        ..Device::new(name)
    };
    let topology = Topology {
        levels: vec![Level {
            devices: vec![device],
        }],
    };
    Some(Fencer::new(
        "beta",
        &topology,
        &search,
        Confirmations::new(),
    ))
}

#[tokio::test]
async fn the_real_dummy_is_tested_shot_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("power");
    fs::write(&file, "on").unwrap();
    let Some(fencer) = dummy(&[("status_file", file.to_str().unwrap())]) else {
        return;
    };
    let checkup = fencer.check().await;
    assert_eq!(checkup.automatic_levels, [1], "{checkup:?}");
    let report = fencer.test().await;
    assert!(report.passed(), "{report}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "on");

    let proof = fencer.power_off(|| true).await.unwrap();
    println!("{proof}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "off");
    assert!(matches!(fencer.reading().await, Power::Off(_)));
    // Already off.
    fencer.power_off(|| true).await.unwrap();
}

#[tokio::test]
async fn the_real_dummy_knows_its_options() {
    let Some(fencer) = dummy(&[("status_fil", "/tmp/x")]) else {
        return;
    };
    let checkup = fencer.check().await;
    let fault = checkup.faults[0].to_string();
    assert!(fault.contains("did you mean `status_file`"), "{fault}");
}
