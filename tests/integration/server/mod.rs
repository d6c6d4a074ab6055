//! Real search servers for the tests, started by the scripts of tests/search-server: one of each product
//! that the tests share, and servers of their own for tests that kill or starve them.
//!
//! A server lives no longer than the process that started it, however that ends: it ends when the pipe to
//! its standard input closes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Folder;

pub(crate) mod http;

/// How long a killed server may take to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(30);

/// Documents read at once: few requests, small answers.
const PAGE_DOCUMENTS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    OpenSearch,
    Elasticsearch,
    /// Elasticsearch behind TLS and a password.
    Secure,
}

impl Product {
    pub(crate) const EACH: [Product; 3] =
        [Product::OpenSearch, Product::Elasticsearch, Product::Secure];

    fn command(self) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/search-server");
        let mut command = match self {
            Product::OpenSearch => Command::new(scripts.join("start")),
            Product::Elasticsearch | Product::Secure => {
                Command::new(scripts.join("start-elasticsearch"))
            }
        };
        if self == Product::Secure {
            command.arg("--secure");
        }
        // A start takes 4 to 10 s, and several times that while the other tests take the machine.
        command.args(["--heap", "512m", "--wait", "300"]);
        command
    }

    /// Whether it can be started here. Where not, a line says which test goes without.
    fn is_available(self) -> bool {
        let java = is_program("java") || std::env::var_os("SEARCH_SERVER_JAVA_HOME").is_some();
        let missing = match (java, is_program("mvn")) {
            (true, true) => return true,
            (false, _) => "java",
            (true, false) => "mvn",
        };
        let thread = thread::current();
        let test = thread.name().unwrap_or("a test");
        let line = format!("skipped: {test}: {self} needs `{missing}`, which is not found");
        assert!(
            std::env::var_os("ETL_REQUIRE_SERVERS").is_none(),
            "{line}, and ETL_REQUIRE_SERVERS is set"
        );
        // Not `eprintln!`, which is shown for failed tests only.
        let _ = writeln!(io::stderr(), "{line}");
        false
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Product::OpenSearch => "OpenSearch",
            Product::Elasticsearch => "Elasticsearch",
            Product::Secure => "Elasticsearch with TLS",
        })
    }
}

fn is_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// A search server that runs.
pub(crate) struct Server {
    /// The address of the first node.
    pub(crate) url: String,
    /// The addresses of all nodes.
    pub(crate) urls: Vec<String>,
    /// The certificate to trust, of a server behind TLS.
    pub(crate) ca: Option<PathBuf>,
    /// Name and password, of a server that asks for them.
    pub(crate) user: Option<(String, String)>,
    product: Product,
    arguments: Vec<String>,
    pid: String,
    process: Process,
    /// None where the script makes and removes its own.
    data: Option<Folder>,
}

impl Server {
    /// The server of this product that all tests share, started by the first to ask. Indices are to be
    /// named after the test.
    pub(crate) fn shared(product: Product) -> Option<&'static Server> {
        static SHARED: [OnceLock<Server>; Product::EACH.len()] =
            [const { OnceLock::new() }; Product::EACH.len()];
        if !product.is_available() {
            return None;
        }
        // Nothing drops a static, so its data is left to the script, which is told when the tests end.
        Some(SHARED[product as usize].get_or_init(|| Server::launch(product, Vec::new(), None)))
    }

    /// A server of the test's own, with these further arguments of the start script.
    pub(crate) fn start(product: Product, arguments: &[&str]) -> Option<Server> {
        if !product.is_available() {
            return None;
        }
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let data = Folder::new("server");
        Some(Server::launch(product, arguments, Some(data)))
    }

    fn launch(product: Product, arguments: Vec<String>, data: Option<Folder>) -> Server {
        let mut command = product.command();
        command.args(&arguments);
        if let Some(data) = &data {
            command.arg("--data").arg(data.path());
        }
        let (process, ready) = Process::start(command);
        let urls: Vec<String> = ready.urls.split(',').map(str::to_owned).collect();
        Server {
            url: urls[0].clone(),
            urls,
            ca: ready.notes.get("ca").map(PathBuf::from),
            user: ready
                .notes
                .get("user")
                .cloned()
                .zip(ready.notes.get("password").cloned()),
            product,
            arguments,
            pid: ready.notes["pid"].clone(),
            process,
            data,
        }
    }

    /// Kills the server without warning; returns when nothing answers at its address any more.
    pub(crate) fn kill(&self) {
        signal("-9", &self.pid);
        let deadline = Instant::now() + GONE_TIMEOUT;
        while TcpStream::connect(self.address()).is_ok() {
            assert!(Instant::now() < deadline, "{} is killed", self.product);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Holds the server still, with its connections open, until [`Server::resume`].
    pub(crate) fn suspend(&self) {
        signal("-STOP", &self.pid);
    }

    pub(crate) fn resume(&self) {
        signal("-CONT", &self.pid);
    }

    /// Starts a server anew on the data of this one, at the same address (several nodes: only if `--port` is
    /// among their arguments), and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process.end();
        let mut command = self.product.command();
        command.args(&self.arguments);
        if self.urls.len() == 1 {
            let port = self.address().rsplit(':').next().unwrap_or_default();
            command.args(["--port", port]);
        }
        if let Some(data) = &self.data {
            command.arg("--data").arg(data.path());
        }
        let (process, ready) = Process::start(command);
        self.process = process;
        self.pid.clone_from(&ready.notes["pid"]);
        self.urls = ready.urls.split(',').map(str::to_owned).collect();
        self.url.clone_from(&self.urls[0]);
    }

    /// Host and port of the first node.
    pub(crate) fn address(&self) -> &str {
        let (_, address) = self.url.split_once("://").expect("it has a scheme");
        address
    }

    /// Status and body of the answer: null where it is empty, a text where it is not JSON.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.try_call(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// [`Server::call`] for a server that may be gone.
    pub(crate) fn try_call(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> io::Result<(u16, Value)> {
        let (status, body) = match &self.ca {
            None => http::call(self.address(), method, path, body)?,
            Some(ca) => self.curl(ca, method, path, body)?,
        };
        Ok((status, json_or_text(&body)))
    }

    fn curl(&self, ca: &Path, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--cacert"])
            .arg(ca);
        if let Some((user, password)) = &self.user {
            command.args(["--user", &format!("{user}:{password}")]);
        }
        match method {
            "HEAD" => command.arg("--head").args(["--output", "/dev/null"]),
            _ => command.args(["--request", method]),
        };
        if !body.is_empty() {
            let content_type = format!("Content-Type: {}", http::content_type(path));
            command.args(["--header", &content_type, "--data-binary", "@-"]);
        }
        let mut child = command
            .args(["--write-out", "%{http_code}"])
            .arg(format!("{}{path}", self.url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        // curl reads all of it before it writes anything.
        stdin.write_all(body.as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr)));
        }
        let mut body = output.stdout;
        let status = body.split_off(body.len() - 3);
        let status = String::from_utf8_lossy(&status)
            .parse()
            .map_err(io::Error::other)?;
        Ok((status, body))
    }

    /// Every document of an index or alias by its `_id`.
    pub(crate) fn documents(&self, index: &str) -> BTreeMap<String, Value> {
        self.must("POST", &format!("/{index}/_refresh"), &Value::Null);
        // Scrolling is the way that both products know by the same name, and it sees one state of all shards.
        let mut page = self.must(
            "POST",
            &format!("/{index}/_search?scroll=1m"),
            &json!({ "size": PAGE_DOCUMENTS, "sort": ["_doc"], "track_total_hits": true }),
        );
        let total = page["hits"]["total"]["value"].clone();
        let mut documents = BTreeMap::new();
        loop {
            assert_eq!(page["_shards"]["failed"], 0, "{page}");
            let scroll = page["_scroll_id"].take();
            let hits = page["hits"]["hits"].as_array_mut().expect("it lists hits");
            if hits.is_empty() {
                self.must("DELETE", "/_search/scroll", &json!({ "scroll_id": scroll }));
                break;
            }
            for hit in hits {
                let id = hit["_id"].as_str().expect("a hit has its `_id`").to_owned();
                let twice = documents.insert(id, hit["_source"].take());
                assert!(twice.is_none(), "`{}` is there twice", hit["_id"]);
            }
            let next = json!({ "scroll": "1m", "scroll_id": scroll });
            page = self.must("POST", "/_search/scroll", &next);
        }
        assert_eq!(total, documents.len(), "all documents of {index} are read");
        documents
    }

    /// Documents in an index or alias.
    pub(crate) fn count(&self, index: &str) -> u64 {
        self.must("POST", &format!("/{index}/_refresh"), &Value::Null);
        let answer = self.must("GET", &format!("/{index}/_count"), &Value::Null);
        answer["count"].as_u64().expect("a count is a number")
    }

    /// A call that is answered with 200.
    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let (status, answer) = self.call(method, path, &body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its data goes with it, so there is nothing to end in good order. After the script's end the number
        // may be another process's.
        if matches!(self.process.child.try_wait(), Ok(None)) {
            signal("-9", &self.pid);
        }
        self.process.end();
    }
}

/// What a script tells when its server answers.
struct Ready {
    urls: String,
    notes: BTreeMap<String, String>,
}

/// A start script, or what became of it.
struct Process {
    child: Child,
    /// Closing it ends the server.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Returns when the server answers.
    fn start(mut command: Command) -> (Process, Ready) {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        let stdin = child.stdin.take();
        let mut stderr = child.stderr.take().expect("it is piped");
        // It is read to its end lest the server wait for room in the pipe.
        let words = thread::spawn(move || {
            let mut words = Vec::new();
            let _ = stderr.read_to_end(&mut words);
            String::from_utf8_lossy(&words).into_owned()
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("a READY line is text");
        let Some(ready) = line.strip_prefix("READY ") else {
            drop(stdin);
            let words = words.join().unwrap_or_default();
            panic!("{} failed: {words}", command.get_program().display());
        };
        let mut parts = ready.split_whitespace();
        let urls = parts.next().expect("it tells its address").to_owned();
        let notes = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        (Process { child, stdin }, Ready { urls, notes })
    }

    /// Closes the input and waits for the end.
    fn end(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn signal(name: &str, pid: &str) {
    // A process that has ended already needs none.
    let _ = Command::new("kill")
        .args([name, pid])
        .stderr(Stdio::null())
        .status();
}

/// An answer's body: null where it is empty, a text where it is not JSON.
pub(crate) fn json_or_text(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
