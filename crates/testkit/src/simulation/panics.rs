//! Panics in a simulated machine: tokio catches them, and so does the HTTP server, but no code may panic.

use std::{cell::RefCell, panic, sync::Once};

use tokio::runtime::Handle;

use super::interpose;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics of simulated machines are kept here instead of printed; one of whoever plays with them is not.
pub(super) fn record() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let machine = interpose::is_simulating() && Handle::try_current().is_ok();
            if machine {
                PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}

/// The panics of this thread since they were last taken.
pub(super) fn take() -> Vec<String> {
    PANICS.take()
}
