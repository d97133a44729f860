//! The macros of convoke: [`macro@event`], [`macro@handler`], [`handlers!`] and [`macro@test`].
//!
//! Applications use them through the `convoke` crate. What they generate names only `::convoke::__private`, or, with
//! `crate = path`, `path::__private`.

mod args;
mod ctxt;
mod duration;
mod emit;
mod event;
mod handler;
mod names;
mod native;
mod nearest;
mod spelling;
mod symbol;
mod test;

use proc_macro::TokenStream;

#[doc = include_str!("docs/event.md")]
#[proc_macro_attribute]
pub fn event(args: TokenStream, item: TokenStream) -> TokenStream {
    event::event(args.into(), &item.into()).into()
}

#[doc = include_str!("docs/handler.md")]
#[proc_macro_attribute]
pub fn handler(args: TokenStream, item: TokenStream) -> TokenStream {
    handler::handler(args.into(), &item.into()).into()
}

#[doc = include_str!("docs/test.md")]
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    test::test(args.into(), &item.into()).into()
}

#[doc = include_str!("docs/handlers.md")]
#[proc_macro]
pub fn handlers(input: TokenStream) -> TokenStream {
    handler::handlers(input.into()).into()
}
