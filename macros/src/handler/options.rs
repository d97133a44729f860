//! The arguments of `#[handler]` as the contract's `HandlerOptions`.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::parse::HandlerArgs;
use crate::native::Native;

/// An expression, constant, that is the options.
pub(crate) fn options(args: &HandlerArgs) -> TokenStream {
    let mut set: Vec<TokenStream> = Vec::new();
    let some = |value: TokenStream| quote!(::core::option::Option::Some(#value));
    let texts = [("group", &args.group), ("lane", &args.lane), ("dead_letter", &args.dead_letter), ("broker", &args.broker)];
    for (field, text) in texts {
        if let Some(text) = text {
            let (field, value) = (ident(field), some(quote!(#text)));
            set.push(quote!(options.#field = #value;));
        }
    }
    if let Some(concurrency) = args.concurrency {
        set.push(quote!(options.concurrency = #concurrency;));
    }
    if let Some(order) = args.order {
        let order = some(variant("Order", order));
        set.push(quote!(options.order = #order;));
    }
    set.extend(retry(args));
    if let Some(on_retry) = args.on_retry {
        let on_retry = variant("OnRetry", on_retry);
        set.push(quote!(options.on_retry = #on_retry;));
    }
    if let Some(timeout) = args.timeout {
        let timeout = some(duration(timeout));
        set.push(quote!(options.timeout = #timeout;));
    }
    if let Some((size, wait)) = args.batch {
        let wait = duration(wait);
        let batch = some(quote!(__convoke::BatchOptions::new(#size, #wait)));
        set.push(quote!(options.batch = #batch;));
    }
    if !args.topics.is_empty() {
        let topics = &args.topics;
        set.push(quote!(options.topics = &[#(#topics),*];));
    }
    if let Some((header, value)) = &args.matches {
        let matches = some(quote!(__convoke::HeaderMatch::new(#header, #value)));
        set.push(quote!(options.matches = #matches;));
    }
    if let Some(start) = args.start {
        let start = some(variant("StartAt", start));
        set.push(quote!(options.start = #start;));
    }
    if args.transaction {
        set.push(quote!(options.transaction = true;));
    }
    if args.broadcast {
        set.push(quote!(options.broadcast = true;));
    }
    if !args.native.is_empty() {
        let native = args.native.iter().map(Native::definition);
        set.push(quote!(options.native = &[#(#native),*];));
    }
    if set.is_empty() {
        return quote!(__convoke::HandlerOptions::new());
    }
    quote!({
        let mut options = __convoke::HandlerOptions::new();
        #(#set)*
        options
    })
}

fn retry(args: &HandlerArgs) -> Option<TokenStream> {
    let retry = &args.retry;
    let attempts = retry.attempts.map(|attempts| quote!(.attempts(#attempts)));
    let backoff = retry.backoff.map(|(min, max)| {
        let (min, max) = (duration(min), duration(max));
        quote!(.backoff(#min, #max))
    });
    let jitter = retry.jitter.map(|jitter| quote!(.jitter(#jitter)));
    let any = attempts.is_some() || backoff.is_some() || jitter.is_some();
    any.then(|| quote!(options.retry = __convoke::RetryOptions::new() #attempts #backoff #jitter;))
}

fn variant(owner: &str, variant: &str) -> TokenStream {
    let (owner, variant) = (ident(owner), ident(variant));
    quote!(__convoke::#owner::#variant)
}

fn duration(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn ident(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}
