//! What proves a node off, and what does not.

use std::{
    cell::Cell,
    fs,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::fake::{Fakes, GOOD, LIAR, options, processes, runs, until};
use crate::{AgentError, AgentName, Confirmations, Device, DeviceError, Failure};

const WANTED: fn() -> bool = || true;

fn the_error(failure: Failure) -> DeviceError {
    match failure {
        Failure::Unproven { mut levels, .. } if levels.len() == 1 => levels.remove(0).error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn off_is_proved_by_two_readings() {
    let fakes = Fakes::new();
    let mut device = fakes.agent("fence_good", GOOD);
    device.plug = Some("3".into());
    let proof = fakes.fencer(&[&[device]]).power_off(WANTED).await.unwrap();
    assert_eq!(fakes.actions("fence_good"), ["off", "status", "status"]);
    assert_eq!((proof.node(), proof.level()), ("beta", 1));
    let text = proof.to_string();
    assert!(
        text.contains("fence_good (plug 3): off succeeded at shot 1"),
        "{text}"
    );
    let input = fs::read_to_string(fakes.path("fence_good.input")).unwrap();
    assert!(
        input.contains("port=3\n") && !input.contains("reboot"),
        "{input}"
    );
}

#[tokio::test]
async fn a_node_that_is_already_off_is_proved_the_same_way() {
    let fakes = Fakes::new();
    fs::write(fakes.path("power"), "off\n").unwrap();
    let device = fakes.agent("fence_good", GOOD);
    fakes.fencer(&[&[device]]).power_off(WANTED).await.unwrap();
    assert_eq!(fakes.actions("fence_good"), ["off", "status", "status"]);
}

#[tokio::test]
async fn a_slow_device_is_waited_for_and_one_reading_is_not_enough() {
    let fakes = Fakes::new();
    // Reads: on, off, on (still cycling), unreadable, off, off.
    let device = fakes.agent(
        "fence_slow",
        r#"[ "$action" = off ] && exit 0
case "$(grep -c status "$dir/fence_slow.actions")" in 1|3) exit 0;; 4) exit 1;; *) exit 2;; esac"#,
    );
    fakes.fencer(&[&[device]]).power_off(WANTED).await.unwrap();
    let statuses = fakes.actions("fence_slow").len() - 1;
    assert_eq!((fakes.shots("fence_slow"), statuses), (1, 6));
}

#[tokio::test]
async fn a_liar_proves_nothing() {
    let fakes = Fakes::new();
    let mut device = fakes.agent("fence_liar", LIAR);
    device.timeout = Duration::from_secs(4);
    device.retries = 5;
    let failure = fakes.fencer(&[&[device]]).power_off(WANTED).await;
    let error = the_error(failure.unwrap_err());
    assert!(matches!(error, DeviceError::Lies { .. }), "{error:?}");
    assert!(error.to_string().contains("the device lies"), "{error}");
    assert!(
        fakes.actions("fence_liar").len() > 2,
        "status was read again and again"
    );
}

#[tokio::test]
async fn an_unreadable_status_proves_nothing() {
    let fakes = Fakes::new();
    let mut device = fakes.agent("fence_blind", r#"[ "$action" = off ] || exit 8"#);
    device.timeout = Duration::from_secs(4);
    let failure = fakes.fencer(&[&[device]]).power_off(WANTED).await;
    let error = the_error(failure.unwrap_err());
    assert!(
        matches!(
            error,
            DeviceError::Unverified {
                last: AgentError::Failed { code: 8, .. },
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_failed_off_is_no_proof_though_the_status_reads_off() {
    let fakes = Fakes::new();
    fs::write(fakes.path("power"), "off\n").unwrap();
    let device = fakes.agent("fence_half", r#"[ "$action" = status ] && exit 2; exit 1"#);
    let failure = fakes.fencer(&[&[device]]).power_off(WANTED).await;
    let error = the_error(failure.unwrap_err());
    assert!(
        matches!(error, DeviceError::Off { shots: 1, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn off_is_retried_as_often_as_configured() {
    let fakes = Fakes::new();
    let third_time = format!(
        r#"[ "$action" = off ] && [ "$(grep -c off "$dir/fence_moody.actions")" -lt 3 ] && exit 4
{GOOD}"#
    );
    let mut device = fakes.agent("fence_moody", &third_time);
    device.retries = 1;
    let failure = fakes.fencer(&[&[device.clone()]]).power_off(WANTED).await;
    let error = the_error(failure.unwrap_err());
    assert!(
        matches!(error, DeviceError::Off { shots: 2, .. }),
        "{error:?}"
    );

    fs::remove_file(fakes.path("fence_moody.actions")).unwrap();
    device.retries = 2;
    let proof = fakes.fencer(&[&[device]]).power_off(WANTED).await.unwrap();
    assert_eq!(fakes.shots("fence_moody"), 3);
    assert!(proof.to_string().contains("at shot 3"), "{proof}");
}

#[tokio::test]
async fn the_next_level_takes_over() {
    let fakes = Fakes::new();
    let missing = Device::new(AgentName::Named("fence_missing".into()));
    let broken = fakes.agent("fence_broken", "exit 4");
    let good = fakes.agent("fence_good", GOOD);
    let unused = fakes.agent("fence_unused", GOOD);
    let fencer = fakes.fencer(&[&[missing], &[broken], &[good], &[unused]]);
    let proof = fencer.power_off(WANTED).await.unwrap();
    assert_eq!(proof.level(), 3);
    assert!(fakes.actions("fence_unused").is_empty());
}

#[tokio::test]
async fn all_devices_of_a_level_must_succeed() {
    let fakes = Fakes::new();
    let good = fakes.agent("fence_good", GOOD);
    let broken = fakes.agent("fence_broken", "exit 4");
    let fencer = fakes.fencer(&[&[good.clone(), broken]]);
    let failure = fencer.power_off(WANTED).await.unwrap_err().to_string();
    assert!(failure.contains("level 1, fence_broken"), "{failure}");

    let other = fakes.agent("fence_other", GOOD);
    let proof = fakes.fencer(&[&[good, other]]).power_off(WANTED).await;
    assert_eq!(proof.unwrap().details().len(), 2);
}

#[tokio::test]
async fn no_device_is_no_proof() {
    let fakes = Fakes::new();
    let failure = fakes.fencer(&[]).power_off(WANTED).await.unwrap_err();
    assert!(matches!(failure, Failure::NoDevice { .. }));
}

#[tokio::test]
async fn a_shot_dies_with_its_reason() {
    let fakes = Fakes::new();
    let mut broken = fakes.agent("fence_broken", "exit 4");
    broken.retries = 9;
    let good = fakes.agent("fence_good", GOOD);
    let fencer = fakes.fencer(&[&[broken], &[good]]);

    let failure = fencer.power_off(|| false).await.unwrap_err();
    assert!(matches!(failure, Failure::NoLongerWanted { shots: 0, .. }));
    assert_eq!(fakes.shots("fence_broken"), 0);

    let asked = Cell::new(0);
    let twice = || {
        asked.set(asked.get() + 1);
        asked.get() <= 2
    };
    let failure = fencer.power_off(twice).await.unwrap_err();
    assert!(matches!(failure, Failure::NoLongerWanted { shots: 2, .. }));
    assert_eq!(fakes.shots("fence_broken"), 2);
    assert_eq!(fakes.shots("fence_good"), 0);
}

#[tokio::test]
async fn dropping_a_power_off_kills_its_agent() {
    let fakes = Fakes::new();
    let slow = fakes.agent(
        "fence_slow",
        r#"sleep 1000 & echo $! >> "$dir/processes"; echo $$ >> "$dir/processes"; wait; echo off > "$dir/power""#,
    );
    let fencer = fakes.fencer(&[&[slow]]);
    let started = tokio::select! {
        ended = fencer.power_off(WANTED) => panic!("{ended:?}"),
        started = processes(&fakes, 2) => started,
    };
    for process in started {
        until("the end of the agent's processes", || !runs(process)).await;
    }
    assert_eq!(fs::read_to_string(fakes.path("power")).unwrap(), "on\n");
}

#[tokio::test]
async fn it_works_inside_a_local_set() {
    let fakes = Fakes::new();
    let good = fakes.agent("fence_good", GOOD);
    let fencer = fakes.fencer(&[&[good]]);
    let local = tokio::task::LocalSet::new();
    let shot = local.run_until(async move {
        // Neither the fencer's future nor its question need be `Send`.
        let wanted = std::rc::Rc::new(true);
        tokio::task::spawn_local(async move { fencer.power_off(|| *wanted).await }).await
    });
    shot.await.unwrap().unwrap();
}

#[tokio::test]
async fn only_a_word_that_is_waited_for_counts() {
    let fakes = Fakes::new();
    let confirmations = Confirmations::new();
    let manual = Device::new(AgentName::Manual);
    let fencer = fakes.fencer_with(&[&[manual]], confirmations.clone());
    assert!(confirmations.confirm("beta", "ann").is_err());

    // Given up: the word comes too late.
    tokio::select! {
        ended = fencer.power_off(WANTED) => panic!("{ended:?}"),
        () = until("somebody waits", || confirmations.waiting() == ["beta"]) => {}
    }
    assert!(confirmations.waiting().is_empty());
    assert!(confirmations.confirm("beta", "ann").is_err());

    let operator = async {
        until("somebody waits", || confirmations.waiting() == ["beta"]).await;
        assert!(confirmations.confirm("alpha", "ann").is_err());
        confirmations.confirm("beta", "ann").unwrap();
    };
    let (proof, ()) = tokio::join!(fencer.power_off(WANTED), operator);
    let text = proof.unwrap().to_string();
    assert!(text.contains("ann confirmed"), "{text}");

    let asked = Cell::new(false);
    let once = || !asked.replace(true);
    let operator = async {
        until("somebody waits", || confirmations.waiting() == ["beta"]).await;
        confirmations.confirm("beta", "ann").unwrap();
    };
    let (failure, ()) = tokio::join!(fencer.power_off(once), operator);
    assert!(matches!(failure, Err(Failure::NoLongerWanted { .. })));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_gets_out() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let fakes = Fakes::new();
    // An agent that prints all that it was told, as some do when they are verbose.
    let mut leaky = fakes.agent("fence_leaky", r#"cat "$dir/fence_leaky.input" >&2; exit 3"#);
    leaky.options = options(&[
        ("ip", "10.0.0.1"),
        ("password", "hush-hush"),
        ("password_script", "/etc/ask"),
    ]);
    let fencer = fakes.fencer(&[&[leaky.clone()]]);
    let failure = fencer.power_off(WANTED).await.unwrap_err();
    let report = fencer.test().await;
    let monitored = fencer.monitor().await;
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("fencing: off failed"), "{logged}");
    for text in [
        failure.to_string(),
        format!("{failure:?}"),
        report.to_string(),
        format!("{report:?}"),
        format!("{monitored:?}"),
        format!("{leaky:?}"),
        logged,
    ] {
        assert!(!text.contains("hush"), "{text}");
    }
    let text = failure.to_string();
    assert!(
        text.contains("10.0.0.1") && text.contains("/etc/ask"),
        "{text}"
    );
    let input = fs::read_to_string(fakes.path("fence_leaky.input")).unwrap();
    assert!(
        input.contains("password=hush-hush\n"),
        "the agent itself is told"
    );
}
