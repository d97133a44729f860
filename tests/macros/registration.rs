//! Where annotated items may stand, and that all of them are found.

use convoke::prelude::*;
use convoke::{HandlerDef, Registry};
use serde::{Deserialize, Serialize};

use crate::support::{OrderPaid, call, handler, message, paid};

mod inner {
    pub(super) mod deeper {
        use super::super::*;

        #[handler(group = "other")]
        pub(in super::super) async fn in_a_module(_paid: OrderPaid) {}
    }
}

#[handler]
async fn beside_another(_paid: OrderPaid) {}

#[handler]
#[allow(clippy::unused_async)]
#[deprecated = "attributes of the function stay where they are"]
async fn with_attributes(_paid: OrderPaid) {}

#[handler]
#[cfg(any())]
async fn conditioned_away(_paid: NoSuchType) {}

#[handler]
async fn r#match(_paid: OrderPaid) {}

#[test]
fn handlers_of_one_event_stand_side_by_side_with_their_places() {
    let (inner, beside) = (handler("in_a_module"), handler("beside_another"));
    assert_eq!(inner.location.module, "macros::registration::inner::deeper");
    assert_eq!(beside.location.module, "macros::registration");
    let line = include_str!("registration.rs").lines().nth(beside.location.line as usize - 1);
    assert_eq!(line, Some("async fn beside_another(_paid: OrderPaid) {}"));
}

#[test]
fn what_stands_in_a_function_is_registered_too() {
    #[event(topic = "local.event", key = id)]
    #[derive(Serialize, Deserialize)]
    struct Local {
        id: u8,
    }

    #[handler]
    async fn in_a_function(_local: Local) {}

    let registry = Registry::collect();
    assert!(registry.events.iter().any(|event| event.name == "local.event"));
    assert_eq!(handler("in_a_function").signature().inputs[0].topic, "local.event");
}

#[test]
fn conditions_on_items_hold() {
    let registry = Registry::collect();
    assert!(registry.handlers.iter().all(|handler| handler.name != "conditioned_away"));
    assert!(registry.events.iter().all(|event| event.topic != "events.never"));
}

#[tokio::test]
async fn names_and_attributes_are_kept() {
    call("with_attributes").await.expect("it replies");
    assert_eq!(handler("match").location.module, "macros::registration");
    let _ = inner::deeper::in_a_module;
}

mod generic {
    use super::*;

    pub(crate) trait Store: Clone + Send + Sync + 'static {
        const NAME: &'static str;
    }

    #[derive(Clone)]
    pub(crate) struct Shelf;

    impl Store for Shelf {
        const NAME: &'static str = "shelf";
    }

    #[allow(clippy::multiple_bound_locations, reason = "bounds are read in both places")]
    #[handler(group = "generic")]
    pub(crate) async fn stores<S: Store, const N: usize>(_paid: OrderPaid, _store: State<S>) -> Result<(), convoke::BoxError>
    where
        S: Store,
    {
        Err(format!("{} {N}", S::NAME).into())
    }

    #[handler(name = "nobody-calls-it")]
    pub(crate) async fn without_types<S: Store>(_paid: OrderPaid, _store: State<S>) {
        let _ = S::NAME;
    }
}

#[tokio::test]
async fn handlers_with_type_parameters_are_registered_by_naming_the_types() {
    let listed: [&'static HandlerDef; 3] =
        handlers![generic::stores::<generic::Shelf, 3>, beside_another, inner::deeper::in_a_module];
    assert_eq!(listed.map(|handler| handler.name), ["stores", "beside_another", "in_a_module"]);
    assert_eq!(listed[0].options.group, Some("generic"));
    assert_eq!(listed[0].signature().inputs[0].topic, OrderPaid::DEF.topic);
    assert!(std::ptr::eq(listed[1], handler("beside_another")), "it is the one that is registered");
    assert!(Registry::collect().handlers.iter().all(|handler| handler.name != "stores"));

    let world = crate::support::World::with(generic::Shelf);
    let error = world.call_def(listed[0], message(&paid(7))).await.unwrap_err();
    assert_eq!(error.to_string(), "shelf 3");
    let _ = generic::without_types::<generic::Shelf>;
}

#[tokio::test]
async fn listed_handlers_take_part_beside_the_others_or_alone() {
    let app = || App::new("listed").url("memory://").state(generic::Shelf);
    let alone = app().handlers(handlers![beside_another, generic::stores::<generic::Shelf, 1>]).build().await.unwrap();
    let table = alone.table().to_owned();
    assert_eq!(table.lines().count(), 3 + 2, "{table}");
    let twice = app().handlers(handlers![beside_another]).register_all(handlers![beside_another]).build().await.unwrap();
    assert_eq!(twice.table().lines().count(), 3 + 1, "one that is there is not added once more");
    let generics = Registry::collect().generics;
    assert_eq!(generics.iter().map(|generic| generic.name).collect::<Vec<_>>(), ["nobody-calls-it", "stores"]);
}
