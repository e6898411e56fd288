//! The few lines of Rust that give an artifact a typed interface: one invocation of `ic_runtime::typed_model!`, which
//! names the entries, and dtype and rank of every input and output.
//!
//! Invariant: whatever the model's names are, the text is valid Rust; equal manifests give equal text.

use ic_artifact::{Entry, Manifest, Port};
use ic_types::DType;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Where a program finds the artifact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// In the program: in `OUT_DIR` when it is built.
    Embedded,
    /// In a file beside the program, whose header has this hash.
    Beside([u8; 32]),
}

/// The typed interface of the artifact `{name}.ica`: a struct with a method per entry. An error names what has no Rust
/// type.
///
/// # Errors
/// If an entry has more than the runtime's typed tensors can say.
pub fn bindings(manifest: &Manifest, name: &str, form: &Form) -> Result<String, String> {
    let model = type_name(name);
    let source = match form {
        Form::Embedded => format!("embedded(concat!(env!(\"OUT_DIR\"), \"/\", {:?}))", format!("{name}.ica")),
        Form::Beside(hash) => {
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("beside({:?}, \"{hash}\")", format!("{name}.ica"))
        }
    };
    let mut text = format!(
        "// Written by ic {}.\n::ic_runtime::typed_model! {{\n    /// The model `{}`.\n    struct {model} = {source};\n",
        manifest.producer,
        one_line(name)
    );
    let mut methods = Names::new(&["load", "load_with"]);
    for entry in manifest.callable() {
        let method = methods.unique(if entry.name == "main" { "run" } else { &entry.name });
        let outputs = match manifest.callable() {
            [_] => format!("{model}Outputs"),
            _ => format!("{model}{}Outputs", type_name(&method)),
        };
        text += &entry_text(entry, &method, &outputs)?;
    }
    Ok(text + "}\n")
}

fn entry_text(entry: &Entry, method: &str, outputs: &str) -> Result<String, String> {
    let ports = |ports: &[Port], names: &mut Names| -> Result<String, String> {
        let mut text = String::new();
        for port in ports {
            let dtype = DType::from_code(port.dtype).ok_or_else(|| format!("`{}` has no element type", port.name))?;
            let (ident, rank) = (names.unique(&port.name), port.shape.len());
            let shape = one_line(&port.shape.join(", "));
            let name = one_line(&port.name);
            // Formatting into a string cannot fail.
            let _ = writeln!(text, "        /// `{name}`: `{dtype}[{shape}]`");
            let _ = writeln!(text, "        {ident}: {}, {rank} = {:?};", element(dtype), port.name);
        }
        Ok(text)
    };
    let inputs = ports(&entry.inputs, &mut Names::new(&[]))?;
    let results = ports(&entry.outputs, &mut Names::new(&[]))?;
    let name = one_line(&entry.name);
    Ok(format!(
        "    /// Runs the entry `{name}`.\n    fn {method} = {:?} {{\n{inputs}    }} -> {outputs} {{\n{results}    }}\n",
        entry.name
    ))
}

/// The Rust type of an element, a path that resolves anywhere.
fn element(dtype: DType) -> String {
    match dtype {
        DType::String => "::std::string::String".into(),
        DType::C64 => "[f32; 2]".into(),
        DType::C128 => "[f64; 2]".into(),
        DType::F64 | DType::F32 | DType::Bool => dtype.name().into(),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => dtype.name().into(),
        DType::U64 | DType::U32 | DType::U16 | DType::U8 => dtype.name().into(),
        _ => format!("::ic_runtime::typed::{}", dtype.name().to_uppercase()),
    }
}

/// A type's name: the words of `name`, each with a capital.
fn type_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let joined: String = words.map(capital).collect();
    if joined.starts_with(|c: char| c.is_ascii_alphabetic()) { joined } else { format!("Model{joined}") }
}

/// Without line ends and back quotes, for a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect()
}

/// Identifiers of one scope, no two of them equal.
struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    fn new(reserved: &[&str]) -> Names {
        Names { taken: reserved.iter().map(ToString::to_string).collect() }
    }

    /// A new identifier that reads like `name`.
    fn unique(&mut self, name: &str) -> String {
        let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut stem = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_");
        if !stem.starts_with(|c: char| c.is_ascii_alphabetic()) {
            stem.insert(0, 'x');
        }
        if KEYWORDS.contains(&stem.as_str()) {
            stem.push('_');
        }
        let candidates = std::iter::once(stem.clone()).chain((2usize..).map(|n| format!("{stem}_{n}")));
        let free = candidates.into_iter().find(|candidate| !self.taken.contains(candidate)).unwrap_or(stem);
        self.taken.insert(free.clone());
        free
    }
}

/// Words that are no identifiers in some edition of Rust.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, dtype: DType, shape: &[&str]) -> Port {
        Port { name: name.into(), dtype: dtype as u8, shape: shape.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn names_become_identifiers() {
        let entry = Entry {
            name: "main".into(),
            inputs: vec![
                port("onnx::type", DType::I64, &["N"]),
                port("Type", DType::F16, &[]),
                port("type", DType::C64, &[]),
            ],
            outputs: vec![port("0/`a\nb", DType::F32, &["N", "64"])],
            symbols: Vec::new(),
            states: vec![],
        };
        let manifest = Manifest { producer: "0".into(), entries: vec![entry], ..Manifest::default() };
        let text = bindings(&manifest, "my-net.v2", &Form::Embedded).unwrap();
        let expected = r#"// Written by ic 0.
::ic_runtime::typed_model! {
    /// The model `my-net.v2`.
    struct MyNetV2 = embedded(concat!(env!("OUT_DIR"), "/", "my-net.v2.ica"));
    /// Runs the entry `main`.
    fn run = "main" {
        /// `onnx::type`: `i64[N]`
        onnx_type: i64, 1 = "onnx::type";
        /// `Type`: `f16[]`
        type_: ::ic_runtime::typed::F16, 0 = "Type";
        /// `type`: `c64[]`
        type__2: [f32; 2], 0 = "type";
    } -> MyNetV2Outputs {
        /// `0/ a b`: `f32[N, 64]`
        x0_a_b: f32, 2 = "0/`a\nb";
    }
}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn each_entry_has_a_method_and_outputs() {
        let entry =
            |name: &str| Entry { name: name.into(), inputs: vec![], outputs: vec![], symbols: vec![], states: vec![] };
        let entries = vec![entry("encoder"), entry("load"), entry("Encoder")];
        let manifest = Manifest { entries, ..Manifest::default() };
        let text = bindings(&manifest, "w", &Form::Beside([0xab; 32])).unwrap();
        assert!(text.contains(&format!("struct W = beside(\"w.ica\", \"{}\")", "ab".repeat(32))), "{text}");
        for line in ["fn encoder = \"encoder\"", "fn load_2 = \"load\"", "fn encoder_2 = \"Encoder\"", "WLoad2Outputs"]
        {
            assert!(text.contains(line), "{text}");
        }
    }
}
