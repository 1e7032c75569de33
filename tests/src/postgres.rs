//! Postgres: a server of a test's own, and PgBouncer in front of it, in transaction mode and as it is installed.
//!
//! The server has a socket only; whoever comes over TCP comes through PgBouncer, with a password and over TLS.

use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::process::Process;
use crate::{peers, ports, wait, workspace};

/// From its files to a first answer, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A question.
const ASK_LIMIT: Duration = Duration::from_secs(30);
/// A script that writes millions of rows.
const SCRIPT_LIMIT: Duration = Duration::from_secs(900);
/// The database.
const DATABASE: &str = "city";
/// PgBouncer's, signed by itself.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
/// Of the test's own making; a server's log is searched for it.
pub const SECRET: &str = "not-to-be-told-5432";

/// A database. It ends with the value.
pub struct Postgres {
    server: Process,
    socket: String,
    bouncer: Option<Process>,
    dir: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    /// Starts both with an empty database.
    ///
    /// # Errors
    /// When one of them is not installed or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let mut server = Process::start("postgres.sh", &mut Command::new(workspace::peer("postgres.sh")))?;
        let ready = server.ready_line(START_LIMIT).await?;
        let socket = ready["socket"].as_str().context("socket")?.to_owned();
        let (dir, port) = (tempfile::tempdir()?, ports::free()?);
        let mut database = Self { server, socket, bouncer: None, dir, port };
        database.run("createdb", &[DATABASE], ASK_LIMIT).await?;
        database.make_certificate().await?;
        database.write_config()?;
        database.start_bouncer().await?;
        Ok(database)
    }

    /// What a server's `database` is.
    #[must_use]
    pub fn url(&self) -> String {
        let certificate = self.dir.path().join(CERTIFICATE);
        format!(
            "postgres://operator:{SECRET}@127.0.0.1:{}/{DATABASE}?sslmode=verify-full&sslrootcert={}",
            self.port,
            certificate.display()
        )
    }

    /// One column of text, asked by PostgreSQL's own client.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn ask(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let said = self.run("psql", &["-d", DATABASE, "-Atc", query], ASK_LIMIT).await?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// Runs a script of SQL of `tests/peers`.
    ///
    /// # Errors
    /// When it fails.
    pub async fn script(&self, name: &str, variables: &[&str]) -> anyhow::Result<()> {
        let file = workspace::peer(name);
        let file = file.to_string_lossy();
        let mut args = vec!["-d", DATABASE, "-v", "ON_ERROR_STOP=1", "-qf", &*file];
        variables.iter().for_each(|variable| args.extend(["-v", variable]));
        self.run("psql", &args, SCRIPT_LIMIT).await.map(drop)
    }

    /// Takes both away, as a host that goes down.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn go_away(&mut self) -> anyhow::Result<()> {
        if let Some(mut bouncer) = self.bouncer.take() {
            bouncer.kill()?;
        }
        self.order("stop", "stopped").await
    }

    /// Starts both again, with what was committed.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn come_back(&mut self) -> anyhow::Result<()> {
        self.order("start", "socket").await?;
        self.start_bouncer().await
    }

    async fn order(&mut self, order: &str, answer: &str) -> anyhow::Result<()> {
        let answers =
            |server: &Process| server.log.lines().iter().filter(|line| line.contains(answer)).count();
        let before = answers(&self.server);
        self.server.order(order)?;
        wait::until(&format!("PostgreSQL to {order}"), START_LIMIT, async || {
            Ok((answers(&self.server) > before).then_some(()))
        })
        .await
        .with_context(|| self.server.log.tail(30))
    }

    async fn start_bouncer(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("pgbouncer");
        if rustix::process::getuid().is_root() {
            // It refuses to run as root.
            command.args(["-u", "postgres"]);
        }
        command.arg(self.config_file());
        self.bouncer = Some(Process::start("pgbouncer", &mut command)?);
        let port = self.port;
        wait::until("PgBouncer", START_LIMIT, async || {
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()))
        })
        .await
        .with_context(|| self.bouncer.as_ref().map(|bouncer| bouncer.log.tail(30)).unwrap_or_default())
    }

    fn config_file(&self) -> PathBuf {
        self.dir.path().join("pgbouncer.ini")
    }

    async fn make_certificate(&self) -> anyhow::Result<()> {
        let mut command = Command::new("openssl");
        command.current_dir(self.dir.path());
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        command.args(["-days", "2", "-subj", "/CN=postgres", "-addext", "subjectAltName=IP:127.0.0.1"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", KEY, "-out", CERTIFICATE]);
        let output = peers::run(command, ASK_LIMIT).await?;
        ensure!(output.success, "openssl: {}", output.stderr);
        // For PgBouncer's user.
        open_to_all(&self.dir.path().join(KEY), 0o644)
    }

    /// Three connections for all that a server does: whoever relies on having one for itself fails.
    fn write_config(&self) -> anyhow::Result<()> {
        let place = |name: &str| self.dir.path().join(name);
        let users = place("users.txt");
        std::fs::write(&users, format!("\"operator\" \"{SECRET}\"\n"))?;
        let text = format!(
            "[databases]\n{DATABASE} = host={} user=postgres pool_size=3\n\n[pgbouncer]\npool_mode = transaction\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
             server_login_retry = 1\nclient_tls_sslmode = require\nclient_tls_key_file = {}\n\
             client_tls_cert_file = {}\n",
            self.socket,
            self.port,
            users.display(),
            place(KEY).display(),
            place(CERTIFICATE).display(),
        );
        std::fs::write(self.config_file(), text)?;
        open_to_all(self.dir.path(), 0o755)
    }

    async fn run(&self, program: &str, args: &[&str], limit: Duration) -> anyhow::Result<String> {
        let mut command = Command::new(program);
        command.args(["-h", &self.socket, "-U", "postgres"]).args(args);
        let output = peers::run(command, limit).await?;
        ensure!(output.success, "{program}: {}", output.stderr);
        Ok(output.stdout)
    }
}

fn open_to_all(place: &Path, mode: u32) -> anyhow::Result<()> {
    Ok(std::fs::set_permissions(place, Permissions::from_mode(mode))?)
}
