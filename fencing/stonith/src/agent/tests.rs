//! Every way in which a run of an agent can end.

use std::{collections::BTreeSet, env, fs, process};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::*;
use crate::{
    Device,
    tests::fake::{Fakes, options, processes, runs, until},
};

async fn run(fakes: &Fakes, device: &Device, action: Action) -> Result<Answer, AgentError> {
    let agent = Agent::find(&device.agent, &fakes.search())?;
    let call = Call {
        node: "beta",
        plug: device.plug.as_deref().map(|plug| ("port", plug)),
        options: &device.options,
        timeout: device.timeout,
    };
    agent.run(action, call).await
}

#[tokio::test]
async fn an_agent_reads_action_node_plug_and_options() {
    let fakes = Fakes::new();
    let mut device = fakes.agent("fence_good", "exit 0");
    device.plug = Some("outlet 3".into());
    device.options = options(&[("ip", "10.0.0.1"), ("password", "a=b c\"")]);
    run(&fakes, &device, Action::Off).await.unwrap();
    let input = fs::read_to_string(fakes.path("fence_good.input")).unwrap();
    assert_eq!(
        input,
        "action=off\nnodename=beta\nport=outlet 3\nip=10.0.0.1\npassword=a=b c\"\n"
    );
}

#[tokio::test]
async fn every_exit_code_of_status_is_judged() {
    let fakes = Fakes::new();
    let device = fakes.agent("fence_code", r#"exit "$(cat "$dir/code")""#);
    for code in 0..=255 {
        fs::write(fakes.path("code"), code.to_string()).unwrap();
        match (run(&fakes, &device, Action::Status).await, code) {
            (Ok(answer), 0) => assert!(!answer.off),
            (Ok(answer), 2) => assert!(answer.off),
            (Err(AgentError::Failed { code: said, .. }), _) if said == code => {}
            (other, _) => panic!("{code}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn only_zero_is_success_of_off() {
    let fakes = Fakes::new();
    let device = fakes.agent("fence_code", r#"exit "$(cat "$dir/code")""#);
    for (code, name) in [
        (1, "could not be verified"),
        (2, "bad arguments"),
        (3, "login denied"),
        (4, "connection lost"),
        (5, "timed out"),
        (6, "waiting for on"),
        (7, "waiting for off"),
        (8, "status"),
        (77, "no code that fence agents know"),
        (127, "could not be started"),
    ] {
        fs::write(fakes.path("code"), code.to_string()).unwrap();
        for action in [Action::Off, Action::Monitor] {
            // `monitor` may say off; `off` may not.
            let ended = run(&fakes, &device, action).await;
            if code == 2 && action == Action::Monitor {
                assert!(ended.unwrap().off);
                continue;
            }
            let error = ended.unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(error.contains(&format!("code {code} ")), "{error}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_run_is_named() {
    let fakes = Fakes::new();
    let missing = Device::new(AgentName::Named("fence_missing".into()));
    let error = run(&fakes, &missing, Action::Status).await.unwrap_err();
    assert!(matches!(error, AgentError::NotFound { .. }));
    assert!(error.to_string().contains("apt install"), "{error}");

    let nowhere = Device::new(AgentName::Path("/nowhere/fence_x".into()));
    let error = run(&fakes, &nowhere, Action::Status).await.unwrap_err();
    assert!(matches!(error, AgentError::NoFile { .. }));

    fs::write(fakes.path("fence_plain"), "#!/bin/sh\n").unwrap();
    fs::create_dir(fakes.path("fence_folder")).unwrap();
    for name in ["fence_plain", "fence_folder"] {
        let unusable = Device::new(AgentName::Named(name.into()));
        let error = run(&fakes, &unusable, Action::Status).await.unwrap_err();
        assert!(matches!(error, AgentError::NotExecutable { .. }));
    }

    for text in ["#!/nowhere/python\n", "\u{1}\u{2}\u{3}"] {
        let broken = fakes.script("fence_broken", text);
        // Without setpriv the system's own words come; with it, the exit code of what could not be started.
        match run(&fakes, &broken, Action::Off).await {
            Err(
                AgentError::Start { .. }
                | AgentError::Failed {
                    code: 126 | 127, ..
                },
            ) => {}
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_agent_that_crashes_has_failed() {
    let fakes = Fakes::new();
    let device = fakes.agent("fence_crash", "echo oh dear >&2; kill -SEGV $$");
    let error = run(&fakes, &device, Action::Status).await.unwrap_err();
    assert!(
        matches!(error, AgentError::Killed { signal: 11, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("oh dear"), "{error}");
}

#[tokio::test]
async fn an_agent_need_not_read_its_input() {
    let fakes = Fakes::new();
    let mut device = fakes.script("fence_deaf", "#!/bin/sh\nexec 0<&-\nexit 0\n");
    // More than a pipe holds.
    let long = "x".repeat(4000);
    let names: Vec<String> = (0..40).map(|number| format!("o{number}")).collect();
    let given: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), long.as_str()))
        .collect();
    device.options = options(&given);
    run(&fakes, &device, Action::Off).await.unwrap();
}

#[tokio::test]
async fn a_hanging_agent_is_killed_with_its_children() {
    let fakes = Fakes::new();
    let mut device = fakes.agent(
        "fence_hang",
        r#"echo "waiting for the device" >&2
sleep 1000 & echo $! >> "$dir/processes"
echo $$ >> "$dir/processes"
trap '' TERM
wait"#,
    );
    device.timeout = Duration::from_secs(5);
    let error = run(&fakes, &device, Action::Off).await.unwrap_err();
    assert!(matches!(error, AgentError::Timeout { .. }), "{error:?}");
    assert!(
        error.to_string().contains("waiting for the device"),
        "{error}"
    );
    for process in processes(&fakes, 2).await {
        until("the end of the agent's processes", || !runs(process)).await;
    }
}

#[tokio::test]
async fn a_child_that_keeps_the_pipe_open_delays_nothing_and_is_killed() {
    let fakes = Fakes::new();
    let device = fakes.agent(
        "fence_fork",
        r#"sleep 1000 & echo $! >> "$dir/processes"; echo done; exit 2"#,
    );
    let answer = run(&fakes, &device, Action::Status).await.unwrap();
    assert!(answer.off);
    assert_eq!(answer.output.stdout, "done\n");
    // Longer than any grace, much shorter than the child's sleep and the deadline.
    assert!(answer.took < Duration::from_secs(20), "{:?}", answer.took);
    for process in processes(&fakes, 1).await {
        until("the end of the child", || !runs(process)).await;
    }
}

#[tokio::test]
async fn dropping_the_future_kills_the_group() {
    let fakes = Fakes::new();
    let device = fakes.agent(
        "fence_slow",
        r#"sleep 1000 & echo $! >> "$dir/processes"
echo $$ >> "$dir/processes"
wait; echo off > "$dir/power""#,
    );
    let started = tokio::select! {
        ended = run(&fakes, &device, Action::Off) => panic!("{ended:?}"),
        started = processes(&fakes, 2) => started,
    };
    for process in started {
        until("the end of the agent's processes", || !runs(process)).await;
    }
    assert_eq!(fs::read_to_string(fakes.path("power")).unwrap(), "on\n");
}

/// R6, also for a daemon that is killed: the test kills a process that runs an agent.
#[tokio::test]
async fn an_agent_does_not_outlive_a_killed_daemon() {
    const ROLE: &str = "TWINDISK_TEST_DAEMON_FOLDER";
    if let Some(folder) = env::var_os(ROLE) {
        let agent = Agent {
            path: Path::new(&folder).join("fence_slow"),
        };
        let call = Call {
            node: "beta",
            plug: None,
            options: &Options::default(),
            timeout: Duration::from_secs(1000),
        };
        panic!("{:?}", agent.run(Action::Off, call).await);
    }
    if !Path::new("/usr/bin/setpriv")
        .symlink_metadata()
        .is_ok_and(|found| found.is_file())
    {
        eprintln!("SKIPPED: there is no /usr/bin/setpriv of util-linux here");
        return;
    }
    let fakes = Fakes::new();
    fakes.agent(
        "fence_slow",
        r#"echo $$ >> "$dir/processes"; exec sleep 1000"#,
    );
    let mut daemon = process::Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "agent::tests::an_agent_does_not_outlive_a_killed_daemon",
        ])
        .env(ROLE, fakes.path(""))
        .stdout(process::Stdio::null())
        .spawn()
        .unwrap();
    let agent = processes(&fakes, 1).await[0];
    assert!(runs(agent));
    let daemon_id = Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    kill(daemon_id, Signal::SIGKILL).unwrap();
    daemon.wait().unwrap();
    until("the end of the agent", || !runs(agent)).await;
}

#[tokio::test]
async fn an_agent_inherits_nothing_of_the_environment() {
    let fakes = Fakes::new();
    let device = fakes.agent("fence_env", r#"tr '\0' '\n' < /proc/$$/environ; pwd"#);
    let answer = run(&fakes, &device, Action::Status).await.unwrap();
    let (variables, folder): (Vec<_>, Vec<_>) = answer
        .output
        .stdout
        .lines()
        .partition(|line| line.contains('='));
    let names: BTreeSet<_> = variables
        .iter()
        .filter_map(|line| line.split('=').next())
        .collect();
    assert_eq!(names, BTreeSet::from(["LC_ALL", "PATH"]));
    assert_eq!(folder, ["/"]);
}

#[tokio::test]
async fn huge_output_is_read_and_thrown_away() {
    let fakes = Fakes::new();
    let mut device = fakes.agent(
        "fence_chatty",
        r#"head -c 3000000 /dev/zero | tr '\0' x; head -c 3000000 /dev/zero | tr '\0' y >&2; exit 1"#,
    );
    device.options = options(&[("password", "hush")]);
    let error = run(&fakes, &device, Action::Off).await.unwrap_err();
    assert!(error.to_string().len() < 2000);
    let AgentError::Failed { output, .. } = error else {
        panic!("{error:?}")
    };
    assert!(output.stdout_cut && output.stderr_cut);
    // Less by the length of the secret, whose first half the cut may have left.
    for kept in [&output.stdout, &output.stderr] {
        assert_eq!(kept.len(), crate::MAX_OUTPUT_BYTES - "hush".len());
    }
}

#[tokio::test]
async fn garbage_is_quoted_as_one_harmless_line() {
    let fakes = Fakes::new();
    let device = fakes.agent(
        "fence_garbage",
        r#"printf 'a\377\033[2J\n\n  b\007\000c\n' >&2; exit 9"#,
    );
    let error = run(&fakes, &device, Action::Off).await.unwrap_err();
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.contains("it printed: a"), "{text}");
}
