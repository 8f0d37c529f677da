//! `#[derive(Event)]`.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::{
    Data, DeriveInput, Error, LitInt, LitStr, Member, Path, Result, Token,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    spanned::Spanned,
};

use crate::attribute::{self, Once};

const EXAMPLE: &str = "#[event(\"order.created\", version = 1, key = order_id)]";

struct Arguments {
    kind: LitStr,
    version: u32,
    key: Punctuated<Member, Token![.]>,
    home: Path,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let whole = input.span();
        let kind: LitStr = input.parse().map_err(|error| {
            let message = format!("the event's type comes first, as in {EXAMPLE}");
            Error::new(error.span(), message)
        })?;
        attribute::check_name(&kind, "an event type", '.', "order.created")?;
        if !kind.value().contains('.') {
            let message =
                "an event type says of what it tells, then what happened: \"order.created\"";
            return Err(Error::new(kind.span(), message));
        }

        let (mut version, mut key, mut home) = (Once::default(), Once::default(), Once::default());
        attribute::options(input, |name, input| match name.to_string().as_str() {
            "version" => version.set(name, parse_version(input)?),
            "key" => key.set(name, Punctuated::parse_separated_nonempty(input)?),
            "crate" => home.set(name, input.call(Path::parse_mod_style)?),
            _ => Err(attribute::unknown(name, "`version`, `key` and `crate`")),
        })?;
        let missing = |what: &str| Error::new(whole, format!("{what}, as in {EXAMPLE}"));
        Ok(Self {
            kind,
            version: version
                .get()
                .ok_or_else(|| missing("give the `version` of the event"))?,
            key: key.get().ok_or_else(|| {
                missing("name the field that is the `key`: events of one key keep their order")
            })?,
            home: attribute::home(home.get(), "::outrigger::events")?,
        })
    }
}

fn parse_version(input: ParseStream<'_>) -> Result<u32> {
    let literal: LitInt = input.parse()?;
    match literal.base10_parse() {
        Ok(version) if version >= 1 => Ok(version),
        _ => Err(Error::new(literal.span(), "a version is a number from 1")),
    }
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Arguments {
        kind,
        version,
        key,
        home,
    } = attribute::parse(input, "event", EXAMPLE)?;
    if !matches!(input.data, Data::Struct(_)) {
        let message = "an event is a struct: each thing that can happen has a type of its own";
        return Err(Error::new(input.ident.span(), message));
    }
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    // A key that is no field, or cannot be displayed, is then an error where the attribute names it.
    let key = quote_spanned!(key.span()=> ::std::string::ToString::to_string(&self.#key));
    Ok(quote_spanned! {name.span()=>
        #[automatically_derived]
        impl #generics #home::Event for #name #arguments #bounds {
            const TYPE: &'static str = #kind;
            const VERSION: u32 = #version;
            fn key(&self) -> ::std::string::String {
                #key
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse2;

    fn error(input: proc_macro2::TokenStream) -> String {
        let input = parse2(input).expect("a type");
        super::expand(&input).expect_err("refused").to_string()
    }

    #[test]
    fn implements_the_trait_of_the_face_or_of_the_crate_that_is_named() {
        let expand = |input| {
            let input = parse2(input).expect("a type");
            super::expand(&input).expect("an event").to_string()
        };
        let face = expand(quote! {
            #[event("order.created", version = 2, key = order.id)] struct OrderCreated { order: Order }
        });
        assert!(
            face.contains("impl :: outrigger :: events :: Event for OrderCreated"),
            "{face}"
        );
        assert!(face.contains("VERSION : u32 = 2u32"), "{face}");
        assert!(face.contains("to_string (& self . order . id)"), "{face}");
        let named = expand(quote! {
            #[event("order.created", key = 0, version = 1, crate = events)] struct OrderCreated(String);
        });
        assert!(
            named.contains("impl events :: Event for OrderCreated"),
            "{named}"
        );
    }

    #[test]
    fn a_wrong_attribute_says_what_to_write() {
        assert_eq!(
            error(quote! { struct Paid { id: u32 } }),
            format!("add {}", super::EXAMPLE)
        );
        assert_eq!(
            error(quote! { #[event] struct Paid { id: u32 } }),
            format!("write {}", super::EXAMPLE)
        );
        let cases = [
            (
                quote!(version = 1, key = id),
                "the event's type comes first",
            ),
            (
                quote!("Order.Created", version = 1, key = id),
                "is not an event type",
            ),
            (
                quote!("order..created", version = 1, key = id),
                "is not an event type",
            ),
            (
                quote!("created", version = 1, key = id),
                "says of what it tells",
            ),
            (quote!("order.created", key = id), "give the `version`"),
            (
                quote!("order.created", version = 0, key = id),
                "a number from 1",
            ),
            (quote!("order.created", version = 1), "name the field"),
            (
                quote!("order.created", version = 1, version = 2, key = id),
                "`version` is given twice",
            ),
            (
                quote!("order.created", version = 1, keys = id),
                "there is no option `keys`",
            ),
        ];
        for (arguments, expected) in cases {
            let message = error(quote! { #[event(#arguments)] struct Paid { id: u32 } });
            assert!(message.contains(expected), "{arguments}: {message}");
        }
    }

    #[test]
    fn an_enum_is_no_event() {
        let message =
            error(quote! { #[event("order.paid", version = 1, key = id)] enum Paid { A } });
        assert!(message.contains("an event is a struct"), "{message}");
    }
}
