//! What all generated code has in common.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Path};

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
