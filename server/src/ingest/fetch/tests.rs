//! Tests of fetching: whom it asks for what, and what it refuses.

use std::time::Duration;

use bytes::Bytes;
use media_core::hls::ByteRange;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

use super::reach::Reach;
use super::{Ask, Fetcher, Wanted};
use crate::config::pulled::RemoteSource;
use crate::config::source_url::SourceUrl;

const WANTED: Wanted<'_> =
    Wanted { what: "playlist", ask: Ask::Get(None), bytes_max: 100, limit: Duration::from_secs(5) };

/// Answers the requests of one connection after the other; gives their heads.
async fn serve(listener: &TcpListener, connections: &[&[&str]]) -> Vec<String> {
    let mut heads = Vec::new();
    for answers in connections {
        let (mut socket, _) = listener.accept().await.unwrap();
        for answer in *answers {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(socket.read_buf(&mut head).await.unwrap() > 0);
            }
            heads.push(String::from_utf8(head).unwrap());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    }
    heads
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn fetcher(port: u16) -> (Fetcher, Url) {
    let url = SourceUrl::parse(&format!("http://ana:hunter2@127.0.0.1:{port}/a.m3u8?k=1")).unwrap();
    let source = RemoteSource { url, fingerprint: None };
    (Fetcher::new(&source), source.url.url().clone())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

// correctness: S5
#[tokio::test]
async fn a_connection_is_kept_and_credentials_stay_at_home() {
    let ((home, port), (away, away_port)) = (listener().await, listener().await);
    let (mut fetcher, url) = fetcher(port);
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{away_port}/b\r\nContent-Length: 0\r\n\r\n"
    );
    let answers = [ok("first"), ok("second"), redirect];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let elsewhere = ok("third");
    let fetching = async {
        let mut bodies = Vec::new();
        for _ in 0..3 {
            let fetched = fetcher.fetch(&url, WANTED).await.unwrap();
            bodies.push((fetched.url.port(), fetched.body));
        }
        bodies
    };
    let away = async { serve(&away, &[&[&elsewhere]]).await };
    let (heads, away_heads, bodies) = tokio::join!(async { serve(&home, &[&answers]).await }, away, fetching);
    assert!(heads.iter().all(|head| head.starts_with("GET /a.m3u8?k=1 HTTP/1.1\r\n")), "{heads:?}");
    // Python's base64 of ana:hunter2.
    assert!(heads.iter().all(|head| head.contains("authorization: Basic YW5hOmh1bnRlcjI=\r\n")), "{heads:?}");
    assert!(!away_heads[0].contains("authorization"), "{away_heads:?}");
    let here = (Some(port), Bytes::from("first"));
    assert_eq!(bodies, [here, (Some(port), Bytes::from("second")), (Some(away_port), Bytes::from("third"))]);
}

/// What comes of one answer.
async fn outcome(answer: &str, wanted: Wanted<'_>) -> Result<Bytes, String> {
    let (home, port) = listener().await;
    let (mut fetcher, url) = fetcher(port);
    let serving = async { serve(&home, &[&[answer]]).await };
    let (_, fetched) = tokio::join!(serving, fetcher.fetch(&url, wanted));
    fetched.map(|fetched| fetched.body).map_err(|error| error.to_string())
}

// correctness: S2
// correctness: S6
#[tokio::test]
async fn what_is_too_long_elsewhere_or_no_answer_is_refused_without_a_secret() {
    let redirect = |to: &str| format!("HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    for (answer, reason) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "server answered 404"),
        (ok(&"x".repeat(101)), "more than 100 bytes"),
        (redirect("file:///etc/passwd"), "begins with file:"),
        (redirect("ftp://h/x"), "begins with ftp:"),
        (redirect("http://"), "server answered 307"),
    ] {
        let error = outcome(&answer, WANTED).await.unwrap_err();
        assert!(error.contains(reason) && error.starts_with("can't get playlist of "), "{error}");
        assert!(!error.contains("hunter2") && !error.contains("k=1"), "{error}");
    }
    let (_silent, port) = listener().await;
    let (mut fetcher, url) = fetcher(port);
    let silent =
        fetcher.fetch(&url, Wanted { limit: Duration::from_millis(50), ..WANTED }).await.unwrap_err();
    assert!(silent.to_string().contains("not there within"), "{silent}");
}

#[tokio::test]
async fn a_range_is_asked_for_and_cut_out_where_the_server_sends_all() {
    let ask = Ask::Get(Some(ByteRange { start: 2, bytes: 3 }));
    let wanted = Wanted { ask, ..WANTED };
    let partial = "HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\ncde";
    assert_eq!(outcome(partial, wanted).await.unwrap(), "cde");
    assert_eq!(outcome(&ok("abcdef"), wanted).await.unwrap(), "cde");
    assert!(outcome(&ok("abc"), wanted).await.is_err());
}

// correctness: S2
#[tokio::test]
async fn a_source_outside_names_nothing_inside_and_https_nothing_in_the_clear() {
    let (_other, port) = listener().await;
    let (mut fetcher, _) = fetcher(1);
    for (reach, is_refused) in [(Reach::Public, true), (Reach::Private, true), (Reach::Own, false)] {
        fetcher.set_reach(reach);
        let inside = Url::parse(&format!("http://127.0.0.1:{port}/v3/paths/list")).unwrap();
        let wanted = Wanted { limit: Duration::from_millis(50), ..WANTED };
        let error = fetcher.fetch(&inside, wanted).await.unwrap_err().to_string();
        assert_eq!(error.contains("inside of a network"), is_refused, "{reach:?}: {error}");
    }
    let url = SourceUrl::parse("https://cdn.example/a.m3u8").unwrap();
    let mut fetcher = Fetcher::new(&RemoteSource { url, fingerprint: None });
    let clear = Url::parse("http://cdn.example/b.ts").unwrap();
    let error = fetcher.fetch(&clear, WANTED).await.unwrap_err().to_string();
    assert!(error.contains("only https: from https:"), "{error}");
}
