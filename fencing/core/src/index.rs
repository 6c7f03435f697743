//! Numbers of peers, resources and paths, and the tables that they index: one can't be taken for another.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Index, IndexMut},
    slice,
};

/// A number that indexes a [`Table`].
pub trait Key: Copy {
    /// The place numbered so.
    fn new(index: usize) -> Self;
    /// Its number.
    fn index(self) -> usize;
}

macro_rules! key {
    ($(#[doc = $what:literal] $name:ident,)+) => {
        $(
            #[doc = $what]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(usize);

            impl $name {
                /// The one numbered so, from 0 on.
                #[must_use]
                pub const fn new(index: usize) -> Self {
                    Self(index)
                }

                /// Its number.
                #[must_use]
                pub const fn index(self) -> usize {
                    self.0
                }
            }

            impl Key for $name {
                fn new(index: usize) -> Self {
                    Self(index)
                }

                fn index(self) -> usize {
                    self.0
                }
            }
        )+
    };
}

key! {
    /// A node that shares a resource with this one: its place in [`Config::peers`](crate::Config::peers).
    PeerIndex,
    /// Another node that has a copy of a resource: its place in [`ResourceConfig::members`](crate::ResourceConfig::members).
    MemberIndex,
    /// A resource: its place in [`Config::resources`](crate::Config::resources).
    ResourceIndex,
    /// A heartbeat path to a peer: its place in [`PeerConfig::paths`](crate::PeerConfig::paths).
    PathIndex,
}

/// A row for each peer, resource or path.
pub struct Table<K, T> {
    rows: Vec<T>,
    key: PhantomData<fn(K)>,
}

impl<K: Key, T> Table<K, T> {
    /// A table without rows.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rows: Vec::new(),
            key: PhantomData,
        }
    }

    /// How many rows it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// It has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of a key that may be of no row.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&T> {
        self.rows.get(key.index())
    }

    /// The key of each row; it does not borrow the table.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = K> + use<K, T> {
        (0..self.rows.len()).map(K::new)
    }

    /// Each row.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.rows.iter()
    }

    /// Each row, to change it.
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, T> {
        self.rows.iter_mut()
    }

    /// Each row with its key.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (K, &T)> {
        self.keys().zip(&self.rows)
    }

    /// Each row with its key, to change it.
    pub fn entries_mut(&mut self) -> impl ExactSizeIterator<Item = (K, &mut T)> {
        self.rows
            .iter_mut()
            .enumerate()
            .map(|(at, row)| (K::new(at), row))
    }

    /// The key of the first row of which that is so.
    pub fn position(&self, is: impl FnMut(&T) -> bool) -> Option<K> {
        self.rows.iter().position(is).map(K::new)
    }

    /// Adds a row, and says its key.
    pub fn push(&mut self, row: T) -> K {
        self.rows.push(row);
        K::new(self.rows.len() - 1)
    }
}

impl<K: Key, T> Index<K> for Table<K, T> {
    type Output = T;

    fn index(&self, key: K) -> &T {
        &self.rows[key.index()]
    }
}

impl<K: Key, T> IndexMut<K> for Table<K, T> {
    fn index_mut(&mut self, key: K) -> &mut T {
        &mut self.rows[key.index()]
    }
}

impl<K, T> From<Vec<T>> for Table<K, T> {
    fn from(rows: Vec<T>) -> Self {
        let key = PhantomData;
        Self { rows, key }
    }
}

impl<K, T> FromIterator<T> for Table<K, T> {
    fn from_iter<I: IntoIterator<Item = T>>(rows: I) -> Self {
        Self::from(Vec::from_iter(rows))
    }
}

impl<'a, K, T> IntoIterator for &'a Table<K, T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl<K, T: Clone> Clone for Table<K, T> {
    fn clone(&self) -> Self {
        Self::from(self.rows.clone())
    }
}

impl<K, T: fmt::Debug> fmt::Debug for Table<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<K, T: PartialEq> PartialEq for Table<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl<K, T: Eq> Eq for Table<K, T> {}
