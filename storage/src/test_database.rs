//! Test database: the same suite over SQLite, and once more over PostgreSQL.
//!
//! Each test takes a database of its own: a file, or, in a process that was told of a server, one that is made there.
//! [`the_same_suite_passes_on_postgresql`] starts a server and such a process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::DatabaseUrl;

/// The folder of a server's socket.
const SERVER: &str = "GTV_TEST_POSTGRES";
const HERE: &str = "the_same_suite_passes_on_postgresql";

/// An empty database for whoever has this folder.
pub(crate) fn new_in(folder: &Path) -> DatabaseUrl {
    let Some(socket) = std::env::var_os(SERVER) else {
        return DatabaseUrl::sqlite(&folder.join("catalogue.db"));
    };
    let socket = socket.to_string_lossy();
    // Folders of tests have names of their own, of letters and digits behind a dot.
    let name = format!("t{}", folder.file_name().unwrap().to_string_lossy().trim_start_matches(".tmp"));
    let made = Command::new("createdb").args(["-h", &*socket, "-U", "postgres", &name]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    DatabaseUrl::parse(&format!("postgres:///{name}?host={socket}&user=postgres")).unwrap()
}

/// A server, which ends with the value.
struct Server {
    script: Child,
    orders: Option<ChildStdin>,
    socket: String,
}

impl Server {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/postgres.sh");
        let mut script =
            Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        let ready: serde_json::Value =
            serde_json::from_str(&line).expect("PostgreSQL does not start: see above");
        let socket = ready["socket"].as_str().unwrap().to_owned();
        Self { orders: script.stdin.take(), script, socket }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.script.wait().unwrap();
    }
}

#[test]
fn the_same_suite_passes_on_postgresql() {
    let server = Server::start();
    let suite = Command::new(std::env::current_exe().unwrap())
        .args(["--skip", HERE])
        .env(SERVER, &server.socket)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&suite.stdout);
    assert!(suite.status.success(), "on PostgreSQL:\n{said}{}", String::from_utf8_lossy(&suite.stderr));
    assert!(said.contains("test tests::what_a_hold_touches_stays_across_a_restart"), "{said}");
}
