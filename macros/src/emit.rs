//! What all generated code has in common.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Error, Item, Path};

/// Puts `items` where their names meet nobody else's, with `__convoke` for the one module that they may name.
///
/// Conditions on the user's item hold for what belongs to it.
pub(crate) fn hidden(krate: &Path, attrs: &[Attribute], items: &TokenStream) -> TokenStream {
    let (cfgs, allowed) = (conditions(attrs), allowed());
    quote! {
        #(#cfgs)*
        #allowed
        const _: () = {
            use #krate::__private as __convoke;
            #items
        };
    }
}

/// What to say of an item that is not what the attribute goes on; `not_ours` says it of an item of another kind.
///
/// If it is no Rust at all, rustc has said so, better than we can. But what a macro of the user's has put together rustc may read where
/// syn does not, and an item that is left out in silence is never registered.
pub(crate) fn unread(item: &TokenStream, not_ours: impl FnOnce(&Item) -> Error) -> TokenStream {
    match syn::parse2::<Item>(item.clone()) {
        Ok(item) => not_ours(&item).into_compile_error(),
        Err(error) if has_fragment(item) => {
            let message = format!(
                "this attribute cannot read what a `macro_rules!` has put together here ({error}); write the item out, or pass the fragment as `$($part:tt)*`"
            );
            Error::new(error.span(), message).into_compile_error()
        }
        Err(_) => TokenStream::new(),
    }
}

/// Whether a `macro_rules!` has put a fragment into it, which is a group without delimiters.
fn has_fragment(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::None || has_fragment(&group.stream()),
        _ => false,
    })
}

/// The conditions on the user's item, which hold for what belongs to it.
pub(crate) fn conditions(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}

/// Lints that are the user's affair in the user's code, and not in ours.
pub(crate) fn allowed() -> TokenStream {
    quote! {
        #[allow(
            deprecated, elided_lifetimes_in_paths, missing_docs, missing_debug_implementations, non_camel_case_types, non_upper_case_globals,
            unreachable_code, unreachable_pub, clippy::all, clippy::nursery, clippy::pedantic, clippy::restriction
        )]
    }
}

/// The place of `name` in the source.
pub(crate) fn location(name: &Ident) -> TokenStream {
    quote_spanned! {name.span()=>
        __convoke::Location::here(::core::file!(), ::core::line!(), ::core::module_path!())
    }
}

/// The places of the first and of the last of these tokens.
pub(crate) fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let mut tokens = tokens.to_token_stream().into_iter().map(|token| token.span());
    let first = tokens.next().unwrap_or_else(Span::call_site);
    (first, tokens.last().unwrap_or(first))
}

/// Whether one of these attributes goes by this name, whatever its path.
pub(crate) fn has_attribute(attrs: &[Attribute], name: &str) -> bool {
    attrs.iter().any(|attr| attr.path().segments.last().is_some_and(|last| last.ident == name))
}
