//! Where annotated items may stand, and that all of them are found.

use convoke::Registry;
use convoke::prelude::*;
use serde::{Deserialize, Serialize};

use crate::support::{OrderPaid, call, handler};

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
