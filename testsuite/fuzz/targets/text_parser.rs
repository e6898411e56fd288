//! The text parser takes any text, and what it accepts prints and parses to the same text again.
#![no_main]

use ic_ir::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    if let Ok(graph) = text::parse(source) {
        let printed = text::print(&graph);
        let again = text::parse(&printed).expect("what was printed parses");
        assert_eq!(text::print(&again), printed);
    }
});
