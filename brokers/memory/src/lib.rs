//! The embedded broker of convoke: a broker in the process, with nothing to install.

mod broker;
mod clock;
mod cursor;
mod faults;
mod group;
mod log;
mod member;
mod options;
mod publish;
mod share;
mod state;
mod subscription;
mod topology;

pub use broker::{MemoryBroker, open};
pub use options::{Full, Options};
