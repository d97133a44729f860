//! Where a handler's definition stands: beside the function, so that `handlers![…]` finds it by the function's path.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens as _, format_ident, quote};
use syn::ext::IdentExt as _;
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::{Error, ExprPath, GenericParam, ItemFn, PathArguments, Token};

use super::parse::HandlerArgs;
use crate::emit;

/// The name of what stands beside a function.
fn beside(function: &Ident) -> Ident {
    format_ident!("__convoke_handler_{}", function.unraw(), span = function.span())
}

/// A definition that is found without being named.
pub(super) fn found(function: &ItemFn, args: &HandlerArgs, definition: &TokenStream, assertions: &TokenStream) -> TokenStream {
    let (name, vis, krate) = (beside(&function.sig.ident), &function.vis, &args.krate);
    let cfgs = emit::conditions(&function.attrs);
    let submitted = quote! {
        #[allow(unused_imports)]
        use __convoke::UnknownPart as _;
        #assertions
        __convoke::inventory::submit! {
            __convoke::Entry::Handler(&#name)
        }
    };
    let submitted = emit::hidden(krate, &function.attrs, &submitted);
    let allowed = emit::allowed();
    // An import that is not found is told once; a path would be told beside it.
    let private = format_ident!("__convoke_of_{}", function.sig.ident.unraw(), span = function.sig.ident.span());
    quote! {
        #(#cfgs)*
        use #krate::__private as #private;
        #(#cfgs)*
        #[doc(hidden)]
        #allowed
        #vis static #name: #private::HandlerDef = #definition;
        #submitted
    }
}

/// A definition for each choice of the type parameters, of which somebody has to make one.
pub(super) fn by_hand(
    function: &ItemFn,
    args: &HandlerArgs,
    text: &TokenStream,
    definition: &TokenStream,
    assertions: &TokenStream,
) -> TokenStream {
    let (name, vis, krate) = (beside(&function.sig.ident), &function.vis, &args.krate);
    let cfgs = emit::conditions(&function.attrs);
    let generics = &function.sig.generics;
    let (implemented, types, conditions) = generics.split_for_impl();
    let parameters = generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(parameter) => Some(&parameter.ident),
        _ => None,
    });
    let declared = generics.params.iter().map(|parameter| match parameter {
        GenericParam::Type(parameter) => parameter.ident.to_token_stream(),
        other => other.to_token_stream(),
    });
    let location = emit::location(&function.sig.ident);
    let submitted = quote! {
        #assertions
        impl #implemented #name #types #conditions {
            pub const HANDLER: &'static __convoke::HandlerDef = &#definition;
        }
        __convoke::inventory::submit! {
            __convoke::Entry::Generic(&__convoke::GenericDef::new(#text, #location))
        }
    };
    let submitted = emit::hidden(krate, &function.attrs, &submitted);
    let allowed = emit::allowed();
    quote! {
        #(#cfgs)*
        #[doc(hidden)]
        #allowed
        #vis struct #name<#(#declared),*>(::core::marker::PhantomData<fn() -> (#(#parameters,)*)>);
        #submitted
    }
}

/// `handlers![reserve, billing::refund::<Postgres>]`: an array of their definitions.
pub(crate) fn handlers(input: TokenStream) -> TokenStream {
    let paths = match Punctuated::<ExprPath, Token![,]>::parse_terminated.parse2(input) {
        Ok(paths) => paths,
        Err(error) => {
            let message = "`handlers!` is a list of paths: `handlers![reserve, billing::refund::<Postgres>]`";
            return Error::new(error.span(), message).into_compile_error();
        }
    };
    let definitions = paths.into_iter().map(|mut path| {
        let Some(last) = path.path.segments.last_mut() else { return TokenStream::new() };
        last.ident = beside(&last.ident);
        if matches!(last.arguments, PathArguments::None) { quote!(&#path) } else { quote!(<#path>::HANDLER) }
    });
    quote!([#(#definitions),*])
}
