//! A topic with parameters, `orders.{region}`: each is a field of the event.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Field, LitStr};

use super::parse::EventArgs;
use crate::ctxt::Ctxt;
use crate::nearest::nearest;
use crate::symbol;

/// The method that fills the parameters in; nothing if there are none, or if an error was reported.
pub(crate) fn destination(cx: &Ctxt, input: &DeriveInput, args: &EventArgs) -> Option<TokenStream> {
    let topic = args.topic.as_ref()?;
    let text = topic.value();
    let names: Vec<_> = text.split('.').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    if names.is_empty() {
        return None;
    }
    if !args.written.has(symbol::NAME) {
        let message = "an event whose topic has a parameter needs a name of its own: `name = \"orders.paid\"`";
        cx.at(topic.span(), message);
    }
    let fields: Vec<_> = names.iter().map(|name| field(cx, input, topic, name)).collect();
    let fields: Vec<_> = fields.into_iter().collect::<Option<_>>()?;
    let values = names.iter().zip(fields).map(|(name, field)| {
        // What cannot be a part of a name is blamed where it is made one.
        let field = field.ident.clone().map(|mut ident| {
            ident.set_span(ident.span().located_at(topic.span()));
            ident
        });
        quote_spanned!(topic.span()=> (#name, &self.#field))
    });
    Some(quote! {
        fn destination(&self) -> ::core::result::Result<__convoke::Topic, __convoke::Error> {
            __convoke::fill(#topic, &[#(#values),*])
        }
    })
}

/// The field that a parameter names.
fn field<'a>(cx: &Ctxt, input: &'a DeriveInput, topic: &LitStr, name: &str) -> Option<&'a Field> {
    let owner = &input.ident;
    let Data::Struct(data) = &input.data else {
        let message = format!(
            "`{owner}` is an enum, and has no field `{name}` for the topic's parameter: name one topic here, and publish to others with \
             `.topic(…)`"
        );
        cx.at(topic.span(), message);
        return None;
    };
    let named = |field: &&Field| field.ident.as_ref().is_some_and(|ident| ident.to_string().trim_start_matches("r#") == name);
    let found = data.fields.iter().find(named);
    if found.is_none() {
        let names: Vec<_> = data.fields.iter().filter_map(|field| field.ident.as_ref().map(ToString::to_string)).collect();
        let hint = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{{{near}}}`?"),
            None if names.is_empty() => "it has no fields with names".to_owned(),
            None => format!("it has {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
        };
        cx.at(topic.span(), format!("`{owner}` has no field `{name}` for the topic's parameter; {hint}"));
    }
    found
}
