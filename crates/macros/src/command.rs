//! `#[derive(Command)]`.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::{
    DeriveInput, Error, LitStr, Path, Result, Token, Type,
    parse::{Parse, ParseStream},
};

use crate::attribute::{self, Once};

const EXAMPLE: &str = "#[command(\"inventory-service\", \"reserve-items\", reply = Reserved)]";

struct Arguments {
    service: LitStr,
    action: LitStr,
    reply: Option<Type>,
    home: Path,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let as_in = |what: &str, error: &Error| {
            Error::new(error.span(), format!("{what}, as in {EXAMPLE}"))
        };
        let service: LitStr = input
            .parse()
            .map_err(|error| as_in("the service that does it comes first", &error))?;
        let action: LitStr = input
            .parse::<Token![,]>()
            .and_then(|_| input.parse())
            .map_err(|error| as_in("what the service is to do comes second", &error))?;
        attribute::check_name(&service, "the name of a service", '-', "inventory-service")?;
        attribute::check_name(&action, "the name of an action", '-', "reserve-items")?;

        let (mut reply, mut home) = (Once::default(), Once::default());
        attribute::options(input, |name, input| match name.to_string().as_str() {
            "reply" => reply.set(name, input.parse()?),
            "crate" => home.set(name, input.call(Path::parse_mod_style)?),
            _ => Err(attribute::unknown(name, "`reply` and `crate`")),
        })?;
        Ok(Self {
            service,
            action,
            reply: reply.get(),
            home: attribute::home(home.get(), "::outrigger::saga")?,
        })
    }
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Arguments {
        service,
        action,
        reply,
        home,
    } = attribute::parse(input, "command", EXAMPLE)?;
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let reply = reply.map_or_else(
        || quote_spanned!(name.span()=> ()),
        |reply| quote::quote!(#reply),
    );
    Ok(quote_spanned! {name.span()=>
        #[automatically_derived]
        impl #generics #home::Command for #name #arguments #bounds {
            const SERVICE: &'static str = #service;
            const ACTION: &'static str = #action;
            type Reply = #reply;
        }
    })
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse2;

    fn expand(arguments: proc_macro2::TokenStream) -> syn::Result<String> {
        let input = parse2(quote! { #[command(#arguments)] struct ReserveItems { id: u32 } })?;
        super::expand(&input).map(|tokens| tokens.to_string())
    }

    #[test]
    fn the_reply_defaults_to_nothing() {
        let plain = expand(quote!("inventory-service", "reserve-items")).expect("a command");
        assert!(
            plain.contains("impl :: outrigger :: saga :: Command for ReserveItems"),
            "{plain}"
        );
        assert!(plain.contains("type Reply = () ;"), "{plain}");
        let replying = expand(quote!("inventory-service", "reserve-items", reply = Vec<Held>));
        assert!(
            replying
                .expect("a command")
                .contains("type Reply = Vec < Held > ;")
        );
    }

    #[test]
    fn a_wrong_attribute_says_what_to_write() {
        let cases = [
            (quote!(), "the service that does it comes first"),
            (
                quote!("inventory-service"),
                "what the service is to do comes second",
            ),
            (
                quote!("Inventory", "reserve-items"),
                "is not the name of a service",
            ),
            (
                quote!("inventory-service", "reserve items"),
                "is not the name of an action",
            ),
            (
                quote!("inventory-service", "reserve-items", answer = Held),
                "there is no option `answer`",
            ),
            (
                quote!("inventory-service", "reserve-items", reply = A, reply = B),
                "given twice",
            ),
        ];
        for (arguments, expected) in cases {
            let message = expand(arguments.clone()).expect_err("refused").to_string();
            assert!(message.contains(expected), "{arguments}: {message}");
        }
    }
}
