//! What `#[event]` adds to the type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Type};

use super::accepts;
use super::parse::{Codec, EventArgs};
use crate::emit;
use crate::native::{Native, Of};

pub(crate) fn event(
    input: &DeriveInput,
    args: &EventArgs,
    key: Option<&TokenStream>,
    destination: Option<&TokenStream>,
) -> TokenStream {
    let EventArgs { topic, name, version, bare, broker, krate, .. } = args;
    let ident = &input.ident;
    let (codec, needs) = codec(input, args);
    let location = emit::location(ident);
    let name = name.as_ref().map(|name| quote!(.name(#name)));
    let version = version.map(|version| quote!(.version(#version)));
    let bare = bare.then(|| quote!(.bare()));
    let broker = broker.as_ref().map(|broker| quote!(.broker(#broker)));
    let said = args.native.iter().map(Native::definition);
    let native = (!args.native.is_empty()).then(|| quote!(.native(&[#(#said),*])));
    let assertions = args.native.iter().map(|native| native.assertions(Of::Topics));
    let keyed = key.zip(args.key.as_ref()).map(|(_, written)| {
        let text = super::key::text(written);
        quote!(.keyed_by(#text))
    });
    let key = args.key.as_ref().zip(key).map(|(written, key)| {
        let this = super::key::this(written);
        quote! {
            fn key(&#this) -> ::core::option::Option<__convoke::Key> {
                #key
            }
        }
    });
    let accepts::Expanded { definition: accepts, method: from_accepted, beside } = accepts::expand(input, args);
    let implementation = quote! {
        #needs
        #(#assertions)*
        #beside
        #[allow(unused_imports)]
        use __convoke::NoSchema as _;
        #[automatically_derived]
        #[diagnostic::do_not_recommend]
        impl __convoke::Event for #ident {
            type Codec = #codec;
            const DEF: &'static __convoke::EventDef =
                &__convoke::EventDef::new::<Self>(#topic, #location) #name #version #keyed #bare #broker #native #accepts
                    .schema(__convoke::SchemaOf::<#ident>::schema);
            #key
            #destination
            #from_accepted
        }
        __convoke::inventory::submit! {
            __convoke::event::<#ident>()
        }
    };
    emit::hidden(krate, &input.attrs, &implementation)
}

/// The codec, and what says that its feature is off. Where a payload that cannot be carried is blamed: on the type, unless a codec
/// was chosen.
fn codec(input: &DeriveInput, args: &EventArgs) -> (TokenStream, TokenStream) {
    let known = |name: &str, span: Span| {
        let (needs, name) = (format_ident!("__needs_{}", name.to_lowercase(), span = span), format_ident!("{name}", span = span));
        (quote_spanned!(span=> __convoke::#name), quote_spanned!(span=> __convoke::#needs! {}))
    };
    match &args.codec {
        Codec::Default => known("Json", input.ident.span()),
        Codec::Known("Raw", written) => (quote_spanned!(written.span()=> __convoke::Raw), TokenStream::new()),
        Codec::Known(name, written) => known(name, written.span().resolved_at(input.ident.span())),
        Codec::Custom(written) => (Type::to_token_stream(written), TokenStream::new()),
    }
}

/// Makes the type an event all the same, so that the errors that were reported are not followed by one for every use of it.
pub(crate) fn fallback(input: &DeriveInput, args: &EventArgs) -> Option<TokenStream> {
    if !input.generics.params.is_empty() {
        return None;
    }
    let ident = &input.ident;
    let location = emit::location(ident);
    let implementation = quote! {
        impl __convoke::Event for #ident {
            type Codec = __convoke::NoCodec;
            const DEF: &'static __convoke::EventDef = &__convoke::EventDef::new::<Self>("", #location);
        }
    };
    Some(emit::hidden(&args.krate, &input.attrs, &implementation))
}
