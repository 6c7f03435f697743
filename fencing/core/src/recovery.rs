//! Services that end by themselves are started again in place, so many times within a window; then the role goes to another
//! node, once: a node that has given them up says so, and nobody gives them back to it. What systemd calls a start limit, and
//! Pacemaker a migration threshold with a failure timeout.

use std::{collections::VecDeque, time::Duration};

use crate::{
    Agent, Level, MemberIndex, PeerIndex, ResourceIndex, Role, Services, Time, mutants::Mutant,
};

/// What is done about services that end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// They are started again so often on a node within the window; at the next end the role goes to another node.
    pub restarts: u32,
    /// How long an end counts.
    pub window: Duration,
}

/// How the services of a resource have ended on this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// When, oldest first, as far as that counts still.
    times: VecDeque<Time>,
    /// When the role was given away for that.
    gave_up: Option<Time>,
}

impl Ends {
    /// They have ended, or did not come up. Gives how often within the window, with this time.
    fn note(&mut self, now: Time, window: Duration) -> u32 {
        self.forget(now, window);
        self.times.push_back(now);
        u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    fn forget(&mut self, now: Time, window: Duration) {
        let over = |time: &Time| now.since(*time) >= window;
        while self.times.front().is_some_and(over) {
            self.times.pop_front();
        }
        self.gave_up.take_if(|time| over(time));
    }

    /// A person has looked.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Agent {
    /// Services that this agent had brought up are down, and it had not stopped them: `what` names them.
    pub fn handle_services_ended(&mut self, now: Time, resource: ResourceIndex, what: &str) {
        self.advance(now);
        let decides = !self.memory.maintenance && !self.leaving;
        let Some(recovery) = self.config.recovery.filter(|_| decides) else {
            return;
        };
        let ignored = self.mutant(Mutant::EndsAreIgnored);
        let state = &mut self.resources[resource];
        if state.services != Services::Up || ignored {
            return; // They come up or go down as it is.
        }
        state.services = Services::Failed;
        let count = state.ends.note(self.now, recovery.window);
        let what = format!("ended by itself: {what}");
        if count <= recovery.restarts {
            state.services_not_before = self.now;
            let window = recovery.window.as_secs();
            let restarts = recovery.restarts;
            let what =
                format!("{what}: started again, {count} of {restarts} times within {window} s");
            self.report(Level::Warning, Some(resource), what);
        } else if let Err(why) = self.give_up(resource, &what) {
            let state = &mut self.resources[resource];
            let oldest = state.ends.times.front().copied().unwrap_or(self.now);
            state.services_not_before = oldest.after(recovery.window);
            let left = state.services_not_before.since(self.now).as_secs();
            let what = format!(
                "{what}, after {} restarts within {} s, and no other node can have it: {why}. Started again in {left} s; at once \
                 with `twindisk agent clear`",
                recovery.restarts,
                recovery.window.as_secs()
            );
            self.report(Level::Alarm, Some(resource), what);
        }
        self.decide();
    }

    /// Services did not come up: they are tried again here as often as they would be started again, then elsewhere.
    pub(crate) fn did_not_come_up(&mut self, resource: ResourceIndex) {
        let Some(recovery) = self.config.recovery else {
            return;
        };
        let count = self.resources[resource]
            .ends
            .note(self.now, recovery.window);
        if count > recovery.restarts && self.resources[resource].switching.is_none() {
            // Where nobody else can have them this node goes on trying.
            let _ = self.give_up(resource, "did not come up");
        }
    }

    /// The role goes to another node that has not given these services up itself.
    fn give_up(&mut self, resource: ResourceIndex, what: &str) -> Result<(), String> {
        if self.memory.blocked {
            return Err(
                "after too many failovers nothing moves by itself: twindisk agent clear".to_owned(),
            );
        }
        let to = self.successor(resource, None)?;
        let name = self.member_name(resource, to).to_owned();
        let view = self.resources[resource].view.as_ref();
        if !view.is_some_and(|view| view.peers[to].in_sync) {
            return Err(format!("{name} is not in sync"));
        }
        let gave_up = self.said(resource, to).is_some_and(|said| said.gave_up);
        if gave_up && !self.mutant(Mutant::GivenBack) {
            return Err(format!("{name} has given them up as well"));
        }
        let state = &mut self.resources[resource];
        state.switching = Some(to);
        state.ends.gave_up = Some(self.now);
        let what = format!(
            "{what}, too often: the role goes to {name}. See why on this node before it comes back"
        );
        self.report(Level::Alarm, Some(resource), what);
        Ok(())
    }

    /// For a person: how often the services of a resource have ended here, and what is done about it.
    pub(crate) fn ended_in_words(&self, resource: ResourceIndex) -> Option<String> {
        let recovery = self.config.recovery?;
        let recent = |time: &&Time| self.now.since(**time) < recovery.window;
        let ends = &self.resources[resource].ends;
        let count = ends.times.iter().filter(recent).count();
        let (restarts, window) = (recovery.restarts, recovery.window.as_secs());
        if self.gave_up(resource) {
            return Some(format!(
                "its services ended or did not come up {count} times within {window} s, and were given up here"
            ));
        }
        (count > 0).then(|| {
            format!(
                "its services ended or did not come up {count} times within {window} s: after {restarts} times they go elsewhere"
            )
        })
    }

    /// Whether these services were given up on this node not long ago.
    pub(crate) fn gave_up(&self, resource: ResourceIndex) -> bool {
        let gave_up = self.resources[resource].ends.gave_up;
        let recent =
            |recovery: Recovery| gave_up.is_some_and(|at| self.now.since(at) < recovery.window);
        self.config.recovery.is_some_and(recent)
    }

    /// The member that the role would go to: this one, or the first that could have it. Of several, one that has not given the
    /// services up.
    ///
    /// # Errors
    /// In words: why there is nobody.
    pub(crate) fn successor(
        &self,
        resource: ResourceIndex,
        to: Option<PeerIndex>,
    ) -> Result<MemberIndex, String> {
        let name = &self.config.resources[resource].name;
        let view = self.resources[resource].view.as_ref();
        let Some(view) = view.filter(|view| view.role == Role::Primary) else {
            return Err(format!(
                "{name} is not primary on this node: ask the agent of the node that is"
            ));
        };
        let linked = |member: &MemberIndex| view.peers[*member].linked;
        let meant =
            |member: &MemberIndex| to.is_none_or(|to| self.peer_of(resource, *member) == to);
        // The first that could have it; or whoever can't, which is told why.
        let able = self.members(resource).filter(meant).filter(linked);
        let to = able.min_by_key(|member| {
            let in_sync = view.peers[*member].in_sync;
            let gave_up = self
                .said(resource, *member)
                .is_some_and(|said| said.gave_up);
            (
                !in_sync,
                self.peer_is_free(resource, *member).is_err(),
                gave_up,
            )
        });
        let Some(to) = to.filter(|_| !view.suspended) else {
            return Err(format!(
                "{name} is not connected to its standby: there is nobody to take over"
            ));
        };
        self.peer_is_free(resource, to)?;
        Ok(to)
    }
}
