//! How many events a handler takes: one. Which of its arguments are events is known to the compiler alone, so it is asked where the
//! words leave it open.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{ItemFn, Type};

use super::check::is_named;
use super::parse::HandlerArgs;

/// Constants that cannot be computed if the handler takes two events, none, or one where it says that it takes a batch.
pub(super) fn assertions(function: &ItemFn, types: &[&Type], args: &HandlerArgs) -> TokenStream {
    let name = &function.sig.ident;
    let events: Vec<_> = types.iter().copied().filter(|ty| !is_aside(ty)).collect();
    let mut assertions = TokenStream::new();
    for (i, second) in events.iter().enumerate() {
        for first in &events[..i] {
            let message = format!(
                "`{name}` takes two events, `{}` and `{}`: a handler takes one; write a handler for each",
                text(first),
                text(second)
            );
            let (first, second) = (part(first), part(second));
            assertions.extend(assert(second.span(), &quote!(#first.is_event() && #second.is_event()), &message));
        }
    }
    let span = name.span();
    if events.is_empty() && !types.is_empty() {
        let none = all(types, "Aside");
        let message =
            format!("`{name}` takes no event: `async fn {name}(event: YourEvent, …)`, or `Message` with a `topic` of its own");
        assertions.extend(assert(span, &none, &message));
    }
    if args.batch.is_some() && !events.iter().any(|ty| is_named(ty, "Batch")) {
        let parts = events.iter().map(|ty| part(ty));
        let message = format!("`{name}` has `batch(…)` and takes a single event: take `Batch<…>`, or leave `batch` out");
        let single = quote!(#(::core::matches!(#parts, __convoke::Part::Event) ||)* false);
        assertions.extend(assert(events.first().map_or(span, |ty| ty.span()), &single, &message));
    }
    assertions
}

/// What is most likely not an event, by its name: what nearly all handlers take beside one. Nothing is asked about it.
fn is_aside(ty: &Type) -> bool {
    is_named(ty, "State") || is_named(ty, "Meta") || matches!(ty, Type::Path(path) if path.path.is_ident("Publisher"))
}

fn part(ty: &Type) -> TokenStream {
    quote_spanned!(ty.span()=> __convoke::Argument::<#ty>::PART)
}

fn all(types: &[&Type], which: &str) -> TokenStream {
    let which = quote::format_ident!("{which}");
    let parts = types.iter().map(|ty| part(ty));
    quote!(#(::core::matches!(#parts, __convoke::Part::#which) &&)* true)
}

fn assert(span: proc_macro2::Span, condition: &TokenStream, message: &str) -> TokenStream {
    quote_spanned!(span=> const _: () = if #condition { ::core::panic!(#message) };)
}

/// A type as it was written, without the blanks that tokens have between them.
fn text(ty: &Type) -> String {
    ty.to_token_stream().to_string().replace(' ', "")
}
