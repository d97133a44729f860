//! Nothing is built here: Cargo asks every package with a `links` key for a build script, and `links` is what makes two
//! versions of the contract in one dependency graph an error instead of two half-empty registries.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
