//! Answer: what a server said, as names and values of what two servers can have in common.
//!
//! Ids, times, ports and counts are replaced by their kind; a body of JSON is taken apart, a scrape is its labels, a playlist
//! its tags.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use gtvision_tests::Server;
use gtvision_tests::http::{self, Response};
use gtvision_tests::metrics::Metrics;
use gtvision_tests::rtsp::RawClient;
use serde_json::Value;

use super::rows::{Row, is_like};

/// Header fields that a client acts on.
const HEADERS: [&str; 19] = [
    "accept-patch",
    "accept-post",
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-type",
    "etag",
    "id",
    "link",
    "location",
    "public",
    "retry-after",
    "set-cookie",
    "www-authenticate",
];

/// What numbers count that no two runs have alike, by the ends of their names.
const COUNTS: [&str; 5] = ["bytes", "packets", "frames", "jitter", "duration"];

/// Labels whose values are compared too.
const TOLD_LABELS: [&str; 3] = ["state", "readerType", "protocol"];

/// What begins as the first says (? a hexadecimal digit, # a decimal one) and goes on with characters of the second is
/// replaced by the third.
const FORMS: [(&str, &str, &str); 7] = [
    ("????????-????-????-????-????????????", "", "ID"),
    ("session=????????", "0123456789abcdef", "session=ID"),
    ("####-##-##T##", "0123456789.:+-ZAB%", "TIME"),
    ("####-##-##_##", "0123456789-", "TIME"),
    ("127.0.0.1:#", "0123456789", "127.0.0.1:PORT"),
    ("duration=#", "0123456789.", "duration=NUMBER"),
    ("nonce=\"?", "0123456789abcdef", "nonce=\""),
];

/// What was said, by name: `status`, `header location`, `body $.items[0].name`, `metric paths`.
pub(super) type Answer = BTreeMap<String, String>;

/// Asks what a row asks, with what earlier rows kept.
///
/// # Errors
/// When there is no answer, or not what is to be kept.
pub(super) async fn ask(
    server: &Server,
    row: &Row,
    kept: &mut BTreeMap<String, String>,
) -> anyhow::Result<Answer> {
    let fill = |text: &str| {
        kept.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    };
    let target = fill(&row.target);
    let headers: Vec<(&str, String)> =
        row.headers.iter().map(|(name, value)| (name.as_str(), fill(value))).collect();
    if row.listener == "rtsp" {
        return ask_rtsp(server, row, &target, &headers).await;
    }
    let url = format!("http://127.0.0.1:{}{target}", port(server, &row.listener)?);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let response = http::send(row.method.parse()?, &url, &headers, row.body.clone()).await?;
    for (name, of) in &row.kept {
        kept.insert(name.clone(), to_keep(&response, of).with_context(|| format!("{}: no {of}", row.title))?);
    }
    Ok(answer_of(row, &response))
}

/// What is not as a row expects, in words; empty when all is.
pub(super) fn unexpected(row: &Row, answer: &Answer) -> Vec<String> {
    let differs = |(name, pattern): &&(String, String)| match (answer.get(name), pattern.as_str()) {
        (None, wanted) => wanted != "-",
        (Some(_), "-") => true,
        (Some(found), wanted) => !is_like(wanted, found),
    };
    let in_words = |(name, pattern): &(String, String)| {
        let found = answer.get(name).map_or("-", String::as_str);
        format!("{}: {name} is {found}, expected {pattern}", row.title)
    };
    row.expected.iter().filter(differs).map(in_words).collect()
}

fn port(server: &Server, listener: &str) -> anyhow::Result<u16> {
    let ports = server.ports;
    Ok(match listener {
        "api" => ports.api,
        "hls" => ports.hls,
        "webrtc" => ports.webrtc,
        "playback" => ports.playback,
        "metrics" => ports.metrics,
        other => anyhow::bail!("no listener is called {other}"),
    })
}

async fn ask_rtsp(
    server: &Server,
    row: &Row,
    target: &str,
    headers: &[(&str, String)],
) -> anyhow::Result<Answer> {
    let mut head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    if !row.body.is_empty() {
        head += &format!("Content-Length: {}\r\n", row.body.len());
    }
    let url = format!("rtsp://127.0.0.1:{}{target}", server.ports.rtsp);
    let said =
        RawClient::connect(server.ports.rtsp).await?.ask_with(&row.method, &url, &head, &row.body).await?;
    let mut answer = Answer::from([("status".to_owned(), said.status.to_string())]);
    let fields = said.text.lines().skip(1).take_while(|line| !line.is_empty());
    for (name, value) in fields.filter_map(|line| line.split_once(": ")) {
        let name = name.to_ascii_lowercase();
        if HEADERS.contains(&name.as_str()) {
            answer.insert(format!("header {name}"), normalised(value));
        }
    }
    Ok(answer)
}

fn to_keep(response: &Response, of: &str) -> anyhow::Result<String> {
    if !of.starts_with('$') {
        let value = response.header(of);
        anyhow::ensure!(!value.is_empty(), "no header {of}");
        return Ok(value.to_owned());
    }
    let body = response.json()?;
    let pointer = of[1..].replace(['.', '['], "/").replace(']', "");
    let value = body.pointer(&pointer).context("no such field")?;
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn answer_of(row: &Row, response: &Response) -> Answer {
    let mut answer = Answer::from([("status".to_owned(), response.status.as_u16().to_string())]);
    for name in HEADERS {
        let values = response.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let value = values.collect::<Vec<_>>().join(", ");
        if response.headers.contains_key(name) {
            answer.insert(format!("header {name}"), normalised(&value));
        }
    }
    let (kind, text) = (response.header("content-type"), response.text());
    if let (true, Ok(body)) = (kind.contains("json"), response.json()) {
        take_apart("$", &body, &mut answer);
    } else if row.listener == "metrics" && response.is_ok() {
        scraped(&text, &mut answer);
    } else if kind.contains("mpegurl") {
        let tags: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("#EXT")).map(tag).collect();
        answer.insert("tags".to_owned(), tags.into_iter().collect::<Vec<_>>().join(" "));
    } else if kind.starts_with("text/plain") && !text.is_empty() {
        answer.insert("body".to_owned(), normalised(text.trim()));
    }
    answer
}

fn tag(line: &str) -> &str {
    line.split_once(':').map_or(line, |(tag, _)| tag)
}

/// Takes JSON apart: each value by its place below `name`.
pub(super) fn take_apart(name: &str, value: &Value, answer: &mut Answer) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| take_apart(&format!("{name}.{key}"), value, answer));
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                take_apart(&format!("{name}[{index}]"), item, answer);
            }
        }
        Value::Number(_) if is_count(name) => {
            answer.insert(format!("body {name}"), "NUMBER".to_owned());
        }
        other => {
            answer.insert(format!("body {name}"), normalised(&other.to_string()));
        }
    }
}

fn is_count(name: &str) -> bool {
    let key = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    COUNTS.iter().any(|count| key.contains(count))
}

/// Each metric's sets of labels.
fn scraped(text: &str, answer: &mut Answer) {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in Metrics::parse(text).0 {
        let label = |(name, value): (&String, &String)| match TOLD_LABELS.contains(&name.as_str()) {
            true => format!("{name}={value}"),
            false => name.clone(),
        };
        let labels: Vec<String> = sample.labels.iter().map(label).collect();
        metrics.entry(sample.name).or_default().insert(labels.join(","));
    }
    for (name, labels) in metrics {
        answer.insert(format!("metric {name}"), labels.into_iter().collect::<Vec<_>>().join(" "));
    }
}

/// A text with ids, times, ports and counts replaced by their kind.
pub(super) fn normalised(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let form = FORMS.iter().find(|(begins, ..)| begins_as(begins, rest));
        if let Some((begins, goes_on, name)) = form {
            out += name;
            rest =
                rest.get(begins.len()..).unwrap_or_default().trim_start_matches(|one| goes_on.contains(one));
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

fn begins_as(form: &str, text: &str) -> bool {
    text.len() >= form.len()
        && form.bytes().zip(text.bytes()).all(|(form, byte)| match form {
            b'?' => byte.is_ascii_hexdigit(),
            b'#' => byte.is_ascii_digit(),
            literal => literal == byte,
        })
}

#[test]
fn what_no_two_runs_have_alike_is_replaced_by_its_kind() {
    for (text, expected) in [
        ("/live/whep/6a3f8a10-1b2c-4d5e-8f90-0123456789ab?x", "/live/whep/ID?x"),
        ("\"2026-11-26T10:43:07.107279Z\"", "\"TIME\""),
        ("start=2026-11-26T10%3A43%3A07%2B00%3A00&x", "start=TIME&x"),
        ("127.0.0.1:20104/a 127.0.0.1", "127.0.0.1:PORT/a 127.0.0.1"),
        ("/a/session=b1a261f3af79fd90a2475c6d45af3861/b", "/a/session=ID/b"),
        ("duration=4.02&path=é", "duration=NUMBER&path=é"),
    ] {
        assert_eq!(normalised(text), expected);
    }
}
