//! An open file, as SQLite uses it. When the power failed or the process died since it was opened, it is dead.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use libsqlite3_sys as ffi;

use super::{
    contents::{Code, Contents, File, FileNumber},
    disk_of, lock,
    locks::{Held, Memory, SLOTS},
};

pub(super) struct Handle {
    disk: Arc<Mutex<Contents>>,
    file: FileNumber,
    generation: u64,
    /// Tells it from the other handles of the file.
    number: u64,
    memory: Option<Arc<Memory>>,
    held: Held,
    /// Its name, when that goes with it.
    temporary: Option<String>,
}

impl Handle {
    /// Opens `path`, or a file without a name on no disk in particular.
    pub(super) fn open(path: Option<&str>, flags: i32) -> Result<Self, Code> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let disk = match path {
            Some(path) => disk_of(path).ok_or(ffi::SQLITE_CANTOPEN)?,
            None => Arc::new(Mutex::new(Contents::new(0))),
        };
        let mut contents = lock(&disk);
        let file = contents.open(path, flags & ffi::SQLITE_OPEN_CREATE != 0)?;
        let generation = contents.generation;
        drop(contents);
        let is_temporary = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
        Ok(Self {
            disk,
            file,
            generation,
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            memory: None,
            held: Held::default(),
            temporary: path.filter(|_| is_temporary).map(str::to_owned),
        })
    }

    pub(super) fn delete(path: &str, sync_directory: bool) -> Result<(), Code> {
        let disk = disk_of(path).ok_or(ffi::SQLITE_IOERR_DELETE)?;
        lock(&disk).delete(path, sync_directory)
    }

    pub(super) fn exists(path: &str) -> bool {
        disk_of(path).is_some_and(|disk| lock(&disk).exists(path))
    }

    /// Reads to the end of `buffer` or of the file, and fills the rest of it with zeros; whether there was enough.
    pub(super) fn read(&self, at: usize, buffer: &mut [u8]) -> Result<bool, Code> {
        let count = self
            .alive(ffi::SQLITE_IOERR_READ)?
            .read(self.file, at, buffer)?;
        buffer[count..].fill(0);
        Ok(count == buffer.len())
    }

    pub(super) fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Code> {
        self.alive(ffi::SQLITE_IOERR_WRITE)?
            .write(self.file, at, bytes)
    }

    pub(super) fn resize(&self, length: usize) -> Result<(), Code> {
        self.alive(ffi::SQLITE_IOERR_TRUNCATE)?
            .resize(self.file, length)
    }

    pub(super) fn sync(&self) -> Result<(), Code> {
        self.alive(ffi::SQLITE_IOERR_FSYNC)?.sync(self.file)
    }

    pub(super) fn length(&self) -> Result<usize, Code> {
        self.alive(ffi::SQLITE_IOERR_FSTAT)?.length(self.file)
    }

    pub(super) fn lock(&self, level: i32) -> Result<(), Code> {
        let mut contents = self.alive(ffi::SQLITE_IOERR_LOCK)?;
        contents.file(self.file)?.levels.raise(self.number, level)
    }

    pub(super) fn unlock(&self, level: i32) -> Result<(), Code> {
        let mut contents = self.alive(ffi::SQLITE_IOERR_UNLOCK)?;
        contents.file(self.file)?.levels.lower(self.number, level);
        Ok(())
    }

    pub(super) fn is_reserved(&self) -> Result<bool, Code> {
        let mut contents = self.alive(ffi::SQLITE_IOERR_CHECKRESERVEDLOCK)?;
        Ok(contents.file(self.file)?.levels.is_reserved())
    }

    /// Where a region of shared memory begins. It stays there as long as this handle does not
    /// [unmap](Self::unmap) it, dead or not.
    pub(super) fn map(
        &mut self,
        region: usize,
        size: usize,
        extend: bool,
    ) -> Result<Option<*const AtomicU64>, Code> {
        let mut contents = self.alive(ffi::SQLITE_IOERR_SHMMAP)?;
        let shared = contents.file(self.file).map(File::memory)?;
        drop(contents);
        let memory = self.memory.get_or_insert(shared);
        Ok(memory.region(region, size, extend))
    }

    pub(super) fn lock_memory(
        &mut self,
        first: usize,
        count: usize,
        flags: i32,
    ) -> Result<(), Code> {
        let dead = self.alive(ffi::SQLITE_IOERR_SHMLOCK).map(drop);
        let slots = first..(first + count).min(SLOTS);
        let memory = self.memory.as_ref().ok_or(ffi::SQLITE_IOERR_SHMLOCK)?;
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            memory.unlock(&mut self.held, slots);
            return dead;
        }
        dead?;
        if flags & ffi::SQLITE_SHM_EXCLUSIVE != 0 {
            return memory.exclude(&mut self.held, slots);
        }
        memory.share(&mut self.held, slots.start)
    }

    /// Gives its part of the shared memory up.
    pub(super) fn unmap(&mut self) {
        if let Some(memory) = self.memory.take() {
            memory.unlock(&mut self.held, 0..SLOTS);
        }
    }

    /// The disk, unless this handle is dead: then `code`.
    fn alive(&self, code: Code) -> Result<MutexGuard<'_, Contents>, Code> {
        let contents = lock(&self.disk);
        if contents.generation == self.generation {
            Ok(contents)
        } else {
            Err(code)
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.unmap();
        let Ok(mut contents) = self.alive(ffi::SQLITE_IOERR_CLOSE) else {
            return;
        };
        if let Ok(file) = contents.file(self.file) {
            file.levels.lower(self.number, ffi::SQLITE_LOCK_NONE);
        }
        if let Some(name) = &self.temporary {
            let _ = contents.delete(name, false); // somebody else may have deleted it
        }
        contents.close(self.file);
    }
}
