//! What can be said about a handler without knowing its types.

use quote::ToTokens;
use syn::{Error, FnArg, Item, ItemFn, ReturnType, Signature, Type};

use super::parse::HandlerArgs;
use crate::ctxt::Ctxt;

/// Options that contradict each other.
pub(crate) fn options(cx: &Ctxt, args: &HandlerArgs) {
    if let [_, second, ..] = &args.topics_at[..] {
        let message = "`topic` and `topics` both say what is read; keep one: `topics(\"orders.paid\", \"orders.refunded\")`";
        cx.at(second.span(), message);
    }
    if let Some(order) = args.order.as_ref().filter(|order| order.variant == "None") {
        if let Some(lane) = &args.lane {
            cx.spanned(lane, "a lane shares the order of keys, and `order = none` keeps no order; drop one of the two");
        }
        if args.on_retry.as_ref().is_some_and(|on_retry| on_retry.variant == "Hold") {
            let message = "`order = none` keeps no order, so `on_retry = hold` has nothing to hold back; drop one of the two";
            cx.at(order.at, message);
        }
    }
    if args.group.is_none()
        && let Some(lane) = &args.lane
    {
        cx.spanned(lane, "a lane is shared by handlers of one group, so the group needs a name: `group = \"warehouse\"`");
    }
    if let Some(broadcast) = args.broadcast
        && args.group.is_some()
    {
        let message = "with `broadcast` every instance is a group of its own, so `group` means nothing; drop one of the two";
        cx.at(broadcast, message);
    }
}

/// What stands where a function should.
pub(crate) fn not_a_function(item: &Item) -> Error {
    let (place, hint): (&dyn ToTokens, &str) = match item {
        Item::Struct(item) => (&item.ident, "; did you mean `#[event]`?"),
        Item::Enum(item) => (&item.ident, "; did you mean `#[event]`?"),
        other => (other, ""),
    };
    Error::new_spanned(place, format!("`#[handler]` goes on an `async fn`{hint}"))
}

/// A function that cannot be a handler, whatever its types are.
pub(crate) fn function(cx: &Ctxt, function: &ItemFn) {
    let signature = &function.sig;
    let name = &signature.ident;
    if signature.asyncness.is_none() {
        cx.spanned(signature.fn_token, format!("a handler is an async function: write `async fn {name}(…)`"));
    }
    if let Some(token) = &signature.constness {
        cx.spanned(token, "a handler cannot be `const`");
    }
    if let Some(token) = &signature.unsafety {
        cx.spanned(token, "a handler cannot be `unsafe`: convoke calls it, and can promise nothing");
    }
    if let Some(token) = &signature.abi {
        cx.spanned(token, "a handler cannot be `extern`");
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
    }
}

fn generics(cx: &Ctxt, signature: &Signature) {
    let generics = &signature.generics;
    if generics.params.is_empty() {
        return;
    }
    let only_lifetimes = generics.params.iter().all(|param| matches!(param, syn::GenericParam::Lifetime(_)));
    let message = if only_lifetimes {
        "a handler has no lifetime parameters: write `'_` in the types of its arguments, as in `Meta<'_>`"
    } else {
        "a handler has no type parameters: convoke would not know which one to register; write a handler for each type"
    };
    cx.spanned(generics, message);
}

fn impl_trait(cx: &Ctxt, written: &Type, message: &str) {
    if let Type::ImplTrait(it) = written {
        cx.spanned(it, format!("{message}, not `impl Trait`"));
    }
}
