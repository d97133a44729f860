//! Reads `name = value`, `name` and `name(…)`, separated by commas, and goes on after an error with the next one.

use std::fmt::Display;
use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::{Error, Expr, ExprLit, Lit, LitStr, Path, Result, Token};

use crate::ctxt::Ctxt;
use crate::nearest::nearest;
use crate::symbol::{self, Vocabulary, Word};

/// One argument: its name was read, its value was not.
pub(crate) struct Arg<'a> {
    pub(crate) word: Word,
    pub(crate) name: Ident,
    input: ParseStream<'a>,
}

/// The known arguments that were there, right or wrong, each as it was written.
#[derive(Default)]
pub(crate) struct Written {
    all: Vec<(&'static str, TokenStream)>,
    /// What stands in the parentheses of each broker.
    pub(crate) blocks: Vec<(&'static str, TokenStream)>,
}

impl Written {
    pub(crate) fn has(&self, word: Word) -> bool {
        self.get(word.name).is_some()
    }

    fn get(&self, name: &str) -> Option<&TokenStream> {
        self.all.iter().find(|(known, _)| *known == name).map(|(_, tokens)| tokens)
    }

    /// An error about two arguments that underlines both, and what stands between them.
    pub(crate) fn conflict(&self, one: Word, other: Word, message: impl Display) -> Error {
        let both = self.all.iter().filter(|(name, _)| *name == one.name || *name == other.name);
        let tokens: TokenStream = both.map(|(_, tokens)| tokens.clone()).collect();
        Error::new_spanned(tokens, message)
    }
}

/// Calls `take` for every argument in `tokens` that is known and was not there before.
pub(crate) fn each(
    cx: &Ctxt,
    vocabulary: &Vocabulary,
    tokens: TokenStream,
    mut take: impl FnMut(&Arg<'_>) -> Result<()>,
) -> Written {
    let mut seen = Written::default();
    separated(cx, tokens, |input| one(input, vocabulary, &mut seen, &mut take));
    seen
}

/// Calls `one` at the beginning of everything that commas separate.
pub(crate) fn separated(cx: &Ctxt, tokens: TokenStream, mut one: impl FnMut(ParseStream<'_>) -> Result<()>) {
    let all = |input: ParseStream<'_>| {
        while !input.is_empty() {
            cx.keep(one(input));
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
    seen: &mut Written,
    take: &mut impl FnMut(&Arg<'_>) -> Result<()>,
) -> Result<()> {
    let begin = input.fork();
    let Ok(name) = input.call(Ident::parse_any) else {
        let (owner, first) = (vocabulary.owner, vocabulary.words[0]);
        return Err(input.error(format!("`{owner}` takes options by name, such as `{}`", first.form)));
    };
    if let Some(broker) = vocabulary.brokers.iter().copied().find(|broker| name == broker) {
        return block(input, &begin, seen, broker, &name);
    }
    let Some(word) = vocabulary.words.iter().copied().find(|word| name == word.name) else {
        return Err(unknown(&name, input, vocabulary));
    };
    let arg = Arg { word, name, input };
    if let Some(before) = seen.get(word.name) {
        let message = format!("`{}` is given twice, first as `{before}`: keep one of them", word.name);
        return Err(Error::new(arg.name.span(), message));
    }
    let taken = take(&arg);
    let written = between(&begin, input);
    let text = written.to_string();
    seen.all.push((word.name, written));
    taken?;
    let done = input.is_empty() || input.peek(Token![,]);
    if done { Ok(()) } else { Err(input.error(format!("a comma is missing after `{text}`"))) }
}

/// The options of one broker, of which its adapter knows more than we do.
fn block(input: ParseStream<'_>, begin: ParseStream<'_>, seen: &mut Written, broker: &'static str, name: &Ident) -> Result<()> {
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(name.span(), format!("`{broker}` is a list of options of that broker: `{broker}(…)`")));
    }
    let options;
    syn::parenthesized!(options in input);
    let options = options.parse()?;
    if seen.get(broker).is_some() {
        return Err(Error::new(name.span(), format!("`{broker}(…)` is given twice: put its options into one")));
    }
    seen.all.push((broker, between(begin, input)));
    seen.blocks.push((broker, options));
    Ok(())
}

/// What was read since `begin`.
fn between(begin: ParseStream<'_>, end: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !begin.is_empty() && begin.cursor() != end.cursor() {
        let Ok(token) = begin.parse::<TokenTree>() else { break };
        tokens.extend([token]);
    }
    tokens
}

fn unknown(name: &Ident, input: ParseStream<'_>, vocabulary: &Vocabulary) -> Error {
    let Vocabulary { owner, words, brokers } = vocabulary;
    let names = || words.iter().map(|word| word.name).chain(brokers.iter().copied());
    let written = name.to_string();
    if let Some(elsewhere) = symbol::elsewhere(&written, vocabulary) {
        return Error::new(name.span(), elsewhere);
    }
    let alone = input.is_empty() || input.peek(Token![,]);
    let message = match nearest(&written, names()) {
        None if alone && vocabulary.owner == symbol::TEST_WORDS.owner => {
            format!("the function that makes the application stands first: `#[convoke::test({written}, …)]`")
        }
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
            other => Err(Error::new_spanned(&other, format!("{}{}", self.word.rule(), not_known_yet(&other)))),
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

/// Why a constant is no value here, if that is what was written.
fn not_known_yet(value: &Expr) -> &'static str {
    let constant = |path: &Path| {
        let last = path.segments.last().map(|segment| segment.ident.to_string());
        last.is_some_and(|name| name.chars().all(|c| !c.is_ascii_lowercase()))
    };
    match value {
        Expr::Macro(_) => "; attributes are read before constants and macros are known",
        Expr::Path(path) if constant(&path.path) => "; attributes are read before constants and macros are known",
        _ => "",
    }
}
