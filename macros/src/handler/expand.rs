//! What `#[handler]` adds to the function.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Attribute, FnArg, GenericArgument, ItemFn, PathArguments, Type};

use super::parse::HandlerArgs;
use super::reply;
use super::{count, options, register};
use crate::emit;
use crate::native::Of;

/// An argument of the function: its type, what it is bound to, and under which conditions it is there.
struct Argument<'a> {
    binding: Ident,
    ty: &'a Type,
    cfgs: Vec<&'a Attribute>,
}

impl<'a> Argument<'a> {
    /// What `State<T>` or `Batch<T>` holds: if something is wrong with such an argument, it is that.
    fn inner(&self) -> Option<&'a Type> {
        let Type::Path(path) = self.ty else { return None };
        let segment = path.path.segments.last().filter(|segment| segment.ident == "State" || segment.ident == "Batch")?;
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
        match arguments.args.first()? {
            GenericArgument::Type(inner) if arguments.args.len() == 1 => Some(inner),
            _ => None,
        }
    }

    fn describe(&self, signature: &Ident) -> TokenStream {
        let ty = self.ty;
        match self.inner() {
            Some(inner) => {
                // Underlined is what lies between the first and the last token of a path.
                let (first, last) = emit::ends(inner);
                let argument = quote_spanned!(first=> __convoke::Argument::<#ty>);
                quote_spanned!(last=> #argument::describe(#signature);)
            }
            None => quote_spanned!(ty.span()=> <#ty as __convoke::FromDelivery<'_>>::describe(#signature);),
        }
    }

    fn make(&self, delivery: &Ident) -> TokenStream {
        let ty = self.ty;
        match self.inner() {
            Some(_) => quote_spanned!(ty.span()=> (&__convoke::Argument::<#ty>::new()).make(&#delivery)),
            None => quote_spanned!(ty.span()=> <#ty as __convoke::FromDelivery<'_>>::from_delivery(&#delivery)),
        }
    }
}

pub(crate) fn handler(function: &ItemFn, args: &HandlerArgs) -> TokenStream {
    let ident = &function.sig.ident;
    let location = emit::location(ident);
    let options = options::options(args);
    let name = args.name.as_ref().map_or_else(|| ident_text(ident), |name| quote!(#name));
    let arguments = arguments(function);
    let signature = Ident::new("signature", Span::mixed_site());
    let describe = arguments.iter().map(|argument| {
        let (describe, cfgs) = (argument.describe(&signature), &argument.cfgs);
        quote!(#(#cfgs)* #describe)
    });
    let returned = reply::describe(&function.sig.output, &signature);
    let service = service(function, &arguments);
    let krate = &args.krate;
    let definition = quote! {{
        #[allow(unused_imports)]
        use #krate::__private as __convoke;
        #[allow(unused_imports)]
        use __convoke::{ClassifiedReply as _, MadeArgument as _, OtherArgument as _, PlainReply as _, RefusedArgument as _, RefusedReply as _};
        __convoke::HandlerDef::new(
            #name,
            |#signature| {
                #(#describe)*
                #returned
            },
            #service,
            #location,
        ).options(#options)
    }};
    let mut assertions: TokenStream = args.native.iter().map(|native| native.assertions(Of::Handlers)).collect();
    if function.sig.generics.params.is_empty() {
        let types: Vec<_> = arguments.iter().filter(|argument| argument.cfgs.is_empty()).map(|argument| argument.ty).collect();
        if types.len() == arguments.len() {
            assertions.extend(count::assertions(function, &types, args));
        }
        register::found(function, args, &definition, &assertions)
    } else {
        register::by_hand(function, args, &name, &definition, &assertions)
    }
}

fn ident_text(ident: &Ident) -> TokenStream {
    let text = ident.unraw().to_string();
    quote!(#text)
}

fn arguments(function: &ItemFn) -> Vec<Argument<'_>> {
    let typed = function.sig.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    typed
        .enumerate()
        .map(|(index, argument)| Argument {
            // No name of ours meets the function's own.
            binding: format_ident!("argument{index}", span = Span::mixed_site()),
            ty: &argument.ty,
            cfgs: argument.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect(),
        })
        .collect()
}

/// A closure that makes the service: it makes the arguments, calls the function as it was written and makes a reply.
fn service(function: &ItemFn, arguments: &[Argument<'_>]) -> TokenStream {
    let delivery = Ident::new("delivery", Span::mixed_site());
    let rejection = Ident::new("rejection", Span::mixed_site());
    let made = arguments.iter().map(|argument| {
        let (Argument { binding, cfgs, .. }, make) = (argument, argument.make(&delivery));
        quote! {
            #(#cfgs)*
            let #binding = match #make {
                ::core::result::Result::Ok(argument) => argument,
                ::core::result::Result::Err(#rejection) => return __convoke::rejected(&#delivery, #rejection),
            };
        }
    });
    let returned = Ident::new("returned", Span::mixed_site());
    let call = call(function, arguments, &returned);
    let function = &function.sig.ident;
    // An error about the future as a whole points at the function's name.
    let body = quote_spanned! {function.span()=>
        async move {
            #(#made)*
            #call
            let reply = (&mut __convoke::Probe(::core::option::Option::Some(#returned))).reply(&#delivery);
            __convoke::finish(&#delivery, reply)
        }
    };
    quote_spanned! {function.span()=>
        || __convoke::BoxHandler::new(__convoke::handler_fn(|#delivery: __convoke::Delivery| #body))
    }
}

/// The call. Conditions cannot stand on what is passed, so that there is one call for each combination of them.
fn call(function: &ItemFn, arguments: &[Argument<'_>], returned: &Ident) -> TokenStream {
    let (_, types, _) = function.sig.generics.split_for_impl();
    let (function, types) = (&function.sig.ident, types.as_turbofish());
    let conditional: Vec<usize> = (0..arguments.len()).filter(|index| !arguments[*index].cfgs.is_empty()).collect();
    let calls = (0..1_usize << conditional.len()).map(|combination| {
        let there = |index: &usize| conditional.iter().position(|i| i == index).is_none_or(|bit| combination >> bit & 1 == 1);
        let conditions = conditional.iter().map(|index| {
            let cfgs = arguments[*index].cfgs.iter().map(|cfg| &cfg.meta).map(|meta| match meta {
                syn::Meta::List(list) => list.tokens.clone(),
                other => quote!(#other),
            });
            if there(index) { quote!(all(#(#cfgs),*)) } else { quote!(not(all(#(#cfgs),*))) }
        });
        let passed = (0..arguments.len()).filter(there).map(|index| &arguments[index].binding);
        let cfg = (!conditional.is_empty()).then(|| quote!(#[cfg(all(#(#conditions),*))]));
        quote_spanned!(function.span()=> #cfg let #returned = #function #types (#(#passed),*).await;)
    });
    calls.collect()
}
