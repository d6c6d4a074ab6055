//! Google Cloud Storage, whose XML interface an S3 server speaks too, and Azure, of which a server in this process has
//! as much as is asked for.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::LARGE;
use super::endpoints::{at, nobody};
use super::server::{SIGNED, Store, copying, csv};
use crate::harness::{Etl, Variant};
use crate::scripted::{Asked, Say, Site};

#[test]
fn google_cloud_storage_is_read_listed_and_written() {
    let Some(store) = Store::shared() else { return };
    store.bucket("google");
    let site = Site::start(|asked| {
        let mut signed = asked.clone();
        signed.headers.insert("authorization".into(), SIGNED.into());
        store.answer(&signed)
    });
    let run = |files: &str, path: &str| {
        let folder = copying(files, path);
        folder.write("in.csv", csv(LARGE));
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let outcome = run.env("STORAGE_EMULATOR_HOST", &site.url).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        folder
    };
    run("\"in.csv\"", "gs://google/a/large.csv");
    let folder = run("\"gs://google/a/*.csv\"", "out.csv");
    let written = std::fs::read_to_string(folder.join("out.csv")).expect("it was written");
    assert!(written == csv(LARGE));
    assert_eq!(store.uploads("google"), 0);
}

#[test]
fn google_cloud_storage_at_the_server_of_a_stage_takes_the_credentials_of_the_environment() {
    let Some(store) = Store::shared() else { return };
    store.bucket("google-at");
    let site = Site::start(|asked| {
        let mut signed = asked.clone();
        signed.headers.insert("authorization".into(), SIGNED.into());
        store.answer(&signed)
    });
    let folder = copying("\"gs://google-at/a/*.csv\"", "gs://google-at/out.csv");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-out", "key.pem"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no openssl that makes keys");
        return;
    }
    let key = std::fs::read_to_string(folder.join("key.pem")).expect("it was made");
    let account = serde_json::json!({
        "type": "service_account",
        "private_key": key,
        "private_key_id": "1",
        "client_email": "etl@example.org",
    });
    folder.write("account.json", account.to_string());
    store.put("google-at/a/in.csv", &csv(LARGE));
    let mut asked = 0;
    for (variable, value, token) in [
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            "account.json",
            Some("Bearer ey"),
        ),
        ("GOOGLE_SKIP_SIGNATURE", "true", None),
    ] {
        let nobody = nobody();
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let run = run.args(at(Some(&site.url), Some(&site.url)));
        let run = run.env("STORAGE_EMULATOR_HOST", &nobody.url);
        let outcome = run.env(variable, value).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(store.get("google-at/out.csv") == Some(csv(LARGE)));
        store.delete("google-at/out.csv");
        assert!(nobody.asked().is_empty());
        for asked in site.asked().iter().skip(asked) {
            // Where it writes, the library sends an empty one.
            let sent = asked.headers.get("authorization");
            let sent = sent.filter(|sent| sent.trim() != "Bearer");
            let fits = sent.map(|sent| sent.starts_with(token.unwrap_or("none")));
            assert_eq!(fits, token.map(|_| true), "{sent:?}");
        }
        asked = site.asked().len();
    }
}

/// The blobs of a container.
#[derive(Default)]
struct Container {
    blobs: BTreeMap<String, String>,
    blocks: BTreeMap<String, String>,
}

impl Container {
    fn answer(&mut self, asked: &Asked) -> Say {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let path = path.strip_prefix("/account").unwrap_or(path);
        let name = path.strip_prefix("/data/").unwrap_or_default().to_owned();
        let value = |key: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.to_owned())
        };
        match (asked.method.as_str(), value("comp").as_deref()) {
            ("GET", Some("list")) => self.list(),
            ("PUT", Some("block")) => {
                let id = value("blockid")
                    .expect("a block has an id")
                    .replace("%3D", "=");
                self.blocks.insert(id, asked.body.clone());
                Say::status(201, "")
            }
            ("PUT", Some("blocklist")) => {
                let ids = asked.body.split("<Uncommitted>").skip(1);
                let ids = ids.map(|rest| rest.split('<').next().unwrap_or_default());
                let text = ids.map(|id| self.blocks[id].as_str()).collect();
                self.blobs.insert(name, text);
                Say::status(201, "").with("etag", "\"2\"")
            }
            ("PUT", None) => {
                self.blobs.insert(name, asked.body.clone());
                Say::status(201, "").with("etag", "\"1\"")
            }
            (_, None) => match self.blobs.get(&name) {
                Some(text) => blob(asked, text),
                None => Say::status(404, "<Error><Code>BlobNotFound</Code></Error>"),
            },
            (method, comp) => panic!("{method} {comp:?} is not known"),
        }
    }

    fn list(&self) -> Say {
        let blobs = self.blobs.iter().map(|(name, text)| {
            format!(
                "<Blob><Name>{name}</Name><Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified>\
                 <Etag>1</Etag><Content-Length>{}</Content-Length><Content-Type>text/csv</Content-Type></Properties></Blob>",
                text.len()
            )
        });
        let blobs: String = blobs.collect();
        Say::status(
            200,
            format!(
                "<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
            ),
        )
    }
}

fn blob(asked: &Asked, text: &str) -> Say {
    let range = asked
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let say = match range.and_then(|range| range.split_once('-')) {
        None => Say::status(200, text),
        Some((from, to)) => {
            let from: usize = from.parse().expect("a number");
            let to: usize = to.parse().expect("a number");
            Say::status(206, &text[from..=to])
                .with("content-range", format!("bytes {from}-{to}/{}", text.len()))
        }
    };
    say.with("etag", "\"1\"")
        .with("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
}

#[test]
fn azure_is_read_listed_and_written() {
    let container = Mutex::new(Container::default());
    let site = Site::start(move |asked| {
        container
            .lock()
            .expect("no one panics holding it")
            .answer(asked)
    });
    // The server of the environment, and of the stage, where the account is a part of the path, as Azurite has it.
    let nobody = nobody();
    let own = format!("{}/account", site.url);
    for (endpoint, of_stage) in [(&site.url, None), (&nobody.url, Some(&*own))] {
        is_read_listed_and_written(endpoint, of_stage);
    }
    assert!(nobody.asked().is_empty());
}

fn is_read_listed_and_written(endpoint: &str, of_stage: Option<&str>) {
    let run = |files: &str, path: &str| {
        let folder = copying(files, path);
        folder.write("in.csv", csv(LARGE));
        folder.write("small.csv", csv(100));
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let is_emulator = of_stage.is_some().to_string();
        let of_stage = if path.starts_with("az://") {
            at(None, of_stage)
        } else {
            at(of_stage, None)
        };
        let outcome = run
            .args(of_stage)
            .env("AZURE_STORAGE_ENDPOINT", endpoint)
            .env("AZURE_STORAGE_USE_EMULATOR", is_emulator)
            .env("AZURITE_BLOB_STORAGE_URL", endpoint)
            .env("AZURE_STORAGE_ACCOUNT", "account")
            .env("AZURE_STORAGE_KEY", "c2VjcmV0a2V5")
            .outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("c2VjcmV0a2V5"));
        folder
    };
    run("\"in.csv\"", "az://data/a/large.csv");
    run("\"small.csv\"", "az://data/a/small.csv");
    let folder = run("\"az://data/a/[l]*.csv\"", "out.csv");
    let written = std::fs::read_to_string(folder.join("out.csv")).expect("it was written");
    assert!(written == csv(LARGE));
    let folder = run("\"az://data/a/small.csv\"", "out.csv");
    let written = std::fs::read_to_string(folder.join("out.csv")).expect("it was written");
    assert_eq!(written, csv(100));
}
