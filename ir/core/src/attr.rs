//! Typed attributes and their text form.
//!
//! [`attrs!`] declares an op's attributes once; printing, parsing, defaults and errors follow from the field types.

use crate::literal::Literal;
use crate::substitute::Replacement;
use ic_types::{DType, Dim};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The type of one attribute.
pub trait Attr: Sized + PartialEq {
    /// Text that [`Attr::from_text`] reads back.
    fn to_text(&self) -> String;

    /// Reads the text.
    ///
    /// # Errors
    /// What was expected instead.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Adds the names of the symbols in the attribute.
    fn collect_symbols(&self, _names: &mut BTreeSet<Arc<str>>) {}

    /// Replaces symbols.
    fn substitute(&mut self, _replace: Replacement) {}
}

/// Why attributes could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AttrError {
    /// The text of an attribute is not of its type.
    #[error("attribute `{name}`: expected {expected}, found `{found}`")]
    Malformed {
        /// The attribute.
        name: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// An attribute without default is missing.
    #[error("attribute `{0}` is missing")]
    Missing(String),
    /// The op has no such attribute.
    #[error("no attribute `{0}`")]
    Unknown(String),
}

/// Attributes as text, by name.
#[derive(Clone, Debug, Default)]
pub struct AttrMap(pub Vec<(String, String)>);

impl AttrMap {
    /// Takes the attribute `name` out and reads it.
    ///
    /// # Errors
    /// If the text is malformed.
    pub fn take<T: Attr>(&mut self, name: &str) -> Result<Option<T>, AttrError> {
        let Some(index) = self.0.iter().position(|(n, _)| n == name) else { return Ok(None) };
        let (_, text) = self.0.remove(index);
        match T::from_text(text.trim()) {
            Ok(value) => Ok(Some(value)),
            Err(expected) => Err(AttrError::Malformed { name: name.into(), expected, found: text }),
        }
    }

    /// # Errors
    /// If attributes are left that nothing has taken.
    pub fn finish(&self) -> Result<(), AttrError> {
        match self.0.first() {
            Some((name, _)) => Err(AttrError::Unknown(name.clone())),
            None => Ok(()),
        }
    }
}

/// A set of attributes: what [`attrs!`] implements.
pub trait Attrs: Sized {
    /// Names and texts of the attributes that differ from their defaults.
    fn attrs(&self) -> Vec<(&'static str, String)>;

    /// Adds the names of the symbols in the attributes.
    fn collect_symbols(&self, names: &mut BTreeSet<Arc<str>>);

    /// Replaces symbols in the attributes.
    fn substitute(&mut self, replace: Replacement);

    /// Reads the attributes.
    ///
    /// # Errors
    /// If one is missing, malformed or unknown.
    fn from_attrs(map: &mut AttrMap) -> Result<Self, AttrError>;
}

/// Declares a struct of typed attributes: `attrs! { Softmax { axis: i64 = -1 } }`.
#[macro_export]
macro_rules! attrs {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty $(= $default:expr)?),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl $crate::Attrs for $name {
            fn attrs(&self) -> Vec<(&'static str, String)> {
                #[allow(unused_mut, clippy::allow_attributes, reason = "ops without attributes push nothing")]
                let mut list: Vec<(&'static str, String)> = Vec::new();
                $(
                    #[allow(unused_variables, clippy::allow_attributes, reason = "only attributes with defaults use it")]
                    let default: Option<$ty> = None;
                    $(let default: Option<$ty> = Some($default);)?
                    if default.as_ref() != Some(&self.$field) {
                        list.push((stringify!($field), $crate::Attr::to_text(&self.$field)));
                    }
                )*
                list
            }

            #[allow(unused_variables, clippy::allow_attributes, reason = "ops without attributes have no symbols")]
            fn collect_symbols(&self, names: &mut std::collections::BTreeSet<std::sync::Arc<str>>) {
                $($crate::Attr::collect_symbols(&self.$field, names);)*
            }

            #[allow(unused_variables, clippy::allow_attributes, reason = "ops without attributes have no symbols")]
            fn substitute(&mut self, replace: $crate::Replacement) {
                $($crate::Attr::substitute(&mut self.$field, replace);)*
            }

            fn from_attrs(map: &mut $crate::AttrMap) -> Result<Self, $crate::AttrError> {
                let this = $name {
                    $($field: {
                        let default: Option<$ty> = None;
                        $(let default: Option<$ty> = default.or(Some($default));)?
                        match map.take::<$ty>(stringify!($field))?.or(default) {
                            Some(value) => value,
                            None => return Err($crate::AttrError::Missing(stringify!($field).into())),
                        }
                    },)*
                };
                map.finish()?;
                Ok(this)
            }
        }
    };
}

/// Declares an attribute that is one of a few words: `word_attr! { PadMode { Constant = "constant", … } }`.
#[macro_export]
macro_rules! word_attr {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// The word in IR text.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl $crate::Attr for $name {
            fn to_text(&self) -> String {
                self.name().into()
            }
            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($name::$variant),)*
                    _ => Err(concat!("one of", $(" `", $word, "`",)*).into()),
                }
            }
        }
    };
}

/// An f32 attribute, compared, ordered and hashed by its bits.
#[derive(Clone, Copy, Debug)]
pub struct F32(pub f32);

impl PartialEq for F32 {
    fn eq(&self, other: &F32) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for F32 {}

impl PartialOrd for F32 {
    fn partial_cmp(&self, other: &F32) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for F32 {
    fn cmp(&self, other: &F32) -> std::cmp::Ordering {
        self.0.to_bits().cmp(&other.0.to_bits())
    }
}

impl std::hash::Hash for F32 {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Attr for F32 {
    fn to_text(&self) -> String {
        format!("{:?}", self.0)
    }
    fn from_text(text: &str) -> Result<F32, String> {
        text.parse().map(F32).map_err(|_| "a number".into())
    }
}

impl Attr for i64 {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Result<i64, String> {
        text.parse().map_err(|_| "an integer".into())
    }
}

impl Attr for usize {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Result<usize, String> {
        text.parse().map_err(|_| "a non-negative integer".into())
    }
}

impl Attr for bool {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| "`true` or `false`".into())
    }
}

impl Attr for String {
    fn to_text(&self) -> String {
        quote(self)
    }
    fn from_text(text: &str) -> Result<String, String> {
        unquote(text).ok_or_else(|| "a quoted string".into())
    }
}

impl Attr for DType {
    fn to_text(&self) -> String {
        self.name().into()
    }
    fn from_text(text: &str) -> Result<DType, String> {
        text.parse().map_err(|()| "an element type".into())
    }
}

impl Attr for Dim {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Result<Dim, String> {
        text.parse().map_err(|e: ic_types::ParseDimError| e.to_string())
    }
    fn collect_symbols(&self, names: &mut BTreeSet<Arc<str>>) {
        Dim::collect_symbols(self, names);
    }
    fn substitute(&mut self, replace: Replacement) {
        *self = Dim::substitute(self, replace);
    }
}

impl<T: Attr> Attr for Vec<T> {
    fn to_text(&self) -> String {
        format!("[{}]", self.iter().map(Attr::to_text).collect::<Vec<_>>().join(", "))
    }
    fn from_text(text: &str) -> Result<Vec<T>, String> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or("a list")?;
        split_top_level(inner).into_iter().map(T::from_text).collect()
    }
    fn collect_symbols(&self, names: &mut BTreeSet<Arc<str>>) {
        self.iter().for_each(|item| item.collect_symbols(names));
    }
    fn substitute(&mut self, replace: Replacement) {
        self.iter_mut().for_each(|item| item.substitute(replace));
    }
}

impl<T: Attr> Attr for Option<T> {
    fn to_text(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), Attr::to_text)
    }
    fn from_text(text: &str) -> Result<Option<T>, String> {
        if text == "none" { Ok(None) } else { T::from_text(text).map(Some) }
    }
    fn collect_symbols(&self, names: &mut BTreeSet<Arc<str>>) {
        self.iter().for_each(|item| item.collect_symbols(names));
    }
    fn substitute(&mut self, replace: Replacement) {
        self.iter_mut().for_each(|item| item.substitute(replace));
    }
}

impl Attr for Literal {
    fn to_text(&self) -> String {
        crate::text::literal_to_text(self)
    }
    fn from_text(text: &str) -> Result<Literal, String> {
        crate::text::literal_from_text(text)
    }
}

/// Puts `text` between double quotes, with quotes, backslashes and control characters escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => fmt::Write::write_fmt(&mut quoted, format_args!("\\u{{{:x}}}", c as u32))
                .expect("writing to a string cannot fail"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The inverse of [`quote`].
pub(crate) fn unquote(text: &str) -> Option<String> {
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => match chars.next()? {
                'u' => {
                    let digits: String = chars.by_ref().skip_while(|&c| c == '{').take_while(|&c| c != '}').collect();
                    plain.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                c => plain.push(c),
            },
            c => plain.push(c),
        }
    }
    Some(plain)
}

/// Splits at commas outside of brackets, parentheses, braces and quotes; empty text gives no items.
pub(crate) fn split_top_level(text: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0i32, 0);
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                items.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        items.push(text[start..].trim());
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_round_trip() {
        for text in ["", "a", "a\"b\\c", "tab\tnewline\n", "ünïcode"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn lists_split_outside_brackets() {
        assert_eq!(split_top_level("min(a, b), [1, 2], \"x,y\""), ["min(a, b)", "[1, 2]", "\"x,y\""]);
        assert_eq!(Vec::<Dim>::from_text("[N, min(N, 2)]").unwrap().len(), 2);
        assert_eq!(Vec::<i64>::from_text("[]").unwrap(), Vec::<i64>::new());
    }
}
