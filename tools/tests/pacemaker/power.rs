//! The power switch: a fence agent that leaves its requests in a folder, and a thread of the test that carries them out.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    harness::{
        cluster::{ALPHA, BETA},
        fence_agent,
        namespaces::Namespaces,
    },
    machine::{Machine, own},
};

/// The fence agent. Requests lie in `asks`, answers (an exit code) in `answers`, both by the same name.
const DEED: &str = r#"case $action in monitor | validate-all) exit 0 ;; esac
name=$(hostname)-$$-$(date +%s%N)
echo "$action $plug" >"$power/new-$name"
mv "$power/new-$name" "$power/asks/$name"
until [ -s "$power/answers/$name" ]; do sleep 0.02; done
exit "$(cat "$power/answers/$name")"
"#;

/// What can be wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// It says that it has powered off, and has not.
    Liar,
    /// It does nothing, and says so.
    Broken,
    /// It takes a second for each answer.
    Slow,
}

/// What hangs on the switch.
pub(crate) struct Plugs {
    pub(crate) namespaces: Namespaces,
    dir: PathBuf,
    machines: [Option<Machine>; 2],
    pub(crate) fault: Fault,
    /// Whom it was asked to power off, in order.
    pub(crate) shots: Vec<String>,
}

impl Plugs {
    pub(crate) fn machine(&self, node: &str) -> Option<&Machine> {
        self.machines[usize::from(node == BETA)].as_ref()
    }

    pub(crate) fn on(&mut self, node: &str) {
        let at = usize::from(node == BETA);
        if self.machines[at].is_none() {
            let own = own(&self.dir, node);
            let machine = Machine::boot(&self.namespaces, node, &own, &self.dir.join("agents"));
            self.machines[at] = Some(machine);
        }
    }

    /// Nothing of it is left when this returns.
    pub(crate) fn off(&mut self, node: &str) {
        if let Some(mut machine) = self.machines[usize::from(node == BETA)].take() {
            // The cables first: who is dead answers nothing, not even that it is dead.
            let unplug = self.namespaces.unplugging(node);
            crate::harness::programs::run("sh", &["-c", &unplug]);
            machine.lose_power();
        }
    }

    fn carry_out(&mut self, action: &str, node: &str) -> i32 {
        if !matches!(node, ALPHA | BETA) {
            return 1;
        }
        if matches!(action, "off" | "reboot") {
            self.shots.push(node.to_owned());
        }
        if self.fault == Fault::Broken {
            return 1;
        }
        let lies = self.fault == Fault::Liar;
        match action {
            "off" | "reboot" if lies => 0,
            "off" => {
                self.off(node);
                0
            }
            "reboot" => {
                self.off(node);
                self.on(node);
                0
            }
            "on" => {
                self.on(node);
                0
            }
            "status" => 2 * i32::from(self.machine(node).is_none()),
            _ => 1,
        }
    }
}

/// The switch at work.
pub(crate) struct Power {
    plugs: Arc<Mutex<Plugs>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Power {
    /// With both nodes on it, neither of which has power yet.
    pub(crate) fn new(dir: &Path, namespaces: Namespaces) -> Self {
        let folder = dir.join("power");
        for part in ["asks", "answers"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        let plugs = Arc::new(Mutex::new(Plugs {
            namespaces,
            dir: dir.to_owned(),
            machines: [None, None],
            fault: Fault::None,
            shots: Vec::new(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let (at_plugs, at_stop) = (plugs.clone(), stop.clone());
        let thread = thread::spawn(move || serve(&folder, &at_plugs, &at_stop));
        Self {
            plugs,
            stop,
            thread: Some(thread),
        }
    }

    /// The text of the fence agent.
    pub(crate) fn agent(dir: &Path) -> String {
        let power = format!("'{}'", dir.join("power").display());
        fence_agent::script(&power, DEED)
    }

    pub(crate) fn plugs(&self) -> MutexGuard<'_, Plugs> {
        self.plugs.lock().expect("the switch did not panic")
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(folder: &Path, plugs: &Mutex<Plugs>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for ask in fs::read_dir(folder.join("asks"))
            .expect("it is there")
            .flatten()
        {
            let text = fs::read_to_string(ask.path()).expect("it was put there whole");
            fs::remove_file(ask.path()).expect("it is ours");
            let (action, node) = text.trim().split_once(' ').unwrap_or_default();
            let slow = plugs.lock().expect("nobody panicked").fault == Fault::Slow;
            if slow {
                thread::sleep(Duration::from_secs(1));
            }
            let mut plugs = plugs.lock().expect("nobody panicked");
            let code = plugs.carry_out(action, node);
            drop(plugs);
            let answer = folder.join("answers").join(ask.file_name());
            fs::write(answer, format!("{code}\n")).expect("a file");
        }
        thread::sleep(Duration::from_millis(10));
    }
}
