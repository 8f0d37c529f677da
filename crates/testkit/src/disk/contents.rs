//! The files of a disk: what programs see of them, and what would be left without power.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};

use libsqlite3_sys as ffi;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use super::{
    faults::{Faults, Odds},
    locks::{Levels, Memory},
};

/// What is written whole or not at all.
const SECTOR: usize = 512;

/// What SQLite calls an error: one of its extended result codes.
pub(super) type Code = i32;

/// The number of a file: it stays when the name goes to another file.
pub(super) type FileNumber = u64;

pub(super) struct Contents {
    pub(super) faults: Faults,
    pub(super) struck: u64,
    /// Of these, the writes for which there was no room.
    pub(super) refused_writes: u64,
    /// Of these, the syncs that failed.
    pub(super) failed_syncs: u64,
    pub(super) power_losses: u64,
    /// Rises when open files die.
    pub(super) generation: u64,
    /// After how many more operations the power fails.
    power_left: Odds,
    chance: StdRng,
    /// Whether what a failed sync lost is still shown.
    shows_lost: bool,
    files: BTreeMap<FileNumber, File>,
    /// Which file a name means to programs, and which without power.
    names: BTreeMap<String, FileNumber>,
    durable_names: BTreeMap<String, FileNumber>,
    next: FileNumber,
}

#[derive(Default)]
pub(super) struct File {
    shown: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    handles: usize,
    pub(super) levels: Levels,
    memory: Weak<Memory>,
}

/// What may or may not be on the disk.
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize { length: usize },
}

/// What of a file's pending changes reaches the disk.
#[derive(Clone, Copy)]
enum Fate {
    Nothing,
    Everything,
    /// The first ones, in order, and a part of one more.
    Beginning,
    /// Each, or a part of it, or none of it.
    Any,
}

impl Contents {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        Self {
            faults: Faults::default(),
            struck: 0,
            refused_writes: 0,
            failed_syncs: 0,
            power_losses: 0,
            generation: 0,
            power_left: Odds::Never,
            shows_lost: chance.random_bool(0.5),
            chance,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            next: 0,
        }
    }

    /// Opens the file `path`, or one without a name.
    pub(super) fn open(&mut self, path: Option<&str>, create: bool) -> Result<FileNumber, Code> {
        let found = path.and_then(|path| self.names.get(path)).copied();
        let number = match found {
            Some(number) => number,
            None if create || path.is_none() => {
                self.next += 1;
                self.files.insert(self.next, File::default());
                if let Some(path) = path {
                    self.names.insert(path.to_owned(), self.next);
                }
                self.next
            }
            None => return Err(ffi::SQLITE_CANTOPEN),
        };
        self.file(number)?.handles += 1;
        Ok(number)
    }

    pub(super) fn close(&mut self, number: FileNumber) {
        if let Ok(file) = self.file(number) {
            file.handles = file.handles.saturating_sub(1);
        }
        self.forget_nameless();
    }

    /// Whether there is such a file with something in it; an empty one is none to SQLite.
    pub(super) fn exists(&self, path: &str) -> bool {
        let file = self.names.get(path).and_then(|file| self.files.get(file));
        file.is_some_and(|file| !file.shown.is_empty())
    }

    /// Deletes a name, durably if the directory is synced.
    pub(super) fn delete(&mut self, path: &str, sync_directory: bool) -> Result<(), Code> {
        let deleted = self.names.remove(path);
        deleted.ok_or(ffi::SQLITE_IOERR_DELETE_NOENT)?;
        self.consume_power(ffi::SQLITE_IOERR_DELETE)?;
        if sync_directory {
            self.durable_names = self.names.clone();
        }
        self.forget_nameless();
        Ok(())
    }

    pub(super) fn length(&mut self, number: FileNumber) -> Result<usize, Code> {
        Ok(self.file(number)?.shown.len())
    }

    /// Reads to the end of `buffer` or of the file; how much it was.
    pub(super) fn read(
        &mut self,
        number: FileNumber,
        at: usize,
        buffer: &mut [u8],
    ) -> Result<usize, Code> {
        if self.faults.read_fails.strike(&mut self.chance) {
            self.struck += 1;
            return Err(ffi::SQLITE_IOERR_READ);
        }
        let shown = self.file(number)?.shown.get(at..).unwrap_or_default();
        let count = shown.len().min(buffer.len());
        buffer[..count].copy_from_slice(&shown[..count]);
        Ok(count)
    }

    pub(super) fn write(
        &mut self,
        number: FileNumber,
        at: usize,
        bytes: &[u8],
    ) -> Result<(), Code> {
        if self.faults.write_fails.strike(&mut self.chance) {
            self.struck += 1;
            return Err(ffi::SQLITE_IOERR_WRITE);
        }
        if self.faults.write_tears.strike(&mut self.chance) {
            self.struck += 1;
            for (at, sector) in sectors(at, bytes) {
                if self.chance.random_bool(0.5) {
                    self.file(number)?.write(at, sector);
                }
            }
            return Err(ffi::SQLITE_IOERR_WRITE);
        }
        let free = match self.faults.capacity {
            Some(capacity) => capacity.saturating_sub(self.used()),
            None => u64::MAX,
        };
        let file = self.file(number)?;
        let writable = usize::try_from(free)
            .unwrap_or(usize::MAX)
            .saturating_add(file.shown.len())
            .saturating_sub(at);
        if writable < bytes.len() {
            file.write(at, &bytes[..writable]);
            self.struck += 1;
            self.refused_writes += 1;
            return Err(ffi::SQLITE_FULL);
        }
        file.write(at, bytes);
        self.consume_power(ffi::SQLITE_IOERR_WRITE)
    }

    pub(super) fn resize(&mut self, number: FileNumber, length: usize) -> Result<(), Code> {
        let file = self.file(number)?;
        file.shown.resize(length, 0);
        file.pending.push(Change::Resize { length });
        self.consume_power(ffi::SQLITE_IOERR_TRUNCATE)
    }

    /// Makes durable what is pending in a file, and its name.
    pub(super) fn sync(&mut self, number: FileNumber) -> Result<(), Code> {
        self.consume_power(ffi::SQLITE_IOERR_FSYNC)?;
        if self.faults.sync_lies.strike(&mut self.chance) {
            self.struck += 1;
            return Ok(());
        }
        if self.faults.sync_fails.strike(&mut self.chance) {
            self.struck += 1;
            self.failed_syncs += 1;
            let shows_lost = self.shows_lost;
            let chance = &mut self.chance;
            let file = self.files.get_mut(&number).ok_or(ffi::SQLITE_IOERR_FSYNC)?;
            file.settle(Fate::draw(chance), chance);
            if !shows_lost {
                file.shown = file.durable.clone();
            }
            return Err(ffi::SQLITE_IOERR_FSYNC);
        }
        let chance = &mut self.chance;
        let file = self.files.get_mut(&number).ok_or(ffi::SQLITE_IOERR_FSYNC)?;
        file.settle(Fate::Everything, chance);
        // A file system's log is written in order: with the name of a new file, all changes of names before it.
        let is_new = !self.durable_names.values().any(|file| *file == number);
        if is_new {
            self.durable_names = self.names.clone();
        }
        Ok(())
    }

    /// Fails with `code` if the power fails now.
    fn consume_power(&mut self, code: Code) -> Result<(), Code> {
        let chance = &mut self.chance;
        if self.faults.power_fails.strike(chance) || self.power_left.strike(chance) {
            self.struck += 1;
            self.power_loss();
            return Err(code);
        }
        Ok(())
    }

    pub(super) fn power_loss_within(&mut self, operations: u32) {
        let others = self.chance.random_range(0..operations.max(1));
        self.power_left = Odds::After(others);
    }

    pub(super) fn power_loss(&mut self) {
        self.power_losses += 1;
        self.power_left = Odds::Never;
        self.process_death();
        for file in self.files.values_mut() {
            let fate = Fate::draw(&mut self.chance);
            file.settle(fate, &mut self.chance);
            file.shown = file.durable.clone();
        }
        let changed: BTreeSet<_> = self.names.keys().chain(self.durable_names.keys()).collect();
        let mut left = BTreeMap::new();
        for name in changed {
            let new_one = self.chance.random_bool(0.5);
            let names = if new_one {
                &self.names
            } else {
                &self.durable_names
            };
            if let Some(number) = names.get(name) {
                left.insert(name.clone(), *number);
            }
        }
        self.names = left.clone();
        self.durable_names = left;
        self.forget_nameless();
    }

    pub(super) fn process_death(&mut self) {
        self.generation += 1;
        for file in self.files.values_mut() {
            file.levels = Levels::default();
            file.memory = Weak::new();
            file.handles = 0;
        }
        self.forget_nameless();
    }

    pub(super) fn used(&self) -> u64 {
        let lengths = self.files.values().map(|file| file.shown.len() as u64);
        lengths.sum()
    }

    pub(super) fn damage(&mut self, path: &str, at: usize, bytes: &[u8]) {
        let number = self.names.get(path).copied();
        if let Some(file) = number.and_then(|number| self.files.get_mut(&number)) {
            overwrite(&mut file.shown, at, bytes);
            overwrite(&mut file.durable, at, bytes);
        }
    }

    /// An open file, of those that are not dead.
    pub(super) fn file(&mut self, number: FileNumber) -> Result<&mut File, Code> {
        self.files.get_mut(&number).ok_or(ffi::SQLITE_IOERR)
    }

    fn forget_nameless(&mut self) {
        let mut named: BTreeSet<_> = self.names.values().collect();
        named.extend(self.durable_names.values());
        self.files
            .retain(|number, file| file.handles > 0 || named.contains(number));
    }
}

impl File {
    /// The memory that its handles share.
    pub(super) fn memory(&mut self) -> Arc<Memory> {
        self.memory.upgrade().unwrap_or_else(|| {
            let memory = Arc::new(Memory::default());
            self.memory = Arc::downgrade(&memory);
            memory
        })
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        overwrite(&mut self.shown, at, bytes);
        let bytes = bytes.to_vec();
        self.pending.push(Change::Write { at, bytes });
    }

    /// Nothing is pending any more.
    fn settle(&mut self, fate: Fate, chance: &mut impl Rng) {
        let pending = std::mem::take(&mut self.pending);
        let whole = match fate {
            Fate::Beginning => chance.random_range(0..=pending.len()),
            _ => 0,
        };
        for (index, change) in pending.iter().enumerate() {
            let (kept, torn) = match fate {
                Fate::Nothing => (false, false),
                Fate::Everything => (true, false),
                Fate::Beginning => (index < whole, index == whole),
                Fate::Any => (chance.random_bool(0.5), chance.random_bool(0.5)),
            };
            match change {
                Change::Write { at, bytes } if kept => overwrite(&mut self.durable, *at, bytes),
                Change::Write { at, bytes } if torn => {
                    for (at, sector) in sectors(*at, bytes) {
                        if chance.random_bool(0.5) {
                            overwrite(&mut self.durable, at, sector);
                        }
                    }
                }
                Change::Resize { length } if kept => self.durable.resize(*length, 0),
                Change::Write { .. } | Change::Resize { .. } => {}
            }
        }
    }
}

impl Fate {
    fn draw(chance: &mut impl Rng) -> Self {
        match chance.random_range(0..4) {
            0 => Fate::Nothing,
            1 => Fate::Everything,
            2 => Fate::Beginning,
            _ => Fate::Any,
        }
    }
}

fn overwrite(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// The parts of a write that are in one sector each, with where they are.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - at % SECTOR).min(bytes.len());
    let (first, rest) = bytes.split_at(first);
    let begin = at + first.len();
    let rest = rest.chunks(SECTOR).enumerate();
    std::iter::once((at, first))
        .chain(rest.map(move |(index, part)| (begin + index * SECTOR, part)))
}
