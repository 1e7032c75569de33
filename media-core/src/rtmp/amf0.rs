//! AMF0: the values of commands and metadata.
//!
//! Spec: Adobe AMF0 (2007). References and record sets are refused; dates are numbers, documents are texts.
//! Limits: [`VALUES_MAX`] and [`DEPTH_MAX`] of one message; more is an [`AmfError`].

use bytes::{BufMut as _, Bytes, BytesMut};

/// Values of one message, those inside others included; encoders' metadata has about twenty.
pub const VALUES_MAX: usize = 512;

/// How deep objects may lie in each other.
pub const DEPTH_MAX: usize = 8;

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const TEXT: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const KEYED_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_TEXT: u8 = 12;
const UNSUPPORTED: u8 = 13;
const DOCUMENT: u8 = 15;
const TYPED_OBJECT: u8 = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number, or a date in milliseconds.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// A text.
    Text(String),
    /// Values by name, in their order; what is read as such may have been a keyed array.
    Object(Vec<(String, Value)>),
    /// The same as metadata has it: players look for this type. Only written.
    KeyedArray(Vec<(String, Value)>),
    /// Values in their order.
    Array(Vec<Value>),
    /// Nothing.
    Null,
}

/// Why values can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmfError {
    /// It ends in the midst of a value.
    #[error("values end in the midst of one")]
    Truncated,
    /// A marker that is not read here.
    #[error("value of type {marker}")]
    Marker {
        /// The marker.
        marker: u8,
    },
    /// More than [`VALUES_MAX`].
    #[error("more than {VALUES_MAX} values")]
    TooMany,
    /// Deeper than [`DEPTH_MAX`].
    #[error("values lie deeper than {DEPTH_MAX} in each other")]
    TooDeep,
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// The text that it is.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a name in an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// All values of a message.
///
/// # Errors
/// [`AmfError`].
pub fn read_all(payload: &[u8]) -> Result<Vec<Value>, AmfError> {
    let mut reader = Reader { rest: payload, left: VALUES_MAX };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Values that may still come.
    left: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        self.left = self.left.checked_sub(1).ok_or(AmfError::TooMany)?;
        if depth > DEPTH_MAX {
            return Err(AmfError::TooDeep);
        }
        let [marker] = self.take()?;
        Ok(match marker {
            NUMBER => Value::Number(f64::from_be_bytes(self.take()?)),
            BOOLEAN => Value::Boolean(self.take::<1>()? != [0]),
            TEXT => Value::Text(self.short_text()?),
            OBJECT => self.object(depth)?,
            NULL | UNDEFINED | UNSUPPORTED => Value::Null,
            KEYED_ARRAY => {
                // How many entries there are is a hint that encoders get wrong.
                self.take::<4>()?;
                self.object(depth)?
            }
            ARRAY => {
                let count = u32::from_be_bytes(self.take()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::Array(values)
            }
            DATE => {
                let ms = f64::from_be_bytes(self.take()?);
                self.take::<2>()?;
                Value::Number(ms)
            }
            LONG_TEXT | DOCUMENT => {
                let length = u32::from_be_bytes(self.take()?);
                Value::Text(self.utf8(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            TYPED_OBJECT => {
                self.short_text()?;
                self.object(depth)?
            }
            marker => return Err(AmfError::Marker { marker }),
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value, AmfError> {
        let mut entries = Vec::new();
        loop {
            let name = self.short_text()?;
            if name.is_empty() && self.rest.first() == Some(&OBJECT_END) {
                self.take::<1>()?;
                return Ok(Value::Object(entries));
            }
            entries.push((name, self.value(depth + 1)?));
        }
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let length = u16::from_be_bytes(self.take()?);
        self.utf8(length.into())
    }

    fn utf8(&mut self, length: usize) -> Result<String, AmfError> {
        let (text, rest) = self.rest.split_at_checked(length).ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }
}

/// The bytes of values. Texts of ours are short; what is longer than 65,535 bytes is cut.
pub fn write_all(values: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| write(&mut out, value));
    out.freeze()
}

fn write(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Number(number) => {
            out.put_u8(NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(is) => out.put_slice(&[BOOLEAN, u8::from(*is)]),
        Value::Text(text) => {
            out.put_u8(TEXT);
            write_text(out, text);
        }
        Value::Object(entries) => {
            out.put_u8(OBJECT);
            write_entries(out, entries);
        }
        Value::KeyedArray(entries) => {
            out.put_u8(KEYED_ARRAY);
            out.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            write_entries(out, entries);
        }
        Value::Array(values) => {
            out.put_u8(ARRAY);
            out.put_u32(u32::try_from(values.len()).unwrap_or(u32::MAX));
            values.iter().for_each(|value| write(out, value));
        }
        Value::Null => out.put_u8(NULL),
    }
}

fn write_entries(out: &mut BytesMut, entries: &[(String, Value)]) {
    for (name, value) in entries {
        write_text(out, name);
        write(out, value);
    }
    out.put_slice(&[0, 0, OBJECT_END]);
}

fn write_text(out: &mut BytesMut, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.put_u16(length);
    out.put_slice(text.as_bytes().get(..length.into()).unwrap_or_default());
}
