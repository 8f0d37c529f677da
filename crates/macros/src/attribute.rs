//! What both derives read alike: the one attribute, its options, and the names in it.

use syn::{
    Attribute, DeriveInput, Error, Ident, LitStr, Path, Result, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

/// Parses the one attribute called `name`; `example` shows in the errors what it should look like.
pub(crate) fn parse<T: Parse>(input: &DeriveInput, name: &str, example: &str) -> Result<T> {
    let mut found = input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident(name));
    let missing = || Error::new(input.ident.span(), format!("add {example}"));
    let only = found.next().ok_or_else(missing)?;
    if let Some(second) = found.next() {
        return Err(Error::new(
            second.span(),
            format!("`{name}` is given twice; one message has one place on the bus"),
        ));
    }
    arguments(only, example)
}

fn arguments<T: Parse>(attribute: &Attribute, example: &str) -> Result<T> {
    match &attribute.meta {
        syn::Meta::List(_) => attribute.parse_args(),
        other => Err(Error::new(other.span(), format!("write {example}"))),
    }
}

/// An option that was given, with the place where it was.
pub(crate) struct Once<T>(Option<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Once<T> {
    /// Takes the value; a second one is refused at its name.
    pub(crate) fn set(&mut self, name: &Ident, value: T) -> Result<()> {
        match self.0.replace(value) {
            None => Ok(()),
            Some(_) => Err(Error::new(name.span(), format!("`{name}` is given twice"))),
        }
    }

    pub(crate) fn get(self) -> Option<T> {
        self.0
    }
}

/// Reads `, name = value` until the end, handing each name to `read` with the stream at its value.
pub(crate) fn options(
    input: ParseStream<'_>,
    mut read: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>,
) -> Result<()> {
    while !input.is_empty() {
        input.parse::<Token![,]>()?;
        if input.is_empty() {
            break;
        }
        // `crate` is a keyword, and an option here.
        let name = Ident::parse_any(input)?;
        input.parse::<Token![=]>()?;
        read(&name, input)?;
    }
    Ok(())
}

/// The refusal of an option that does not exist.
pub(crate) fn unknown(name: &Ident, known: &str) -> Error {
    Error::new(
        name.span(),
        format!("there is no option `{name}`; there are {known}"),
    )
}

/// The path of the crate to implement for: `crate = path`, or what `outrigger` re-exports.
pub(crate) fn home(path: Option<Path>, default: &str) -> Result<Path> {
    path.map_or_else(|| syn::parse_str(default), Ok)
}

/// Holds a name to lower-case words of letters, digits and hyphens, with `separator` between words.
pub(crate) fn check_name(name: &LitStr, what: &str, separator: char, example: &str) -> Result<()> {
    let value = name.value();
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('-')
            && !word.ends_with('-')
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let letter_first = value.starts_with(|first: char| first.is_ascii_lowercase());
    if letter_first && value.len() <= 128 && value.split(separator).all(word) {
        return Ok(());
    }
    Err(Error::new(
        name.span(),
        format!("\"{value}\" is not {what}: lower-case words, as in \"{example}\""),
    ))
}
