//! Connect: a TCP or TLS connection to a camera.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::resolved::RtspSource;
use crate::config::source_url::SourceScheme;

/// Without post-quantum ones: their key share does not fit into the first packet, and cameras' old TLS does not wait for a second.
const KEY_EXCHANGES: &[&dyn SupportedKxGroup] = &[kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// A byte stream to a camera.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A connection with its two ends.
pub(super) struct Connected {
    pub(super) stream: Box<dyn Connection>,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("can't connect to {host}:{port}: {source}")]
    Tcp { host: String, port: u16, source: io::Error },
    #[error("no tls with {host}:{port}: {source}")]
    Tls { host: String, port: u16, source: io::Error },
    #[error("tls can't be set up: {reason}")]
    Setup { reason: String },
}

/// Connects; the caller bounds the time.
pub(super) async fn connect(source: &RtspSource) -> Result<Connected, ConnectError> {
    let (host, port) = (source.url.host().to_owned(), source.url.port());
    let tcp_error = |source| ConnectError::Tcp { host: host.clone(), port, source };
    let tcp = TcpStream::connect((dialled(&host), port)).await.map_err(tcp_error)?;
    tcp.set_nodelay(true).map_err(tcp_error)?;
    let local = tcp.local_addr().map_err(tcp_error)?;
    let peer = tcp.peer_addr().map_err(tcp_error)?;
    let stream: Box<dyn Connection> = match source.url.scheme() {
        SourceScheme::Rtsp => Box::new(tcp),
        SourceScheme::Rtsps => {
            let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(source.fingerprint)?));
            let name = ServerName::try_from(dialled(&host).to_owned())
                .map_err(|err| ConnectError::Setup { reason: err.to_string() })?;
            let tls = connector.connect(name, tcp).await;
            Box::new(tls.map_err(|source| ConnectError::Tls { host, port, source })?)
        }
    };
    Ok(Connected { stream, local, peer })
}

/// A host as sockets want it: an IPv6 address without its brackets.
fn dialled(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Trusts the one certificate with `fingerprint`, or what the operating system trusts.
fn client_config(fingerprint: Option<[u8; 32]>) -> Result<ClientConfig, ConnectError> {
    let setup = |err: &dyn std::fmt::Display| ConnectError::Setup { reason: err.to_string() };
    let provider = Arc::new(CryptoProvider { kx_groups: KEY_EXCHANGES.to_vec(), ..default_provider() });
    let judge = match fingerprint {
        Some(fingerprint) => Judge::Pinned(fingerprint),
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Judge::Roots(verifier.build().map_err(|err| setup(&err))?)
        }
    };
    let verifier = CameraVerifier { judge, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|err| setup(&err))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

#[derive(Debug)]
enum Judge {
    Roots(Arc<WebPkiServerVerifier>),
    Pinned([u8; 32]),
}

/// Judges a camera's certificate, and says its fingerprint when it is not trusted: cameras sign their own.
#[derive(Debug)]
struct CameraVerifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for CameraVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fingerprint = sha256(end_entity);
        let reason = match &self.judge {
            Judge::Pinned(expected) if *expected == fingerprint => return Ok(ServerCertVerified::assertion()),
            Judge::Pinned(_) => "its fingerprint is not the configured sourceFingerprint".to_owned(),
            Judge::Roots(roots) => {
                match roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(verified) => return Ok(verified),
                    Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                        "the system does not trust its issuer".to_owned()
                    }
                    Err(err) => err.to_string(),
                }
            }
        };
        let hex = fingerprint.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String can't fail.
            let _written = write!(hex, "{byte:02x}");
            hex
        });
        Err(rustls::Error::General(format!(
            "camera's certificate is refused: {reason}; if it is the camera's, set sourceFingerprint: {hex}"
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    digest.as_ref().try_into().unwrap_or([0; 32])
}
