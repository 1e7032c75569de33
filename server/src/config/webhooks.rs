//! Webhooks: who is told of events; ours.
//!
//! Limits: [`WEBHOOKS_MAX`].

use std::collections::BTreeSet;
use std::fmt;

use super::fault::{FaultKind, Faults};
use super::reader::Reader;
use super::source_url::Secret;
use super::tree::Node;
use super::values::Expected;
use crate::webhooks::EventKind;

/// The most webhooks; one more is a fault.
const WEBHOOKS_MAX: usize = 16;

const KEY: &str = "webhooks";

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebhookConfig {
    /// Where events are posted.
    pub(crate) url: WebhookUrl,
    /// Which ones; all where nothing is said.
    pub(crate) events: BTreeSet<EventKind>,
    /// What they are signed with; not at all where nothing is said.
    pub(crate) secret: Option<Secret>,
}

impl WebhookConfig {
    /// One that is told of everything.
    #[cfg(test)]
    pub(crate) fn example(url: &str) -> Self {
        let url = WebhookUrl::parse(url).unwrap();
        Self { url, events: EventKind::ALL.into_iter().collect(), secret: None }
    }
}

/// Plain or TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebhookScheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// An address; printing it shows scheme, host and port alone, since tokens are in the rest.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebhookUrl(url::Url);

impl WebhookUrl {
    fn parse(text: &str) -> Result<Self, Expected> {
        let expected = |why| Err(Expected::Url(why));
        let Ok(url) = url::Url::parse(text) else {
            return expected("write http://HOST/PATH or https://HOST/PATH");
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return expected("it must begin with http:// or https:// and a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return expected("it holds a user or password; sign with \"secret\" instead");
        }
        Ok(Self(url))
    }

    /// Plain or TLS.
    pub(crate) fn scheme(&self) -> WebhookScheme {
        if self.0.scheme() == "https" { WebhookScheme::Https } else { WebhookScheme::Http }
    }

    /// As sockets want it: an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.0.host_str().unwrap_or_default();
        host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
    }

    /// The one that is written, or the scheme's.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// For the header `Host`.
    pub(crate) fn authority(&self) -> &str {
        self.0.authority()
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        &self.0[url::Position::BeforePath..url::Position::AfterQuery]
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/***", self.0.scheme(), self.0.authority())
    }
}

/// What `webhooks` says.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Vec<WebhookConfig> {
    let Some(list) = reader.find(KEY) else { return Vec::new() };
    if list.text().is_some_and(|text| !text.is_empty()) || !list.entries().is_empty() {
        reader.wrong_shape(list, KEY, "a list of webhooks, each with a \"url\"");
    }
    if list.items().len() > WEBHOOKS_MAX {
        let kind = FaultKind::TooMany { what: KEY, got: list.items().len(), max: WEBHOOKS_MAX };
        reader.faults().add(&list.place, kind);
    }
    list.items().iter().take(WEBHOOKS_MAX).filter_map(|item| webhook(item, reader.faults())).collect()
}

fn webhook(item: &Node, faults: &mut Faults) -> Option<WebhookConfig> {
    for entry in item.entries() {
        if !["url", "events", "secret"].contains(&entry.key.as_str()) {
            faults.add(&entry.place, FaultKind::UnknownKey { key: entry.key.clone(), suggestion: None });
        }
    }
    let mut reader = Reader::new(item, None, faults);
    let events = reader.list("events", EventKind::ALL.to_vec(), |text| {
        let known = EventKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or(Expected::OneOf(&NAMES))
    });
    let secret = Some(reader.text("secret", "")).filter(|secret| !secret.is_empty());
    let Some(url) = item.get("url") else {
        reader.wrong_shape(item, KEY, "a list of webhooks, each with a \"url\"");
        return None;
    };
    match WebhookUrl::parse(url.text().unwrap_or_default()) {
        Ok(url) => {
            // Who wants none writes no webhook.
            let events = if events.is_empty() { EventKind::ALL.to_vec() } else { events };
            let (events, secret) = (events.into_iter().collect(), secret.map(Secret::new));
            Some(WebhookConfig { url, events, secret })
        }
        Err(expected) => {
            faults.add(&url.place, FaultKind::BadSecret { key: "url".to_owned(), expected });
            None
        }
    }
}

/// For whoever misspelt one.
const NAMES: [&str; 8] = [
    EventKind::PathOnline.as_str(),
    EventKind::PathOffline.as_str(),
    EventKind::ReaderConnected.as_str(),
    EventKind::ReaderDisconnected.as_str(),
    EventKind::SegmentCompleted.as_str(),
    EventKind::GapOpened.as_str(),
    EventKind::GapClosed.as_str(),
    EventKind::DiskAlarm.as_str(),
];
