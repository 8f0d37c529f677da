//! The functions that SQLite calls when a database is on a simulated disk.
//!
//! Each checks what it was given, calls [`Handle`], and turns the outcome into a code. They are `unsafe` because
//! SQLite is written in C: what it promises about its pointers (sqlite.org/c3ref/vfs.html and io_methods.html) is
//! what each block relies on. None of them panics: that would abort the process.
//!
//! There is one file system for all disks, registered once and for good: a connection may outlive every disk.

#![allow(unsafe_code, reason = "see the module's documentation")]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr::null_mut,
    slice,
    sync::{
        OnceLock,
        atomic::{Ordering, fence},
    },
};

use libsqlite3_sys as ffi;

use super::{contents::Code, handle::Handle};

/// The name under which SQLite knows all disks.
pub(super) const NAME: &CStr = c"outrigger-disk";
const LONGEST_PATH: c_int = 512;
/// As SQLite's own file system says of every disk.
const SECTOR_SIZE: c_int = 4096;

/// What SQLite keeps of an open file. It makes the room; [`open`] fills it, [`close`] ends it.
#[repr(C)]
struct OpenFile {
    /// First, because SQLite knows only this part.
    base: ffi::sqlite3_file,
    /// From a box; null after closing.
    handle: *mut Handle,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2, // with shared memory, without memory maps
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes the disks known to SQLite, once.
pub(super) fn register() -> Result<(), Code> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(|| {
        let vfs = ffi::sqlite3_vfs {
            iVersion: 2, // with time as an integer
            szOsFile: size_of::<OpenFile>() as c_int,
            mxPathname: LONGEST_PATH,
            pNext: null_mut(),
            zName: NAME.as_ptr(),
            pAppData: null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: Some(load_nothing),
            xDlError: Some(say_nothing),
            xDlSym: None, // never called when nothing is loaded
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: None,
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        // SAFETY: leaked, so that it stays valid and in its place for good; from here on only SQLite touches it,
        // under a lock of its own. The functions in it fulfil the contract of theirs, as said at each.
        unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) }
    });
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

fn outcome(result: Result<(), Code>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// # Safety
/// `file` was filled by [`open`] and not closed, and nobody else uses it meanwhile. SQLite promises both: it calls the
/// methods only between, and a connection is used by one thread at a time.
unsafe fn handle<'h>(file: *mut ffi::sqlite3_file) -> &'h mut Handle {
    // SAFETY: by the contract, `file` is the first part of an `OpenFile` with a handle from a box.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

/// # Safety
/// `name` is null or a string that ends with a zero byte and lives for `'n`.
unsafe fn text<'n>(name: *const c_char) -> Result<Option<&'n str>, Code> {
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: the contract.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().map(Some).map_err(|_| ffi::SQLITE_CANTOPEN)
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a name that lives during the call, or null for a temporary file.
    let opened = unsafe { text(name) }.and_then(|path| Handle::open(path, flags));
    let (methods, handle, code) = match opened {
        Ok(handle) => {
            let handle = Box::into_raw(Box::new(handle));
            (&raw const METHODS, handle, ffi::SQLITE_OK)
        }
        // Without methods, SQLite does not close it.
        Err(code) => (std::ptr::null(), null_mut(), code),
    };
    let base = ffi::sqlite3_file { pMethods: methods };
    // SAFETY: SQLite gives `szOsFile` bytes, aligned for any pointer, and null or a place for the flags.
    unsafe {
        file.cast::<OpenFile>().write(OpenFile { base, handle });
        if let Some(out_flags) = out_flags.as_mut() {
            *out_flags = flags;
        }
    }
    code
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file, as for `handle`; its handle is from a box, and taken out here for the only time.
    unsafe {
        let handle = std::mem::replace(&mut (*file.cast::<OpenFile>()).handle, null_mut());
        drop(Box::from_raw(handle));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: SQLite gives a name that lives during the call.
    let path = unsafe { text(name) }.and_then(|path| path.ok_or(ffi::SQLITE_IOERR_DELETE));
    outcome(path.and_then(|path| Handle::delete(path, sync_directory != 0)))
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a name that lives during the call.
    let path = unsafe { text(name) };
    let exists = path.ok().flatten().is_some_and(Handle::exists);
    // SAFETY: SQLite gives a place for the answer.
    unsafe { found.write(c_int::from(exists)) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    full: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a name that lives during the call.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(room).is_ok_and(|room| name.len() <= room) {
        // SAFETY: SQLite gives room for `room` bytes, elsewhere than the name.
        unsafe { full.copy_from_nonoverlapping(name.as_ptr().cast(), name.len()) };
        return ffi::SQLITE_OK;
    }
    ffi::SQLITE_CANTOPEN
}

unsafe extern "C" fn load_nothing(_: *mut ffi::sqlite3_vfs, _: *const c_char) -> *mut c_void {
    null_mut()
}

unsafe extern "C" fn say_nothing(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) {}

/// Calls a function of SQLite's own file system, or answers `SQLITE_ERROR` if there is none.
macro_rules! of_the_system {
    ($function:ident, $($argument:expr),*) => {{
        // SAFETY: null asks for the default file system, which stays registered. Its function gets the arguments
        // that SQLite gave to ours, under the same contract.
        unsafe {
            let system = ffi::sqlite3_vfs_find(std::ptr::null());
            match system.as_ref().and_then(|system| system.$function) {
                Some(function) => function(system, $($argument),*),
                None => ffi::SQLITE_ERROR,
            }
        }
    }};
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    of_the_system!(xRandomness, count, out)
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    of_the_system!(xSleep, micros)
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, time: *mut f64) -> c_int {
    of_the_system!(xCurrentTime, time)
}

unsafe extern "C" fn current_time_int64(_: *mut ffi::sqlite3_vfs, time: *mut i64) -> c_int {
    of_the_system!(xCurrentTimeInt64, time)
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(at)) = (usize::try_from(count), usize::try_from(at)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: an open file; SQLite gives room for `count` bytes that nobody else uses. They may never have been
    // written: so zeros first.
    let (handle, buffer) = unsafe {
        buffer.cast::<u8>().write_bytes(0, count);
        (
            handle(file),
            slice::from_raw_parts_mut(buffer.cast(), count),
        )
    };
    match handle.read(at, buffer) {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(code) => code,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(at)) = (usize::try_from(count), usize::try_from(at)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: an open file; SQLite gives `count` bytes that do not change during the call.
    let (handle, bytes) = unsafe { (handle(file), slice::from_raw_parts(buffer.cast(), count)) };
    outcome(handle.write(at, bytes))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    let length = usize::try_from(length).map_err(|_| ffi::SQLITE_IOERR_TRUNCATE);
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    outcome(length.and_then(|length| handle.resize(length)))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    outcome(unsafe { handle(file) }.sync())
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file.
    let length = unsafe { handle(file) }.length();
    let length = length.and_then(|length| length.try_into().map_err(|_| ffi::SQLITE_IOERR_FSTAT));
    // SAFETY: SQLite gives a place for the answer.
    outcome(length.map(|length| unsafe { size.write(length) }))
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    outcome(unsafe { handle(file) }.lock(level))
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    outcome(unsafe { handle(file) }.unlock(level))
}

unsafe extern "C" fn check_reserved_lock(
    file: *mut ffi::sqlite3_file,
    reserved: *mut c_int,
) -> c_int {
    // SAFETY: an open file.
    let answer = unsafe { handle(file) }.is_reserved();
    // SAFETY: SQLite gives a place for the answer.
    outcome(answer.map(|answer| unsafe { reserved.write(c_int::from(answer)) }))
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND // this file system has nothing of its own
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SIZE
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    place: *mut *mut c_void,
) -> c_int {
    let (Ok(region), Ok(size)) = (usize::try_from(region), usize::try_from(size)) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    // SAFETY: an open file.
    let mapped = unsafe { handle(file) }.map(region, size, extend != 0);
    let mapped = mapped.map(|found| found.map_or(null_mut(), |words| words.cast_mut().cast()));
    // SAFETY: SQLite gives a place for the answer. What it gets are atomics, which may be changed through a shared
    // pointer, at least `size` bytes of them; they stay where they are until this handle unmaps them.
    outcome(mapped.map(|start| unsafe { place.write(start) }))
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let (Ok(first), Ok(count)) = (usize::try_from(first), usize::try_from(count)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    // SAFETY: an open file.
    outcome(unsafe { handle(file) }.lock_memory(first, count, flags))
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file. SQLite uses what it had mapped no more.
    unsafe { handle(file) }.unmap();
    ffi::SQLITE_OK
}
