//! What all generated code has in common.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Path};

/// Puts `items` where their names meet nobody else's, with `__convoke` for the one module that they may name.
///
/// Conditions on the user's item hold for what belongs to it.
pub(crate) fn hidden(krate: &Path, attrs: &[Attribute], items: &TokenStream) -> TokenStream {
    let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    quote! {
        #(#cfgs)*
        #[allow(deprecated, elided_lifetimes_in_paths, unreachable_code, clippy::all, clippy::nursery, clippy::pedantic)]
        const _: () = {
            use #krate::__private as __convoke;
            #items
        };
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
