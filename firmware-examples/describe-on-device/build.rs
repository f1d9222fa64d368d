//! What cargo does not pass on from the build script of `train-digits`, which writes the linker's scripts and says where
//! they are.

fn main() {
    println!("cargo::rustc-link-arg=-Tdiscard.x");
    println!("cargo::rerun-if-changed=build.rs");
}
