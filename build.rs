//! Gives the executables a build ID, by which they know their copies: not every linker does so by
//! itself. And packs the relocations of a static executable, which are a twentieth of it.

use std::process::Command;

/// The release of Rust that brings a musl which unpacks them (1.2.5).
const UNPACKING_RELEASE: u32 = 93;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--build-id");
    if is_x86_64_musl() && minor_release().is_some_and(|minor| minor >= UNPACKING_RELEASE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

fn is_x86_64_musl() -> bool {
    let is = |key: &str, value: &str| std::env::var(key).is_ok_and(|found| found == value);
    is("CARGO_CFG_TARGET_ENV", "musl") && is("CARGO_CFG_TARGET_ARCH", "x86_64")
}

/// The second number of the compiler's release: `rustc 1.95.0 (…)`.
fn minor_release() -> Option<u32> {
    let output = Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.split('.').nth(1)?.parse().ok()
}
