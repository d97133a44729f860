//! The return type, taken apart as far as its words tell, so that an error points at the part that is wrong.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned as _;
use syn::{GenericArgument, PathArguments, ReturnType, Type};

use crate::ctxt::Ctxt;

/// How many events a tuple has at most; tuples in tuples have more.
const MOST: usize = 6;

/// What can be said of a return type without knowing its types.
pub(crate) fn check(cx: &Ctxt, returned: &Type) {
    match returned {
        Type::Reference(_) => {
            cx.spanned(
                returned,
                "what a handler returns is published after it has ended, so it cannot be borrowed: return an event by value",
            );
        }
        Type::Tuple(tuple) => {
            if tuple.elems.len() > MOST {
                cx.spanned(
                    tuple,
                    format!("a handler returns at most {MOST} events in a tuple: return a `Vec`, or a tuple in a tuple"),
                );
            }
            tuple.elems.iter().for_each(|part| check(cx, part));
        }
        Type::Paren(inner) => check(cx, &inner.elem),
        Type::Group(inner) => check(cx, &inner.elem),
        other => {
            if let Some((_, parts)) = arguments(other) {
                // Of a `Result` the value alone: the error is no event.
                parts.into_iter().take(1).for_each(|part| check(cx, part));
            }
        }
    }
}

/// Statements that describe the return type to `signature`, and fail where a part of it cannot be returned.
pub(crate) fn describe(output: &ReturnType, signature: &Ident) -> TokenStream {
    match output {
        ReturnType::Default => TokenStream::new(),
        ReturnType::Type(_, returned) => reply(returned, signature),
    }
}

fn reply(returned: &Type, signature: &Ident) -> TokenStream {
    match (arguments(returned), returned) {
        (Some(("Result", parts)), _) if let [value, error] = parts[..] => {
            let value = reply(value, signature);
            quote_spanned! {error.span()=>
                #value
                __convoke::handler_error::<#error>();
            }
        }
        (Some(("Option" | "Vec", parts)), _) if let [part] = parts[..] => events(part, signature),
        (_, Type::Tuple(tuple)) if !tuple.elems.is_empty() => tuple.elems.iter().map(|part| events(part, signature)).collect(),
        (_, Type::Paren(inner)) => reply(&inner.elem, signature),
        // What a `macro_rules!` captured as a type.
        (_, Type::Group(inner)) => reply(&inner.elem, signature),
        _ => quote_spanned!(returned.span()=> <#returned as __convoke::IntoReply>::describe(#signature);),
    }
}

fn events(part: &Type, signature: &Ident) -> TokenStream {
    match (arguments(part), part) {
        (Some(("Option" | "Vec", parts)), _) if let [part] = parts[..] => events(part, signature),
        (_, Type::Tuple(tuple)) if !tuple.elems.is_empty() => tuple.elems.iter().map(|part| events(part, signature)).collect(),
        (_, Type::Group(inner)) => events(&inner.elem, signature),
        _ => quote_spanned!(part.span()=> <#part as __convoke::IntoOutgoing>::describe(#signature);),
    }
}

/// The name and the type arguments of a path of one segment with type arguments: one that can only be meant for the standard
/// library's. An alias such as `Result<T>` is left to the compiler.
fn arguments(written: &Type) -> Option<(&'static str, Vec<&Type>)> {
    let Type::Path(path) = written else { return None };
    let segment = path.path.segments.last().filter(|_| path.qself.is_none() && path.path.segments.len() == 1)?;
    let name = ["Result", "Option", "Vec"].into_iter().find(|name| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    let types = arguments.args.iter().map(|argument| match argument {
        GenericArgument::Type(argument) => Some(argument),
        _ => None,
    });
    Some((name, types.collect::<Option<_>>()?))
}
