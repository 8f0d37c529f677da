//! The keys of persons, and what keeps forgetting from missing one.
//!
//! Of transactions that run at the same time, one that forgets a person must see what the others store of them, or they must
//! see that the person was forgotten. PostgreSQL sees to that only where two transactions write the same row, or one
//! locks what the other removes. So whoever makes a key or a snapshot writes the row of the person, as whoever
//! forgets them does; and whoever uses a key locks it. One of the two then waits for the other, and runs again.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use data::{Engine, Transaction, params};
use rand::RngExt;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::{Value, json};

use crate::{Error, Result, load::Source};

/// Deletes the keys of `subject`, and the snapshots that say something of it.
pub(crate) async fn forget(tx: &mut Transaction, subject: &str) -> Result<()> {
    touch(tx, subject).await?;
    for statement in [
        "DELETE FROM outrigger_personal_keys WHERE subject = $1",
        "DELETE FROM outrigger_snapshots
         WHERE stream IN (SELECT stream FROM outrigger_personal_streams WHERE subject = $1)",
    ] {
        tx.execute(statement, params![subject]).await?;
    }
    Ok(())
}

/// Writes the row of `subject`.
async fn touch(tx: &mut Transaction, subject: &str) -> Result<()> {
    let write = "INSERT INTO outrigger_personal_subjects (subject, writes) VALUES ($1, 1)
                 ON CONFLICT (subject) DO UPDATE SET writes = outrigger_personal_subjects.writes + 1";
    tx.execute(write, params![subject]).await?;
    Ok(())
}

/// Before a snapshot of `stream` is written, which may hold copies in the clear: writes the rows of those that it mentions.
pub(crate) async fn hold(tx: &mut Transaction, stream: &str) -> Result<()> {
    let write = "INSERT INTO outrigger_personal_subjects (subject, writes)
                 SELECT subject, 1 FROM outrigger_personal_streams WHERE stream = $1 ORDER BY subject
                 ON CONFLICT (subject) DO UPDATE SET writes = outrigger_personal_subjects.writes + 1";
    tx.execute(write, params![stream]).await?;
    Ok(())
}

/// The key of one person. A person who was forgotten and comes back has another one.
pub(super) struct Key {
    id: String,
    subject: String,
    secret: LessSafeKey,
}

impl Key {
    fn new(id: String, subject: String, secret: &[u8]) -> Result<Self> {
        let unreadable = |_| Error::PersonalKey { id: id.clone() };
        let secret = UnboundKey::new(&AES_256_GCM, secret).map_err(unreadable)?;
        Ok(Self {
            id,
            subject,
            secret: LessSafeKey::new(secret),
        })
    }

    /// So that what is sealed cannot be passed off as another person's.
    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(self.subject.as_bytes())
    }

    pub(super) fn seal(&self, plain: &Value) -> Value {
        let nonce: [u8; NONCE_LEN] = env::random().random();
        let mut bytes = plain.to_string().into_bytes();
        self.secret
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.aad(), &mut bytes)
            .expect("a value of JSON is shorter than 64 GiB");
        let sealed = BASE64.encode([nonce.as_slice(), &bytes].concat());
        json!({ "subject": self.subject, "key": self.id, "sealed": sealed })
    }

    /// `None` of what this key has not sealed.
    pub(super) fn open(&self, personal: &Value) -> Option<Value> {
        let bytes = BASE64.decode(personal["sealed"].as_str()?).ok()?;
        let (nonce, bytes) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = bytes.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .secret
            .open_in_place(nonce, self.aad(), &mut bytes)
            .ok()?;
        serde_json::from_slice(plain).ok()
    }
}

/// The key of `subject`, made where there is none.
pub(super) async fn key_of(tx: &mut Transaction, subject: &str) -> Result<Key> {
    let lock = match tx.engine() {
        Engine::Sqlite => "", // there is one writer
        _ => "FOR SHARE",
    };
    let find = format!(
        "SELECT id, secret FROM outrigger_personal_keys WHERE subject = $1 ORDER BY id LIMIT 1 {lock}"
    );
    if let Some(row) = tx.query_one(&find, params![subject]).await? {
        let secret: Vec<u8> = row.get("secret")?;
        return Key::new(row.get("id")?, subject.to_owned(), &secret);
    }
    touch(tx, subject).await?;
    let (id, secret): (_, [u8; 32]) = (env::id().to_string(), env::random().random());
    let keep = "INSERT INTO outrigger_personal_keys (id, subject, secret) VALUES ($1, $2, $3)";
    tx.execute(keep, params![id.as_str(), subject, secret.as_slice()])
        .await?;
    Key::new(id, subject.to_owned(), &secret)
}

/// Those of the keys that are still there.
pub(super) async fn keys(
    source: &mut impl Source,
    ids: BTreeSet<String>,
) -> Result<BTreeMap<String, Key>> {
    let list = match source.engine() {
        Engine::Sqlite => "SELECT value FROM json_each($1)",
        _ => "SELECT json_array_elements_text($1::text::json)",
    };
    let find =
        format!("SELECT id, subject, secret FROM outrigger_personal_keys WHERE id IN ({list})");
    let ids = Value::from_iter(ids).to_string();
    let rows = source.rows(&find, params![ids]).await?;
    let key = |row: &data::Row| {
        let (id, secret): (String, Vec<u8>) = (row.get("id")?, row.get("secret")?);
        Ok((id.clone(), Key::new(id, row.get("subject")?, &secret)?))
    };
    rows.iter().map(key).collect()
}
