//! R17: a client that is bound to a role and comes back to it finds the device as it left it. It is taken to have cached
//! everything that could be read or was acknowledged in that role.

use std::collections::BTreeMap;

use twindisk_format::binding::Binding;

use super::{
    Violation,
    book::Book,
    sector::{NEVER, SectorBook},
};
use crate::{
    content::{describe, write_of},
    disk::DataDisk,
};

/// The roles in which a device was open, and who wrote what in which.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    /// With the name of the first write that could be issued in it.
    opened: BTreeMap<(u64, u64), u64>,
    writers: BTreeMap<u64, (u64, u64)>,
}

impl Bindings {
    /// A client issues a write to a node that serves those bound to `binding`.
    pub(crate) fn wrote(&mut self, write: u64, binding: Option<Binding>) {
        if let Some(binding) = binding {
            self.writers.insert(write, key(binding));
        }
    }

    /// A node opens its device for those that are bound to `binding`.
    pub(crate) fn opens(
        &mut self,
        binding: Binding,
        next_write: u64,
        (book, disk): (&Book, Option<&DataDisk>),
    ) -> Result<(), Violation> {
        let key = key(binding);
        let Some(&first) = self.opened.get(&key) else {
            self.opened.insert(key, next_write);
            return Ok(());
        };
        let Some(disk) = disk else {
            return Ok(());
        };
        for (sector, versions) in book.sectors() {
            let value = disk.peek(sector);
            let write = write_of(value);
            if write >= first && self.writers.get(&write) != Some(&key) {
                return Err(broken(
                    binding,
                    sector,
                    value,
                    "somebody else wrote that since",
                ));
            }
            if let Some(lost) = self.lost(key, versions, value) {
                let why = format!("write {lost}, which it was told is done, is gone");
                return Err(broken(binding, sector, value, &why));
            }
        }
        Ok(())
    }

    /// An acknowledged write of the role that a medium with `value` does not have.
    fn lost(&self, key: (u64, u64), versions: &SectorBook, value: u64) -> Option<u64> {
        let held = versions
            .versions
            .iter()
            .find(|version| version.value == value);
        let ambiguous = value == 0 && held.is_some();
        let end = held.map_or(0, |version| version.end);
        let lost = versions.versions.iter().find(|version| {
            version.acked != NEVER
                && version.invoke > end
                && self.writers.get(&version.write) == Some(&key)
        });
        lost.filter(|_| !ambiguous).map(|version| version.write)
    }
}

fn broken(binding: Binding, sector: u64, value: u64, why: &str) -> Violation {
    let held = describe(value);
    Violation::new(
        "R17",
        format!(
            "clients bound to {binding} are served again, and sector {sector} holds {held}: {why}"
        ),
    )
}

const fn key(binding: Binding) -> (u64, u64) {
    (binding.term.0, binding.id.0)
}
