//! Options of one kind of broker. Which there are is known to its adapter alone: the compiler asks it, where it is there.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::ParseStream;
use syn::{Error, Lit, Result, Token};

use crate::args::{self, Written};
use crate::ctxt::Ctxt;

/// One option: the kind of broker, what it is called, and what is said of it.
pub(crate) struct Native {
    broker: &'static str,
    name: Ident,
    value: Lit,
}

/// What an option is of.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    Handlers,
    Topics,
}

impl Of {
    const fn other(self) -> Self {
        match self {
            Self::Handlers => Self::Topics,
            Self::Topics => Self::Handlers,
        }
    }

    const fn attribute(self) -> &'static str {
        match self {
            Self::Handlers => "handler",
            Self::Topics => "event",
        }
    }

    /// What the adapter of this kind of broker takes, if it is there.
    fn known(self, broker: &str) -> TokenStream {
        let module = match self {
            Self::Handlers => quote!(of_handlers),
            Self::Topics => quote!(of_topics),
        };
        let name = Ident::new(&broker.to_uppercase(), Span::call_site());
        quote!(__convoke::native::#module::#name)
    }
}

/// What is said in all of the blocks.
pub(crate) fn parse(cx: &Ctxt, written: &Written) -> Vec<Native> {
    let mut all: Vec<Native> = Vec::new();
    for (broker, tokens) in &written.blocks {
        args::separated(cx, tokens.clone(), |input| {
            let option = one(broker, input)?;
            if all.iter().any(|other| (other.broker, &other.name) == (option.broker, &option.name)) {
                let message = format!("`{}` is given twice in `{broker}(…)`: keep one of them", option.name);
                return Err(Error::new(option.name.span(), message));
            }
            all.push(option);
            Ok(())
        });
    }
    all
}

fn one(broker: &'static str, input: ParseStream<'_>) -> Result<Native> {
    let Ok(name) = input.call(Ident::parse_any) else {
        return Err(input.error(format!("`{broker}(…)` takes options by name, each a number or a text in quotes")));
    };
    let rule =
        |span| Err(Error::new(span, format!("an option of `{broker}(…)` is a number or a text in quotes: `{name} = \"…\"`")));
    let end = |input: ParseStream<'_>| input.is_empty() || input.peek(Token![,]);
    if input.parse::<Option<Token![=]>>()?.is_none() || end(input) {
        return rule(name.span());
    }
    let at = input.span();
    match input.parse() {
        Ok(value @ (Lit::Str(_) | Lit::Int(_))) if end(input) && is_plain(&value) => Ok(Native { broker, name, value }),
        _ => rule(at),
    }
}

/// Without a suffix, and not too large.
fn is_plain(value: &Lit) -> bool {
    match value {
        Lit::Int(number) => number.suffix().is_empty() && number.base10_parse::<u64>().is_ok(),
        other => other.suffix().is_empty(),
    }
}

impl Native {
    fn said(&self) -> TokenStream {
        let value = &self.value;
        let kind = if matches!(value, Lit::Int(_)) { quote!(Number) } else { quote!(Text) };
        quote!(__convoke::NativeValue::#kind(#value))
    }

    /// As the contract has it.
    pub(crate) fn definition(&self) -> TokenStream {
        let (broker, name, said) = (self.broker, self.name.unraw().to_string(), self.said());
        quote!(__convoke::Native::new(#broker, #name, #said))
    }

    /// Constants that cannot be computed if the adapter is there and does not take it.
    pub(crate) fn assertions(&self, of: Of) -> TokenStream {
        let (broker, name, said) = (self.broker, self.name.unraw().to_string(), self.said());
        let (known, other, attribute) = (of.known(broker), of.other().known(broker), of.other().attribute());
        let fail = |span, problem: TokenStream| {
            quote_spanned! {span=>
                const _: () = if let ::core::option::Option::Some(problem) = #problem {
                    ::core::panic!("{}", problem.as_str())
                };
            }
        };
        let unknown =
            fail(self.name.span(), quote!(__convoke::NativeOption::unknown(#broker, #known, (#attribute, #other), #name)));
        let misused = fail(self.value.span(), quote!(__convoke::NativeOption::misused(#known, #name, #said)));
        quote!(#unknown #misused)
    }
}
