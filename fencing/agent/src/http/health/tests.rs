//! Which node a proxy is sent to, and what it is told.

use std::time::Duration;

use serde_json::{Value, json};
use twindisk_core::Suspension;
use twindisk_fencing_core::{Obstacle, WhyNot};

use super::*;
use crate::http::{fixture::Scene, published::Serve};

const MOMENT: Duration = Duration::from_millis(1999);
const LONG: Duration = Duration::from_secs(2);

fn ask(scene: &Scene, question: Question) -> (bool, String) {
    let view = scene.view();
    let verdict = judge(&view, question, Some("r0")).expect("it is there");
    let mut why = verdict.why.clone();
    why.extend(verdict.resources.iter().flat_map(|one| one.why.clone()));
    assert_eq!(
        verdict.ok,
        why.is_empty(),
        "there is a reason for a no alone"
    );
    let all = judge(&view, question, None).expect("all");
    assert_eq!(all.ok, verdict.ok, "there is only this one");
    (verdict.ok, why.join("; "))
}

/// What a test bends, and what is said of it.
type Bend = (fn(&mut Scene), &'static str);

fn all_say_no(start: fn() -> Scene, question: Question, bends: &[Bend]) {
    assert_eq!(ask(&start(), question), (true, String::new()));
    for (bend, wanted) in bends {
        let mut scene = start();
        bend(&mut scene);
        let (ok, why) = ask(&scene, question);
        assert!(!ok && why.contains(wanted), "{wanted}: {ok}, {why:?}");
    }
}

#[test]
fn clients_are_sent_to_a_primary_whose_io_goes_on_and_whose_services_are_up() {
    all_say_no(
        Scene::primary,
        Question::Primary,
        &[
            (|s| s.replica().role = Role::Standby, "it is standby here"),
            (|s| s.replica().export_open = false, "not open"),
            (
                |s| {
                    s.replica().suspended = Some(Suspension {
                        why: "beta is lost".into(),
                        release: "a receipt".into(),
                        for_ms: 3000,
                        code: twindisk_core::SuspensionCode::PeerLost,
                        missing: Vec::new(),
                    });
                },
                "waiting for 3000 ms: beta is lost",
            ),
            (|s| s.replica().activity.oldest_ms = 20_000, "20000 ms old"),
            (|s| s.services(Services::Unknown), "maintenance"),
            (|s| s.services(Services::Down), "down"),
            (|s| s.services(Services::Starting), "being started"),
            (|s| s.services(Services::Stopping), "being stopped"),
            (|s| s.services(Services::Failed), "failed"),
            (|s| s.serve = Serve::Gone, "does not run"),
            (|s| s.serve = Serve::Unheard, "not answered yet"),
            (|s| s.serve_is_silent(LONG), "not answered for 2000 ms"),
            (
                |s| s.now += LONG,
                "the agent has decided nothing for 2000 ms",
            ),
            (|s| s.node().resources.clear(), "does not know it"),
            (
                |s| {
                    s.node().resources[0].replica = None;
                    s.node().resources[0].why = Some("its disk is gone".into());
                },
                "does not run: its disk is gone",
            ),
        ],
    );
    for well in [
        (|s| s.serve_is_silent(MOMENT)) as fn(&mut Scene),
        |s| s.now += MOMENT,
        |s| s.replica().activity.oldest_ms = 19_999,
        // It is served through the peer.
        |s| s.replica().disk = DiskState::Failed,
        |s| {
            s.members[0].has_services = false;
            s.services(Services::Unknown);
        },
    ] {
        let mut scene = Scene::primary();
        well(&mut scene);
        assert_eq!(ask(&scene, Question::Primary), (true, String::new()));
    }
}

#[test]
fn a_standby_has_all_that_a_connected_primary_has() {
    all_say_no(
        Scene::standby,
        Question::Standby,
        &[
            (|s| s.replica().role = Role::Primary, "it is primary here"),
            (
                |s| {
                    s.replica().disk = DiskState::Inconsistent;
                    s.replica().disk_why = Some("a resync runs".into());
                },
                "Inconsistent: a resync runs",
            ),
            (
                |s| s.replica().peers[0].role = Some(Role::Standby),
                "no primary",
            ),
            (|s| s.replica().peers[0].role = None, "no primary"),
            (
                |s| s.replica().peers[0].connection = ConnectionState::SyncTarget,
                "no primary",
            ),
            (|s| s.services(Services::Failed), "failed to stop"),
            (|s| s.serve = Serve::Gone, "does not run"),
            (|s| s.serve_is_silent(LONG), "not answered for 2000 ms"),
            (|s| s.now += LONG, "decided nothing"),
        ],
    );
    for disk in [
        DiskState::Diskless,
        DiskState::Failed,
        DiskState::Outdated,
        DiskState::Consistent,
    ] {
        let mut scene = Scene::standby();
        scene.replica().disk = disk;
        assert!(!ask(&scene, Question::Standby).0, "{disk:?}");
    }
}

#[test]
fn without_a_name_all_resources_are_meant() {
    let mut scene = Scene::primary();
    scene.add("r1");
    let ok = |scene: &Scene, name| {
        let view = scene.view();
        judge(&view, Question::Primary, name).map(|verdict| verdict.ok)
    };
    assert_eq!(ok(&scene, None), Some(true));
    scene.node().resources[1]
        .replica
        .as_mut()
        .expect("runs")
        .role = Role::Standby;
    assert_eq!(ok(&scene, None), Some(false), "one is elsewhere");
    assert_eq!(ok(&scene, Some("r0")), Some(true));
    assert_eq!(ok(&scene, Some("r1")), Some(false));
    assert_eq!(ok(&scene, Some("r2")), None);
    scene.members.clear();
    assert_eq!(ok(&scene, None), Some(false), "none at all is not all");
}

#[test]
fn the_names_of_an_answer_stay() {
    let mut scene = Scene::standby();
    let verdict = judge(&scene.view(), Question::Primary, None);
    assert_eq!(
        serde_json::to_value(verdict).expect("JSON"),
        json!({"node": "alpha", "ok": false, "why": [], "resources": [{
            "name": "r0", "ok": false, "why": ["it is standby here"], "role": "standby", "term": 3, "disk": "UpToDate",
            "services": "down",
        }]})
    );
    scene.serve_is_silent(LONG);
    let verdict = judge(&scene.view(), Question::Primary, None);
    let verdict = serde_json::to_value(verdict).expect("JSON");
    assert_eq!(
        verdict["resources"][0]["role"],
        Value::Null,
        "what was true once is not said"
    );
}

#[test]
fn health_is_the_loop_and_serve_and_shows_alarms() {
    let mut scene = Scene::standby();
    // What a resource is in does not matter here, and nor does an alarm.
    scene.replica().disk = DiskState::Failed;
    scene.said.reply.status.resources[0].succession = Some(Succession {
        primary: Some("beta".to_owned()),
        successors: Vec::new(),
        obstacles: vec![Obstacle {
            node: "alpha".to_owned(),
            code: WhyNot::NoFenceDevice,
            why: "there is no fence device for beta".to_owned(),
        }],
    });
    let said = serde_json::to_value(health(&scene.view())).expect("JSON");
    assert_eq!(
        said,
        json!({"node": "alpha", "ok": true, "why": [], "maintenance": false, "blocked": false,
            "succession": {"r0": {"primary": "beta", "successors": [], "obstacles": [
                {"node": "alpha", "code": "no-fence-device", "why": "there is no fence device for beta"},
            ]}},
            "warnings": ["there is one heartbeat path"],
            "alarms": [{"at": 8, "level": "alarm", "resource": null, "what": "the fence device of beta does not work"}]})
    );
    let bends: [fn(&mut Scene); 4] = [
        |s| s.serve = Serve::Gone,
        |s| s.serve = Serve::Unheard,
        |s| s.serve_is_silent(LONG),
        |s| s.now += LONG,
    ];
    for bend in bends {
        let mut scene = Scene::primary();
        bend(&mut scene);
        let view = scene.view();
        let said = health(&view);
        assert!(!said.ok && !said.why.is_empty(), "{said:?}");
    }
    let alarm = scene.said.reply.told[1].clone();
    scene.said.reply.told = (0..30)
        .map(|at| Told {
            at,
            ..alarm.clone()
        })
        .collect();
    let view = scene.view();
    let shown: Vec<u64> = health(&view).alarms.iter().map(|told| told.at).collect();
    assert_eq!(shown, (20..30).collect::<Vec<_>>(), "the newest, in order");
}

#[test]
fn health_says_that_there_is_no_space_and_what_to_do() {
    let mut scene = Scene::primary();
    let said = "no space on alpha: free room".to_owned();
    scene.said.reply.status.resources[0].no_space = Some(said);
    let view = scene.view();
    let health = health(&view);
    assert!(!health.ok);
    assert_eq!(health.why, ["r0: no space on alpha: free room"]);
}
