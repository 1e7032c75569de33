//! The OpenAPI document: it names every route there is and no other, and every field of what is answered.

use std::collections::BTreeSet;
use std::path::Path;

use control_api::hls::{HlsMuxer, HlsSession};
use control_api::rtmp::RtmpConn;
use control_api::rtsp::{RtspConn, RtspCounters, RtspSession};
use control_api::webrtc::{WebRtcCounters, WebRtcSession};
use control_api::{Cameras as _, OPENAPI};
use serde_json::{Value, json};

use crate::{Fixed, SINCE, api, camera, get_json};

const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// `METHOD path` of each route in a source text; `{*name}` is `{name}` there.
fn routes_of(source: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    for call in source.split(".route(").skip(1) {
        let mut parts = call.splitn(3, '"');
        let (before, path, rest) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        assert!(before.trim().is_empty() || before.contains("format!("), "a route in other words: {call}");
        let handlers = rest.split(".route(").next().unwrap().lines().next().unwrap();
        let methods = METHODS.iter().filter(|method| handlers.contains(&format!("{method}(")));
        for method in methods {
            let path = match before.contains("format!(") {
                true => path.replace("{{", "{").replace("}}", "}"),
                false => path.replace("{*", "{"),
            };
            match path.contains("{prefix}") {
                true => routes.extend(
                    prefixes.iter().map(|prefix| format!("{method} {}", path.replace("{prefix}", prefix))),
                ),
                false => drop(routes.insert(format!("{method} {path}"))),
            }
        }
    }
    routes
}

fn routes() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut routes = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let prefixes: &[&str] = match file.file_stem().unwrap().to_str().unwrap() {
            // The page's own.
            "control" => continue,
            "rtsp" => &["rtsp", "rtsps"],
            "rtmp" => &["rtmp", "rtmps"],
            _ => &[],
        };
        routes.extend(routes_of(&std::fs::read_to_string(&file).unwrap(), prefixes));
    }
    // The ends of these tell apart what the router can't.
    assert!(routes.remove("post /v1/paths/{rest}"));
    routes.insert("post /v1/paths/{name}/record".to_owned());
    routes.insert("get /v3/paths/get/{name}/snapshot".to_owned());
    routes
}

#[test]
fn the_document_names_every_route_and_no_other() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    let served = routes();
    assert!(served.len() > 45, "{served:?}");
    assert_eq!(documented.difference(&served).collect::<Vec<_>>(), Vec::<&String>::new(), "not served");
    assert_eq!(served.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not documented");
}

#[test]
fn the_document_refers_to_what_it_has() {
    fn check(document: &Value, at: &Value) {
        match at {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let found = document.pointer(reference.strip_prefix('#').unwrap());
                    assert!(found.is_some(), "{reference} is not there");
                }
                members.values().for_each(|member| check(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
    let mut ids = BTreeSet::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap())
    {
        assert!(ids.insert(operation.1["operationId"].as_str().unwrap()), "{}", operation.1["operationId"]);
    }
}

fn check_fields(schema: &str, answered: &Value) {
    let document = document();
    let schema = &document["components"]["schemas"][schema];
    let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&schema["properties"]), keys(answered), "{schema}");
    let required: BTreeSet<_> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert!(required.is_subset(&keys(answered)));
}

#[tokio::test]
async fn the_document_has_every_field_of_what_is_answered() {
    check_fields("Path", &get_json(api(&["cam_1"], &["*"]), "/v3/paths/get/cam_1").await.1);
    check_fields("PathList", &get_json(api(&["cam_1"], &["*"]), "/v3/paths/list").await.1);
    check_fields("Info", &get_json(api(&[], &["*"]), "/v3/info").await.1);
    let forwards = Fixed(vec![camera("cam_1")]).forwards("cam_1").unwrap();
    check_fields("ForwardDest", &json!(forwards[0]));
}

#[test]
fn the_document_has_every_field_of_http_viewers() {
    let text = String::new;
    check_fields(
        "HLSMuxer",
        &json!(HlsMuxer {
            path: text(),
            created: SINCE,
            last_request: SINCE,
            outbound_bytes: 0,
            outbound_frames_discarded: 0,
            bytes_sent: 0,
        }),
    );
    check_fields(
        "HLSSession",
        &json!(HlsSession {
            id: text(),
            created: SINCE,
            remote_addr: text(),
            path: text(),
            query: text(),
            user: text(),
            user_agent: text(),
            is_cdn: false,
            outbound_bytes: 0,
        }),
    );
    check_fields(
        "WebRTCSession",
        &json!(WebRtcSession {
            id: text(),
            created: SINCE,
            remote_addr: text(),
            peer_connection_established: false,
            local_candidate: text(),
            remote_candidate: text(),
            state: "read",
            path: text(),
            query: text(),
            user: text(),
            user_agent: text(),
            counters: WebRtcCounters::default(),
        }),
    );
}

#[test]
fn the_document_has_every_field_of_rtsp_and_rtmp_clients() {
    let text = String::new;
    check_fields(
        "RTSPConn",
        &json!(RtspConn {
            id: text(),
            created: SINCE,
            remote_addr: text(),
            inbound_bytes: 0,
            outbound_bytes: 0,
            bytes_received: 0,
            bytes_sent: 0,
            session: None,
            tunnel: "none",
        }),
    );
    check_fields(
        "RTSPSession",
        &json!(RtspSession {
            id: text(),
            created: SINCE,
            remote_addr: text(),
            state: "read",
            path: text(),
            query: text(),
            user: text(),
            user_agent: text(),
            transport: None,
            profile: None,
            conns: Vec::new(),
            counters: RtspCounters::default(),
        }),
    );
    check_fields(
        "RTMPConn",
        &json!(RtmpConn {
            id: text(),
            created: SINCE,
            remote_addr: text(),
            state: "read",
            path: text(),
            query: text(),
            user: text(),
            user_agent: text(),
            inbound_bytes: 0,
            outbound_bytes: 0,
            outbound_frames_discarded: 0,
            bytes_received: 0,
            bytes_sent: 0,
        }),
    );
}
