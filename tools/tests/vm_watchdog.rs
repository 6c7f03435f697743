//! An agent with a real watchdog, the kernel's `softdog`: a host whose agent stands still is reset, one whose agent is
//! stopped in good order is not.

mod harness;

use std::{thread, time::Duration};

use harness::{
    eventually,
    programs::have,
    vm::{Lab, PROGRAMS},
};

/// Seconds without food after which the host is reset.
const MARGIN: u64 = 4;

#[test]
fn a_host_whose_agent_stands_still_is_reset() {
    if !have(PROGRAMS) {
        return;
    }
    let mut lab = Lab::new(1, &[]);
    lab.prepare(CONFIGURATION, FUNCTIONS);
    let machine = &mut lab.machines[0];
    machine.power_on();
    machine.until_ready();

    let booted = machine.booted();
    assert!(booted.is_some());
    machine.call(&format!("softdog {MARGIN}; agent; agent_stops"));
    thread::sleep(Duration::from_secs(2 * MARGIN));
    machine.call("agent");
    thread::sleep(Duration::from_secs(2 * MARGIN));
    assert_eq!(machine.booted(), booted, "it is fed, or was told to sleep");

    machine.call("kill -STOP $(cat /run/twindisk/node1-agent.pid)");
    eventually("the watchdog resets the host", String::new, || {
        (machine.booted() != booted).then_some(())
    });
}

const CONFIGURATION: &str = r#"
cluster = "machine"
secret = "0123456789abcdef0123456789abcdef"

[agent]
watchdog = "/dev/watchdog1"

[nodes.node1]
id = 1
address = "127.0.0.1:7801"
heartbeat = ["127.0.0.1:7811"]

[nodes.node2]
id = 2
address = "127.0.0.1:7802"
heartbeat = ["127.0.0.1:7812"]

[resource.r0]
on.node1 = { backing = "/srv/one" }
on.node2 = { backing = "/srv/two" }
"#;

const FUNCTIONS: &str = r#"
# softdog SECONDS: as /dev/watchdog1, for this kind of machine has one of its own, which only its host can hear.
softdog() {
    busybox insmod "$MODULES/kernel/drivers/watchdog/softdog.ko" nowayout=0 soft_margin="$1"
}
"#;
