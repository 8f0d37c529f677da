//! An error in one line.

use std::{error::Error, iter};

/// An error with all that caused it, in one line: for a log, a dead letter, a terminal.
///
/// ```
/// # use outrigger_env as env;
/// let cut = std::io::Error::new(std::io::ErrorKind::Other, "the cable is cut");
/// assert_eq!(env::chain(&cut), "the cable is cut");
/// ```
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.join(": ")
}

/// An error, what caused it, what caused that, and so on.
pub fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}
