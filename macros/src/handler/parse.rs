//! The arguments of `#[handler]`.

use std::time::Duration;

use proc_macro2::TokenStream;
use syn::{Error, LitStr, Path, Result, parse_quote};

use crate::args::{self, Arg, Written};
use crate::ctxt::Ctxt;
use crate::duration;
use crate::names::{self, Extra};
use crate::native::{self, Native};
use crate::symbol::{self, BATCH_WORDS, HANDLER_WORDS, MATCH_WORDS, RETRY_WORDS, Word};

pub(crate) struct HandlerArgs {
    pub(crate) group: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) concurrency: Option<u32>,
    /// A variant of the contract's enum of that name, as in `on_retry` and `start`.
    pub(crate) order: Option<&'static str>,
    pub(crate) lane: Option<LitStr>,
    pub(crate) retry: Retry,
    pub(crate) on_retry: Option<&'static str>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) dead_letter: Option<LitStr>,
    pub(crate) batch: Option<(u32, Duration)>,
    pub(crate) topics: Vec<LitStr>,
    pub(crate) matches: Option<(LitStr, LitStr)>,
    pub(crate) start: Option<&'static str>,
    pub(crate) broadcast: bool,
    pub(crate) transaction: bool,
    pub(crate) broker: Option<LitStr>,
    pub(crate) krate: Path,
    /// What is said for one kind of broker or another.
    pub(crate) native: Vec<Native>,
    /// Where each option stands.
    pub(crate) written: Written,
}

#[derive(Default)]
pub(crate) struct Retry {
    pub(crate) attempts: Option<u32>,
    pub(crate) backoff: Option<(Duration, Duration)>,
    pub(crate) jitter: Option<u32>,
}

impl HandlerArgs {
    fn new() -> Self {
        Self {
            group: None,
            name: None,
            concurrency: None,
            order: None,
            lane: None,
            retry: Retry::default(),
            on_retry: None,
            timeout: None,
            dead_letter: None,
            batch: None,
            topics: Vec::new(),
            matches: None,
            start: None,
            broadcast: false,
            transaction: false,
            broker: None,
            krate: parse_quote!(::convoke),
            native: Vec::new(),
            written: Written::default(),
        }
    }
}

pub(crate) fn parse(cx: &Ctxt, tokens: TokenStream) -> HandlerArgs {
    let mut args = HandlerArgs::new();
    let written = args::each(cx, &HANDLER_WORDS, tokens, |arg| {
        match arg.word {
            symbol::GROUP => args.group = Some(name(arg, "a group", Extra::Nothing)?),
            symbol::NAME => args.name = Some(name(arg, "the name of a handler", Extra::Nothing)?),
            symbol::CONCURRENCY => args.concurrency = Some(arg.number(&(1..=65535))?),
            symbol::ORDER => args.order = Some(arg.choice(&[("key", "Key"), ("none", "None")])?),
            symbol::LANE => args.lane = Some(name(arg, "a lane", Extra::Nothing)?),
            symbol::RETRY => args.retry = retry(cx, arg.list()?),
            symbol::ON_RETRY => args.on_retry = Some(arg.choice(&[("hold", "Hold"), ("pass", "Pass")])?),
            symbol::TIMEOUT => args.timeout = Some(timeout(arg)?),
            symbol::DEAD_LETTER => args.dead_letter = Some(name(arg, "a topic", Extra::Nothing)?),
            symbol::BATCH => args.batch = batch(cx, arg)?,
            symbol::TOPIC => args.topics.push(name(arg, "a topic", Extra::Pattern)?),
            symbol::TOPICS => args.topics.extend(topics(cx, arg)?),
            symbol::MATCH => args.matches = matches(cx, arg)?,
            symbol::START => args.start = Some(arg.choice(&[("earliest", "Earliest"), ("new", "New")])?),
            symbol::TRANSACTION => args.transaction = arg.flag()?,
            symbol::BROADCAST => args.broadcast = arg.flag()?,
            symbol::BROKER => args.broker = Some(name(arg, "the name of a broker", Extra::Nothing)?),
            _ => args.krate = arg.path()?,
        }
        Ok(())
    });
    HandlerArgs { native: native::parse(cx, &written), written, ..args }
}

fn name(arg: &Arg<'_>, what: &str, extra: Extra) -> Result<LitStr> {
    let name = arg.string()?;
    names::check(what, &name, extra)?;
    Ok(name)
}

fn timeout(arg: &Arg<'_>) -> Result<Duration> {
    let text = arg.string()?;
    let timeout = at(&text, duration::parse(&text.value()))?;
    if timeout.is_zero() {
        return Err(Error::new(text.span(), "with no time at all every attempt fails; for no limit leave `timeout` out"));
    }
    Ok(timeout)
}

fn retry(cx: &Ctxt, tokens: TokenStream) -> Retry {
    let mut retry = Retry::default();
    args::each(cx, &RETRY_WORDS, tokens, |arg| {
        match arg.word {
            symbol::ATTEMPTS => retry.attempts = Some(arg.number(&(1..=u32::MAX))?),
            symbol::BACKOFF => {
                let text = arg.string()?;
                retry.backoff = Some(at(&text, duration::parse_range(&text.value()))?);
            }
            _ => retry.jitter = Some(arg.per_cent()?),
        }
        Ok(())
    });
    retry
}

fn batch(cx: &Ctxt, arg: &Arg<'_>) -> Result<Option<(u32, Duration)>> {
    let (mut size, mut wait, before) = (None, None, cx.count());
    args::each(cx, &BATCH_WORDS, arg.list()?, |arg| {
        if arg.word == symbol::SIZE {
            size = Some(arg.number(&(1..=1_000_000))?);
        } else {
            let text = arg.string()?;
            wait = Some(at(&text, duration::parse(&text.value()))?);
        }
        Ok(())
    });
    both(arg, (symbol::SIZE, size), (symbol::WAIT, wait), cx.count() > before)
}

fn matches(cx: &Ctxt, arg: &Arg<'_>) -> Result<Option<(LitStr, LitStr)>> {
    let (mut header, mut value, before) = (None, None, cx.count());
    args::each(cx, &MATCH_WORDS, arg.list()?, |arg| {
        let text = arg.string()?;
        if arg.word == symbol::HEADER && text.value().is_empty() {
            return Err(Error::new(text.span(), "the name of a header must not be empty"));
        }
        *(if arg.word == symbol::HEADER { &mut header } else { &mut value }) = Some(text);
        Ok(())
    });
    both(arg, (symbol::HEADER, header), (symbol::VALUE, value), cx.count() > before)
}

/// Two options that only make sense together. Nothing is said of a missing one if another error may be why it is missing.
fn both<A, B>(arg: &Arg<'_>, first: (Word, Option<A>), second: (Word, Option<B>), failed: bool) -> Result<Option<(A, B)>> {
    let missing = match (first.1, second.1) {
        (Some(first), Some(second)) => return Ok(Some((first, second))),
        _ if failed => return Ok(None),
        (None, _) => first.0,
        (_, None) => second.0,
    };
    let (name, form, missing) = (arg.word.name, arg.word.form, missing.name);
    Err(Error::new(arg.name.span(), format!("`{name}` needs `{missing}` too: `{form}`")))
}

fn topics(cx: &Ctxt, arg: &Arg<'_>) -> Result<Vec<LitStr>> {
    let list = arg.list()?;
    let wrong = arg.wrong();
    let parser = syn::punctuated::Punctuated::<LitStr, syn::Token![,]>::parse_terminated;
    let topics = syn::parse::Parser::parse2(parser, list).map_err(|error| Error::new(error.span(), wrong))?;
    let mut seen = Vec::new();
    for topic in &topics {
        cx.keep(names::check("a topic", topic, Extra::Pattern));
        if seen.contains(&topic.value()) {
            cx.at(topic.span(), format!("`{}` is listed twice", topic.value()));
        }
        seen.push(topic.value());
    }
    Ok(topics.into_iter().collect())
}

fn at<T>(text: &LitStr, result: std::result::Result<T, String>) -> Result<T> {
    result.map_err(|message| Error::new(text.span(), message))
}
