//! Functions of strings, which are handles of what the run holds.

use super::args::{Args, error, kernels};
use crate::abi::KernelError;
use crate::host::Host;
use regex::Regex;
use std::sync::Arc;

kernels! {
    /// Strings from their UTF-8: string `i` is what precedes `ends[i]` in `bytes` and follows the string before.
    INTERN = "intern" ["bytes", "ends"] -> ["y"] {}, intern;
    /// `a` and `b` put together, element by element.
    STRING_CONCAT = "string_concat" ["a", "b"] -> ["y"] {}, concat;
    /// Every element in lower or upper case.
    STRING_CASE = "string_case" ["x"] -> ["y"] {"upper"}, case;
    /// How many pieces each element has between occurrences of `delimiter`, or between white space if that is empty. At most
    /// `max_splits` occurrences from the start count; a negative number is no limit.
    STRING_PIECES = "string_pieces" ["x", "delimiter"] -> ["count"] {"max_splits"}, count;
    /// The pieces of each element along a new last axis, empty strings behind them.
    STRING_SPLIT = "string_split" ["x", "delimiter"] -> ["y"] {"max_splits"}, split;
    /// Whether all of each element matches the regular expression `pattern`.
    REGEX_MATCH = "regex_match" ["x", "pattern"] -> ["y"] {}, regex_match;
}

/// The strings of input `index`.
fn texts(args: &Args, index: usize) -> Result<Vec<Arc<str>>, KernelError> {
    args.input::<u64>(index)?.iter().map(|&handle| args.host().text(handle)).collect()
}

/// The only string of input `index`.
fn text(args: &Args, index: usize) -> Result<Arc<str>, KernelError> {
    texts(args, index)?.pop().ok_or_else(|| error(format!("operand #{index} has no element")))
}

/// Fails unless there is room for `n` results.
fn check(n: usize, room: usize) -> Result<(), KernelError> {
    if n == room { Ok(()) } else { Err(error(format!("expected room for {n} results, found {room}"))) }
}

/// Writes the next output: `of` for each element of input 0.
fn each(args: &mut Args, of: impl Fn(&Host, &str) -> u64) -> Result<(), KernelError> {
    let (x, host) = (texts(args, 0)?, args.host());
    let y = args.output::<u64>()?;
    check(x.len(), y.len())?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = of(host, &x));
    Ok(())
}

fn intern(args: &mut Args) -> Result<(), KernelError> {
    let (bytes, ends, host) = (args.input::<u8>(0)?, args.input::<i64>(1)?, args.host());
    let y = args.output::<u64>()?;
    check(ends.len(), y.len())?;
    let mut begin = 0;
    for (y, &end) in y.iter_mut().zip(ends) {
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        let text = bytes.get(begin..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
        *y = host.intern(text.ok_or_else(|| error("a constant string is damaged"))?);
        begin = end;
    }
    Ok(())
}

fn concat(args: &mut Args) -> Result<(), KernelError> {
    let (a, b, host) = (texts(args, 0)?, texts(args, 1)?, args.host());
    let y = args.output::<u64>()?;
    check(a.len().min(b.len()), y.len())?;
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = host.intern(&format!("{a}{b}"));
    }
    Ok(())
}

fn case(args: &mut Args) -> Result<(), KernelError> {
    let upper = args.flag(0)?;
    each(args, |host, x| host.intern(&if upper { x.to_uppercase() } else { x.to_lowercase() }))
}

/// The pieces of a string, as Python's `str.split` finds them.
fn pieces<'a>(x: &'a str, delimiter: &str, max_splits: i64) -> Vec<&'a str> {
    let limit = usize::try_from(max_splits).unwrap_or(usize::MAX);
    if !delimiter.is_empty() {
        return x.splitn(limit.saturating_add(1), delimiter).collect();
    }
    let mut pieces = Vec::new();
    let mut rest = x.trim_start();
    while !rest.is_empty() {
        let end = if pieces.len() < limit { rest.find(char::is_whitespace) } else { None };
        let (piece, behind) = rest.split_at(end.unwrap_or(rest.len()));
        pieces.push(piece);
        rest = behind.trim_start();
    }
    pieces
}

fn count(args: &mut Args) -> Result<(), KernelError> {
    let (x, delimiter, max_splits) = (texts(args, 0)?, text(args, 1)?, args.attr(0)?);
    let y = args.output::<i64>()?;
    check(x.len(), y.len())?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = pieces(&x, &delimiter, max_splits).len() as i64);
    Ok(())
}

fn split(args: &mut Args) -> Result<(), KernelError> {
    let (x, delimiter, max_splits, host) = (texts(args, 0)?, text(args, 1)?, args.attr(0)?, args.host());
    let width = args.output_shape(0)?.last().copied().unwrap_or(0);
    let y = args.output::<u64>()?;
    check(x.len() * width, y.len())?;
    y.fill(0);
    for (i, x) in x.iter().enumerate() {
        let pieces = pieces(x, &delimiter, max_splits);
        if pieces.len() > width {
            return Err(error(format!("{} pieces are more than {width}", pieces.len())));
        }
        y[i * width..].iter_mut().zip(pieces).for_each(|(y, piece)| *y = host.intern(piece));
    }
    Ok(())
}

fn regex_match(args: &mut Args) -> Result<(), KernelError> {
    let (x, pattern) = (texts(args, 0)?, text(args, 1)?);
    let whole = Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|e| error(format!("`{pattern}`: {e}")))?;
    let y = args.output::<u8>()?;
    check(x.len(), y.len())?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = whole.is_match(&x).into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Serial;
    use crate::library::testing::{Buffer, call};
    use ic_types::DType;

    #[test]
    fn pieces_are_those_of_python() {
        assert_eq!(pieces("a,,b", ",", -1), ["a", "", "b"]);
        assert_eq!(pieces("", ",", -1), [""]);
        assert_eq!(pieces("a,b,c", ",", 1), ["a", "b,c"]);
        assert_eq!(pieces("  a  b c ", "", -1), ["a", "b", "c"]);
        assert_eq!(pieces(" a  b c ", "", 1), ["a", "b c "]);
        assert!(pieces("  ", "", -1).is_empty());
    }

    #[test]
    fn expressions_match_all_of_a_string() {
        let host = Host::new(0);
        let strings = |texts: &[&str]| {
            let handles: Vec<u64> = texts.iter().map(|text| host.intern(text)).collect();
            Buffer::new(DType::String, &[texts.len()], &handles)
        };
        let inputs = [strings(&["www.google.com", "x www.a.com", "a"]), strings(&[r"www\.[\w.-]+\.com|a"])];
        let y = [Buffer::out::<u8>(DType::Bool, &[3])];
        call(&REGEX_MATCH, &inputs, &[], &y, &Serial, &host).unwrap();
        assert_eq!(y[0].values::<u8>(), [1, 0, 1]);
        let inputs = [strings(&["a", "b"]), strings(&["("])];
        assert!(call(&REGEX_MATCH, &inputs, &[], &[Buffer::out::<u8>(DType::Bool, &[2])], &Serial, &host).is_err());
    }
}
