//! Nginx: the same part sizes from static files by nginx, to as many clients at the same pace.
//!
//! nginx runs without a master process, so that one process does the work and is the one to measure. The parts
//! are recorded ones (`--parts`, fetched once from a live session of the server) or zeros of the bitrate.
//! Access log off, sendfile on, open files cached: nginx at its best.
//! Requires: nginx (Debian: nginx-light). Killed with SIGKILL, the floor leaves its nginx behind.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep};

use super::child;
use super::http::{PLAYLIST, part_name};
use super::report::{self, Stop};
use super::sendfile::Pace;

/// Parts made when none were recorded: ten seconds at 200 ms.
const PARTS_MADE: usize = 50;
/// nginx listens within this, or something is wrong.
const START_WAIT: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(20);

/// What nginx serves, and to how many.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NginxArgs {
    /// How many clients.
    #[arg(long)]
    clients: usize,
    #[command(flatten)]
    pace: Pace,
    /// Folder of recorded parts, one file each, fetched in the order of their names.
    #[arg(long)]
    parts: Option<PathBuf>,
    /// Bytes of the playlist that a client fetches before each part.
    #[arg(long, default_value_t = 2500)]
    playlist_bytes: usize,
    /// The nginx program.
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
}

pub(super) async fn run(args: NginxArgs, stop: Stop) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("floor-nginx-").tempdir().context("make a folder")?;
    let parts = fill(folder.path(), &args)?;
    let address = free_address()?;
    let configuration = folder.path().join("nginx.conf");
    std::fs::write(&configuration, configuration_text(folder.path(), address)).context("write nginx.conf")?;
    let mut nginx = start(&args.nginx, &configuration, address).await?;
    let pid = nginx.id().context("nginx has ended")?;
    let sink = [
        "http".to_owned(),
        format!("--connect={address}"),
        format!("--clients={}", args.clients),
        format!("--parts={parts}"),
        format!("--part-ms={}", args.pace.part_ms),
    ];
    let mut sink = child::spawn_sink(&sink, Stdio::piped())?;
    let mut lines = BufReader::new(sink.stdout.take().context("the sink has no output")?).lines();
    let measured = measure(pid, args.clients, &mut lines, stop, &mut nginx).await;
    nginx.kill().await.context("stop nginx")?;
    measured
}

/// Puts the files in place; how many parts there are.
fn fill(folder: &Path, args: &NginxArgs) -> anyhow::Result<usize> {
    let root = folder.join("www");
    std::fs::create_dir(&root).context("make the served folder")?;
    std::fs::write(root.join(PLAYLIST), vec![b'#'; args.playlist_bytes]).context("write playlist")?;
    let Some(recorded) = &args.parts else {
        let part = vec![0; usize::try_from(args.pace.part_bytes()).context("part too large")?];
        for index in 0..PARTS_MADE {
            std::fs::write(root.join(part_name(index)), &part).context("write part")?;
        }
        return Ok(PARTS_MADE);
    };
    let entries = std::fs::read_dir(recorded).with_context(|| format!("read {}", recorded.display()))?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().context("list parts")?;
    files.sort();
    ensure!(!files.is_empty(), "no parts in {}", recorded.display());
    for (index, file) in files.iter().enumerate() {
        std::fs::copy(file, root.join(part_name(index)))
            .with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(files.len())
}

/// A loopback port that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

fn configuration_text(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  tcp_nodelay on;\n  server_tokens off;\n\
         \x20 keepalive_timeout 600s;\n  keepalive_requests 100000000;\n  open_file_cache max=4096 inactive=600s;\n\
         \x20 client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n\
         \x20 fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n\
         \x20 types {{ video/mp4 mp4; application/vnd.apple.mpegurl m3u8; }}\n\
         \x20 server {{ listen {address}; root {folder}/www; }}\n}}\n"
    )
}

/// Starts nginx and waits until it listens.
async fn start(program: &Path, configuration: &Path, address: SocketAddr) -> anyhow::Result<Child> {
    let program = find(program);
    let mut nginx = Command::new(&program)
        .args(["-e", "stderr", "-c"])
        .arg(configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {} (Debian: nginx-light)", program.display()))?;
    let deadline = Instant::now() + START_WAIT;
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = nginx.try_wait().context("ask for nginx")? {
            bail!("nginx ended at once: {status}");
        }
        ensure!(Instant::now() < deadline, "nginx does not listen after {START_WAIT:?}");
        sleep(START_POLL).await;
    }
    Ok(nginx)
}

/// Debian keeps nginx where only root's PATH looks.
fn find(program: &Path) -> PathBuf {
    let system = Path::new("/usr/sbin").join(program);
    if program.components().count() == 1 && system.exists() { system } else { program.to_owned() }
}

/// What the clients have got, as they say each second.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Got {
    bytes: u64,
    frames: u64,
}

/// Waits until every client has a part, says so, and counts from there to the end.
async fn measure(
    pid: u32,
    clients: usize,
    lines: &mut Lines<BufReader<ChildStdout>>,
    mut stop: Stop,
    nginx: &mut Child,
) -> anyhow::Result<()> {
    let clients = u64::try_from(clients).unwrap_or(u64::MAX);
    let first = loop {
        let got = next(lines).await?;
        if got.frames >= clients {
            break got;
        }
    };
    report::say(&json!({ "ready": true, "pid": pid }))?;
    let since = Instant::now();
    let mut last = (first, since);
    loop {
        tokio::select! {
            () = stop.wait() => break,
            got = next(lines) => last = (got?, Instant::now()),
            ended = nginx.wait() => bail!("nginx ended: {}", ended.context("wait for nginx")?),
        }
    }
    let (got, at) = last;
    let secs = at.duration_since(since).as_secs_f64();
    let (bytes, frames) = (got.bytes - first.bytes, got.frames - first.frames);
    report::say(&json!({ "bytes": bytes, "frames": frames, "secs": secs }))?;
    Ok(())
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<Got> {
    let line = lines.next_line().await.context("read from the clients")?;
    let line = line.context("the clients have ended")?;
    serde_json::from_str(&line).with_context(|| format!("clients said {line:?}"))
}
