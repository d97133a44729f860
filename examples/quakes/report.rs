//! The output: what happened, computed from what was handled.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::HashSet;

use super::Seen;

/// Prints what was seen, as a table, and the dead letter with its headers.
pub(crate) fn print(seen: &Seen, handlers: &[convoke::HandlerStatus]) {
    println!("network  quakes  strongest  last");
    for (name, network) in &seen.networks {
        println!("{name:7}  {:6}  {:9.1}  {}", network.count, network.strongest, network.last_place);
    }
    println!("\nhandler  handled  failed attempts  dead letters");
    for one in handlers {
        println!("{:7}  {:7}  {:15}  {:12}", one.handler, one.handled, one.failed, one.dead);
    }
    let [reports, natural, alerts] = [&seen.reported, &seen.digested, &seen.paged].map(HashSet::len);
    println!("\n{reports} reports, {natural} earthquakes, {alerts} alerts; {} out of order", seen.out_of_order);
    if let Some(letter) = &seen.dead {
        println!("\none report was cut short; its {} bytes are a dead letter:", letter.payload().len());
        letter.headers().iter().for_each(|(name, value)| println!("  {name}: {}", String::from_utf8_lossy(value)));
    }
}
