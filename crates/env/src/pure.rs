//! Code that must do the same each time it runs, and so must not ask the world for anything.
//!
//! The function of a saga is such code. It cannot be kept from the world by its types, so what it asks for is noticed
//! here: the seams say when they are used, and whoever runs the code learns which was.

use std::cell::Cell;

/// What the running code has asked the world for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Nobody watches.
    Off,
    /// Nothing yet.
    Pure,
    /// This, first.
    Impure(&'static str),
}

thread_local! {
    static WATCH: Cell<Watch> = const { Cell::new(Watch::Off) };
}

/// Runs `work`, and says what it has asked the world for, if it has: `env::now`.
///
/// ```
/// # use outrigger_env as env;
/// assert_eq!(env::pure::watch(|| 1 + 1), (2, None));
/// let (_, asked) = env::pure::watch(env::id);
/// assert_eq!(asked, Some("env::id"));
/// ```
pub fn watch<T>(work: impl FnOnce() -> T) -> (T, Option<&'static str>) {
    let watching = Watching(WATCH.replace(Watch::Pure));
    let done = work();
    let asked = match WATCH.get() {
        Watch::Impure(what) => Some(what),
        Watch::Off | Watch::Pure => None,
    };
    drop(watching);
    (done, asked)
}

/// Runs `work`, whose questions to the world are none of those of the code around it: a line of a log has a time, and
/// changes nothing.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let _watching = Watching(WATCH.replace(Watch::Off));
    work()
}

/// Says that `what` is used, which differs from run to run or has an effect outside.
pub fn ask(what: &'static str) {
    if WATCH.get() == Watch::Pure {
        WATCH.set(Watch::Impure(what));
    }
}

/// Ends the watch, even if the code panics, and goes on with the one around it.
struct Watching(Watch);

impl Drop for Watching {
    fn drop(&mut self) {
        WATCH.set(self.0);
    }
}
