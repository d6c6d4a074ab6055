//! `[cluster]`: where a cluster is, and what it needs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{Error, Result, both};
use crate::place::{Folder, Shared};
use crate::schema::list;

/// The table `[cluster]` of a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// A Spark master's URL.
    pub master: String,
    /// The Python that has the cluster's pyspark.
    pub python: String,
    /// A folder that all machines see at the same path, or one of an object store.
    pub folder: Shared,
    /// Rows that are broadcast may take so many bytes.
    pub broadcast_max: u64,
    /// A run ends that has had no executor for so many seconds.
    pub executors_wait_s: u64,
    /// Handed to Spark as it is.
    pub conf: BTreeMap<String, String>,
}

/// The same as it is written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterTable {
    /// a Spark master's URL; `--cluster URL` takes its place
    master: Option<String>,
    /// a Python that has the cluster's pyspark
    python: String,
    /// a folder that all machines see at one path, or one of an object store, for what tasks leave to each other
    folder: Option<String>,
    /// what every task needs whole may take so many bytes, in memory too: a number with `KB`, `MB` or `GB`
    broadcast_max: String,
    /// a run that has no process of the cluster to work for it waits so many seconds for one
    executors_wait_s: u64,
    /// handed to Spark as it is
    conf: BTreeMap<String, String>,
}

impl Default for ClusterTable {
    fn default() -> Self {
        ClusterTable {
            master: None,
            python: "python3".into(),
            folder: None,
            broadcast_max: "256MB".into(),
            executors_wait_s: 120,
            conf: BTreeMap::new(),
        }
    }
}

/// The keys of the table.
const KEYS: [&str; 6] = [
    "master",
    "python",
    "folder",
    "broadcast_max",
    "executors_wait_s",
    "conf",
];

impl ClusterTable {
    /// Decodes the table. Errors name the key at fault ([`Error::of`]).
    pub fn decode(table: &toml::Table) -> Result<Self> {
        let mut known = toml::Table::new();
        for (key, value) in table {
            if !KEYS.contains(&key.as_str()) {
                let message = format!("`cluster`: unknown key `{key}`; there are {}", list(&KEYS));
                return Err(Error::usage(message).suggest(key, KEYS).of([key.as_str()]));
            }
            let value = match value {
                // Plain bytes may be a number.
                toml::Value::Integer(bytes) if key == "broadcast_max" => bytes.to_string().into(),
                other => other.clone(),
            };
            if let Some((key, expected, found)) = misfit(key, &value) {
                let message = format!("`cluster.{key}`: expected {expected}, found `{found}`");
                return Err(Error::usage(message).of([key.as_str()]));
            }
            known.insert(key.clone(), value);
        }
        let decoded: ClusterTable = known.try_into().expect("each value fits its key");
        size(&decoded.broadcast_max)?;
        Ok(decoded)
    }

    /// The cluster at `master`, or at the one that the table names; all that is missing is one error.
    pub fn at(&self, master: Option<&str>, folder: &Folder) -> Result<ClusterConfig> {
        let master = master.or(self.master.as_deref()).ok_or_else(|| {
            Error::usage("no cluster is named")
                .hint("write `--cluster spark://HOST:7077`, or `master` in the table `[cluster]`")
        });
        let master = master.and_then(checked_master);
        let shared = self.folder.as_deref().filter(|folder| !folder.is_empty()).ok_or_else(|| {
            Error::usage("`cluster.folder` is missing")
                .hint("name a folder that all machines see at one path, or one of an object store: `folder = \"/mnt/etl\"` in the table `[cluster]`, or `--set cluster.folder=/mnt/etl`")
        });
        let shared = shared.and_then(|shared| {
            Shared::named(shared, folder).map_err(|mut error| {
                error.message = format!("`cluster.folder`: {}", error.message);
                error
            })
        });
        let (master, folder) = both(master, shared)?;
        Ok(ClusterConfig {
            master,
            python: self.python.clone(),
            folder,
            broadcast_max: size(&self.broadcast_max)?,
            executors_wait_s: self.executors_wait_s,
            conf: self.conf.clone(),
        })
    }
}

impl ClusterTable {
    /// How many tasks the cluster at `master`, or at the one that the table names, runs at once, as far as that is written
    /// down.
    pub fn cores(&self, master: Option<&str>) -> Option<u64> {
        let number = |key: &str| self.conf.get(key)?.parse::<u64>().ok();
        let executors = number("spark.executor.instances")
            .map(|executors| executors * number("spark.executor.cores").unwrap_or(1));
        let of_master = || cores_of(master.or(self.master.as_deref())?);
        number("spark.cores.max").or(executors).or_else(of_master)
    }
}

/// What a value does not fit: its key, what is expected there, and what was found.
fn misfit(key: &str, value: &toml::Value) -> Option<(String, &'static str, String)> {
    let (fits, expected) = match key {
        "conf" => {
            let Some(table) = value.as_table() else {
                return Some((key.into(), "a table of texts", value.to_string()));
            };
            let (name, value) = table.iter().find(|(_, value)| !value.is_str())?;
            let name = format!("{key}.{name}");
            return Some((name, "a text: Spark takes no others", value.to_string()));
        }
        "executors_wait_s" => (
            value.as_integer().is_some_and(|seconds| seconds >= 0),
            "a whole number of seconds",
        ),
        _ => (value.is_str(), "a text"),
    };
    (!fits).then(|| (key.into(), expected, value.to_string()))
}

/// What a master's URL says of cores.
fn cores_of(master: &str) -> Option<u64> {
    if master == "local" {
        return Some(1);
    }
    let (kind, numbers) = master.strip_suffix(']')?.split_once('[')?;
    let mut numbers = numbers.split(',').map(str::trim);
    let first = numbers.next()?;
    match kind {
        "local" if first == "*" => std::thread::available_parallelism()
            .ok()?
            .get()
            .try_into()
            .ok(),
        "local" => first.parse().ok(),
        "local-cluster" => Some(first.parse::<u64>().ok()? * numbers.next()?.parse::<u64>().ok()?),
        _ => None,
    }
}

/// What a master is, in words.
pub const MASTERS: &str =
    "a Spark master such as `spark://HOST:7077`, `yarn`, `k8s://https://HOST:PORT` or `local[2]`";

/// Whether Spark takes this for a master.
pub fn is_master(text: &str) -> bool {
    let url = ["spark://", "k8s://", "local[", "local-cluster["];
    ["yarn", "local"].contains(&text) || url.iter().any(|begin| text.starts_with(begin))
}

fn checked_master(master: &str) -> Result<String> {
    if is_master(master) {
        return Ok(master.to_owned());
    }
    Err(Error::usage(format!(
        "`cluster.master`: expected {MASTERS}, found `{master}`"
    )))
}

/// Bytes, as `256MB` says them: a thousand at a time.
fn size(text: &str) -> Result<u64> {
    let wrong = || {
        let message = format!(
            "`cluster.broadcast_max`: expected a whole number of bytes, or of `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`, found `{text}`"
        );
        Error::usage(message).of(["broadcast_max"])
    };
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("", 1),
    ];
    let found = units
        .into_iter()
        .find_map(|(unit, bytes)| Some((text.trim().strip_suffix(unit)?, bytes)));
    let (digits, unit) = found.ok_or_else(wrong)?;
    let number: u64 = digits.trim_end().parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_a_unit() {
        let sizes = ["0", "17", "1KB", "1kB", "256MB", "2 GB", "3MiB"];
        let sizes = sizes.map(|text| size(text).expect("it is one"));
        let expected = [0, 17, 1_000, 1_000, 256_000_000, 2_000_000_000, 3 << 20];
        assert_eq!(sizes, expected);
        for text in ["", "MB", "1.5GB", "-1", "1TB", "99999999999GB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cores_are_known_where_they_are_written_down() {
        let cores = |conf: &str, master: &str| {
            let table = format!("conf = {{ {conf} }}").parse().expect("it is TOML");
            let table = ClusterTable::decode(&table).expect("it is right");
            table.cores(Some(master))
        };
        assert_eq!(cores("", "local"), Some(1));
        assert_eq!(cores("", "local[3]"), Some(3));
        assert_eq!(cores("", "local[3,4]"), Some(3));
        assert_eq!(cores("", "local-cluster[2, 4, 1024]"), Some(8));
        assert!(cores("", "local[*]") >= Some(1));
        assert_eq!(cores("", "spark://host:7077"), None);
        assert_eq!(
            cores("'spark.cores.max' = '12'", "spark://host:7077"),
            Some(12)
        );
        let each = "'spark.executor.instances' = '5', 'spark.executor.cores' = '4'";
        assert_eq!(cores(each, "yarn"), Some(20));
    }

    #[test]
    fn a_table_is_decoded_key_by_key() {
        let decode = |text: &str| ClusterTable::decode(&text.parse().expect("it is TOML"));
        let at = |text: &str, master| decode(text)?.at(master, &Folder("/p".into()));
        let config = at("folder = 'shared'\nmaster = 'spark://a'", None).expect("it is right");
        assert_eq!(
            (config.master.as_str(), config.folder),
            ("spark://a", Shared::Path("/p/shared".into()))
        );
        let config = at("folder = 's3://b/tmp/'\nmaster = 'local'", None).expect("it is right");
        assert_eq!(config.folder.to_string(), "s3://b/tmp");
        let config =
            at("folder = '/f'\nmaster = 'spark://a'", Some("spark://b")).expect("it is right");
        assert_eq!(config.master, "spark://b");
        for (text, says) in [
            ("mastr = 'x'", "unknown key `mastr`"),
            ("python = 3", "`cluster.python`"),
            ("conf = { a = 1 }", "`cluster.conf.a`: expected a text"),
            ("executors_wait_s = '1m'", "`cluster.executors_wait_s`"),
            ("folder = '/f'", "no cluster is named"),
            ("master = 'yarn'", "`cluster.folder` is missing"),
            (
                "folder = 's3://b/'\nmaster = 'yarn'",
                "`cluster.folder`: `s3://b` names a bucket, and no folder in it",
            ),
            (
                "folder = 'https://a/b'\nmaster = 'yarn'",
                "`cluster.folder`: `https://a/b`: a web server takes no files",
            ),
            ("broadcast_max = 'much'", "expected a whole number of bytes"),
            (
                "folder = '/f'\nmaster = 'http://a'",
                "expected a Spark master such as",
            ),
        ] {
            let error = at(text, None).expect_err(text);
            assert!(error.message.contains(says), "{}", error.message);
        }
    }
}
