//! Keys of an object in a file, read with care.

use crate::graph::Error;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// The place of a whole file.
const ROOT: &str = "grid";

/// An object at a place in a file, whose keys are asked for by name; what was never asked for is unknown.
pub(super) struct Keys<'j> {
    path: String,
    object: &'j Map<String, Value>,
    asked: Vec<&'static str>,
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        _ => value.to_string(),
    }
}

/// The place `key` in `path`.
pub(super) fn within(path: &str, key: impl ToString) -> String {
    let names = [path.to_string(), key.to_string()];
    let names = names.into_iter().filter(|name| !name.is_empty());
    names.collect::<Vec<_>>().join(".")
}

impl<'j> Keys<'j> {
    /// Those of the object `value`, at `path`.
    pub(super) fn of(value: &'j Value, path: &str) -> Result<Self, Error> {
        match value {
            Value::Object(object) => Ok(Self {
                path: path.into(),
                object,
                asked: Vec::new(),
            }),
            _ => Err(Error::Attribute {
                path: path.into(),
                expected: "an object".into(),
                found: shown(value),
            }),
        }
    }

    /// Where the value of `key` stands.
    pub(super) fn path(&self, key: &str) -> String {
        within(&self.path, key)
    }

    /// Refuses what stands at `key`.
    pub(super) fn error(&self, key: &str, expected: impl ToString, found: impl ToString) -> Error {
        let path = self.path(key);
        Error::Attribute {
            path: if path.is_empty() { ROOT.into() } else { path },
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// What stands at `key`, if it is not `null`.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'j Value> {
        self.asked.push(key);
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// The same as what `read` makes of it.
    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'j Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let found = read(value).ok_or_else(|| self.error(key, expected, shown(value)))?;
        Ok(Some(found))
    }

    /// A whole number from 0 on.
    pub(super) fn index(&mut self, key: &'static str) -> Result<Option<usize>, Error> {
        self.read(key, "a whole number from 0 on", |value| {
            usize::try_from(value.as_u64()?).ok()
        })
    }

    /// An extent, a number of something; 0 says as much as nothing.
    pub(super) fn size(&mut self, key: &'static str) -> Result<Option<usize>, Error> {
        Ok(self.index(key)?.filter(|&size| size > 0))
    }

    /// An extent that goes by several names, which may not say several things.
    pub(super) fn size_of(
        &mut self,
        keys: impl IntoIterator<Item = &'static str>,
    ) -> Result<Option<usize>, Error> {
        let mut first: Option<(&str, usize)> = None;
        for key in keys {
            match (self.size(key)?, first) {
                (Some(size), Some((other, said))) if size != said => {
                    return Err(self.error(key, alloc::format!("{said}, as `{other}`"), size));
                }
                (Some(size), None) => first = Some((key, size)),
                _ => (),
            }
        }
        Ok(first.map(|(_, size)| size))
    }

    /// A number.
    pub(super) fn real(&mut self, key: &'static str) -> Result<Option<f64>, Error> {
        self.read(key, "a number", Value::as_f64)
    }

    /// A positive number in thousandths, the nearest; what is 0 says as much as nothing.
    pub(super) fn thousandths(&mut self, key: &'static str) -> Result<Option<u32>, Error> {
        let Some(number) = self.real(key)?.filter(|&number| number != 0.0) else {
            return Ok(None);
        };
        let scaled = number * 1000.0 + 0.5;
        if !(1.0..f64::from(u32::MAX)).contains(&scaled) {
            return Err(self.error(key, "at least a thousandth", number));
        }
        Ok(Some(scaled as u32))
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<&'j str>, Error> {
        self.read(key, "a text", Value::as_str)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Error> {
        self.read(key, "`true` or `false`", Value::as_bool)
    }

    pub(super) fn list(&mut self, key: &'static str) -> Result<Option<&'j [Value]>, Error> {
        self.read(key, "a list", |value| value.as_array().map(|list| &**list))
    }

    /// A list of what `read` makes of each.
    pub(super) fn list_of<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(values) = self.list(key)? else {
            return Ok(None);
        };
        let read = |(i, value)| {
            let error = || Error::Attribute {
                path: within(&self.path(key), i),
                expected: expected.into(),
                found: shown(value),
            };
            read(value).ok_or_else(error)
        };
        values
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of extents.
    pub(super) fn sizes(&mut self, key: &'static str) -> Result<Option<Vec<usize>>, Error> {
        self.list_of(key, "a whole number", |value| {
            usize::try_from(value.as_u64()?).ok()
        })
    }

    /// What must be there.
    pub(super) fn need<T>(&self, key: &str, found: Option<T>) -> Result<T, Error> {
        found.ok_or_else(|| self.error("", alloc::format!("`{key}`"), "none"))
    }

    /// Refuses `found` at `key` if it is given, and not `expected`.
    pub(super) fn check(
        &self,
        key: &str,
        expected: usize,
        found: Option<usize>,
    ) -> Result<(), Error> {
        match found {
            Some(found) if found != expected => Err(self.error(key, expected, found)),
            _ => Ok(()),
        }
    }

    /// Refuses keys that nobody has asked for.
    pub(super) fn finish(&self) -> Result<(), Error> {
        let is_unknown = |key: &&String| !self.asked.contains(&&***key);
        let Some(key) = self.object.keys().find(is_unknown) else {
            return Ok(());
        };
        let known: Vec<String> = self
            .asked
            .iter()
            .map(|key| alloc::format!("`{key}`"))
            .collect();
        Err(self.error("", known.join(", "), alloc::format!("`{key}`")))
    }
}
