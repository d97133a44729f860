//! `#[convoke::test]`: a test that gets an application of its own.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Error, Expr, ItemFn, Path, Token, parse_quote};

use crate::args;
use crate::ctxt::Ctxt;
use crate::emit;
use crate::symbol::{self, TEST_WORDS};

struct TestArgs {
    /// A function that makes the application, or an expression that is one.
    app: Option<Expr>,
    handlers: Option<Vec<Ident>>,
    real_time: bool,
    krate: Path,
}

/// A plain test around the user's function, or the function and what is wrong with it.
pub(crate) fn test(args: TokenStream, item: &TokenStream) -> TokenStream {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        let error = emit::unread(item, |item| Error::new_spanned(item, "`#[convoke::test]` goes on an `async fn`"));
        return quote!(#item #error);
    };
    let cx = Ctxt::new();
    let args = parse(&cx, args);
    check(&cx, &function);
    match cx.finish() {
        Ok(()) => expand(&function, &args),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#[allow(dead_code)] #item #error)
        }
    }
}

fn parse(cx: &Ctxt, tokens: TokenStream) -> TestArgs {
    let mut args = TestArgs { app: None, handlers: None, real_time: false, krate: parse_quote!(::convoke) };
    let rest = cx.keep(app.parse2(tokens)).map(|(app, rest)| {
        args.app = app;
        rest
    });
    args::each(cx, &TEST_WORDS, rest.unwrap_or_default(), |arg| {
        match arg.word {
            symbol::HANDLERS => {
                let parser = Punctuated::<Ident, Token![,]>::parse_terminated;
                let names = parser.parse2(arg.list()?).map_err(|error| Error::new(error.span(), arg.word.rule()))?;
                args.handlers = Some(names.into_iter().collect());
            }
            symbol::TIME => args.real_time = arg.choice(&[("virtual", false), ("real", true)])?,
            _ => args.krate = arg.path()?,
        }
        Ok(())
    });
    args
}

/// The application, if the first argument is one, and the other arguments.
fn app(input: ParseStream<'_>) -> syn::Result<(Option<Expr>, TokenStream)> {
    let fork = input.fork();
    let named = fork.call(<Ident as syn::ext::IdentExt>::parse_any).is_ok_and(|name| {
        let word = TEST_WORDS.words.iter().any(|word| name == word.name);
        fork.peek(Token![=]) && !fork.peek(Token![==]) || word && fork.peek(syn::token::Paren)
    });
    if input.is_empty() || named {
        return Ok((None, input.parse()?));
    }
    let app: Expr = input.parse()?;
    if let Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &app {
        let message =
            format!("the function that makes the application stands here without quotes: `#[convoke::test({})]`", text.value());
        return Err(Error::new(text.span(), message));
    }
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok((Some(app), input.parse()?))
}

fn check(cx: &Ctxt, function: &ItemFn) {
    let signature = &function.sig;
    let name = &signature.ident;
    if signature.asyncness.is_none() {
        cx.spanned(signature.fn_token, format!("`#[convoke::test]` goes on an async function: `async fn {name}(app: TestApp)`"));
    }
    if !signature.generics.params.is_empty() {
        cx.spanned(&signature.generics, format!("a test has no parameters but its application: `async fn {name}(app: TestApp)`"));
    }
    if emit::has_attribute(&function.attrs, "test") {
        cx.spanned(&signature.ident, "`#[convoke::test]` is a test already: take the other `#[…test]` away");
    }
    if let Some(syn::FnArg::Typed(argument)) = signature.inputs.first()
        && let syn::Type::Reference(reference) = &*argument.ty
    {
        let ty = quote!(#reference).to_string().replace(['&', ' '], "");
        cx.spanned(reference, format!("a test takes its application by value: `async fn {name}(app: {ty})`"));
    }
    if signature.inputs.len() != 1 {
        let message = format!("a test takes its application, and nothing else: `async fn {name}(app: TestApp)`");
        cx.at(signature.paren_token.span.join(), message);
    }
}

fn expand(function: &ItemFn, args: &TestArgs) -> TokenStream {
    let TestArgs { app, handlers, real_time, krate } = args;
    let ItemFn { attrs, vis, sig, block } = function;
    let (ident, output) = (&sig.ident, &sig.output);
    let name = ident.to_string();
    let name = name.trim_start_matches("r#");
    let make = match app {
        // What is called already is an application, all else is a function that makes one.
        Some(app @ (Expr::Call(_) | Expr::MethodCall(_) | Expr::Block(_) | Expr::Macro(_))) => quote!(#app),
        Some(function) => quote_spanned!(function.span()=> #function()),
        None => {
            let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "test".to_owned());
            quote!(#krate::App::new(#package))
        }
    };
    let handlers = handlers.as_ref().map(|handlers| {
        let names = handlers.iter().map(|handler| handler.to_string().trim_start_matches("r#").to_owned());
        quote!(.handlers(&[#(#names),*]))
    });
    let real_time = real_time.then(|| quote!(.real_time()));
    let body = format_ident!("__convoke_{name}", span = Span::call_site());
    let inner = syn::Signature { ident: body.clone(), ..sig.clone() };
    // An argument of another type is blamed where it stands.
    let app = Ident::new("app", Span::mixed_site());
    let taken = sig.inputs.first().map(|argument| match argument {
        syn::FnArg::Typed(argument) => Ident::new("app", Span::mixed_site().located_at(argument.ty.span())),
        syn::FnArg::Receiver(_) => app.clone(),
    });
    quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis fn #ident() #output {
            #inner #block
            #krate::__private::testkit::run(
                || #make,
                #krate::__private::testkit::Options::new(::core::concat!(::core::module_path!(), "::", #name)) #handlers #real_time,
                |#app| #body(#taken),
            )
        }
    }
}
