//! Splits IR text into tokens and keeps the line of each.

use super::parse::ParseError;

/// A position in IR text from which tokens are taken.
pub(super) struct Lexer<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, offset: 0 }
    }

    /// An error at the current position.
    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        let line = self.text[..self.offset].matches('\n').count() + 1;
        ParseError { line, message: message.into() }
    }

    /// The rest of the text after blanks and comments, which run from `;` to the end of the line.
    pub(super) fn rest(&mut self) -> &'a str {
        loop {
            let rest = &self.text[self.offset..];
            let trimmed = rest.trim_start();
            self.offset += rest.len() - trimmed.len();
            if !trimmed.starts_with(';') {
                return trimmed;
            }
            self.offset += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Takes `token` if it comes next.
    pub(super) fn accept(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.offset += token.len();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), ParseError> {
        if self.accept(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`"))) }
    }

    /// Takes letters, digits, `_` and `.`; at least one.
    pub(super) fn word(&mut self) -> Result<&'a str, ParseError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        if end == 0 {
            return Err(self.error("expected a name"));
        }
        self.offset += end;
        Ok(&rest[..end])
    }

    /// Takes a quoted string.
    pub(super) fn string(&mut self) -> Result<String, ParseError> {
        let rest = self.rest();
        let mut escaped = false;
        let close = rest.char_indices().skip(1).find(|&(_, c)| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let text = close.map(|(i, _)| &rest[..=i]).filter(|t| t.starts_with('"'));
        let value = text.and_then(crate::attr::unquote).ok_or_else(|| self.error("expected a quoted string"))?;
        self.offset += text.map_or(0, str::len);
        Ok(value)
    }

    /// Takes text up to the first of `ends` outside of brackets and quotes, which stays.
    pub(super) fn balanced(&mut self, ends: &[char]) -> Result<&'a str, ParseError> {
        let rest = self.rest();
        let (mut depth, mut quote, mut escaped) = (0usize, None, false);
        for (i, c) in rest.char_indices() {
            match (quote, c) {
                (Some(_), _) if escaped => escaped = false,
                (Some('"'), '\\') => escaped = true,
                (Some(q), c) if c == q => quote = None,
                (Some(_), _) => {}
                (None, c) if depth == 0 && ends.contains(&c) => {
                    self.offset += i;
                    return Ok(rest[..i].trim());
                }
                (None, '"' | '`') => quote = Some(c),
                (None, '(' | '[' | '{') => depth += 1,
                (None, ')' | ']' | '}') => {
                    depth = depth.checked_sub(1).ok_or_else(|| self.error(format!("unexpected `{c}`")))?;
                }
                _ => {}
            }
        }
        Err(self.error(format!("expected one of {ends:?} before the end")))
    }
}
