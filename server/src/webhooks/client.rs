//! Client: one POST to a receiver, over a connection of its own.
//!
//! Redirects are not followed: whoever answers for the receiver must not choose who learns of events (correctness: S2).
//! Limits: [`POST_LIMIT`], and nothing is read of an answer but its head.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::notice::Notice;
use crate::config::webhooks::{WebhookConfig, WebhookScheme};

/// From dialling to the head of the answer.
const POST_LIMIT: Duration = Duration::from_secs(10);

/// Why an event was not taken; holds nothing of the address but its host.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// It can't be reached, or breaks off.
    #[error("no connection: {0}")]
    Connection(#[from] io::Error),
    /// It speaks no HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// It did not answer in time.
    #[error("no answer within {} s", POST_LIMIT.as_secs())]
    Slow,
    /// It said no.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// It has an address that no request can be made for.
    #[error("its address can't be used: {0}")]
    Address(#[from] http::Error),
}

/// Sends an event; `timestamp` is now, in seconds.
///
/// # Errors
/// [`PostError`]: it was not taken, as far as is known.
pub(super) async fn post(to: &WebhookConfig, notice: &Notice, timestamp: i64) -> Result<(), PostError> {
    let request = request(to, notice, timestamp)?;
    let posting = async {
        let tcp = TcpStream::connect((to.url.host(), to.url.port())).await?;
        match to.url.scheme() {
            WebhookScheme::Http => exchange(tcp, request).await,
            WebhookScheme::Https => {
                let name = ServerName::try_from(to.url.host().to_owned()).map_err(io::Error::other)?;
                let tls = TLS.clone().ok_or_else(|| io::Error::other("TLS can't be set up"))?;
                exchange(TlsConnector::from(tls).connect(name, tcp).await?, request).await
            }
        }
    };
    let status = tokio::time::timeout(POST_LIMIT, posting).await.map_err(|_| PostError::Slow)??;
    if status.is_success() { Ok(()) } else { Err(PostError::Status(status)) }
}

fn request(to: &WebhookConfig, notice: &Notice, timestamp: i64) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::post(to.url.target())
        .header(HOST, to.url.authority())
        .header(USER_AGENT, concat!("GT-Vision/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("webhook-id", &notice.id)
        .header("webhook-timestamp", timestamp);
    if let Some(secret) = &to.secret {
        request = request.header("webhook-signature", notice.signature(secret.expose(), timestamp));
    }
    request.body(Full::new(notice.body.clone()))
}

async fn exchange(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, PostError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut answer => response?,
        ended = &mut connection => {
            ended?;
            answer.await?
        }
    };
    Ok(response.status())
}

/// Trusts whom the operating system trusts; read once, since its certificates are many.
static TLS: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Some(Arc::new(builder.ok()?.with_root_certificates(roots).with_no_client_auth()))
});

#[cfg(test)]
mod tests {
    use media_core::time::WallTime;
    use rustls::ServerConfig;
    use rustls_pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Takes one connection, reads until a whole request is there, and answers.
    async fn answer(listener: TcpListener, answer: &str) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{}") {
            assert!(socket.read_buf(&mut request).await.unwrap() > 0);
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    fn notice() -> Notice {
        Notice { id: "1".to_owned(), at: WallTime(0), body: Bytes::from_static(b"{}") }
    }

    // correctness: S2
    #[tokio::test]
    async fn an_event_is_taken_with_2xx_alone_and_no_redirect_is_followed() {
        for (status, is_taken) in
            [("204 No Content", true), ("200 OK", true), ("500 Oh", false), ("307 There", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let to = WebhookConfig::example(&format!("http://127.0.0.1:{port}/x?y=1"));
            let said = format!(
                "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{port}/z\r\nContent-Length: 0\r\n\r\n"
            );
            let notice = notice();
            let (request, taken) = tokio::join!(answer(listener, &said), post(&to, &notice, 7));
            assert!(request.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{request}");
            assert!(
                request.contains(&format!("host: 127.0.0.1:{port}\r\n"))
                    && request.contains("webhook-timestamp: 7\r\n")
            );
            assert_eq!(taken.is_ok(), is_taken, "{status}: {taken:?}");
        }
    }

    // correctness: S5
    #[tokio::test]
    async fn a_receiver_whom_nobody_vouches_for_gets_nothing() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config =
            config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to =
            WebhookConfig::example(&format!("https://localhost:{}/", listener.local_addr().unwrap().port()));
        let receiving = async {
            let (socket, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(Arc::new(config)).accept(socket).await.is_ok()
        };
        let notice = notice();
        let (_, taken) = tokio::join!(receiving, post(&to, &notice, 7));
        assert!(matches!(taken, Err(PostError::Connection(_))), "{taken:?}");
    }
}
