//! A virtual IP: an address that goes where the primary is.

use crate::{
    announce::Announcer,
    config,
    error::Problem,
    interface::{carriers, link},
    netlink,
    state::ServiceState,
};

#[derive(Debug)]
pub(crate) struct Address {
    address: config::Address,
    announcer: Option<Announcer>,
}

impl Address {
    pub(super) fn new(address: &config::Address) -> Self {
        Self {
            address: address.clone(),
            announcer: None,
        }
    }

    pub(super) fn state(&self) -> ServiceState {
        let carriers = match carriers(self.address.ip) {
            Ok(carriers) => carriers,
            Err(error) => {
                return ServiceState::Unknown(format!("the addresses cannot be listed: {error}"));
            }
        };
        let wanted = &self.address.interface;
        match carriers.iter().find(|carrier| *carrier != wanted) {
            Some(other) => ServiceState::Unknown(format!("this node has it on {other}")),
            None if carriers.is_empty() => ServiceState::Down,
            None => ServiceState::Up,
        }
    }

    /// An agent that was started anew finds its address up: somebody must go on announcing it.
    pub(super) fn found_up(&mut self) {
        self.announcer
            .get_or_insert_with(|| Announcer::start(&self.address));
    }

    pub(super) fn found_down(&mut self) {
        self.announcer = None;
    }

    pub(super) fn start(&mut self) -> Result<(), Problem> {
        let config::Address { ip, interface, .. } = &self.address;
        if let ServiceState::Unknown(why) = self.state() {
            return Err(Problem::Occupied(format!(
                "{why}: remove it there, or name that interface in the configuration"
            )));
        }
        let unfit = |why| Problem::Interface {
            interface: interface.clone(),
            why,
        };
        let link = link(interface)
            .map_err(|error| Problem::system("the interfaces cannot be listed", error))?
            .ok_or_else(|| unfit("does not exist on this node: see `ip link`"))?;
        if !link.is_up() {
            return Err(unfit("is down: `ip link set … up`"));
        }
        if !link.is_running() {
            tracing::warn!(
                interface,
                "the interface has no carrier: its cable is out, or the switch is off"
            );
        }
        netlink::add(&self.address)
            .map_err(|error| Problem::system(format!("adding {ip} to {interface}"), error))?;
        // Restarted even if one runs: the address is new, the neighbours must hear it at once.
        self.announcer = Some(Announcer::start(&self.address));
        Ok(())
    }

    pub(super) fn stop(&mut self) -> Result<(), Problem> {
        self.announcer = None;
        let config::Address { ip, interface, .. } = &self.address;
        netlink::remove(&self.address)
            .map_err(|error| Problem::system(format!("removing {ip} from {interface}"), error))?;
        // The kernel is done: an address that is still there is elsewhere, and waiting does not remove it.
        match self.state() {
            ServiceState::Unknown(why) | ServiceState::Failed(why) => {
                Err(Problem::Occupied(format!("{why}: remove it there")))
            }
            ServiceState::Up | ServiceState::Down => Ok(()),
        }
    }
}
