//! What comes from outside: instances as they may be, and problems that name the field where they are not.

use discovery::Instance;
use env::Problem;
use serde::de::DeserializeOwned;

/// The longest name, id, version or zone, in bytes.
const NAME: usize = 128;
/// The longest value of the metadata, and the longest path, in bytes.
const TEXT: usize = 1024;
/// The most entries of the metadata.
const ENTRIES: usize = 32;
/// What is named where the body as a whole is wrong.
const BODY: &str = "(body)";
/// The greatest weight.
const WEIGHT: u32 = 10_000;

/// The instance in `body`, to be registered as `id`.
pub(crate) fn instance(id: &str, body: &[u8]) -> Result<Instance, Problem> {
    let instance: Instance = json(body)?;
    if instance.id != id {
        return Err(invalid("id", "It is another than that in the path"));
    }
    check(&instance)?;
    Ok(instance)
}

/// What `body` holds, whole.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (at, reason) = (error.path().to_string(), error.inner().to_string());
        Problem::invalid_field(field(&at, &reason), format!("{reason}."))
    })?;
    json.end()
        .map_err(|_| Problem::invalid_field(BODY, "The body goes on after its JSON value."))?;
    Ok(value)
}

/// A field that is missing is named in the reason only.
fn field<'a>(at: &'a str, reason: &'a str) -> &'a str {
    if at != "." {
        return at;
    }
    let missing = reason.strip_prefix("missing field `");
    let missing = missing.and_then(|rest| rest.split('`').next());
    missing.unwrap_or(BODY)
}

fn check(instance: &Instance) -> Result<(), Problem> {
    name("id", &instance.id)?;
    name("service", &instance.service)?;
    name("version", &instance.version)?;
    if let Some(zone) = &instance.zone {
        name("zone", zone)?;
    }
    let address = instance.address;
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        let reason = "Nobody can connect to it; say where others reach the instance";
        return Err(invalid("address", reason));
    }
    let path = &instance.health_path;
    if !path.starts_with('/')
        || path.len() > TEXT
        || !path.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(invalid(
            "healthPath",
            "It is a path, from / on, of ASCII without spaces",
        ));
    }
    if !(1..=WEIGHT).contains(&instance.weight) {
        return Err(invalid("weight", &format!("It is from 1 to {WEIGHT}")));
    }
    let entries = &instance.metadata;
    let too_long = |(key, value): (&String, &String)| key.len() > NAME || value.len() > TEXT;
    if entries.len() > ENTRIES || entries.iter().any(too_long) {
        let reason =
            format!("It has at most {ENTRIES} entries, keys of {NAME} and values of {TEXT} bytes");
        return Err(invalid("metadata", &reason));
    }
    Ok(())
}

/// Letters, digits and what separates them: names stand in paths, logs and metrics.
pub(crate) fn name(field: &str, value: &str) -> Result<(), Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    if value.is_empty() || value.len() > NAME || !value.bytes().all(fits) {
        let reason = format!("It has 1 to {NAME} letters, digits and any of - _ . : +");
        return Err(invalid(field, &reason));
    }
    Ok(())
}

fn invalid(field: &str, reason: &str) -> Problem {
    Problem::invalid_field(field, format!("{reason}."))
}
