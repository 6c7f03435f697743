//! Services that end by themselves are started again in place, so many times within a window; then the role goes to another
//! node, once: a node that has given them up says so, and nobody gives them back to it. What systemd calls a start limit, and
//! Pacemaker a migration threshold with a failure timeout.

use std::{collections::VecDeque, time::Duration};

use crate::{
    Agent, Level, MemberIndex, PeerIndex, ReplicaView, ResourceIndex, Role, Services, Time,
    mutants::Mutant,
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
    /// When they ended or did not come up, oldest first, as far as that counts still.
    times: VecDeque<Time>,
    /// Starts that have failed one after the other.
    failed_starts: u32,
    /// When the role was given away for that.
    gave_up: Option<Time>,
    /// Another node has given them up before this one had to: they stay here until they have come up.
    stay: bool,
}

impl Ends {
    fn note(&mut self, now: Time, recovery: Recovery) {
        let over = |time: &Time| now.since(*time) >= recovery.window;
        while self.times.front().is_some_and(over) {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }

    /// They are up.
    pub(crate) const fn came_up(&mut self) {
        self.failed_starts = 0;
        self.stay = false;
    }

    fn within(&self, now: Time, recovery: Recovery) -> usize {
        let recent = |time: &&Time| now.since(**time) < recovery.window;
        self.times.iter().filter(recent).count()
    }

    /// They have had all the restarts that they get here for now.
    fn are_too_many(&self, now: Time, recovery: Recovery) -> bool {
        self.failed_starts > recovery.restarts
            || self.within(now, recovery) > recovery.restarts as usize
    }

    /// When there is a restart left again.
    fn over_at(&self, now: Time, recovery: Recovery) -> Time {
        let last = self.times.iter().rev().nth(recovery.restarts as usize);
        last.copied().unwrap_or(now).after(recovery.window)
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
        let Some(recovery) = self.recovery_of(resource) else {
            return;
        };
        let ignored = self.mutant(Mutant::EndsAreIgnored);
        let now = self.now;
        let state = &mut self.resources[resource];
        if state.services != Services::Up || ignored {
            return; // They come up or go down as it is.
        }
        state.services = Services::Failed;
        state.ends.note(now, recovery);
        let what = format!("ended by itself: {what}");
        let (restarts, window) = (recovery.restarts, recovery.window.as_secs());
        if !state.ends.are_too_many(now, recovery) {
            state.services_not_before = now;
            let count = state.ends.within(now, recovery);
            let what =
                format!("{what}: started again, {count} of {restarts} times within {window} s");
            self.report(Level::Warning, Some(resource), what);
        } else if let Err(why) = self.give_up(resource, &what) {
            let state = &mut self.resources[resource];
            state.services_not_before = state.ends.over_at(now, recovery);
            let left = state.services_not_before.since(now).as_secs();
            let what = format!(
                "{what}, after {restarts} restarts within {window} s, and no other node can have it now: {why}. Started again in \
                 {left} s; at once with `twindisk agent clear`"
            );
            self.report(Level::Alarm, Some(resource), what);
        }
        self.decide();
    }

    /// Requests of this node's clients wait for the device, which may not be there: who answers nobody meanwhile, and lives, has
    /// not ended.
    #[must_use]
    pub fn io_waits(&self, resource: ResourceIndex) -> bool {
        let state = &self.resources[resource];
        let open = |view: &ReplicaView| view.role == Role::Primary && view.open && !view.suspended;
        let stands = state.stands_still(self.now) > self.config.profile.dead();
        stands || !state.view.as_ref().is_some_and(open)
    }

    /// Services did not come up: they are tried again here as often as they would be started again, then elsewhere. Where
    /// nobody else can have them this node goes on trying.
    pub(crate) fn did_not_come_up(&mut self, resource: ResourceIndex) {
        if let Some(recovery) = self.config.recovery {
            let ends = &mut self.resources[resource].ends;
            ends.failed_starts += 1;
            ends.note(self.now, recovery);
        }
    }

    /// Services that have had all their restarts go elsewhere as soon as somebody can have them.
    pub(crate) fn give_up_when_possible(&mut self, resource: ResourceIndex) {
        let state = &self.resources[resource];
        let failed =
            state.services == Services::Failed && state.switching.is_none() && !state.ends.stay;
        let recovery = self.recovery_of(resource).filter(|_| failed);
        if recovery.is_some_and(|recovery| state.ends.are_too_many(self.now, recovery)) {
            let _ = self.give_up(resource, "its services ended or did not come up");
        }
    }

    /// What is to be done about services that end, where anything is.
    fn recovery_of(&self, resource: ResourceIndex) -> Option<Recovery> {
        let decides =
            !self.memory.maintenance && !self.leaving && self.resources[resource].yielded.is_none();
        self.config.recovery.filter(|_| decides)
    }

    /// The role goes to another node that has not given these services up itself.
    fn give_up(&mut self, resource: ResourceIndex, what: &str) -> Result<(), String> {
        if self.memory.blocked {
            return Err(
                "after too many failovers nothing moves by itself: twindisk agent clear".to_owned(),
            );
        }
        if self.in_conflict(resource) {
            return Err("a person has to decide a conflict first".to_owned());
        }
        if self.gave_up(resource) {
            return Err("they were given up here before, and are here again".to_owned());
        }
        let to = self.successor(resource, None)?;
        let name = self.member_name(resource, to).to_owned();
        let said = self.said(resource, to);
        let gave_up = said.is_some_and(|said| said.gave_up) && !self.mutant(Mutant::GivenBack);
        if gave_up {
            let why = format!("{name} has given them up as well");
            self.resources[resource].ends.stay = true;
            return Err(why);
        }
        let view = self.resources[resource].view.as_ref();
        if !view.is_some_and(|view| view.peers[to].in_sync) {
            return Err(format!("{name} is not in sync"));
        }
        let left = self.peers[self.peer_of(resource, to)].has_left();
        if left || !said.is_some_and(|said| said.ready) {
            return Err(format!(
                "{name} would not take over: `twindisk agent status` there says why"
            ));
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

    /// A person takes over: what was about to move by itself stays.
    pub(crate) fn stop_giving_up(&mut self) {
        for state in self.resources.iter_mut() {
            if state.ends.gave_up.is_some() && state.order.is_none() {
                state.switching = None;
            }
        }
    }

    /// Whether these services were given up on this node not long ago.
    pub(crate) fn gave_up(&self, resource: ResourceIndex) -> bool {
        let gave_up = self.resources[resource].ends.gave_up;
        let recent =
            |recovery: Recovery| gave_up.is_some_and(|at| self.now.since(at) < recovery.window);
        self.config.recovery.is_some_and(recent)
    }

    /// For a person: how often the services of a resource have ended here, and what is done about it.
    pub(crate) fn ended_in_words(&self, resource: ResourceIndex) -> Option<String> {
        let recovery = self.config.recovery?;
        let state = &self.resources[resource];
        let count = state.ends.within(self.now, recovery);
        let (restarts, window) = (recovery.restarts, recovery.window.as_secs());
        let what = format!("its services ended or did not come up {count} times within {window} s");
        if self.gave_up(resource) {
            return Some(format!("{what}, and were given up here"));
        }
        let waits = state.services_not_before.since(self.now).as_secs();
        if state.services == Services::Failed && waits > 0 {
            return Some(format!("{what}: started again in {waits} s"));
        }
        (count > 0).then(|| format!("{what}: after {restarts} times they go elsewhere"))
    }

    /// The member that the role would go to: this one, or the first that could have it. Of several, one that would take over,
    /// and has not given the services up.
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
            let said = self.said(resource, *member);
            (
                !in_sync,
                self.peer_is_free(resource, *member).is_err(),
                said.is_some_and(|said| said.gave_up),
                !said.is_some_and(|said| said.ready),
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
