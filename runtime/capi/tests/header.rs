//! The header is what cbindgen makes of the sources. `IC_BLESS=1` writes it anew.

use std::path::Path;

/// The files with what C sees, in the header's order.
const SOURCES: &[&str] = &["dtype.rs", "tensor.rs", "describe.rs", "outputs.rs", "model.rs", "error.rs"];

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let builder = SOURCES.iter().fold(cbindgen::Builder::new().with_config(config), |builder, source| {
        builder.with_src(root.join("src").join(source))
    });
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let (made, path) = (String::from_utf8(made).unwrap(), root.join("include/ic.h"));
    if std::env::var_os("IC_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), made, "IC_BLESS=1 cargo test -p ic-capi writes the header");
}
