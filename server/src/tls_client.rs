//! TLS client: whom we trust when we connect somewhere ourselves: what the system trusts, or the one certificate with a
//! configured fingerprint.

use std::fmt::Write as _;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// TLS can't be set up. The text says why.
#[derive(Debug, thiserror::Error)]
#[error("tls can't be set up: {reason}")]
pub(crate) struct SetupError {
    /// Why.
    pub(crate) reason: String,
}

/// Trusts the one certificate with `fingerprint`, or what the operating system trusts; `key` is the setting that a refusal
/// names with the fingerprint that it saw. `provider` says what is offered.
///
/// # Errors
/// [`SetupError`], without certificates to trust for instance.
pub(crate) fn client_config(
    provider: CryptoProvider,
    fingerprint: Option<[u8; 32]>,
    key: &'static str,
) -> Result<ClientConfig, SetupError> {
    let setup = |err: &dyn std::fmt::Display| SetupError { reason: err.to_string() };
    let provider = Arc::new(provider);
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
    let verifier = Verifier { judge, key, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|err| setup(&err))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// A host as sockets want it: an IPv6 address without its brackets.
pub(crate) fn dialled(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

#[derive(Debug)]
enum Judge {
    Roots(Arc<WebPkiServerVerifier>),
    Pinned([u8; 32]),
}

/// Judges a certificate, and says its fingerprint when it is not trusted: cameras sign their own.
#[derive(Debug)]
struct Verifier {
    judge: Judge,
    key: &'static str,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
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
            Judge::Pinned(_) => format!("its fingerprint is not the configured {}", self.key),
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
            "certificate is refused: {reason}; if it is the right one, set {}: {hex}",
            self.key
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
