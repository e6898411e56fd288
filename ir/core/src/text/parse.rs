//! Parses graphs. Types are inferred again and must equal those that are written; results need none.

use super::lexer::Lexer;
use crate::attr::{Attr, AttrMap, split_top_level};
use crate::graph::{Graph, SymbolRange, ValueId};
use crate::ops::Op;
use crate::types::{TensorType, Type};
use ic_types::{DType, ParseDimError};
use std::collections::HashMap;
use std::sync::Arc;

/// Text that is not a graph.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

/// Nesting of regions beyond which text is refused.
const MAX_DEPTH: usize = 32;

/// Reads one graph.
///
/// # Errors
/// If the text is malformed, an operand is undefined, an op refuses its operands, or a written type is not the inferred
/// one.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut lexer = Lexer::new(text);
    let graph = parse_graph(&mut lexer, 0)?;
    if !lexer.is_at_end() {
        return Err(lexer.error("expected the end"));
    }
    Ok(graph)
}

type Names = HashMap<String, ValueId>;

fn parse_graph(lexer: &mut Lexer, depth: usize) -> Result<Graph, ParseError> {
    if depth > MAX_DEPTH {
        return Err(lexer.error(format!("regions nest deeper than {MAX_DEPTH}")));
    }
    lexer.expect("graph")?;
    lexer.expect("@")?;
    let name = if lexer.rest().starts_with('"') { lexer.string()? } else { lexer.word()?.to_string() };
    let mut graph = Graph::new(name);
    let mut names = Names::new();
    parse_inputs(lexer, &mut graph, &mut names)?;
    if lexer.accept("->") {
        lexer.balanced(&['{'])?;
    }
    lexer.expect("{")?;
    while lexer.accept("symbol ") {
        parse_symbol(lexer, &mut graph)?;
    }
    while !lexer.accept("return") {
        if lexer.accept("bind ") {
            parse_binding(lexer, &mut graph, &names)?;
        } else {
            parse_node(lexer, &mut graph, &mut names, depth)?;
        }
    }
    while !lexer.accept("}") {
        let name = lexer.rest().starts_with('"').then(|| lexer.string()).transpose()?;
        if name.is_some() {
            lexer.expect("=")?;
        }
        let word = parse_value_name(lexer)?;
        let value = lookup(lexer, &names, &word)?;
        graph.add_output(name.unwrap_or(word), value);
        lexer.accept(",");
    }
    Ok(graph)
}

fn parse_symbol_name<'a>(lexer: &mut Lexer<'a>) -> Result<&'a str, ParseError> {
    if !lexer.accept("`") {
        return lexer.word();
    }
    let name = lexer.balanced(&['`'])?;
    lexer.expect("`")?;
    Ok(name)
}

fn parse_binding(lexer: &mut Lexer, graph: &mut Graph, names: &Names) -> Result<(), ParseError> {
    let symbol = parse_symbol_name(lexer)?;
    lexer.expect("=")?;
    let name = parse_value_name(lexer)?;
    let value = lookup(lexer, names, &name)?;
    lexer.expect("[")?;
    let element = lexer.word()?.parse().map_err(|_| lexer.error("expected the number of an element"))?;
    lexer.expect("]")?;
    graph.bind_symbol(symbol, value, element);
    Ok(())
}

fn parse_symbol(lexer: &mut Lexer, graph: &mut Graph) -> Result<(), ParseError> {
    let name = parse_symbol_name(lexer)?;
    lexer.expect("=")?;
    let range = lexer.word()?;
    let (min, max) = range.split_once("..").ok_or_else(|| lexer.error("expected a range `LO..HI`"))?;
    let (Ok(min), Ok(max)) = (min.parse(), max.parse()) else {
        return Err(lexer.error("expected a range `LO..HI`"));
    };
    graph.symbols.insert(name.into(), SymbolRange { min, max });
    Ok(())
}

fn parse_inputs(lexer: &mut Lexer, graph: &mut Graph, names: &mut Names) -> Result<(), ParseError> {
    lexer.expect("(")?;
    while !lexer.accept(")") {
        let word = parse_value_name(lexer)?;
        lexer.expect(":")?;
        let ty = parse_type(lexer, 0)?;
        let name = if lexer.accept("@") { lexer.string()? } else { word.clone() };
        let value = graph.add_input(name, ty);
        define(lexer, names, word, value)?;
        lexer.accept(",");
    }
    Ok(())
}

fn parse_type(lexer: &mut Lexer, depth: usize) -> Result<Type, ParseError> {
    if depth > MAX_DEPTH {
        return Err(lexer.error(format!("types nest deeper than {MAX_DEPTH}")));
    }
    for (prefix, wrap) in [("seq(", Type::Sequence as fn(Box<Type>) -> Type), ("optional(", Type::Optional)] {
        if lexer.accept(prefix) {
            let element = parse_type(lexer, depth + 1)?;
            lexer.expect(")")?;
            return Ok(wrap(Box::new(element)));
        }
    }
    let dtype = DType::from_text(lexer.word()?).map_err(|expected| lexer.error(format!("expected {expected}")))?;
    lexer.expect("[")?;
    let dims = split_top_level(lexer.balanced(&[']'])?);
    lexer.expect("]")?;
    let shape = dims.into_iter().map(|d| d.parse().map_err(|e: ParseDimError| lexer.error(e.to_string())));
    let ty = TensorType::new(dtype, shape.collect::<Result<_, _>>()?);
    if !ty.is_plausible() {
        return Err(
            lexer.error("an extent is negative, the tensor is too large, or its size is too long an expression")
        );
    }
    Ok(ty.into())
}

/// The tensor type that `text` stands for.
pub(super) fn tensor_type(text: &str) -> Option<TensorType> {
    match parse_type(&mut Lexer::new(text), 0).ok()? {
        Type::Tensor(ty) => Some(ty),
        _ => None,
    }
}

fn parse_node(lexer: &mut Lexer, graph: &mut Graph, names: &mut Names, depth: usize) -> Result<(), ParseError> {
    let mut results = vec![parse_value_name(lexer)?];
    while lexer.accept(",") {
        results.push(parse_value_name(lexer)?);
    }
    lexer.expect("=")?;
    let op_name = lexer.word()?;
    let operands = parse_operands(lexer, names)?;
    let mut attrs = parse_attrs(lexer)?;
    let op = match Op::from_attrs(op_name, &mut attrs) {
        None => return Err(lexer.error(format!("no op `{op_name}`"))),
        Some(op) => op.map_err(|e| lexer.error(format!("{op_name}: {e}")))?,
    };
    let mut types = vec![];
    let is_typed = lexer.accept(":");
    while is_typed && types.len() < results.len() {
        types.push(parse_type(lexer, 0)?);
        lexer.accept(",");
    }
    let location: Arc<str> = if lexer.accept("@") { lexer.string()?.into() } else { "".into() };
    let regions = if lexer.accept("regions") { parse_regions(lexer, depth)? } else { Vec::new() };
    let values = graph.push_node(op, operands, regions, &location).map_err(|e| lexer.error(e.to_string()))?;
    if values.len() != results.len() {
        return Err(lexer.error(format!("{op_name} has {} results, found {}", values.len(), results.len())));
    }
    for (i, (name, value)) in results.into_iter().zip(values).enumerate() {
        if let Some(ty) = types.get(i).filter(|ty| *ty != graph.ty(value)) {
            return Err(lexer.error(format!("%{name} is {}, but {ty} is written", graph.ty(value))));
        }
        define(lexer, names, name, value)?;
    }
    Ok(())
}

fn parse_regions(lexer: &mut Lexer, depth: usize) -> Result<Vec<Graph>, ParseError> {
    let mut regions = Vec::new();
    lexer.expect("{")?;
    while !lexer.accept("}") {
        regions.push(parse_graph(lexer, depth + 1)?);
    }
    Ok(regions)
}

fn parse_operands(lexer: &mut Lexer, names: &Names) -> Result<Vec<Option<ValueId>>, ParseError> {
    let mut operands = Vec::new();
    lexer.expect("(")?;
    while !lexer.accept(")") {
        if lexer.accept("_") {
            operands.push(None);
        } else {
            let name = parse_value_name(lexer)?;
            operands.push(Some(lookup(lexer, names, &name)?));
        }
        lexer.accept(",");
    }
    Ok(operands)
}

fn parse_attrs(lexer: &mut Lexer) -> Result<AttrMap, ParseError> {
    let mut map = AttrMap::default();
    if lexer.accept("{") {
        while !lexer.accept("}") {
            let name = lexer.word()?.to_string();
            lexer.expect("=")?;
            map.0.push((name, lexer.balanced(&[',', '}'])?.to_string()));
            lexer.accept(",");
        }
    }
    Ok(map)
}

fn parse_value_name(lexer: &mut Lexer) -> Result<String, ParseError> {
    lexer.expect("%")?;
    Ok(lexer.word()?.to_string())
}

fn lookup(lexer: &Lexer, names: &Names, name: &str) -> Result<ValueId, ParseError> {
    names.get(name).copied().ok_or_else(|| lexer.error(format!("%{name} is not defined")))
}

fn define(lexer: &Lexer, names: &mut Names, name: String, value: ValueId) -> Result<(), ParseError> {
    match names.insert(name.clone(), value) {
        None => Ok(()),
        Some(_) => Err(lexer.error(format!("%{name} is defined twice"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::print;
    use super::*;

    fn check(text: &str) {
        let graph = parse(text).unwrap();
        let printed = print(&graph);
        assert_eq!(print(&parse(&printed).unwrap()), printed);
    }

    #[test]
    fn graphs_round_trip() {
        check(
            "graph @g(%x: f32[N, 64], %b: bool[] @\"a b\") {
               symbol N = 1..8
               %0 = softmax(%x) {axis = 1} : f32[N, 64] @\"/attn/Softmax\"
               %1 = constant() {value = f32[2] [1.0, -2.5]} : f32[2]
               %2 = dims() {value = [N, 64]} : i64[2] ; a comment
               %3 = add(%0, %x) : f32[N, 64]
               return \"y\" = %3, \"c\" = %1, \"d\" = %2
             }",
        );
    }

    #[test]
    fn written_types_are_checked() {
        let error = parse("graph @g(%x: f32[2]) { %0 = exp(%x) : f32[3] return %0 }").unwrap_err();
        assert!(error.message.contains("is f32[2]"), "{error}");
    }

    #[test]
    fn malformed_text_is_an_error() {
        for text in
            ["", "graph", "graph @g(", "graph @g() { %0 = nope() : f32[] return %0 }", "graph @g() { return %x }"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
