//! Services that are commands: order, failure, force, and what a dropped future leaves.

use std::{fs, time::Duration};

use tokio::time::timeout;
use twindisk_services::{Problem, Role, ServiceState};

use crate::support::{LONG, Scene, alive, block_on, states, until};

/// Three services that keep a book of what was done to them, and fail where `fail-NAME-VERB` is.
fn three(scene: &Scene) -> String {
    scene.script(
        "do",
        "echo $TWINDISK_SERVICE $1 $TWINDISK_RESOURCE $TWINDISK_NODE $TWINDISK_ROLE >>DIR/log\n\
         if [ -e DIR/fail-$TWINDISK_SERVICE-$1 ]; then echo because of $TWINDISK_SERVICE; exit 4; fi\n\
         case $1 in start) touch DIR/up-$TWINDISK_SERVICE;; stop) rm -f DIR/up-$TWINDISK_SERVICE;; esac",
    );
    let one = |name: &str| {
        format!(
            "{{ name = '{name}', start = ['DIR/do', 'start'], stop = ['DIR/do', 'stop'], status = ['test', '-e', 'DIR/up-{name}'] }}"
        )
    };
    ["a", "b", "c"].map(one).join(",")
}

/// NAME VERB of each line of the book.
fn steps(scene: &Scene) -> Vec<String> {
    let told = scene.told();
    told.iter()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn up_in_order_and_down_in_reverse() {
    let scene = Scene::new();
    let mut stack = scene.stack(&three(&scene));
    block_on(async {
        assert_eq!(states(&stack).await, [const { ServiceState::Down }; 3]);
        stack.start(7).await.unwrap();
        assert_eq!(states(&stack).await, [const { ServiceState::Up }; 3]);
        let started = ["a", "b", "c"].map(|name| format!("{name} start r0 alpha primary"));
        assert_eq!(scene.told(), started);

        stack.start(7).await.unwrap();
        assert_eq!(scene.told(), [""; 0], "started twice");

        stack.stop(Role::Standby).await.unwrap();
        let stopped = ["c", "b", "a"].map(|name| format!("{name} stop r0 alpha standby"));
        assert_eq!(scene.told(), stopped);
        stack.stop(Role::Standby).await.unwrap();
        assert_eq!(scene.told(), [""; 0], "stopped twice");
    });
}

#[test]
fn a_new_stack_finds_what_is_up() {
    let scene = Scene::new();
    let services = three(&scene);
    block_on(async {
        scene.stack(&services).start(7).await.unwrap();
        fs::remove_file(scene.path("up-b")).unwrap();
        scene.told();
        let mut again = scene.stack(&services);
        again.start(7).await.unwrap();
        assert_eq!(steps(&scene), ["b start"]);
        scene.stack(&services).stop(Role::Primary).await.unwrap();
        assert_eq!(steps(&scene), ["c stop", "b stop", "a stop"]);
    });
}

#[test]
fn what_stands_on_something_that_ended_is_started_again_with_it() {
    let scene = Scene::new();
    let mut stack = scene.stack(&three(&scene));
    block_on(async {
        stack.start(7).await.unwrap();
        fs::remove_file(scene.path("up-b")).unwrap();
        scene.told();
        stack.start(7).await.unwrap();
        assert_eq!(steps(&scene), ["c stop", "b start", "c start"]);

        // Its process was promoted again in the next term meanwhile.
        fs::remove_file(scene.path("up-a")).unwrap();
        stack.start(8).await.unwrap();
        let again = ["c stop", "b stop", "a start", "b start", "c start"];
        assert_eq!(steps(&scene), again);

        // One that does not stop keeps nothing from being up.
        fs::write(scene.path("fail-c-stop"), "").unwrap();
        fs::remove_file(scene.path("up-b")).unwrap();
        stack.start(8).await.unwrap();
        let steps = steps(&scene);
        assert!(steps.contains(&"b start".to_owned()), "{steps:?}");
        assert!(!steps.contains(&"c start".to_owned()), "{steps:?}");
    });
}

#[test]
fn a_failed_start_takes_down_what_it_had_started() {
    let scene = Scene::new();
    let mut stack = scene.stack(&three(&scene));
    fs::write(scene.path("fail-c-start"), "").unwrap();
    fs::write(scene.path("up-a"), "").unwrap();
    block_on(async {
        let error = stack.start(7).await.unwrap_err();
        assert_eq!(error.service, "c");
        assert_eq!(error.stopped, ["b"]);
        assert!(error.still_up.is_empty(), "{error}");
        // `a` had been up before.
        assert_eq!(steps(&scene), ["b start", "c start", "c stop", "b stop"]);
        let text = error.to_string();
        for part in [
            "service c did not start",
            "because of c",
            "Stopped again: b",
            "start again",
        ] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    });
}

#[test]
fn a_failed_start_says_what_it_could_not_take_down() {
    let scene = Scene::new();
    let mut stack = scene.stack(&three(&scene));
    for name in ["fail-c-start", "fail-b-stop"] {
        fs::write(scene.path(name), "").unwrap();
    }
    block_on(async {
        let error = stack.start(7).await.unwrap_err();
        assert_eq!(error.stopped, ["a"]);
        assert_eq!(error.still_up.len(), 1, "{error}");
        assert_eq!(error.still_up[0].service, "b");
        assert!(error.to_string().contains("Power this node off"), "{error}");
    });
}

#[test]
fn a_start_that_brings_nothing_up_fails() {
    let scene = Scene::new();
    let mut stack = scene.stack(
        "{ name = 'x', start = ['true'], stop = ['true'], status = ['false'], start-timeout = '300ms' }",
    );
    let error = block_on(stack.start(7)).unwrap_err();
    assert!(matches!(error.problem, Problem::NotUp { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("it is down 300ms after its start"),
        "{error}"
    );
}

/// Up at once, and usable when `ready` is there. What comes next writes down whether it was.
const SLOW: &str = "{ name = 'db', start = ['touch', 'DIR/up'], stop = ['rm', '-f', 'DIR/up'], status = ['test', '-e', 'DIR/up'], \
     ready = ['DIR/ask'], start-timeout = '20s' }, \
     { name = 'next', start = ['DIR/next'], stop = ['true'], status = ['test', '-e', 'DIR/log'] }";

#[test]
fn the_next_service_waits_until_one_can_be_used() {
    let scene = Scene::new();
    // It can at the third question.
    scene.script(
        "ask",
        "echo x >>DIR/asked; [ $(wc -l <DIR/asked) -ge 3 ] || { echo not yet; exit 1; }",
    );
    scene.script("next", "wc -l <DIR/asked >>DIR/log");
    let mut stack = scene.stack(SLOW);
    block_on(async {
        stack.start(7).await.unwrap();
        assert_eq!(scene.told(), ["3"]);
        // What is up stays as it is, and is not asked.
        fs::remove_file(scene.path("asked")).unwrap();
        fs::write(scene.path("log"), "").unwrap();
        stack.start(7).await.unwrap();
        assert!(!scene.path("asked").exists());
    });
}

#[test]
fn one_that_never_can_be_used_did_not_start() {
    let scene = Scene::new();
    scene.script("ask", "echo no connection; exit 2");
    scene.script("next", "touch DIR/log");
    let mut stack = scene.stack(&SLOW.replace("20s", "400ms"));
    block_on(async {
        let error = stack.start(7).await.unwrap_err();
        assert!(matches!(error.problem, Problem::NotReady { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("up and not ready 400ms after"), "{text}");
        assert!(text.contains("no connection"), "{text}");
        assert_eq!(states(&stack).await, [const { ServiceState::Down }; 2]);
    });
}

#[test]
fn one_that_ends_before_it_can_be_used_is_not_waited_for() {
    let scene = Scene::new();
    scene.script("ask", "rm -f DIR/up; exit 2");
    let mut stack = scene.stack(&SLOW.replace("20s", "1h"));
    let error = block_on(async { timeout(LONG, stack.start(7)).await.unwrap() }).unwrap_err();
    assert!(matches!(error.problem, Problem::NotUp { .. }), "{error}");
}

#[test]
fn a_question_that_hangs_ends_with_the_time_of_the_start() {
    let scene = Scene::new();
    scene.script("ask", "sleep 1000");
    let mut stack = scene.stack(&SLOW.replace("20s", "500ms"));
    let error = block_on(async { timeout(LONG, stack.start(7)).await.unwrap() }).unwrap_err();
    assert!(error.to_string().contains("did not end within"), "{error}");
}

/// A daemon in a session of its own that ignores SIGTERM. Its stop waits for its end.
const STUBBORN: &str =
    "{ name = 'stubborn', start = ['DIR/start'], stop = ['DIR/stop'], stop-timeout = '500ms' }";

fn stubborn(scene: &Scene) {
    scene.script(
        "start",
        "setsid sh -c 'trap \"\" TERM; echo $$ >DIR/pid; while :; do sleep 0.1; done' >/dev/null 2>&1 &\n\
         while ! [ -s DIR/pid ]; do sleep 0.05; done",
    );
    scene.script(
        "stop",
        "echo stop >>DIR/log; pid=$(cat DIR/pid); kill $pid\n\
         while grep -q '^State:.*[RSDT] ' /proc/$pid/status; do sleep 0.05; done; exit 0",
    );
}

#[test]
fn a_hanging_stop_is_forced() {
    let scene = Scene::new();
    stubborn(&scene);
    block_on(async {
        scene.stack(STUBBORN).start(7).await.unwrap();
        let pid = fs::read_to_string(scene.path("pid")).unwrap();
        assert!(alive(&pid));
        // Not the stack that started it: the daemon is found by what it carries.
        let mut stack = scene.stack(STUBBORN);
        stack.stop(Role::Primary).await.unwrap();
        assert!(!alive(&pid));
        assert_eq!(scene.told(), ["stop", "stop"]);
        assert_eq!(states(&stack).await, [ServiceState::Down]);
    });
}

#[test]
fn a_forced_stop_leaves_another_cluster_on_the_host_alone() {
    let scene = Scene::new();
    stubborn(&scene);
    block_on(async {
        scene.stack(STUBBORN).start(7).await.unwrap();
        let pid = fs::read_to_string(scene.path("pid")).unwrap();
        let environment = fs::read(format!("/proc/{}/environ", pid.trim())).unwrap();
        let text = String::from_utf8_lossy(&environment);
        let marks = text
            .split('\0')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(key, _)| key.starts_with("TWINDISK_") && *key != "TWINDISK_CLUSTER");
        let mut other = std::process::Command::new("sleep")
            .arg("1000")
            .envs(marks)
            .env("TWINDISK_CLUSTER", "another one")
            .spawn()
            .unwrap();
        scene.stack(STUBBORN).stop(Role::Primary).await.unwrap();
        assert!(!alive(&pid));
        assert_eq!(other.try_wait().unwrap(), None, "it was killed as well");
        other.kill().unwrap();
        other.wait().unwrap();
    });
}

#[test]
fn a_stop_that_cannot_finish_names_what_is_up_and_stops_the_rest() {
    let scene = Scene::new();
    let mut stack = scene.stack(&format!(
        "{}, {{ name = 'd', start = ['true'], stop = ['sleep', '1000'], stop-timeout = '200ms', status = ['true'] }}",
        three(&scene)
    ));
    block_on(async {
        stack.start(7).await.unwrap();
        scene.told();
        let error = timeout(LONG, stack.stop(Role::Primary))
            .await
            .unwrap()
            .unwrap_err();
        let names: Vec<&str> = error
            .still_up
            .iter()
            .map(|up| up.service.as_str())
            .collect();
        assert_eq!(names, ["d"]);
        let text = error.to_string();
        assert!(text.contains("`sleep 1000` did not end within"), "{text}");
        assert!(text.contains("before this one is powered off"), "{text}");
        assert_eq!(steps(&scene), ["c stop", "b stop", "a stop"]);
    });
}

#[test]
fn a_dropped_start_leaves_nothing_running() {
    let scene = Scene::new();
    scene.script(
        "hang",
        "sleep 1000 & echo $! >DIR/child; echo $$ >DIR/pid; wait",
    );
    let services = format!(
        "{}, {{ name = 'h', start = ['DIR/hang'], stop = ['DIR/do', 'stop'] }}",
        three(&scene)
    );
    let mut stack = scene.stack(&services);
    block_on(async {
        let mut start = Box::pin(stack.start(7));
        while !scene.path("pid").exists() {
            assert!(
                timeout(Duration::from_millis(50), &mut start)
                    .await
                    .is_err()
            );
        }
        drop(start);
        for file in ["pid", "child"] {
            let pid = fs::read_to_string(scene.path(file)).unwrap();
            until("a process of the start lives", || !alive(&pid)).await;
        }
        scene.told();
        // Nobody knows how far it came: it is stopped with the others.
        let last = states(&stack).await.pop().unwrap();
        assert!(matches!(&last, ServiceState::Unknown(_)), "{last}");
        stack.stop(Role::Primary).await.unwrap();
        assert_eq!(steps(&scene), ["h stop", "c stop", "b stop", "a stop"]);
    });
}

#[test]
fn a_status_that_answers_oddly_is_unknown() {
    let scene = Scene::new();
    let codes = [0, 1, 2, 3, 7, 127];
    let services: Vec<String> = codes
        .iter()
        .map(|code| format!("{{ name = 's{code}', start = ['true'], stop = ['true'], status = ['sh', '-c', 'echo hm; exit {code}'] }}"))
        .collect();
    let stack = scene.stack(&services.join(","));
    let states = block_on(states(&stack));
    let words: Vec<bool> = states
        .iter()
        .map(|state| matches!(state, ServiceState::Unknown(why) if why.ends_with("hm")))
        .collect();
    assert_eq!(
        words,
        [false, false, true, false, false, true],
        "{states:?}"
    );
    assert_eq!(states[0], ServiceState::Up);
    assert_eq!(
        [&states[1], &states[3], &states[4]],
        [&ServiceState::Down; 3]
    );
}
