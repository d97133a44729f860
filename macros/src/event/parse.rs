//! The arguments of `#[event]`.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{Error, Expr, LitStr, Path, Result, Type, parse_quote};

use super::accepts::{self, Accepted};
use crate::args::{self, Arg, Written};
use crate::ctxt::Ctxt;
use crate::names::{self, Extra};
use crate::native::{self, Native};
use crate::nearest::nearest;
use crate::symbol::{self, EVENT_WORDS};

pub(crate) struct EventArgs {
    /// There, unless an error was reported.
    pub(crate) topic: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<u32>,
    pub(crate) key: Option<Expr>,
    pub(crate) codec: Codec,
    pub(crate) bare: bool,
    pub(crate) broker: Option<LitStr>,
    pub(crate) accepts: Vec<Accepted>,
    pub(crate) native: Vec<Native>,
    pub(crate) krate: Path,
    /// Which options were there.
    pub(crate) written: Written,
}

pub(crate) enum Codec {
    Default,
    /// One of ours, by its type's name, with the word as it was written.
    Known(&'static str, Box<Type>),
    Custom(Box<Type>),
}

pub(crate) fn parse(cx: &Ctxt, tokens: TokenStream, item: &Ident) -> EventArgs {
    let mut args = EventArgs {
        topic: None,
        name: None,
        version: None,
        key: None,
        codec: Codec::Default,
        bare: false,
        broker: None,
        accepts: Vec::new(),
        native: Vec::new(),
        krate: parse_quote!(::convoke),
        written: Written::default(),
    };
    let written = args::each(cx, &EVENT_WORDS, tokens, |arg| {
        match arg.word {
            symbol::TOPIC => {
                let topic = arg.string()?;
                names::check("a topic", &topic, Extra::Parameter)?;
                args.topic = Some(topic);
            }
            symbol::NAME => {
                let name = arg.string()?;
                names::check("the name of an event", &name, Extra::Nothing)?;
                args.name = Some(name);
            }
            symbol::VERSION => args.version = Some(arg.number(&(1..=u32::MAX))?),
            symbol::KEY => args.key = Some(arg.expr()?),
            symbol::CODEC => args.codec = codec(arg)?,
            symbol::BROKER => {
                let broker = arg.string()?;
                names::check("the name of a broker", &broker, Extra::Nothing)?;
                args.broker = Some(broker);
            }
            symbol::BARE => args.bare = arg.flag()?,
            symbol::ACCEPTS => args.accepts = accepts::parse(cx, arg)?,
            _ => args.krate = arg.path()?,
        }
        Ok(())
    });
    // After another error the topic may well be there, in words that were not understood.
    if args.topic.is_none() && cx.count() == 0 {
        // The attribute's place, but the item's hygiene: else rustc adds a note about the macro.
        cx.at(Span::call_site().resolved_at(item.span()), "an event needs a topic: `#[event(topic = \"orders.paid\")]`");
    }
    EventArgs { native: native::parse(cx, &written), written, ..args }
}

fn codec(arg: &Arg<'_>) -> Result<Codec> {
    let written: Type = arg.parse()?;
    let word = match &written {
        Type::Path(path) if path.qself.is_none() => path.path.get_ident().map(ToString::to_string),
        _ => None,
    };
    Ok(match word.as_deref() {
        Some("json") => Codec::Known("Json", Box::new(written)),
        Some("msgpack") => Codec::Known("MsgPack", Box::new(written)),
        Some("cbor") => Codec::Known("Cbor", Box::new(written)),
        Some("protobuf") => Codec::Known("Protobuf", Box::new(written)),
        Some("raw") => Codec::Known("Raw", Box::new(written)),
        // A type begins with a capital: this was meant to be a word of ours.
        Some(word) if word.starts_with(|c: char| c.is_ascii_lowercase()) => {
            let near = nearest(word, ["json", "msgpack", "cbor", "protobuf", "raw"]);
            let hint = near.map_or_else(|| format!(": {}", arg.word.rule()), |near| format!("; did you mean `codec = {near}`?"));
            return Err(Error::new_spanned(written, format!("there is no codec `{word}`{hint}")));
        }
        _ => Codec::Custom(Box::new(written)),
    })
}
