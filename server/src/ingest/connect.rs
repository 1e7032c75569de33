//! Connect: a TCP or TLS connection to a camera or server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::source_url::SourceUrl;
use crate::tls_client::{self, SetupError, dialled};

/// Without post-quantum ones: their key share does not fit into the first packet, and cameras' old TLS does not wait for a second.
const KEY_EXCHANGES: &[&dyn SupportedKxGroup] = &[kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// A byte stream to a camera.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A connection with its two ends.
pub(crate) struct Connected {
    pub(crate) stream: Box<dyn Connection>,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("can't connect to {host}:{port}: {source}")]
    Tcp { host: String, port: u16, source: io::Error },
    #[error("no tls with {host}:{port}: {source}")]
    Tls { host: String, port: u16, source: io::Error },
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// Connects to what a path's media is asked of; the caller bounds the time.
pub(super) async fn connect(
    url: &SourceUrl,
    fingerprint: Option<[u8; 32]>,
) -> Result<Connected, ConnectError> {
    connect_to(url, fingerprint, "sourceFingerprint").await
}

/// Connects, and with TLS trusts the one certificate with `fingerprint`, which the setting `key` holds, or those that the
/// system does. The caller bounds the time.
pub(crate) async fn connect_to(
    url: &SourceUrl,
    fingerprint: Option<[u8; 32]>,
    key: &'static str,
) -> Result<Connected, ConnectError> {
    let (host, port) = (url.host().to_owned(), url.port());
    let tcp_error = |source| ConnectError::Tcp { host: host.clone(), port, source };
    let tcp = TcpStream::connect((dialled(&host), port)).await.map_err(tcp_error)?;
    tcp.set_nodelay(true).map_err(tcp_error)?;
    let local = tcp.local_addr().map_err(tcp_error)?;
    let peer = tcp.peer_addr().map_err(tcp_error)?;
    let stream: Box<dyn Connection> = match url.scheme().is_tls() {
        false => Box::new(tcp),
        true => {
            let provider = CryptoProvider { kx_groups: KEY_EXCHANGES.to_vec(), ..default_provider() };
            let config = tls_client::client_config(provider, fingerprint, key)?;
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let name = ServerName::try_from(dialled(&host).to_owned())
                .map_err(|err| SetupError { reason: err.to_string() })?;
            let tls = connector.connect(name, tcp).await;
            Box::new(tls.map_err(|source| ConnectError::Tls { host, port, source })?)
        }
    };
    Ok(Connected { stream, local, peer })
}
