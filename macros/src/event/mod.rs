//! `#[event]`: makes a type an event and registers it.

mod accepts;
mod expand;
mod key;
mod parse;
mod topic;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput};

use crate::ctxt::Ctxt;
use crate::emit;

/// The user's item, unchanged, and what belongs to it or what is wrong with it.
pub(crate) fn event(args: TokenStream, item: &TokenStream) -> TokenStream {
    let generated = generate(args, item);
    quote!(#item #generated)
}

fn generate(args: TokenStream, item: &TokenStream) -> TokenStream {
    let Ok(input) = syn::parse2::<DeriveInput>(item.clone()) else {
        return emit::unread(item, not_a_type);
    };
    if emit::has_attribute(&input.attrs, "event") {
        // The other one makes it an event.
        let message = format!("`#[event]` stands on `{}` twice; keep one of them", input.ident);
        return syn::Error::new_spanned(&input.ident, message).into_compile_error();
    }
    let cx = Ctxt::new();
    let args = parse::parse(&cx, args, &input.ident);
    accepts::check(&cx, &args);
    check_item(&cx, &input);
    let key = args.key.as_ref().and_then(|key| key::key(&cx, &input, key));
    let destination = topic::destination(&cx, &input, &args);
    match cx.finish() {
        Ok(()) => expand::event(&input, &args, key.as_ref(), destination.as_ref()),
        Err(error) => {
            let error = error.into_compile_error();
            let fallback = expand::fallback(&input, &args);
            quote!(#error #fallback)
        }
    }
}

fn not_a_type(item: &syn::Item) -> syn::Error {
    use syn::Item;
    let place: &dyn quote::ToTokens = match item {
        Item::Fn(function) => return syn::Error::new(function.sig.ident.span(), on_a_function(&function.sig)),
        Item::Impl(item) => &item.impl_token,
        Item::Trait(item) => &item.trait_token,
        Item::Mod(item) => &item.mod_token,
        Item::Type(item) => {
            let name = &item.ident;
            let message = format!("`#[event]` goes on a struct or an enum: write `struct {name}(…)`, a type of its own");
            return syn::Error::new_spanned(item.type_token, message);
        }
        other => other,
    };
    syn::Error::new_spanned(place, "`#[event]` goes on a struct or an enum: `struct OrderPaid { … }`")
}

fn on_a_function(signature: &syn::Signature) -> String {
    let name = &signature.ident;
    format!("`#[event]` goes on a struct or an enum; did you mean `#[handler]` on `{name}`?")
}

fn check_item(cx: &Ctxt, input: &DeriveInput) {
    if let Data::Union(data) = &input.data {
        cx.at(
            data.union_token.span,
            format!("an event is a struct or an enum, and `{}` is a union, of which nobody knows what is in it", input.ident),
        );
    }
    if !input.generics.params.is_empty() {
        let message = format!(
            "an event is one type with one schema, so it has no type parameters and no lifetimes: write owned, concrete fields \
             in `{}`",
            input.ident
        );
        cx.spanned(&input.generics, message);
    }
}
