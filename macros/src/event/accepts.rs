//! `accepts(…)`: what an event is read from beside its own name and version.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error, ExprPath, Lit, LitStr, Result, Token, Type};

use super::parse::EventArgs;
use crate::args::Arg;
use crate::ctxt::Ctxt;
use crate::names::{self, Extra};

/// `1 = OrderPaidV1`, `"orders.settled.v2" = upcast`.
pub(crate) struct Accepted {
    key: Lit,
    /// `None`: the event's own.
    name: Option<String>,
    version: u32,
    by: By,
}

/// How a payload is read.
enum By {
    /// As this type, which is converted.
    Type(Type),
    /// As what this function takes.
    Function(ExprPath),
}

impl Parse for Accepted {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key: Lit = input.parse()?;
        let (name, version) = match &key {
            Lit::Int(number) if number.suffix().is_empty() => (None, number.base10_parse()?),
            Lit::Str(text) => older_name(text)?,
            other => return Err(Error::new_spanned(other, "a version or a name is expected")),
        };
        if version == 0 {
            return Err(Error::new_spanned(&key, "versions begin with 1"));
        }
        input.parse::<Token![=]>()?;
        let fork = input.fork();
        let by = match fork.parse::<ExprPath>() {
            Ok(path) if is_function(&path) => By::Function(input.parse()?),
            _ => By::Type(input.parse()?),
        };
        Ok(Self { key, name, version, by })
    }
}

/// A name, with its version behind it or in its first.
fn older_name(text: &LitStr) -> Result<(Option<String>, u32)> {
    names::check("the name of an event", text, Extra::Nothing)?;
    let written = text.value();
    let versioned = written.rsplit_once(".v").and_then(|(name, version)| Some((name.to_owned(), version.parse().ok()?)));
    let (name, version) = versioned.unwrap_or((written, 1));
    Ok((Some(name), version))
}

/// Functions begin with a small letter, types with a capital; those that do not are Rust's own.
fn is_function(path: &ExprPath) -> bool {
    const PRIMITIVE: [&str; 17] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64", "u128",
        "usize",
    ];
    let Some(last) = path.path.segments.last().map(|segment| segment.ident.to_string()) else { return false };
    let last = last.trim_start_matches("r#");
    last.starts_with(|c: char| c.is_lowercase() || c == '_') && !PRIMITIVE.contains(&last)
}

/// The list, each entry of which is read or reported.
pub(crate) fn parse(cx: &Ctxt, arg: &Arg<'_>) -> Result<Vec<Accepted>> {
    let list = arg.list()?;
    let wrong = arg.wrong_at(list.span());
    let entries = |input: ParseStream<'_>| {
        let entries = Punctuated::<TokenStreamOfEntry, Token![,]>::parse_terminated(input)?;
        Ok(entries.into_iter().filter_map(|entry| cx.keep(entry.read(&wrong))).collect())
    };
    entries.parse2(list)
}

/// The tokens between two commas, so that a broken entry does not hide the next one.
struct TokenStreamOfEntry(TokenStream);

impl Parse for TokenStreamOfEntry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut tokens = TokenStream::new();
        let mut depth = 0_i32;
        while !input.is_empty() && (depth > 0 || !input.peek(Token![,])) {
            depth += i32::from(input.peek(Token![<])) - i32::from(input.peek(Token![>]));
            tokens.extend([input.parse::<proc_macro2::TokenTree>()?]);
        }
        Ok(Self(tokens))
    }
}

impl TokenStreamOfEntry {
    fn read(self, wrong: &Error) -> Result<Accepted> {
        let Self(tokens) = self;
        let span = tokens.span();
        // What is said of a number or a name is worth more than the rule.
        let own = |error: &Error| {
            let text = error.to_string();
            text.starts_with("versions") || text.starts_with("the name")
        };
        syn::parse2(tokens).map_err(|error| if own(&error) { error } else { Error::new(span, wrong) })
    }
}

/// What contradicts itself, or the event.
pub(crate) fn check(cx: &Ctxt, args: &EventArgs) {
    let own = args.name.as_ref().or(args.topic.as_ref()).map(LitStr::value);
    let own_version = args.version.unwrap_or(1);
    let mut seen = Vec::new();
    for accepted in &args.accepts {
        let name = accepted.name.clone().or_else(|| own.clone());
        let shown = || format!("{}.v{}", name.as_deref().unwrap_or("…"), accepted.version);
        if name == own && accepted.version == own_version {
            let message = format!("`{}` is the event itself: `accepts` lists what else it is read from", shown());
            cx.spanned(&accepted.key, message);
        } else if seen.contains(&(name.clone(), accepted.version)) {
            cx.spanned(&accepted.key, format!("`{}` is accepted twice", shown()));
        }
        seen.push((name, accepted.version));
    }
}

/// What belongs into `impl Event`, what follows the definition, and the functions beside it.
#[derive(Default)]
pub(crate) struct Expanded {
    pub(crate) definition: TokenStream,
    pub(crate) method: TokenStream,
    pub(crate) beside: TokenStream,
}

pub(crate) fn expand(input: &DeriveInput, args: &EventArgs) -> Expanded {
    if args.accepts.is_empty() {
        return Expanded::default();
    }
    let own = args.name.as_ref().or(args.topic.as_ref());
    let (message, index) = (Ident::new("message", Span::mixed_site()), Ident::new("index", Span::mixed_site()));
    let (mut entries, mut arms, mut ways) = (Vec::new(), Vec::new(), Vec::new());
    for (place, accepted) in args.accepts.iter().enumerate() {
        let version = accepted.version;
        let name = accepted.name.as_ref().map_or_else(|| quote!(#own), |name| quote!(#name));
        match &accepted.by {
            By::Type(ty) => {
                let (event, way) = (at(&input.ident, ty.span()), way(place, ty.span()));
                entries.push(quote!(__convoke::Accepted::new::<#ty>(#name, #version)));
                arms.push(quote_spanned!(ty.span()=> #place => __convoke::decode_older::<#event, #ty>(#message, #way)));
                let next = args.accepts.iter().enumerate().skip(place + 1).find_map(|(place, next)| match &next.by {
                    By::Type(next) => Some((place, next)),
                    By::Function(_) => None,
                });
                ways.push(one_way(&event, &way, ty, next));
            }
            By::Function(function) => {
                let (span, event) = (function.span(), at(&input.ident, function.span()));
                entries.push(quote_spanned!(span=> __convoke::Accepted::by::<_, #event, _, _>(#name, #version, &#function)));
                arms.push(quote_spanned!(span=> #place => (&__convoke::Function::<#event, _>::new(#function)).decode(#message)));
            }
        }
    }
    Expanded {
        definition: quote!(.accepts(&[#(#entries),*])),
        method: quote! {
            fn from_accepted(#index: usize, #message: &__convoke::Message) -> ::core::result::Result<Self, __convoke::DecodeError> {
                match #index {
                    #(#arms,)*
                    // Nobody asks for one that is not in the list.
                    _ => __convoke::decode_older::<Self, Self>(#message, ::core::result::Result::Ok),
                }
            }
        },
        beside: quote! {
            #[allow(unused_imports)]
            use __convoke::{DecodeBy as _, RefusedBy as _, WayByNext as _};
            #(#ways)*
        },
    }
}

/// The event's name, as if it stood there: what is wrong with a conversion is wrong with what is converted.
fn at(event: &Ident, place: Span) -> Ident {
    Ident::new(&event.to_string(), event.span().located_at(place))
}

/// The name of the function that takes an older version up. It has the place of what is converted, so that it is blamed.
fn way(place: usize, span: Span) -> Ident {
    Ident::new(&format!("__convoke_way_{place}"), span)
}

/// Straight if there is a conversion, else by way of the next type of the list.
fn one_way(event: &Ident, name: &Ident, ty: &Type, next: Option<(usize, &Type)>) -> TokenStream {
    let old = Ident::new("__convoke_old", ty.span());
    let body = match next {
        Some((place, next)) => {
            let onward = way(place, ty.span());
            quote_spanned!(ty.span()=> __convoke::Way::<#ty, #next, #event>::new().up(#old, #onward))
        }
        None => quote_spanned!(ty.span()=> <#event as __convoke::Newer<#ty>>::newer(#old)),
    };
    quote! {
        fn #name(#old: #ty) -> ::core::result::Result<#event, __convoke::BoxError> {
            #body
        }
    }
}
