//! Gives the executable a build ID, by which it knows its copies: not every linker does so by
//! itself.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--build-id");
}
