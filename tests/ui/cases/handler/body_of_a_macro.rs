//! What a `macro_rules!` puts together may be read by rustc and not by the attribute: never in silence.

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

macro_rules! handlers {
    ($($name:ident $body:block)*) => {
        $(
            #[handler]
            async fn $name(_paid: OrderPaid) {
                $body
                println!("done");
            }
        )*
    };
}

handlers! {
    reserve { println!("reserving"); }
}

fn main() {}
