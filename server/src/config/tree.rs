//! Tree: a YAML document as keys and texts with their places, before anything is understood.
//!
//! ```text
//!  text ─► serde-saphyr ─► Node (places kept) ─► env overrides ─► key check ─► resolve
//! ```
//!
//! A tree and not a serde struct, because three things need it: environment variables are laid
//! over the file before it is read, known keys without effect are collected into one warning, and
//! all faults are reported at once, each with its line.
//!
//! Belongs here: YAML. Does not: which keys exist (-> `keys`), what a value means (-> `values`).
//! Limits: [`CONFIG_BYTES_MAX`], [`NODES_MAX`], [`DEPTH_MAX`]; a document beyond one is a fault.
//! `!include` and variable interpolation are compiled out of the parser.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::fault::{Fault, FaultKind, Place};

/// The largest configuration file that is read: 10,000 cameras of 1.6 kB each.
pub(crate) const CONFIG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most YAML nodes (maps, lists, texts): 10,000 cameras with 50 settings each.
pub(crate) const NODES_MAX: usize = 1_000_000;

/// The deepest nesting; ours is 4 deep.
pub(crate) const DEPTH_MAX: usize = 16;

/// A value with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it is written.
    pub(crate) place: Place,
}

/// What a YAML value is to us. Numbers and booleans keep the text they are written in: whether
/// `007` is a number or a password is for the key to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A text, number or boolean.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key as written.
    pub(crate) key: String,
    /// Where the key is written.
    pub(crate) place: Place,
    /// Its value.
    pub(crate) node: Node,
}

impl Node {
    /// Parses one YAML document; an empty one is [`Value::Null`].
    ///
    /// # Errors
    /// A [`Fault`] with line and column for bad syntax, a duplicate key or an exceeded limit.
    pub(crate) fn parse(yaml: &str) -> Result<Self, Fault> {
        if yaml.len() > CONFIG_BYTES_MAX {
            let kind =
                FaultKind::TooMany { what: "bytes of configuration", got: yaml.len(), max: CONFIG_BYTES_MAX };
            return Err(Fault { place: Place::Whole, kind });
        }
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! {
                max_depth: DEPTH_MAX,
                max_nodes: NODES_MAX,
                max_events: 4 * NODES_MAX,
                max_documents: 1,
            },
        };
        let raw: Spanned<Raw> =
            serde_saphyr::from_str_with_options(yaml, options).map_err(|error| syntax_fault(&error))?;
        Ok(raw_to_node(raw, yaml))
    }

    /// The entries of a mapping; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Text(_) | Value::List(_) => &[],
        }
    }

    /// The value of a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The items of a list; none for anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Text(_) | Value::Map(_) => &[],
        }
    }
}

fn syntax_fault(error: &serde_saphyr::Error) -> Fault {
    let place = error.location().map_or(Place::Whole, place_of);
    // The library ends most messages with the place, which is printed already.
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    let message = message.lines().next().unwrap_or(message).trim_end_matches(':').to_owned();
    Fault { place, kind: FaultKind::Syntax(message) }
}

fn place_of(location: Location) -> Place {
    Place::File { line: location.line(), column: location.column() }
}

/// What the deserializer hands over, before numbers get their text back.
enum Raw {
    Null,
    Text(String),
    /// A plain text that YAML reads as a number or boolean; its spelling is in the source.
    Typed(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

fn raw_to_node(raw: Spanned<Raw>, source: &str) -> Node {
    let place = place_of(raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(text) => Value::Text(text),
        Raw::Typed(text) => Value::Text(spelling(raw.defined, source).map_or(text, str::to_owned)),
        Raw::List(items) => Value::List(items.into_iter().map(|item| raw_to_node(item, source)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, node)| Entry {
                    place: place_of(key.referenced),
                    key: key.value,
                    node: raw_to_node(node, source),
                })
                .collect(),
        ),
    };
    Node { value, place }
}

/// The characters a plain scalar was written with.
fn spelling(at: Location, source: &str) -> Option<&str> {
    let start = usize::try_from(at.span().byte_offset()?).ok()?;
    let len = usize::try_from(at.span().byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(len)?)?.trim();
    (!text.is_empty()).then_some(text)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or a map")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> Place {
        Place::File { line, column }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let node = Node::parse("api: true\npaths:\n  cam_1:\n    source: rtsp://x/y\n").unwrap();
        assert_eq!(node.entries()[0].place, at(1, 1));
        assert_eq!(node.get("api").unwrap().place, at(1, 6));
        let cam = node.get("paths").unwrap().get("cam_1").unwrap();
        assert_eq!(cam.entries()[0].place, at(4, 5));
        assert_eq!(cam.get("source").unwrap().text(), Some("rtsp://x/y"));
    }

    #[test]
    fn numbers_and_booleans_keep_their_spelling() {
        let node = Node::parse("a: 007\nb: yes\nc: 1.50\nd: '0x10'\ne: &n 08\nf: *n\ng: 1e3 # c\n").unwrap();
        for (key, text) in
            [("a", "007"), ("b", "yes"), ("c", "1.50"), ("d", "0x10"), ("e", "08"), ("f", "08"), ("g", "1e3")]
        {
            assert_eq!(node.get(key).unwrap().text(), Some(text), "{key}");
        }
    }

    #[test]
    fn nothing_is_null() {
        assert_eq!(Node::parse("").unwrap().value, Value::Null);
        assert_eq!(Node::parse("# only a comment\n").unwrap().value, Value::Null);
        assert_eq!(Node::parse("paths:\n").unwrap().get("paths").unwrap().value, Value::Null);
    }

    #[test]
    fn bad_syntax_names_line_and_column() {
        let fault = Node::parse("api: true\npaths: [a, b\n").unwrap_err();
        assert!(matches!(fault.place, Place::File { line: 2..=3, .. }), "{fault:?}");
    }

    #[test]
    fn duplicate_key_is_refused() {
        let fault = Node::parse("api: true\nhls: true\napi: false\n").unwrap_err();
        assert_eq!(fault.place, at(3, 1), "{fault:?}");
        assert!(fault.to_string().contains("duplicate"), "{fault}");
    }

    // correctness: S6
    #[test]
    fn endless_nesting_and_alias_bombs_are_refused() {
        let deep = "[".repeat(10_000);
        assert!(Node::parse(&deep).is_err());
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                    g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert!(Node::parse(bomb).is_err());
    }
}
