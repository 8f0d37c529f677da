//! Paths with arguments, so filled that no argument can lead elsewhere.

use std::fmt::{Display, Write as _};

/// A path has as many `{…}` as there are arguments for it; this one has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {places} places for {arguments} arguments")]
pub struct Mismatch {
    /// The `{…}` of the path.
    pub places: usize,
    /// The arguments that were given.
    pub arguments: usize,
}

/// Fills the `{…}` of `template` with `arguments` in their order, percent-encoded.
///
/// ```
/// # use outrigger_discovery::path::fill;
/// assert_eq!(fill("/users/{id}/orders", &[&"a/b"]).unwrap(), "/users/a%2Fb/orders");
/// ```
///
/// # Errors
/// [`Mismatch`].
pub fn fill(template: &str, arguments: &[&(dyn Display + Sync)]) -> Result<String, Mismatch> {
    let mut path = String::with_capacity(template.len() + 16 * arguments.len());
    let (mut rest, mut places) = (template, 0);
    while let Some((before, (_, after))) = rest
        .split_once('{')
        .and_then(|(before, place)| Some((before, place.split_once('}')?)))
    {
        path.push_str(before);
        if let Some(argument) = arguments.get(places) {
            encode(&argument.to_string(), &mut path);
        }
        rest = after;
        places += 1;
    }
    path.push_str(rest);
    if places == arguments.len() {
        Ok(path)
    } else {
        Err(Mismatch {
            places,
            arguments: arguments.len(),
        })
    }
}

/// RFC 3986, section 2.3: all but unreserved characters are encoded, and dots where they are all there is.
fn encode(text: &str, path: &mut String) {
    let only_dots = text.trim_matches('.').is_empty();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && !only_dots) {
            path.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}
