//! The exports as they are now, by all their names.
//!
//! `RESOURCE` is the device whoever has it. `RESOURCE@TERM-ID` is the device in one role of this node (R17): who opened
//! that name and comes again with it finds the device that nobody else has written to meanwhile, or no device at all.

use std::rc::Rc;

use twindisk_core::ExportState;
use twindisk_format::{
    binding::{Binding, SEPARATOR},
    limits::BLOCK_BYTES,
};
use twindisk_nbd::{Availability, Export, Unserved};

use super::{replica::Replica, roster::Absent};

/// What this node's clients are bound to, as far as the control plane has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Nothing yet: the replica has just been started. Nobody is sent away for good before.
    NotKnown,
    /// This role, and no other.
    To(Binding),
    /// No role: what clients of all former ones remember is not what is on this node's disk.
    None,
}

/// The exports as they are now. Reads on a standby are not served either: they could be older than what the primary
/// has acknowledged (R9).
pub(crate) fn exports(replicas: &[Rc<Replica>], absent: &[Absent]) -> Vec<Export> {
    let started = replicas.iter().flat_map(|replica| {
        let stopped = replica.halted().is_some();
        of_one(replica.name(), replica.export(), replica.bound(), stopped)
    });
    // Their clients wait: they may be started, or brought up again.
    let others = absent.iter().flat_map(|Absent { name, why, .. }| {
        let closed = ExportState::Closed {
            why: format!("resource {name} is not running: {why}"),
        };
        of_one(name, closed, Bound::NotKnown, true)
    });
    started.chain(others).collect()
}

/// The resource that an export, by whatever name, is of; and what who asked for that name is bound to.
pub(crate) fn resource_of(export: &str) -> (&str, Option<Binding>) {
    match export.split_once(SEPARATOR) {
        Some((resource, binding)) => (resource, binding.parse().ok()),
        None => (export, None),
    }
}

fn of_one(name: &str, state: ExportState, bound: Bound, stopped: bool) -> Vec<Export> {
    let (size, availability) = match state {
        ExportState::Open { size_blocks } => {
            (size_blocks * BLOCK_BYTES as u64, Availability::Available)
        }
        ExportState::Closed { why } if stopped => (0, Availability::ShuttingDown(why)),
        ExportState::Closed { why } => (0, Availability::Refused(why)),
    };
    let export = |name: &str| {
        let mut export = Export::new(name, size).ok()?;
        export.availability = availability.clone();
        Some(export)
    };
    let plain = export(name).map(|mut plain| {
        plain.description = format!("Twindisk resource {name}");
        plain.unserved = unserved(name, bound);
        plain
    });
    let by_role = match bound {
        Bound::To(binding) => export(&binding.export_of(name)).map(|mut by_role| {
            by_role.description = format!(
                "Twindisk resource {name}, only as long as no other node has written to it"
            );
            by_role.alias = true;
            by_role
        }),
        Bound::NotKnown | Bound::None => None,
    };
    plain.into_iter().chain(by_role).collect()
}

/// What is said of `NAME@…` that is not the name of this role.
fn unserved(name: &str, bound: Bound) -> Unserved {
    let now = match bound {
        Bound::NotKnown => {
            let why = "what it is bound to is not known here yet: try again in a moment";
            return Unserved::NotNow(why.to_owned());
        }
        Bound::To(binding) => format!("now it is {}", binding.export_of(name)),
        Bound::None => "nobody can be bound to what this node has now".to_owned(),
    };
    Unserved::Gone(format!(
        "that role is over, or never was on this node: another node may have written to {name} since, and what a client \
         of it remembers is not what is on the device. Close what used it (unmount it), then open {name} anew; {now}"
    ))
}

#[cfg(test)]
mod tests {
    use twindisk_format::ids::{GenerationId, Term};

    use super::*;

    const BINDING: Binding = Binding {
        term: Term(4),
        id: GenerationId(0x1f),
    };

    fn closed() -> ExportState {
        ExportState::Closed {
            why: "standby".to_owned(),
        }
    }

    #[test]
    fn an_open_resource_has_two_names() {
        let all = of_one(
            "r0",
            ExportState::Open { size_blocks: 2 },
            Bound::To(BINDING),
            false,
        );
        let names: Vec<&str> = all.iter().map(Export::name).collect();
        assert_eq!(names, ["r0", "r0@4-000000000000001f"]);
        assert!(!all[0].alias && all[1].alias);
        assert!(all.iter().all(|export| export.size_bytes == 8192));
        assert_eq!(resource_of(names[1]), ("r0", Some(BINDING)));
        assert_eq!(resource_of("r0"), ("r0", None));
    }

    #[test]
    fn nobody_is_sent_away_for_good_by_a_replica_that_has_not_said_what_it_has() {
        let all = of_one("r0", closed(), Bound::NotKnown, false);
        assert!(
            matches!(
                all[..],
                [Export {
                    unserved: Unserved::NotNow(_),
                    ..
                }]
            ),
            "{all:?}"
        );
        let all = of_one("r0", closed(), Bound::None, false);
        assert!(
            matches!(
                all[..],
                [Export {
                    unserved: Unserved::Gone(_),
                    ..
                }]
            ),
            "{all:?}"
        );
        // Not open, and the role may come back: by its name it is refused for now only.
        let all = of_one("r0", closed(), Bound::To(BINDING), false);
        assert_eq!(
            all[1].availability,
            Availability::Refused("standby".to_owned())
        );
    }
}
