//! Modules from text. What is not known is an error that names the line and the instruction.

mod decode;
mod operand;

use crate::cfg;
use crate::instruction::{Instruction, Op};
use crate::types::Ty;
use operand::{Scope, Symbol};
use std::collections::HashMap;

/// Text that is not a module, or has what is not supported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: `{text}`: {message}")]
pub struct ParseError {
    /// Line, counted from 1.
    pub line: usize,
    /// The statement.
    pub text: String,
    /// What is wrong with it.
    pub message: String,
}

/// A module of kernels.
#[derive(Clone, Debug)]
pub struct Module {
    /// What `.version` says.
    pub version: String,
    /// What `.target` says.
    pub target: String,
    /// The kernels.
    pub functions: Vec<Function>,
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Offset and bytes of each parameter in the block of parameters.
    pub params: Vec<(usize, usize)>,
    /// Bytes of static shared memory.
    pub shared_bytes: usize,
    /// The largest block that `.maxntid` allows, if it is there.
    pub max_threads: Option<[u32; 3]>,
    /// Instructions of the text, labels not counted.
    pub n_instructions: usize,
    pub(crate) body: Vec<Instruction>,
    /// For each instruction, where lanes that part there meet again.
    pub(crate) meets: Vec<usize>,
    /// Bits of each register.
    pub(crate) registers: Vec<u32>,
    /// Name of each register.
    pub(crate) names: Vec<String>,
    /// Where shared memory that the launch adds begins.
    pub(crate) dynamic_shared: Option<usize>,
}

impl Function {
    /// Values as a block of parameters, each as wide as its parameter.
    ///
    /// # Errors
    /// If there are more or fewer values than parameters, or a parameter is wider than a value.
    pub fn pack(&self, values: &[u64]) -> Result<Vec<u8>, String> {
        if values.len() != self.params.len() {
            return Err(format!("{} parameters, found {}", self.params.len(), values.len()));
        }
        let mut block = vec![0; self.param_bytes()];
        for (&(at, bytes), value) in self.params.iter().zip(values) {
            let value = value.to_le_bytes();
            let value = value.get(..bytes).ok_or_else(|| format!("a parameter of {bytes} bytes is no number"))?;
            block[at..at + bytes].copy_from_slice(value);
        }
        Ok(block)
    }

    /// Bytes of the block of parameters.
    pub fn param_bytes(&self) -> usize {
        self.params.iter().map(|(at, bytes)| at + bytes).max().unwrap_or(0)
    }
}

impl Module {
    /// Reads a module; a zero byte ends it.
    ///
    /// # Errors
    /// If it is malformed, or has an instruction, a directive or a type that the emulator does not have.
    pub fn parse(text: &str) -> Result<Module, ParseError> {
        let statements = statements(text.split('\0').next().unwrap_or_default());
        let mut module = Module { version: String::new(), target: String::new(), functions: Vec::new() };
        let mut rest = statements.into_iter().peekable();
        let mut externs: Vec<Statement> = Vec::new();
        while let Some(statement) = rest.next() {
            let error = |message: &str| statement.error(message);
            let word = statement.text.split_whitespace().next().unwrap_or_default();
            match word {
                ".version" => module.version = statement.after(word).to_string(),
                ".target" => module.target = statement.after(word).to_string(),
                ".address_size" => {
                    if statement.after(word) != "64" {
                        return Err(error("expected 64 bits"));
                    }
                }
                ".extern" if statement.text.contains(".shared") => externs.push(statement),
                ".visible" | ".entry" => {
                    let mut body = Vec::new();
                    if statement.end != End::Open {
                        return Err(error("expected a kernel with a body"));
                    }
                    let mut depth = 1;
                    for inner in rest.by_ref() {
                        match inner.end {
                            End::Open => return Err(inner.error("nested blocks are not supported")),
                            End::Close => depth -= 1,
                            End::Semicolon | End::Label => {}
                        }
                        body.push(inner);
                        if depth == 0 {
                            break;
                        }
                    }
                    module.functions.push(function(&statement, &body, &externs)?);
                }
                "" if statement.end == End::Close => return Err(error("a `}` too many")),
                _ => return Err(error("not supported at this place")),
            }
        }
        Ok(module)
    }

    /// The kernel of this name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }
}

/// How a statement ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Semicolon,
    /// A colon after a label.
    Label,
    /// The `{` of a block, or the end of a line of directives.
    Open,
    Close,
}

/// Text up to a `;`, a label's `:` or a brace of a block.
#[derive(Clone, Debug)]
struct Statement {
    line: usize,
    text: String,
    end: End,
}

impl Statement {
    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, text: self.text.clone(), message: message.into() }
    }

    fn after(&self, word: &str) -> &str {
        self.text.strip_prefix(word).unwrap_or_default().trim()
    }
}

/// Splits text without its comments.
fn statements(text: &str) -> Vec<Statement> {
    let mut list: Vec<Statement> = Vec::new();
    let mut current = Statement { line: 0, text: String::new(), end: End::Semicolon };
    let mut finish = |current: &mut Statement, end: End| {
        let text = std::mem::take(&mut current.text);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() || end == End::Close {
            list.push(Statement { line: current.line, text, end });
        }
        current.line = 0;
    };
    let (mut in_comment, mut in_operands) = (false, 0);
    for (number, full) in text.lines().enumerate() {
        let mut line = String::new();
        let mut chars = full.chars().peekable();
        while let Some(c) = chars.next() {
            match (in_comment, c, chars.peek()) {
                (true, '*', Some('/')) => {
                    chars.next();
                    in_comment = false;
                }
                (true, ..) => {}
                (false, '/', Some('/')) => break,
                (false, '/', Some('*')) => in_comment = true,
                (false, c, _) => line.push(c),
            }
        }
        let trimmed = line.trim();
        // Directives of a module end with their line.
        let is_module_directive =
            [".version", ".target", ".address_size"].iter().any(|d| trimmed.starts_with(d)) && current.line == 0;
        if is_module_directive {
            current = Statement { line: number + 1, text: trimmed.into(), end: End::Semicolon };
            finish(&mut current, End::Semicolon);
            continue;
        }
        for c in line.chars() {
            if current.line == 0 && !c.is_whitespace() {
                current.line = number + 1;
            }
            let begins_block = c == '{' && (current.text.trim().is_empty() || is_header(&current.text));
            match c {
                ';' => finish(&mut current, End::Semicolon),
                '{' if begins_block => finish(&mut current, End::Open),
                '{' => {
                    in_operands += 1;
                    current.text.push(c);
                }
                '}' if in_operands > 0 => {
                    in_operands -= 1;
                    current.text.push(c);
                }
                '}' => finish(&mut current, End::Close),
                ':' if is_label(&current.text) => finish(&mut current, End::Label),
                c => current.text.push(c),
            }
        }
        current.text.push(' ');
    }
    finish(&mut current, End::Semicolon);
    list
}

/// Whether the text so far is a kernel's header.
fn is_header(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(".visible") || text.starts_with(".entry")
}

fn is_label(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}

/// A kernel, which sees the module's `externs` unless it declares the same name.
fn function(header: &Statement, body: &[Statement], externs: &[Statement]) -> Result<Function, ParseError> {
    let error = |message: &str| header.error(message);
    let text = header.text.replace(".visible", "");
    let text = text.trim().strip_prefix(".entry").ok_or_else(|| error("expected `.entry`"))?.trim();
    let (name, rest) = text.split_once('(').unwrap_or_else(|| text.split_once(' ').unwrap_or((text, ")")));
    let (params, directives) = rest.split_once(')').ok_or_else(|| error("expected `)`"))?;
    let mut scope = Scope::default();
    let params = parameters(params, &mut scope).map_err(|message| header.error(message))?;
    let max_threads = max_threads(directives).map_err(|message| header.error(message))?;
    let shared_bytes = declarations(body, &mut scope)?;
    for statement in externs {
        let (name, _) = array(statement.text.split_whitespace().last().unwrap_or_default())
            .map_err(|message| statement.error(message))?;
        if !scope.symbols.contains_key(name) {
            let at = shared_bytes.next_multiple_of(128);
            scope.symbols.insert(name.into(), Symbol::Shared(at));
            scope.dynamic_shared = Some(at);
        }
    }
    // Labels are numbers of the instructions after them.
    let mut labels: HashMap<&str, usize> = HashMap::new();
    let mut n = 0;
    for statement in body {
        match statement.end {
            End::Label if labels.insert(statement.text.trim(), n).is_some() => {
                return Err(statement.error("the label is there twice"));
            }
            End::Semicolon if !statement.text.starts_with('.') => n += 1,
            _ => {}
        }
    }
    let mut instructions = Vec::new();
    for statement in body.iter().filter(|s| s.end == End::Semicolon && !s.text.starts_with('.')) {
        let decoded =
            decode::instruction(&statement.text, &scope, &labels).map_err(|message| statement.error(message))?;
        let (guard, op) = decoded;
        instructions.push(Instruction { op, guard, line: statement.line, text: statement.text.clone() });
    }
    let n_instructions = instructions.len();
    instructions.push(Instruction { op: Op::Exit, guard: None, line: 0, text: "ret".into() });
    Ok(Function {
        name: name.trim().into(),
        params,
        shared_bytes,
        max_threads,
        n_instructions,
        meets: cfg::reconvergence(&instructions),
        body: instructions,
        dynamic_shared: scope.dynamic_shared,
        registers: scope.bits,
        names: scope.names,
    })
}

/// Offsets and sizes of parameters, by `.param .u64 name` or `.param .align 64 .b8 name[128]`.
fn parameters(text: &str, scope: &mut Scope) -> Result<Vec<(usize, usize)>, String> {
    let mut params = Vec::new();
    let mut at = 0usize;
    for param in text.split(',').map(str::trim).filter(|param| !param.is_empty()) {
        let words: Vec<&str> = param.split_whitespace().collect();
        let name = words.last().copied().unwrap_or_default();
        let mut types = words.iter().filter_map(|word| Ty::from_name(word.trim_start_matches('.')));
        let ty = types.next_back().ok_or_else(|| format!("no type in parameter `{param}`"))?;
        let (name, count) = array(name)?;
        let align = alignment(&words)?.unwrap_or(ty.bytes() as usize);
        at = at.next_multiple_of(align.max(1));
        let bytes = ty.bytes() as usize * count.unwrap_or(1);
        scope.symbols.insert(name.into(), Symbol::Param(at));
        params.push((at, bytes));
        at += bytes;
    }
    Ok(params)
}

/// `name[count]`.
fn array(name: &str) -> Result<(&str, Option<usize>), String> {
    let Some((name, count)) = name.split_once('[') else { return Ok((name, None)) };
    let count = count.trim_end_matches(']');
    if count.is_empty() {
        return Ok((name, Some(0)));
    }
    count.parse().map(|count| (name, Some(count))).map_err(|_| format!("`{count}` is no number of elements"))
}

fn alignment(words: &[&str]) -> Result<Option<usize>, String> {
    let Some(at) = words.iter().position(|word| *word == ".align") else { return Ok(None) };
    let value = words.get(at + 1).and_then(|word| word.parse().ok()).filter(|align: &usize| align.is_power_of_two());
    value.map(Some).ok_or_else(|| "expected a power of two after `.align`".into())
}

fn max_threads(directives: &str) -> Result<Option<[u32; 3]>, String> {
    let mut max = None;
    for directive in directives.split('.').map(str::trim).filter(|directive| !directive.is_empty()) {
        let (name, values) = directive.split_once(' ').unwrap_or((directive, ""));
        let numbers = || values.split(',').map(|x| x.trim().parse::<u32>().map_err(|_| format!("`{x}` is no number")));
        match name {
            "maxntid" | "reqntid" => {
                let mut sizes = [1; 3];
                for (size, number) in sizes.iter_mut().zip(numbers()) {
                    *size = number?;
                }
                max = Some(sizes);
            }
            "minnctapersm" | "maxnreg" => {}
            _ => return Err(format!("`.{name}` is not supported")),
        }
    }
    Ok(max)
}

/// Registers and shared variables. The size of static shared memory.
fn declarations(body: &[Statement], scope: &mut Scope) -> Result<usize, ParseError> {
    let mut shared = 0usize;
    let is_declaration = |s: &&Statement| s.end == End::Semicolon && s.text.starts_with('.');
    for statement in body.iter().filter(is_declaration) {
        let words: Vec<&str> = statement.text.split_whitespace().collect();
        let error = |message: String| statement.error(message);
        match words[0] {
            ".reg" => {
                let ty = words.get(1).and_then(|word| Ty::from_name(word.trim_start_matches('.')));
                let ty = ty.ok_or_else(|| error("expected a type".into()))?;
                for name in words[2..].join("").split(',') {
                    scope.declare(name, ty.bits()).map_err(error)?;
                }
            }
            ".shared" => {
                let name = words.last().copied().unwrap_or_default();
                let (name, count) = array(name).map_err(error)?;
                let mut types = words.iter().filter_map(|word| Ty::from_name(word.trim_start_matches('.')));
                let ty = types.next_back().ok_or_else(|| error("expected a type".into()))?;
                let align = alignment(&words).map_err(error)?.unwrap_or(ty.bytes() as usize);
                shared = shared.next_multiple_of(align);
                scope.symbols.insert(name.into(), Symbol::Shared(shared));
                shared += ty.bytes() as usize * count.unwrap_or(1);
            }
            ".extern" => {
                let name = array(words.last().copied().unwrap_or_default()).map_err(error)?.0;
                let at = shared.next_multiple_of(128);
                scope.symbols.insert(name.into(), Symbol::Shared(at));
                scope.dynamic_shared = Some(at);
            }
            ".loc" | ".pragma" => {}
            word => return Err(error(format!("`{word}` is not supported"))),
        }
    }
    Ok(shared)
}
