//! What the agent answers to people, and what it tells them.

use std::time::{Duration, Instant};

use tokio::{sync::oneshot, task::spawn_local, time::sleep};
use tracing::{error, info, warn};
use twindisk_fencing_core::{Level, Operator, PeerIndex, ResourceIndex};

use crate::{
    ask::{AgentAnswer, AgentAsk, AgentReply, AtWork, Told},
    news::micros,
    proof::{no_devices, verdict},
    run::{Driver, Input},
    socket::Question,
};

/// Reports that are kept for `status`.
const TOLD: usize = 100;

/// How often it is looked at whether what was asked for has come about.
const LOOK: Duration = Duration::from_millis(50);

/// Within so many beats, news of a change that is over has arrived.
const NEWS: u32 = 4;

impl Driver {
    pub(crate) fn answer(&mut self, (ask, to): Question) {
        let now = self.now();
        let wish = match ask {
            AgentAsk::Status => {
                let _ = to.send(AgentAnswer::Status(Box::new(self.reply())));
                return;
            }
            AgentAsk::Test { node } => return self.test(&node, to),
            AgentAsk::Yield => return self.yield_services(to),
            AgentAsk::Confirm { node, by } => {
                // A shot that waits for a person is told; else the core takes the word.
                if self.confirmations.confirm(&node, &by).is_ok() {
                    let _ = to.send(AgentAnswer::Done(format!(
                        "{by} vouches for {node} being off"
                    )));
                    return;
                }
                self.peer(&node).map(Operator::Confirm)
            }
            AgentAsk::Maintenance { on } => Ok(Operator::Maintenance(on)),
            AgentAsk::Clear => Ok(Operator::Clear),
            AgentAsk::Adopt { resource } => self.resource(resource.as_deref()).map(Operator::Adopt),
            AgentAsk::Switchover {
                resource,
                to: target,
            } => {
                let until = Instant::now() + self.settings.profile.interval() * NEWS;
                let target = target.map(|name| self.peer(&name)).transpose();
                let resource = self.resource(resource.as_deref());
                return match resource.and_then(|resource| Ok((resource, target?))) {
                    Ok((resource, target)) => {
                        let wish = Operator::Switchover {
                            resource,
                            to: target,
                        };
                        self.switch_over(wish, until, to);
                    }
                    Err(why) => _ = to.send(AgentAnswer::Refused(why)),
                };
            }
        };
        let done = match wish {
            Ok(Operator::Maintenance(true)) => {
                "the agent decides nothing until `twindisk agent maintenance off`"
            }
            Ok(Operator::Maintenance(false)) => "the agent decides again",
            Ok(Operator::Adopt(_)) => {
                "the agent has the record begin anew: `twindisk agent status` says when it has"
            }
            Ok(Operator::Clear) => "automatic failover may go on",
            _ => "taken as proof that it is off",
        };
        let result = wish.and_then(|wish| self.agent.borrow_mut().handle_operator(now, wish));
        let _ = to.send(match result {
            Ok(()) => AgentAnswer::Done(done.to_owned()),
            Err(why) => AgentAnswer::Refused(why),
        });
    }

    /// Everything about the agent.
    pub(crate) fn reply(&self) -> AgentReply {
        let at_work = self.progress.entries().filter_map(|(resource, progress)| {
            Some(AtWork {
                resource: self.settings.resources[resource].name.clone(),
                what: progress.as_ref()?.in_words()?,
            })
        });
        AgentReply {
            at_work: at_work.collect(),
            status: self.agent.borrow().status(),
            warnings: self.warnings.clone(),
            told: self.told.iter().cloned().collect(),
        }
    }

    /// What the agent knows is as old as its last look and the peer's last beat: right after a change it refuses what
    /// has become possible. So a refusal stands only when nothing newer has lifted it in time.
    pub(crate) fn switch_over(
        &mut self,
        wish: Operator,
        until: Instant,
        to: oneshot::Sender<AgentAnswer>,
    ) {
        if to.is_closed() {
            return; // Whoever asked has gone away, and expects nothing any more.
        }
        let result = self.agent.borrow_mut().handle_operator(self.now(), wish);
        let answer = match result {
            Ok(()) => AgentAnswer::Done(
                "services go down, then the role goes over; `twindisk agent status` shows it"
                    .to_owned(),
            ),
            Err(why) if Instant::now() >= until => AgentAnswer::Refused(why),
            Err(_) => {
                let inputs = self.inputs.clone();
                spawn_local(async move {
                    sleep(LOOK).await;
                    let _ = inputs.send(Input::SwitchOver { wish, until, to });
                });
                return;
            }
        };
        let _ = to.send(answer);
    }

    /// Something that people should know: to the log, and kept for who asks.
    pub(crate) fn tell(&mut self, level: Level, resource: Option<ResourceIndex>, what: String) {
        let resource = resource.map(|at| self.settings.resources[at].name.clone());
        let name = resource.as_deref().unwrap_or("-");
        match level {
            Level::Info => info!(resource = name, "{what}"),
            Level::Warning => warn!(resource = name, "{what}"),
            Level::Alarm => error!(resource = name, "{what}"),
        }
        self.tally.report(level);
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(Told {
            at: micros() / 1_000_000,
            level,
            resource,
            what,
        });
    }

    /// Answers when the services are down, or are known to stay up (R12).
    fn yield_services(&self, to: oneshot::Sender<AgentAnswer>) {
        let agent = self.agent.clone();
        if let Err(why) = agent
            .borrow_mut()
            .handle_operator(self.now(), Operator::Yield)
        {
            let _ = to.send(AgentAnswer::Refused(why));
            return;
        }
        spawn_local(async move {
            // Whoever asked is patient for as long as a service manager is: who has gone away needs no answer.
            while !to.is_closed() {
                let yielded = agent.borrow().has_yielded();
                if let Some(result) = yielded {
                    let _ = to.send(match result {
                        Ok(()) => AgentAnswer::Done("no service runs on this node".to_owned()),
                        Err(why) => AgentAnswer::Refused(why),
                    });
                    return;
                }
                sleep(LOOK).await;
            }
        });
    }

    fn test(&self, node: &str, to: oneshot::Sender<AgentAnswer>) {
        let fencer = self.peer(node).map(|peer| self.fencers[peer].clone());
        match fencer {
            Err(why) => _ = to.send(AgentAnswer::Refused(why)),
            Ok(None) => {
                let _ = to.send(AgentAnswer::Refused(no_devices(node)));
            }
            Ok(Some(fencer)) => {
                spawn_local(async move {
                    let _ = to.send(verdict(&fencer.test().await));
                });
            }
        }
    }

    fn peer(&self, name: &str) -> Result<PeerIndex, String> {
        self.settings.peer_named(name)
    }

    fn resource(&self, name: Option<&str>) -> Result<ResourceIndex, String> {
        let resources = &self.settings.resources;
        match name {
            None if resources.len() == 1 => Ok(ResourceIndex::new(0)),
            None => Err("there are several resources: say which".to_owned()),
            Some(name) => resources
                .position(|resource| resource.name == name)
                .ok_or_else(|| format!("this agent looks after no resource {name:?}")),
        }
    }
}
