//! Units, with a script in the place of systemctl that keeps systemd's book in a folder.

use std::fs;

use twindisk_services::{Problem, Role, ServiceState, Stack};

use crate::support::{Scene, block_on, states};

const DB: &str = "{ unit = 'db.service', start-timeout = '20s', stop-timeout = '500ms' }";

fn stack(scene: &Scene) -> Stack {
    scene.script(
        "systemctl",
        "echo $* >>DIR/log\n\
         case $1 in\n\
         show) echo ControlGroup=; echo ActiveState=$(cat DIR/active 2>/dev/null || echo inactive); echo SubState=sub;;\n\
         start) [ -e DIR/missing ] && { echo Unit $3 not found. >&2; exit 5; }; echo active >DIR/active;;\n\
         stop) [ -e DIR/hangs ] && { echo deactivating >DIR/active; sleep 1000; }; rm -f DIR/active;;\n\
         kill) rm DIR/hangs;;\n\
         esac",
    );
    let path = scene.path("systemctl").to_str().unwrap().to_owned();
    scene.stack_with(DB, |programs| programs.systemctl = path)
}

/// What was asked of it but for its state.
fn verbs(scene: &Scene) -> Vec<String> {
    let told = scene.told().into_iter();
    told.filter(|line| !line.starts_with("show")).collect()
}

#[test]
fn a_unit_is_started_once_and_stopped() {
    let scene = Scene::new();
    let mut stack = stack(&scene);
    block_on(async {
        stack.start(7).await.unwrap();
        stack.start(7).await.unwrap();
        assert_eq!(states(&stack).await, [ServiceState::Up]);
        stack.stop(Role::Primary).await.unwrap();
        stack.stop(Role::Primary).await.unwrap();
        assert_eq!(verbs(&scene), ["start -- db.service", "stop -- db.service"]);
    });
}

#[test]
fn a_unit_that_does_not_stop_is_killed() {
    let scene = Scene::new();
    let mut stack = stack(&scene);
    block_on(async {
        stack.start(7).await.unwrap();
        fs::write(scene.path("hangs"), "").unwrap();
        scene.told();
        stack.stop(Role::Primary).await.unwrap();
        let expected = [
            "stop -- db.service",
            "kill -s KILL -- db.service",
            "stop -- db.service",
        ];
        assert_eq!(verbs(&scene), expected);
        assert_eq!(states(&stack).await, [ServiceState::Down]);
    });
}

#[test]
fn systemd_says_why_a_unit_does_not_start() {
    let scene = Scene::new();
    let mut stack = stack(&scene);
    fs::write(scene.path("missing"), "").unwrap();
    let error = block_on(stack.start(7)).unwrap_err();
    assert!(
        matches!(&error.problem, Problem::Failed { output, .. } if output == "Unit db.service not found."),
        "{error}"
    );
}

#[test]
fn without_systemd_nothing_is_believed() {
    let scene = Scene::new();
    let mut stack = scene.stack_with(DB, |programs| {
        programs.systemctl = "/no/such/systemctl".to_owned()
    });
    block_on(async {
        let state = states(&stack).await.pop().unwrap();
        assert!(
            matches!(&state, ServiceState::Unknown(why) if why.contains("could not be run")),
            "{state}"
        );
        let error = stack.stop(Role::Primary).await.unwrap_err();
        assert_eq!(error.still_up.len(), 1, "{error}");
    });
}
