//! Reads `name = value`, `name` and `name(…)`, separated by commas, and goes on after an error with the next one.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::{Error, Expr, ExprLit, Lit, LitStr, Path, Result, Token};

use crate::ctxt::Ctxt;
use crate::nearest::nearest;
use crate::symbol::{Vocabulary, Word};

/// One argument: its name was read, its value was not.
pub(crate) struct Arg<'a> {
    pub(crate) word: Word,
    pub(crate) name: Ident,
    input: ParseStream<'a>,
}

/// Calls `take` for every argument in `tokens` that is known and was not there before.
pub(crate) fn each(cx: &Ctxt, vocabulary: &Vocabulary, tokens: TokenStream, mut take: impl FnMut(&Arg<'_>) -> Result<()>) {
    let mut seen = HashMap::new();
    let all = |input: ParseStream<'_>| {
        while !input.is_empty() {
            cx.keep(one(input, vocabulary, &mut seen, &mut take));
            // Whatever went wrong, the next argument is read for itself.
            while !input.is_empty() && !input.peek(Token![,]) {
                input.parse::<TokenTree>()?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    };
    cx.keep(all.parse2(tokens));
}

fn one(
    input: ParseStream<'_>,
    vocabulary: &Vocabulary,
    seen: &mut HashMap<String, String>,
    take: &mut impl FnMut(&Arg<'_>) -> Result<()>,
) -> Result<()> {
    let begin = input.fork();
    let Ok(name) = input.call(Ident::parse_any) else {
        let (owner, first) = (vocabulary.owner, vocabulary.words[0]);
        return Err(input.error(format!("`{owner}` takes options by name, such as: {}", first.rule())));
    };
    if vocabulary.brokers.iter().any(|broker| name == broker) && input.peek(syn::token::Paren) {
        input.parse::<TokenTree>()?;
        return Ok(());
    }
    let Some(word) = vocabulary.words.iter().copied().find(|word| name == word.name) else {
        return Err(unknown(&name, vocabulary));
    };
    let arg = Arg { word, name, input };
    let before = seen.get(word.name).cloned();
    let taken = if before.is_none() { take(&arg) } else { Ok(()) };
    if let Some(before) = before {
        let message = format!("`{}` is given twice, first as `{before}`: keep one of them", word.name);
        return Err(Error::new(arg.name.span(), message));
    }
    seen.insert(word.name.to_owned(), text_between(&begin, input));
    taken?;
    if input.is_empty() || input.peek(Token![,]) { Ok(()) } else { Err(input.error(word.rule())) }
}

/// The source of what was read since `begin`, as far as it can be put into a sentence.
fn text_between(begin: ParseStream<'_>, end: ParseStream<'_>) -> String {
    let mut tokens = TokenStream::new();
    while !begin.is_empty() && begin.cursor() != end.cursor() {
        let Ok(token) = begin.parse::<TokenTree>() else { break };
        tokens.extend([token]);
    }
    tokens.to_string()
}

fn unknown(name: &Ident, vocabulary: &Vocabulary) -> Error {
    let Vocabulary { owner, words, brokers } = vocabulary;
    let names = || words.iter().map(|word| word.name).chain(brokers.iter().copied());
    let written = name.to_string();
    let message = match nearest(&written, names()) {
        Some(near) => match words.iter().find(|word| word.name == near) {
            Some(word) => format!("`{owner}` has no option `{written}`; did you mean `{}`?", word.form),
            None => format!("`{owner}` knows no broker `{written}`; did you mean `{near}(…)`?"),
        },
        None => {
            let known: Vec<_> = words.iter().map(|word| format!("`{}`", word.name)).collect();
            let brokers: Vec<_> = brokers.iter().map(|broker| format!("`{broker}(…)`")).collect();
            let brokers = if brokers.is_empty() { String::new() } else { format!(", and for one broker {}", brokers.join(", ")) };
            format!("`{owner}` has no option `{written}`; it has {}{brokers}", known.join(", "))
        }
    };
    Error::new(name.span(), message)
}

impl Arg<'_> {
    /// The rule of this word, at the token that breaks it.
    pub(crate) fn wrong(&self) -> Error {
        Error::new(self.here(), self.word.rule())
    }

    /// The same, at another place.
    pub(crate) fn wrong_at(&self, span: Span) -> Error {
        Error::new(span, self.word.rule())
    }

    fn here(&self) -> Span {
        let at_end = self.input.is_empty() || self.input.peek(Token![,]);
        if at_end { self.name.span() } else { self.input.span() }
    }

    /// Whatever stands after `=`.
    pub(crate) fn parse<T: Parse>(&self) -> Result<T> {
        if self.input.parse::<Option<Token![=]>>()?.is_none() {
            return Err(self.wrong());
        }
        self.value()
    }

    fn value<T: Parse>(&self) -> Result<T> {
        let fork = self.input.fork();
        // Where the value cannot be read, its first token is to blame, not the place where the parser gave up.
        fork.parse::<T>().map_err(|_| self.wrong())?;
        self.input.parse()
    }

    /// An expression after `=`, out of the invisible group that a `macro_rules!` puts around what it captured.
    pub(crate) fn expr(&self) -> Result<Expr> {
        let mut value = self.parse()?;
        while let Expr::Group(group) = value {
            value = *group.expr;
        }
        Ok(value)
    }

    /// `name = "…"`
    pub(crate) fn string(&self) -> Result<LitStr> {
        match self.expr()? {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text),
            other => Err(Error::new_spanned(other, self.word.rule())),
        }
    }

    /// `name = 5`
    pub(crate) fn number(&self, range: &RangeInclusive<u32>) -> Result<u32> {
        let value = self.expr()?;
        let number = match &value {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) if number.suffix().is_empty() => number.base10_parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| Error::new_spanned(value, self.word.rule()))
    }

    /// `name = 20` or `name = "20%"`
    pub(crate) fn per_cent(&self) -> Result<u32> {
        let value = self.expr()?;
        let number: Option<u32> = match &value {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) if number.suffix().is_empty() => number.base10_parse().ok(),
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                text.value().strip_suffix('%').and_then(|number| number.parse().ok())
            }
            _ => None,
        };
        number.filter(|number| *number <= 100).ok_or_else(|| Error::new_spanned(value, self.word.rule()))
    }

    /// `name = this | that`
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let value = self.expr()?;
        let written = match &value {
            Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
            // `"key"` is understood well enough to say what is wrong with it.
            _ => None,
        };
        let found = choices.iter().find(|(name, _)| written.as_deref() == Some(name));
        found.map(|(_, choice)| *choice).ok_or_else(|| Error::new_spanned(value, self.word.rule()))
    }

    /// `name`
    pub(crate) fn flag(&self) -> Result<bool> {
        if self.input.is_empty() || self.input.peek(Token![,]) { Ok(true) } else { Err(self.wrong()) }
    }

    /// `name = some::path`
    pub(crate) fn path(&self) -> Result<Path> {
        if self.input.parse::<Option<Token![=]>>()?.is_none() {
            return Err(self.wrong());
        }
        let fork = self.input.fork();
        fork.call(Path::parse_mod_style).map_err(|_| self.wrong())?;
        self.input.call(Path::parse_mod_style)
    }

    /// `name(…)`: what stands between the parentheses, which is something.
    pub(crate) fn list(&self) -> Result<TokenStream> {
        match self.input.fork().parse() {
            Ok(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis && !group.stream().is_empty() => {
                self.input.parse::<TokenTree>()?;
                Ok(group.stream())
            }
            _ => Err(self.wrong()),
        }
    }
}
