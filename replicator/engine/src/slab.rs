//! A table of slots that are reused: no allocation once it has grown, and a generation per life of a slot.

/// Slots for values of one kind.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    limit: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// At most `limit` values at a time.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            limit,
        }
    }

    /// Takes a slot for `value`.
    ///
    /// # Panics
    /// When the table is full: `has_room` says so before.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize].value = Some(value);
            return index;
        }
        assert!(
            self.slots.len() < self.limit,
            "more than {} values",
            self.limit
        );
        self.slots.push(Slot {
            generation: 1,
            value: Some(value),
        });
        u32::try_from(self.slots.len() - 1).expect("below a limit")
    }

    /// Frees a slot.
    ///
    /// # Panics
    /// When it is free already.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.value.take().expect("a slot is freed once")
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// The generation of the slot's present life.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.slots[index as usize].generation
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        self.limit - self.len()
    }

    /// The numbers of the slots in use.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.value.is_some())
            .map(|(index, _)| index as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_a_new_generation_in_each_life() {
        let mut slab = Slab::new(2);
        let first = slab.insert('a');
        let second = slab.insert('b');
        assert_eq!(slab.room(), 0);
        let generation = slab.generation(first);
        assert_eq!(slab.remove(first), 'a');
        assert_eq!(slab.insert('c'), first);
        assert_ne!(slab.generation(first), generation);
        assert_eq!(slab.indexes().collect::<Vec<_>>(), [first, second]);
        assert_eq!(slab.get(first), Some(&'c'));
    }
}
