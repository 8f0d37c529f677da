//! Who may read and write a file, and the memory that the connections to a database share.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use libsqlite3_sys as ffi;

use super::contents::Code;

/// Which handle holds which of SQLite's five levels: none, shared, reserved, pending, exclusive.
#[derive(Default)]
pub(super) struct Levels(BTreeMap<u64, i32>);

impl Levels {
    /// Raises the level of `handle`.
    pub(super) fn raise(&mut self, handle: u64, level: i32) -> Result<(), Code> {
        if self.held(handle) >= level {
            return Ok(());
        }
        let highest = self.highest_beside(handle);
        let barrier = match level {
            ffi::SQLITE_LOCK_SHARED => ffi::SQLITE_LOCK_PENDING,
            ffi::SQLITE_LOCK_RESERVED => ffi::SQLITE_LOCK_RESERVED,
            _ => ffi::SQLITE_LOCK_PENDING,
        };
        if highest >= barrier {
            return Err(ffi::SQLITE_BUSY);
        }
        if level == ffi::SQLITE_LOCK_EXCLUSIVE && highest > ffi::SQLITE_LOCK_NONE {
            // No new readers, so that those that there are come to an end.
            self.0.insert(handle, ffi::SQLITE_LOCK_PENDING);
            return Err(ffi::SQLITE_BUSY);
        }
        self.0.insert(handle, level);
        Ok(())
    }

    /// Lowers the level of `handle`.
    pub(super) fn lower(&mut self, handle: u64, level: i32) {
        if level == ffi::SQLITE_LOCK_NONE {
            self.0.remove(&handle);
        } else if self.held(handle) > level {
            self.0.insert(handle, level);
        }
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.0
            .values()
            .any(|level| *level >= ffi::SQLITE_LOCK_RESERVED)
    }

    fn held(&self, handle: u64) -> i32 {
        self.0
            .get(&handle)
            .copied()
            .unwrap_or(ffi::SQLITE_LOCK_NONE)
    }

    fn highest_beside(&self, handle: u64) -> i32 {
        let others = self.0.iter().filter(|(other, _)| **other != handle);
        others
            .map(|(_, level)| *level)
            .max()
            .unwrap_or(ffi::SQLITE_LOCK_NONE)
    }
}

/// How many locks there are on shared memory.
pub(super) const SLOTS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// The memory that connections share: regions whose place never changes, and locks.
#[derive(Default)]
pub(super) struct Memory(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    /// Atomics, because SQLite changes them behind our back.
    regions: Vec<Box<[AtomicU64]>>,
    slots: [Slot; SLOTS],
}

#[derive(Default, Clone, Copy)]
struct Slot {
    shared: u32,
    exclusive: bool,
}

/// Which slots a handle holds, by bits.
#[derive(Default, Clone, Copy)]
pub(super) struct Held {
    shared: u32,
    exclusive: u32,
}

impl Memory {
    /// Where region `index` begins; `None` when there is none, and it is not to be made.
    pub(super) fn region(
        &self,
        index: usize,
        size: usize,
        extend: bool,
    ) -> Option<*const AtomicU64> {
        let mut shared = self.lock();
        while extend && shared.regions.len() <= index {
            let words = (0..size.div_ceil(size_of::<u64>())).map(|_| AtomicU64::new(0));
            shared.regions.push(words.collect());
        }
        shared.regions.get(index).map(|region| region.as_ptr())
    }

    pub(super) fn share(&self, held: &mut Held, slot: usize) -> Result<(), Code> {
        let bit = 1 << slot;
        let slot = &mut self.lock().slots[slot];
        if held.shared & bit == 0 {
            if slot.exclusive {
                return Err(ffi::SQLITE_BUSY);
            }
            slot.shared += 1;
            held.shared |= bit;
        }
        Ok(())
    }

    pub(super) fn exclude(
        &self,
        held: &mut Held,
        slots: std::ops::Range<usize>,
    ) -> Result<(), Code> {
        let mut shared = self.lock();
        for slot in slots.clone() {
            let own = u32::from(held.shared & (1 << slot) != 0);
            let owned = held.exclusive & (1 << slot) != 0;
            let taken = shared.slots[slot];
            if taken.shared > own || (taken.exclusive && !owned) {
                return Err(ffi::SQLITE_BUSY);
            }
        }
        for slot in slots {
            shared.slots[slot].exclusive = true;
            held.exclusive |= 1 << slot;
        }
        Ok(())
    }

    pub(super) fn unlock(&self, held: &mut Held, slots: std::ops::Range<usize>) {
        let mut shared = self.lock();
        for slot in slots {
            let bit = 1 << slot;
            if held.shared & bit != 0 {
                shared.slots[slot].shared -= 1;
            }
            if held.exclusive & bit != 0 {
                shared.slots[slot].exclusive = false;
            }
            held.shared &= !bit;
            held.exclusive &= !bit;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
