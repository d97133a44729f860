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

pub(crate) use register::handlers;

/// The user's function, unchanged, and its registration or what is wrong with it.
pub(crate) fn handler(args: TokenStream, item: &TokenStream) -> TokenStream {
    let generated = generate(args, item);
    quote!(#item #generated)
}

fn generate(args: TokenStream, item: &TokenStream) -> TokenStream {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        // If it is no Rust at all, rustc says so better than we can.
        let other = syn::parse2::<syn::Item>(item.clone()).ok();
        return other.map(|item| check::not_a_function(&item).into_compile_error()).unwrap_or_default();
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
