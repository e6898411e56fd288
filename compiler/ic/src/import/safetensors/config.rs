//! `config.json`: the fields that families use.

use serde_json::{Map, Value};

/// Longest `config.json`, in bytes.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// A model's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    fields: Map<String, Value>,
}

impl Config {
    /// The configuration in `text`.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub(super) fn parse(text: &[u8]) -> Result<Config, String> {
        let fields = serde_json::from_slice(text).map_err(|e| format!("not a JSON object: {e}"))?;
        Ok(Config { fields })
    }

    /// What kind of model it is.
    ///
    /// # Errors
    /// If `model_type` is missing.
    pub(super) fn model_type(&self) -> Result<&str, String> {
        let text = self.fields.get("model_type").and_then(Value::as_str);
        text.ok_or_else(|| "`model_type` is missing: this is not the configuration of a model".into())
    }

    /// The classes that the checkpoint was saved from.
    pub(super) fn architectures(&self) -> Vec<&str> {
        let list = self.fields.get("architectures").and_then(Value::as_array);
        list.map_or(&[][..], |list| list).iter().filter_map(Value::as_str).collect()
    }

    /// A size: a positive integer.
    ///
    /// # Errors
    /// If the field is missing or no size.
    pub(crate) fn size(&self, field: &str) -> Result<usize, String> {
        let value = self.fields.get(field).ok_or_else(|| format!("`{field}` is missing"))?;
        let size = value.as_u64().filter(|size| (1..=i64::MAX as u64 >> 16).contains(size));
        size.map(|size| size as usize).ok_or_else(|| format!("`{field}` is {value}; expected a size"))
    }

    /// A number, or `default` where the field is missing.
    ///
    /// # Errors
    /// If the field is no number.
    pub(crate) fn number(&self, field: &str, default: f64) -> Result<f64, String> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| format!("`{field}` is {value}; expected a number")),
        }
    }

    /// A text, or `default` where the field is missing.
    ///
    /// # Errors
    /// If the field is no text.
    pub(crate) fn text<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str, String> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| format!("`{field}` is {value}; expected a text")),
        }
    }

    /// Fails unless the field is `expected` or missing.
    ///
    /// # Errors
    /// If the field is something else.
    pub(crate) fn require(&self, field: &str, expected: &Value) -> Result<(), String> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if value == expected => Ok(()),
            Some(value) => Err(format!("`{field}` is {value}; only {expected} is supported")),
        }
    }
}
