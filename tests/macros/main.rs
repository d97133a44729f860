//! What `#[event]` and `#[handler]` register, and how what they register behaves, without a runtime.

mod accepts;
mod arguments;
mod events;
mod options;
mod registration;
mod replies;
mod support;
mod testing;
