//! `#[handler]`: registers an async function as a handler.

mod check;
mod count;
mod expand;
mod options;
mod parse;
mod register;
mod reply;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemFn;

use crate::ctxt::Ctxt;
use crate::emit;

pub(crate) use register::handlers;

/// The user's function, unchanged, and its registration or what is wrong with it.
pub(crate) fn handler(args: TokenStream, item: &TokenStream) -> TokenStream {
    let generated = generate(args, item);
    quote!(#item #generated)
}

fn generate(args: TokenStream, item: &TokenStream) -> TokenStream {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        return emit::unread(item, check::not_a_function);
    };
    let cx = Ctxt::new();
    let args = parse::parse(&cx, args);
    check::options(&cx, &args);
    check::function(&cx, &function, &args);
    match cx.finish() {
        Ok(()) => expand::handler(&function, &args),
        Err(error) => error.into_compile_error(),
    }
}
