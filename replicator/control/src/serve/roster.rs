//! The resources of a node: those at work, and those that are not, each with its reason. They come up and go down one by one.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};
use twindisk_engine::ReplicaThread;

use super::replica::Replica;

/// All of them, in the order of the configuration.
#[derive(Default)]
pub(crate) struct Roster {
    places: RefCell<Vec<Place>>,
    /// Who brings a resource up, or takes it down: one at a time.
    turns: RefCell<HashMap<String, Arc<Mutex<()>>>>,
    /// One has ended, or is no longer to be waited for.
    changed: Notify,
}

struct Place {
    name: String,
    presence: Presence,
}

/// Whether a resource is at work.
pub(crate) enum Presence {
    /// It was started, and may have halted since.
    Up(Rc<Replica>, ReplicaThread),
    /// It could not be started.
    NotStarted(String),
    /// It was taken down on demand.
    Down,
}

/// One that is not at work.
pub(crate) struct Absent {
    pub(crate) name: String,
    pub(crate) why: String,
    /// On demand.
    pub(crate) down: bool,
}

impl Roster {
    /// Puts a resource into its place. What was there, if there was something.
    pub(crate) fn set(&self, name: &str, presence: Presence) -> Option<Presence> {
        let mut places = self.places.borrow_mut();
        let place = places.iter_mut().find(|place| place.name == name);
        let before = if let Some(place) = place {
            Some(std::mem::replace(&mut place.presence, presence))
        } else {
            let name = name.to_owned();
            places.push(Place { name, presence });
            None
        };
        drop(places);
        self.changed.notify_one();
        before
    }

    /// The right to bring a resource up, or to take it down: whoever has it before is waited for.
    pub(crate) async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.borrow_mut();
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    fn is_taken(&self, name: &str) -> bool {
        let turns = self.turns.borrow();
        turns.get(name).is_some_and(|turn| turn.try_lock().is_err())
    }

    /// Those that were started.
    pub(crate) fn replicas(&self) -> Vec<Rc<Replica>> {
        let places = self.places.borrow();
        let up = places.iter().filter_map(|place| match &place.presence {
            Presence::Up(replica, _) => Some(Rc::clone(replica)),
            Presence::NotStarted(_) | Presence::Down => None,
        });
        up.collect()
    }

    /// The one of that name, if it was started.
    pub(crate) fn find(&self, name: &str) -> Option<Rc<Replica>> {
        let mut replicas = self.replicas().into_iter();
        replicas.find(|replica| replica.name() == name)
    }

    /// The others.
    pub(crate) fn absent(&self) -> Vec<Absent> {
        let places = self.places.borrow();
        let absent = places.iter().filter_map(|place| {
            let (why, down) = match &place.presence {
                Presence::Up(..) => return None,
                Presence::NotStarted(why) => (why.clone(), false),
                Presence::Down => ("it was taken down (`twindisk down`)".to_owned(), true),
            };
            let name = place.name.clone();
            Some(Absent { name, why, down })
        });
        absent.collect()
    }

    /// A replica has ended.
    pub(crate) fn has_changed(&self) {
        self.changed.notify_one();
    }

    /// Comes back when nothing is at work any more, though nobody has taken anything down.
    pub(crate) async fn until_over(&self) {
        let is_over = |place: &Place| match &place.presence {
            // Who is being taken down has ended by that, and is recorded as down in a moment.
            Presence::Up(replica, _) => replica.halted().is_some() && !self.is_taken(&place.name),
            Presence::NotStarted(_) => true,
            Presence::Down => false,
        };
        while !self.places.borrow().iter().all(is_over) {
            self.changed.notified().await;
        }
    }

    /// Everything that was started, to be ended.
    pub(crate) fn take_all(&self) -> Vec<(Rc<Replica>, ReplicaThread)> {
        let places = self.places.take();
        let up = places.into_iter().filter_map(|place| match place.presence {
            Presence::Up(replica, thread) => Some((replica, thread)),
            Presence::NotStarted(_) | Presence::Down => None,
        });
        up.collect()
    }
}
