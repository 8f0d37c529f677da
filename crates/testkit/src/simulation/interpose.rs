//! Time and chance of libraries, which ask the C library and not `env`: overridden for the simulating thread.
//!
//! Hash seeds, the `Date` header, TLS, UUIDs: each asks `clock_gettime` or `getrandom`, and a run that is to be
//! repeated must answer them. The functions below take the place of the C library's in the whole binary, and pass
//! every call on to it, except on a thread that entered a simulation. So the same binary serves in
//! production, and its threads notice nothing.
//!
//! There is `unsafe` here because a C function cannot be overridden without. What it must
//! see to is said at each block. Elsewhere than on Linux nothing is overridden, and a run repeats only as far as
//! the code under it asks `env`.

#![allow(unsafe_code, reason = "see the module's documentation")]

use std::{cell::Cell, time::Duration};

/// 2026-01-01T00:00:00Z: when every simulation begins, in seconds since the epoch.
pub const EPOCH_SECONDS: u64 = 1_767_225_600;

/// What the monotonic clock shows then; not zero, so that something can have been before.
const BOOT_SECONDS: u64 = 1_000;

thread_local! {
    // Constant and without destructors, so that they answer at any time in the life of a thread.
    static SIMULATING: Cell<bool> = const { Cell::new(false) };
    static ELAPSED_NANOS: Cell<u64> = const { Cell::new(0) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
}

/// From now on this thread sees simulated time, beginning at [`EPOCH_SECONDS`], and chance made from `seed`.
///
/// It also seeds SQLite's generator, which is one for the whole process: a process simulates one seed.
pub(super) fn enter(seed: u64) -> Entered {
    CHANCE.set(seed);
    ELAPSED_NANOS.set(0);
    SIMULATING.set(true);
    seed_sqlite(seed);
    Entered(())
}

/// Whether the overrides are in force, as they must be on Linux: a linker may be told to prefer the C library's.
#[expect(clippy::disallowed_methods, reason = "asks what a library would ask")]
pub(super) fn is_in_force() -> bool {
    let shown = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    !cfg!(target_os = "linux") || shown.is_ok_and(|time| time.as_secs() == EPOCH_SECONDS)
}

/// Gives the thread back to the real world when dropped.
pub(super) struct Entered(());

impl Entered {
    /// Sets how much simulated time has passed.
    pub(super) fn set_elapsed(&self, elapsed: Duration) {
        ELAPSED_NANOS.set(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        SIMULATING.set(false);
    }
}

/// Whether this thread is in a simulation.
pub(super) fn is_simulating() -> bool {
    SIMULATING.try_with(Cell::get).unwrap_or(false)
}

fn seed_sqlite(seed: u64) {
    const MASK: u64 = 0x7fff_ffff;
    let seed = i32::try_from(seed & MASK).unwrap_or(0) | 1; // 0 would mean: from the system
    // SAFETY: the documented arguments of this operation: an int, and a database or null for none. It takes
    // SQLite's own lock.
    unsafe {
        libsqlite3_sys::sqlite3_test_control(
            libsqlite3_sys::SQLITE_TESTCTRL_PRNG_SEED,
            seed,
            std::ptr::null_mut::<libsqlite3_sys::sqlite3>(),
        );
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough for hash seeds.
fn next_chance() -> u64 {
    let state = CHANCE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHANCE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(target_os = "linux")]
mod overrides {
    use std::{
        ffi::{c_int, c_uint, c_void},
        sync::OnceLock,
    };

    use libc::{clockid_t, size_t, ssize_t, timespec, timeval};

    use super::{BOOT_SECONDS, ELAPSED_NANOS, EPOCH_SECONDS, is_simulating, next_chance};

    const NANOS: u64 = 1_000_000_000;
    /// The most that `getentropy` gives at once.
    const ENTROPY_LIMIT: usize = 256;

    /// Seconds and nanoseconds on a clock that showed `start` seconds when the simulation began.
    fn reading(start: u64) -> (i64, i64) {
        let elapsed = ELAPSED_NANOS.get();
        let seconds = start + elapsed / NANOS;
        (seconds.cast_signed(), (elapsed % NANOS).cast_signed())
    }

    type ClockGettime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

    /// The C library's own function, which reads the clock without a system call; `None` where everything is
    /// linked statically.
    fn real_clock_gettime() -> Option<ClockGettime> {
        static REAL: OnceLock<Option<ClockGettime>> = OnceLock::new();
        *REAL.get_or_init(|| {
            // SAFETY: the name ends with a zero byte, and `dlsym` only looks it up.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
            // SAFETY: what has this name in the C library has this signature. Null is not turned into a
            // function but into `None`.
            unsafe { std::mem::transmute::<*mut c_void, Option<ClockGettime>>(found) }
        })
    }

    /// Takes the place of the C library's `clock_gettime`.
    // SAFETY: the name and signature are those of POSIX, and so is what it does.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
        let start = match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH_SECONDS,
            _ => BOOT_SECONDS,
        };
        if is_simulating() && !time.is_null() {
            let (tv_sec, tv_nsec) = reading(start);
            // SAFETY: not null, and the caller says that a `timespec` may be written there.
            unsafe { time.write(timespec { tv_sec, tv_nsec }) };
            return 0;
        }
        match real_clock_gettime() {
            // SAFETY: the caller's own arguments.
            Some(real) => unsafe { real(clock, time) },
            // SAFETY: as above; the kernel checks the pointer itself.
            None => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int },
        }
    }

    /// Takes the place of the C library's `gettimeofday`, which SQLite asks.
    // SAFETY: the name and signature are those of POSIX, and so is what it does.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int {
        if is_simulating() && !time.is_null() {
            let (tv_sec, nanos) = reading(EPOCH_SECONDS);
            let tv_usec = nanos / 1000;
            // SAFETY: not null, and the caller says that a `timeval` may be written there.
            unsafe { time.write(timeval { tv_sec, tv_usec }) };
            return 0;
        }
        // SAFETY: the caller's own arguments; the kernel checks the pointers itself.
        unsafe { libc::syscall(libc::SYS_gettimeofday, time, zone) as c_int }
    }

    /// Takes the place of the C library's `getrandom`.
    // SAFETY: the name and signature are those of Linux, and so is what it does.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
        if is_simulating() && !buffer.is_null() {
            // SAFETY: not null, and the caller says that `length` bytes may be written there.
            unsafe { fill(buffer.cast(), length) };
            return length.cast_signed();
        }
        // SAFETY: the caller's own arguments; the kernel checks the pointer itself.
        unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as ssize_t }
    }

    /// Takes the place of the C library's `getentropy`.
    // SAFETY: the name and signature are those of POSIX, and so is what it does.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getentropy(buffer: *mut c_void, length: size_t) -> c_int {
        if length > ENTROPY_LIMIT {
            // SAFETY: the C library's pointer to this thread's `errno` is always good.
            unsafe { *libc::__errno_location() = libc::EIO };
            return -1;
        }
        let mut filled = 0;
        while filled < length {
            // SAFETY: `filled` is less than `length`, which is how much the caller lets be written.
            let got = unsafe { getrandom(buffer.byte_add(filled), length - filled, 0) };
            if got < 0 {
                return -1;
            }
            filled += got.unsigned_abs();
        }
        0
    }

    /// # Safety
    /// `length` bytes may be written at `start`.
    unsafe fn fill(start: *mut u8, length: usize) {
        for offset in (0..length).step_by(size_of::<u64>()) {
            let chance = next_chance().to_le_bytes();
            let count = chance.len().min(length - offset);
            // SAFETY: `offset + count` is at most `length`, and `count` at most the size of `chance`.
            unsafe {
                start
                    .add(offset)
                    .copy_from_nonoverlapping(chance.as_ptr(), count);
            };
        }
    }
}
