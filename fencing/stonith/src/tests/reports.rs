//! Checks, monitoring and tests: everything but a shot.

use super::fake::{Fakes, GOOD, options};
use crate::{AgentName, Device, DeviceError, Verdict};

#[tokio::test]
async fn a_check_finds_what_does_not_fit() {
    let fakes = Fakes::new();
    let good = fakes.agent("fence_good", GOOD);
    let mut mistyped = good.clone();
    mistyped.options = options(&[("pasword", "hush")]);
    let garbage = fakes.script("fence_garbage", "#!/bin/sh\necho 'Usage: <none>'\n");
    let missing = Device::new(AgentName::Named("fence_missing".into()));
    let manual = Device::new(AgentName::Manual);
    let fencer = fakes.fencer(&[
        &[mistyped, garbage],
        &[good.clone(), missing],
        &[good],
        &[manual],
    ]);

    let checkup = fencer.check().await;
    assert_eq!(checkup.automatic_levels, [3]);
    let faults: Vec<String> = checkup.faults.iter().map(ToString::to_string).collect();
    let [mistyped, garbage, missing] = &faults[..] else {
        panic!("{faults:?}")
    };
    assert!(mistyped.contains("did you mean `password`"), "{mistyped}");
    assert!(
        garbage.contains("no XML") && garbage.contains("Usage"),
        "{garbage}"
    );
    assert!(missing.contains("level 2, fence_missing"), "{missing}");
    assert_eq!(fakes.shots("fence_good"), 0);
}

#[tokio::test]
async fn what_failed_at_the_check_is_tried_again_when_needed() {
    let fakes = Fakes::new();
    let late = Device::new(AgentName::Named("fence_late".into()));
    let fencer = fakes.fencer(&[&[late]]);
    assert_eq!(fencer.check().await.faults.len(), 1);
    fakes.agent("fence_late", GOOD);
    fencer.power_off(|| true).await.unwrap();
}

#[tokio::test]
async fn monitoring_tells_of_every_device() {
    let fakes = Fakes::new();
    let good = fakes.agent("fence_good", GOOD);
    let denied = fakes.agent("fence_denied", "exit 3");
    let manual = Device::new(AgentName::Manual);
    let fencer = fakes.fencer(&[&[good], &[denied, manual]]);

    let monitored = fencer.monitor().await;
    assert_eq!(monitored.len(), 2);
    assert!(monitored[0].answer.is_ok() && !monitored[0].took.is_zero());
    let error = monitored[1].answer.as_ref().unwrap_err();
    assert!(matches!(error, DeviceError::Agent(_)));
    assert!(error.to_string().contains("login denied"), "{error}");
    assert_eq!(fakes.shots("fence_good"), 0);
}

#[tokio::test]
async fn a_test_shoots_nobody_and_reads_well() {
    let fakes = Fakes::new();
    let good = fakes.agent("fence_good", GOOD);
    let manual = Device::new(AgentName::Manual);
    let report = fakes
        .fencer(&[std::slice::from_ref(&good), &[manual]])
        .test()
        .await;
    assert!(report.passed(), "{report}");
    assert_eq!(
        fakes.actions("fence_good"),
        ["validate-all", "monitor", "status"]
    );
    let text = report.to_string();
    for expected in ["beta: passed", "level 1: fence_good", "reads on", "person"] {
        assert!(text.contains(expected), "{text}");
    }

    std::fs::write(fakes.path("power"), "off\n").unwrap();
    let report = fakes.fencer(&[&[good]]).test().await;
    assert!(report.passed());
    let status = report.devices[0].steps.last().unwrap();
    assert!(matches!(&status.1, Verdict::Look(text) if text.contains("off now")));

    let denied = fakes.agent("fence_denied", "exit 3");
    let report = fakes.fencer(&[&[denied]]).test().await;
    assert!(!report.passed());
    assert!(report.to_string().contains("BAD  monitor"), "{report}");
}
