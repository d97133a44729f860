//! What can be said about a handler without knowing its types.

use quote::ToTokens;
use syn::{Error, FnArg, Item, ItemFn, ReturnType, Signature, Type};

use super::parse::HandlerArgs;
use super::reply;
use crate::ctxt::Ctxt;
use crate::emit;
use crate::symbol::{BATCH, BROADCAST, GROUP, LANE, ON_RETRY, ORDER, TOPIC, TOPICS};

/// Options that contradict each other: both are underlined.
pub(crate) fn options(cx: &Ctxt, args: &HandlerArgs) {
    let written = &args.written;
    let conflict = |one, other, message: &str| cx.push(written.conflict(one, other, message));
    if written.has(TOPIC) && written.has(TOPICS) {
        let message = "`topic` and `topics` both say what is read; keep one: `topics(\"orders.paid\", \"orders.refunded\")`";
        conflict(TOPIC, TOPICS, message);
    }
    if args.order == Some("None") {
        if args.lane.is_some() {
            conflict(ORDER, LANE, "a lane shares the order of keys, and `order = none` keeps no order; drop one of the two");
        }
        if args.on_retry == Some("Hold") {
            let message = "`order = none` keeps no order, so `on_retry = hold` has nothing to hold back; drop one of the two";
            conflict(ORDER, ON_RETRY, message);
        }
    }
    if !written.has(GROUP)
        && let Some(lane) = &args.lane
    {
        cx.spanned(lane, "a lane is shared by handlers of one group, so the group needs a name: `group = \"warehouse\"`");
    }
    if args.broadcast && written.has(GROUP) {
        let message = "with `broadcast` every instance is a group of its own, so `group` means nothing; drop one of the two";
        conflict(BROADCAST, GROUP, message);
    }
}

/// What stands where a function should.
pub(crate) fn not_a_function(item: &Item) -> Error {
    let (place, what): (&dyn ToTokens, &str) = match item {
        Item::Struct(item) => (&item.ident, "; did you mean `#[event]`?"),
        Item::Enum(item) => (&item.ident, "; did you mean `#[event]`?"),
        Item::Impl(item) => (&item.impl_token, ", which stands outside of any `impl`"),
        Item::Trait(item) => (&item.trait_token, ", which stands outside of any trait"),
        Item::Mod(item) => (&item.mod_token, ": put it on each handler in the module"),
        other => (other, ": `async fn reserve(paid: OrderPaid)`"),
    };
    Error::new_spanned(place, format!("`#[handler]` goes on an `async fn`{what}"))
}

/// A function that cannot be a handler, whatever its types are.
pub(crate) fn function(cx: &Ctxt, function: &ItemFn, args: &HandlerArgs) {
    let signature = &function.sig;
    let name = &signature.ident;
    if emit::has_attribute(&function.attrs, "handler") {
        cx.spanned(&signature.ident, format!("`#[handler]` stands on `{name}` twice; keep one of them"));
    }
    if signature.asyncness.is_none() {
        let without = if signature.constness.is_some() { ", without `const`" } else { "" };
        cx.spanned(signature.fn_token, format!("a handler is an async function: write `async fn {name}(…)`{without}"));
    }
    if let Some(token) = &signature.unsafety {
        let message =
            "a handler is called by convoke, which cannot keep the promises of `unsafe`: write `unsafe` around what is, within";
        cx.spanned(token, message);
    }
    if let Some(abi) = &signature.abi {
        let message =
            format!("a handler is called by convoke, not from C: write `async fn {name}(…)` without `{}`", abi.to_token_stream());
        cx.spanned(abi, message);
    }
    generics(cx, signature);
    if signature.inputs.is_empty() {
        let message = format!("a handler takes what it handles: `async fn {name}(event: YourEvent)`");
        cx.at(signature.paren_token.span.join(), message);
    }
    for argument in &signature.inputs {
        match argument {
            FnArg::Receiver(receiver) => cx.spanned(
                receiver,
                format!("a handler is a free function; take what it needs from `self` as state: `async fn {name}(…, State(it): State<T>)`"),
            ),
            FnArg::Typed(argument) => impl_trait(cx, &argument.ty, "an argument of a handler needs a type with a name"),
        }
    }
    if let ReturnType::Type(_, returned) = &signature.output {
        impl_trait(cx, returned, "what a handler returns needs a type with a name");
        reply::check(cx, returned);
    }
    batch(cx, signature, args);
}

/// A `Batch` needs to know how large it is.
fn batch(cx: &Ctxt, signature: &Signature, args: &HandlerArgs) {
    let of_events = |argument: &FnArg| match argument {
        FnArg::Typed(argument) if is_named(&argument.ty, "Batch") => Some(argument.ty.clone()),
        _ => None,
    };
    if let Some(ty) = signature.inputs.iter().find_map(of_events)
        && !args.written.has(BATCH)
    {
        let form = BATCH.form;
        cx.spanned(ty, format!("a `Batch` has a bound: `#[handler({form})]`, whichever comes first"));
    }
}

/// Whether a type is written by this name, with type arguments.
pub(super) fn is_named(ty: &Type, name: &str) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == name && !last.arguments.is_empty())
}

fn generics(cx: &Ctxt, signature: &Signature) {
    let generics = &signature.generics;
    if generics.params.iter().any(|param| matches!(param, syn::GenericParam::Lifetime(_))) {
        let message = "a handler has no lifetime parameters: write `'_` in the types of its arguments, as in `Meta<'_>`";
        cx.spanned(generics, message);
    }
}

fn impl_trait(cx: &Ctxt, written: &Type, message: &str) {
    if let Type::ImplTrait(it) = written {
        cx.spanned(it, format!("{message}, not `impl Trait`"));
    }
}
