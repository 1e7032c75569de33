//! S3: a store on a folder, over HTTP or HTTPS on loopback, that checks signatures and sums; it fails when a test wants it to.
//!
//! The store is `s3s-fs`: an object is a file below the bucket's folder. It runs on threads of its own, so that a test that
//! waits does not hold it up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// The bucket that is there.
const BUCKET: &str = "archive";
const ACCESS_KEY_ID: &str = "operator";
/// Of the test's own making; a server's log is searched for it.
pub const SECRET: &str = "not-to-be-told-4711";

/// What the store does with requests.
#[derive(Debug, Default)]
struct Faults {
    /// One request in so many is answered 503; 0 for none.
    one_in: AtomicU64,
    requests: AtomicU64,
}

/// A store. It ends with the value.
#[derive(Debug)]
pub struct Store {
    dir: tempfile::TempDir,
    scheme: &'static str,
    address: SocketAddr,
    faults: Arc<Faults>,
    runtime: Option<Runtime>,
}

impl Store {
    /// Starts one with an empty bucket.
    ///
    /// # Errors
    /// When it can't listen.
    pub fn start() -> anyhow::Result<Self> {
        Self::serving(tempfile::tempdir()?, None)
    }

    /// Starts one behind TLS, whose certificate nobody signed.
    ///
    /// # Errors
    /// When it can't listen, or no certificate can be made.
    pub fn start_tls() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        std::fs::write(certificate_in(dir.path()), signed.cert.pem())?;
        let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key.into())?;
        Self::serving(dir, Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// The certificate of one behind TLS, PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        certificate_in(self.dir.path())
    }

    fn serving(dir: tempfile::TempDir, tls: Option<TlsAcceptor>) -> anyhow::Result<Self> {
        std::fs::create_dir(dir.path().join(BUCKET))?;
        let files = FileSystem::new(dir.path()).map_err(|error| anyhow::anyhow!("s3s-fs: {error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        runtime.spawn(accept(listener, tls, service, Arc::clone(&faults)));
        Ok(Self { dir, scheme, address, faults, runtime: Some(runtime) })
    }

    /// Lets one request in so many fail from now on; 1 for all, 0 for none.
    pub fn fail_one_in(&self, requests: u64) {
        self.faults.one_in.store(requests, Ordering::Relaxed);
    }

    /// The section `s3` for it, with `more` lines.
    ///
    /// # Errors
    /// When the credentials can't be written.
    pub fn config(&self, more: &[&str]) -> anyhow::Result<String> {
        let mut text = String::from("s3:\n");
        self.settings()?.iter().for_each(|(key, value)| text += &format!("  {key}: {value}\n"));
        more.iter().for_each(|line| text += &format!("  {line}\n"));
        Ok(text)
    }

    /// The settings of that section.
    ///
    /// # Errors
    /// When the credentials can't be written.
    pub fn settings(&self) -> anyhow::Result<[(&'static str, String); 4]> {
        self.set_secret(SECRET)?;
        Ok([
            ("endpoint", format!("{}://{}", self.scheme, self.address)),
            ("bucket", BUCKET.to_owned()),
            ("prefix", "gtv".to_owned()),
            ("credentialsFile", self.credentials_file().display().to_string()),
        ])
    }

    fn credentials_file(&self) -> PathBuf {
        self.dir.path().join(".credentials")
    }

    /// Writes another secret into the server's credentials.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn set_secret(&self, secret: &str) -> anyhow::Result<()> {
        let text =
            format!("[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {secret}\n");
        std::fs::write(self.credentials_file(), text).context("credentials")
    }

    /// Where the object of a key lies, or would.
    #[must_use]
    pub fn object(&self, key: &str) -> PathBuf {
        self.dir.path().join(BUCKET).join(key)
    }

    /// How many objects there are.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn count_objects(&self) -> anyhow::Result<usize> {
        count(&self.dir.path().join(BUCKET))
    }

    /// Parts of a multipart upload that are kept.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn parts_of(&self, upload: &str) -> anyhow::Result<usize> {
        let begin = format!(".upload_id-{upload}");
        let mut parts = 0;
        for entry in std::fs::read_dir(self.dir.path())? {
            parts += usize::from(entry?.file_name().to_string_lossy().starts_with(&begin));
        }
        Ok(parts)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn count(folder: &Path) -> anyhow::Result<usize> {
    let mut objects = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            objects += count(&entry.path())?;
        } else if !entry.file_name().to_string_lossy().starts_with('.') {
            objects += 1;
        }
    }
    Ok(objects)
}

/// Beside the bucket, which is a folder.
fn certificate_in(dir: &Path) -> PathBuf {
    dir.join(".certificate.pem")
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    service: S3Service,
    faults: Arc<Faults>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, service, faults) = (tls.clone(), service.clone(), Arc::clone(&faults));
        tokio::spawn(async move {
            match tls {
                None => serve(socket, service, faults).await,
                Some(tls) => {
                    // A peer that does not believe the certificate goes.
                    if let Ok(stream) = tls.accept(socket).await {
                        serve(stream, service, faults).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: S3Service,
    faults: Arc<Faults>,
) {
    let answer = hyper::service::service_fn(move |request| {
        let number = faults.requests.fetch_add(1, Ordering::Relaxed);
        let one_in = faults.one_in.load(Ordering::Relaxed);
        let service = service.clone();
        async move {
            if one_in > 0 && number.is_multiple_of(one_in) {
                return Ok(unavailable());
            }
            hyper::service::Service::call(&service, request).await
        }
    });
    // A connection that breaks off is its peer's affair.
    let _ended = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer).await;
}

fn unavailable() -> http::Response<s3s::Body> {
    const SLOW_DOWN: &str = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let mut answer = http::Response::new(s3s::Body::from(SLOW_DOWN.to_owned()));
    *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    answer
}
