//! Compiles lunet.h, beside Cargo.toml, into a static library. This needs a C compiler (CC, or cc) and ar.
use std::env;
use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) {
    let done = command.status().unwrap_or_else(|error| panic!("Expected to run {command:?}; {error}. Install a C compiler."));
    assert!(done.success(), "Expected {command:?} to succeed; got {done}.");
}

fn main() {
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let (object, library) = (Path::new(&out).join("lunet.o"), Path::new(&out).join("liblunet.a"));
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    run(Command::new(compiler).args(["-std=c11", "-O2", "-fPIC", "-DLUNET_IMPLEMENTATION", "-x", "c", "-c", "lunet.h", "-o"]).arg(&object));
    run(Command::new("ar").arg("crs").arg(&library).arg(&object));
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=lunet");
    println!("cargo:rustc-link-lib=dylib=m");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-link-lib=dylib=dl");
    }
    println!("cargo:rerun-if-changed=lunet.h");
}
