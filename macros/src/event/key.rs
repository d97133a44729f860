//! `key = …`: a bare name means the field, all else is an expression over `self`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Expr, ExprLit, Fields, Ident, Lit};

use crate::ctxt::Ctxt;
use crate::nearest::nearest;
use crate::symbol;

/// An expression that is the key of `self`, if it has one, or nothing if an error was reported.
pub(crate) fn key(cx: &Ctxt, input: &DeriveInput, written: &Expr) -> Option<TokenStream> {
    let owner = Owner { cx, input, this: this(written) };
    match written {
        Expr::Tuple(tuple) if !tuple.elems.is_empty() => {
            let parts: Vec<_> = tuple.elems.iter().map(|part| owner.one(part)).collect();
            let parts = parts.into_iter().zip(&tuple.elems).map(|(part, written)| {
                let part = part?;
                // Each is blamed for itself.
                Some(quote_spanned!(written.span()=> &(#part) as &dyn __convoke::IntoKey))
            });
            let parts: Vec<_> = parts.collect::<Option<_>>()?;
            Some(quote_spanned!(written.span()=> __convoke::join(&[#(#parts),*])))
        }
        one => {
            let key = owner.one(one)?;
            Some(quote_spanned!(written.span()=> __convoke::IntoKey::to_key(&(#key))))
        }
    }
}

/// The key as it was written, in one spelling: `customer_id`, `(tenant, customer_id)`, `self.0.net`.
pub(crate) fn text(written: &Expr) -> String {
    let tokens = written.to_token_stream().to_string();
    let mut text = String::new();
    for word in tokens.split_whitespace() {
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        if text.ends_with(',') || (text.ends_with(in_word) && word.starts_with(in_word)) {
            text.push(' ');
        }
        text.push_str(word);
    }
    let field = text.strip_prefix("self.").filter(|field| syn::parse_str::<Ident>(field).is_ok());
    field.map_or_else(|| text.clone(), str::to_owned)
}

/// The type whose key it is.
struct Owner<'a> {
    cx: &'a Ctxt,
    input: &'a DeriveInput,
    this: Ident,
}

impl Owner<'_> {
    fn one(&self, part: &Expr) -> Option<TokenStream> {
        if let Expr::Lit(ExprLit { lit, .. }) = part {
            self.constant(lit);
            return None;
        }
        match part {
            Expr::Array(array) => {
                let elements = array.elems.iter().map(|part| part.to_token_stream().to_string()).collect::<Vec<_>>().join(", ");
                self.cx.spanned(array, format!("several fields are a tuple: `key = ({elements})`"));
                return None;
            }
            Expr::Closure(_) => {
                self.cx.spanned(part, symbol::KEY.rule());
                return None;
            }
            _ => {}
        }
        let mut part = part.clone();
        let on_self = match innermost(&mut part) {
            Expr::Path(path) => path.path.get_ident().filter(|ident| *ident != "self").cloned(),
            _ => None,
        };
        let Some(field) = on_self else { return Some(part.into_token_stream()) };
        self.check_field(&field)?;
        let this = Ident::new("self", field.span().resolved_at(self.this.span()));
        *innermost(&mut part) = syn::parse_quote!(#this.#field);
        Some(quote!(#part))
    }

    /// Says at once what rustc would say later, about the code that was written and not about ours.
    fn check_field(&self, name: &Ident) -> Option<()> {
        let owner = &self.input.ident;
        let fields = match &self.input.data {
            Data::Struct(data) => &data.fields,
            _ => {
                let message = format!(
                    "`{owner}` is an enum and has no field `{name}`: write a method `fn {name}(&self) -> …` and `key = self.{name}()`"
                );
                self.cx.at(name.span(), message);
                return None;
            }
        };
        let names: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref().map(|name| name.unraw().to_string())).collect();
        let written = name.unraw().to_string();
        if names.contains(&written) {
            return Some(());
        }
        let hint = match nearest(&written, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `key = {near}`?"),
            None if matches!(fields, Fields::Unnamed(_)) => "its fields have numbers: `key = self.0`".to_owned(),
            None if names.is_empty() => "it has no fields at all".to_owned(),
            None => format!("it has {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
        };
        self.cx.at(name.span(), format!("`{owner}` has no field `{written}`; {hint}"));
        None
    }

    fn constant(&self, literal: &Lit) {
        let message = match literal {
            Lit::Int(number) => format!("a key that is always the same orders everything; the field is `key = self.{number}`"),
            Lit::Str(text) => format!("the key is the field itself, without quotes: `key = {}`", text.value()),
            _ => symbol::KEY.rule(),
        };
        self.cx.spanned(literal, message);
    }
}

/// What a chain of fields, calls and references begins with.
fn innermost(expression: &mut Expr) -> &mut Expr {
    match expression {
        Expr::Field(field) => innermost(&mut field.base),
        Expr::MethodCall(call) => innermost(&mut call.receiver),
        Expr::Reference(reference) => innermost(&mut reference.expr),
        Expr::Group(group) => innermost(&mut group.expr),
        Expr::Paren(paren) => innermost(&mut paren.expr),
        other => other,
    }
}

/// The `self` that the key means: as hygienic as the one that was written, or else as the first name in it, so that keys that
/// come through a `macro_rules!` find it.
pub(crate) fn this(written: &Expr) -> Ident {
    let mut names = Vec::new();
    collect_names(written.to_token_stream(), &mut names);
    let span = names.iter().find(|name| *name == "self").or(names.first()).map_or_else(Span::call_site, Ident::span);
    Ident::new("self", span)
}

fn collect_names(tokens: TokenStream, into: &mut Vec<Ident>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => into.push(name),
            TokenTree::Group(group) => collect_names(group.stream(), into),
            _ => {}
        }
    }
}
