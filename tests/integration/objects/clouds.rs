//! Google Cloud Storage, whose XML interface an S3 server speaks too, and Azure, of which a server in this process has
//! as much as is asked for.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::LARGE;
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

/// The blobs of a container.
#[derive(Default)]
struct Container {
    blobs: BTreeMap<String, String>,
    blocks: BTreeMap<String, String>,
}

impl Container {
    fn answer(&mut self, asked: &Asked) -> Say {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
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
    let run = |files: &str, path: &str| {
        let folder = copying(files, path);
        folder.write("in.csv", csv(LARGE));
        folder.write("small.csv", csv(100));
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let outcome = run
            .env("AZURE_STORAGE_ENDPOINT", &site.url)
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
