//! What a user is, and when one has changed. Pure.

use contracts::{Text, user::User};
use serde::Deserialize;

/// What somebody is called.
pub type Name = Text<100>;

/// An address that mail can be sent to, as far as its form tells.
///
/// Only a delivered message proves an address, so no more is asked of it than what every address has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Email(String);

impl Email {
    /// The longest address, in bytes (RFC 5321, section 4.5.3.1.3, less its brackets).
    pub const MAX: usize = 254;

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Email {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control();
        let has_parts = text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !host.contains('@')
        });
        if has_parts && text.len() <= Self::MAX && text.chars().all(plain) {
            Ok(Self(text))
        } else {
            Err(format!(
                "it must be an e-mail address of at most {} characters",
                Self::MAX
            ))
        }
    }
}

/// The parts of a user that a request wants otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(expecting = "a change: an object with email, name or both")]
pub struct Change {
    /// The new address.
    pub email: Option<Email>,
    /// The new name.
    pub name: Option<Name>,
}

impl Change {
    /// The user after the change, one version on; `None` when it would change nothing.
    pub fn apply(&self, user: &User) -> Option<User> {
        let email = self
            .email
            .as_ref()
            .map_or(user.email.as_str(), Email::as_str);
        let name = self.name.as_ref().map_or(user.name.as_str(), Name::as_str);
        let same = email == user.email && name == user.name;
        (!same).then(|| User {
            email: email.to_owned(),
            name: name.to_owned(),
            version: user.version + 1,
            ..user.clone()
        })
    }
}
