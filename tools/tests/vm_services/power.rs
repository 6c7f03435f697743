//! A power switch for machines: a fence agent that runs in one of them, and a thread on the host that pulls the plug.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::harness::{LOOK, eventually, fence_agent, vm::Machine};

/// Both see its folder, `/job/shared/power` in a machine.
const DEED: &str = r#"case $action in
off)
    echo "$plug" >>"$power/shots"
    [ -e "$power/$plug.off" ] || : >"$power/$plug.cut"
    until [ -e "$power/$plug.off" ]; do sleep 0.1; done
    ;;
on) rm -f "$power/$plug.off" ;;
status) [ ! -e "$power/$plug.off" ] || exit 2 ;;
monitor | validate-all) ;;
*) exit 1 ;;
esac
"#;

/// The switch. Its plugs are called node1 and node2.
pub(crate) struct Power {
    folder: PathBuf,
    plugs: Arc<Mutex<[Option<Pid>; 2]>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Power {
    /// Puts the fence agent into the folder that all machines see.
    pub(crate) fn install(shared: &Path) -> Self {
        let folder = shared.join("power");
        fs::create_dir(&folder).expect("a folder");
        let script = folder.join("fence_machine");
        fs::write(&script, fence_agent::script("/job/shared/power", DEED)).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
        let plugs = Arc::new(Mutex::new([None, None]));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (folder, plugs, stop) = (folder.clone(), plugs.clone(), stop.clone());
            thread::spawn(move || serve(&folder, &plugs, &stop))
        };
        Self {
            folder,
            plugs,
            stop,
            thread: Some(thread),
        }
    }

    /// A machine that has just been switched on hangs on its plug.
    pub(crate) fn plug_in(&self, number: usize, machine: &Machine) {
        self.plugs.lock().expect("fine")[number - 1] = machine.group();
    }

    /// The power of a machine fails, and the switch reads so.
    pub(crate) fn lose(&self, number: usize, machine: &mut Machine) {
        self.plugs.lock().expect("fine")[number - 1] = None;
        machine.cut_power();
        fs::write(self.file(number, "off"), "").expect("a file");
    }

    /// Waits until a machine that was off is switched on.
    pub(crate) fn until_on(&self, number: usize, otherwise: impl Fn() -> String) {
        eventually(&format!("node{number} is switched on"), otherwise, || {
            (!self.file(number, "off").exists()).then_some(())
        });
    }

    /// Who was shot so far, in order.
    pub(crate) fn shots(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("shots")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn file(&self, number: usize, what: &str) -> PathBuf {
        self.folder.join(format!("node{number}.{what}"))
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

fn serve(folder: &Path, plugs: &Mutex<[Option<Pid>; 2]>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for number in [1, 2] {
            let cut = folder.join(format!("node{number}.cut"));
            if cut.exists() {
                if let Some(group) = plugs.lock().expect("fine")[number - 1].take() {
                    let _ = killpg(group, Signal::SIGKILL);
                }
                fs::write(folder.join(format!("node{number}.off")), "").expect("a file");
                fs::remove_file(cut).expect("it was there");
            }
        }
        thread::sleep(LOOK);
    }
}
