//! What a kind says of itself, and how its options are decoded.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Stage;
use super::index::Index;
use super::option::StageOption;
use super::properties::Figures;
use crate::error::{Error, Result};
use crate::expression::Function;

/// What a kind says of itself: the reference, `etl stages` and a test are made from it.
pub struct StageKind {
    /// A verb in `snake_case`: file name, TOML `kind`, label in the report.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// How many inputs it takes: one of these.
    pub inputs: &'static [usize],
    /// Whether it takes any number of inputs beyond these.
    pub more_inputs: bool,
    /// Whether rows leave the pipeline here, so that no stage may read it.
    pub sink: bool,
    /// Whether `batch_rows` means anything to it; kinds that talk to the outside have their own unit.
    pub takes_batch_rows: bool,
    /// Its own option for the size of its batches, which `etl tune` searches: a value that is too large does not
    /// decode.
    pub batch_option: Option<&'static str>,
    /// The option that lists the files it reads, as paths and patterns.
    pub patterns_option: Option<&'static str>,
    /// The option that holds expressions: a variable is a value there, and never a part of what is asked.
    pub expressions_option: Option<&'static str>,
    /// The option that says how many sessions there may be at once, where a licence limits them.
    pub sessions_option: Option<&'static str>,
    /// The option that says how many rejected rows end the run.
    pub rejects_option: Option<&'static str>,
    /// What the report's text says of it, a line each.
    pub lines: fn(&Figures) -> Vec<String>,
    /// What can be done with what it loads, if that is an index.
    pub index: Option<&'static dyn Index>,
    /// Its options, beside those of every stage: [`stage_options!`](crate::stage::stage_options) of the structs that
    /// they decode to.
    pub options: fn() -> &'static [StageOption],
    /// Options of which just one must be given.
    pub one_of: &'static [&'static str],
    /// The functions that its expressions may call.
    pub functions: &'static [Function],
    /// A `[[stage]]` that decodes.
    pub example: &'static str,
    /// Its options decoded and checked, without a look at any file.
    pub decode: fn(toml::Table) -> Result<Box<dyn Stage>>,
}

impl StageKind {
    /// What a kind says that has nothing to say: each takes from it what it leaves out.
    pub const BASE: StageKind = StageKind {
        name: "",
        summary: "",
        inputs: &[],
        more_inputs: false,
        sink: false,
        takes_batch_rows: false,
        batch_option: None,
        patterns_option: None,
        expressions_option: None,
        sessions_option: None,
        rejects_option: None,
        lines: |_| Vec::new(),
        index: None,
        options: || &[],
        one_of: &[],
        functions: &[],
        example: "",
        decode: |_| Err(Error::usage("a kind of this name stands in no file")),
    };

    /// Whether it takes so many inputs.
    pub fn takes_inputs(&self, count: usize) -> bool {
        let least = self.inputs.iter().max();
        let is_more = self.more_inputs && least.is_some_and(|&least| count > least);
        is_more || self.inputs.contains(&count)
    }

    /// How many inputs it takes, in numbers.
    pub fn input_counts(&self) -> String {
        let counts = self.inputs.iter().map(usize::to_string);
        let more = self.more_inputs.then(|| "more".to_owned());
        counts.chain(more).collect::<Vec<String>>().join(" or ")
    }

    /// How many inputs it takes, in words.
    pub fn inputs_in_words(&self) -> String {
        match self.inputs {
            [0] => "no inputs".into(),
            [.., 1] if !self.more_inputs => format!("{} input", self.input_counts()),
            _ => format!("{} inputs", self.input_counts()),
        }
    }

    /// The setting with which rows with a value that it cannot use go on with a null, if it has one.
    pub fn null_setting(&self) -> Option<String> {
        let mut options = self.all_options();
        let option = options.find(|option| option.name == ON_ERROR)?;
        option.takes("null").then(|| format!("{ON_ERROR}=null"))
    }

    /// All its options, beside those of every stage.
    pub fn all_options(&self) -> std::slice::Iter<'static, StageOption> {
        (self.options)().iter()
    }

    /// What stands in for the value of a key that must be given: the example's.
    pub fn stand_in(&self, key: &str) -> Option<toml::Value> {
        self.all_options()
            .find(|option| option.name == key && option.default.is_none())?;
        let example: toml::Table = self.example.parse().ok()?;
        example.get("stage")?.get(0)?.get(key).cloned()
    }
}

/// What happens to a row with a value that a stage cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The row is rejected.
    #[default]
    Reject,
    /// The row goes on with a null.
    Null,
    /// The run fails.
    Fail,
}

impl OnError {
    /// What there is for rows that cannot go on with a null: those that no value of the row's own is wrong in.
    pub const REJECT_OR_FAIL: [&str; 2] = ["reject", "fail"];

    /// Decodes one of these.
    pub fn reject_or_fail<'de, D: Deserializer<'de>>(
        decoder: D,
    ) -> std::result::Result<OnError, D::Error> {
        match String::deserialize(decoder)?.as_str() {
            "reject" => Ok(OnError::Reject),
            "fail" => Ok(OnError::Fail),
            other => Err(D::Error::unknown_variant(other, &Self::REJECT_OR_FAIL)),
        }
    }
}

/// The option whose value is an [`OnError`].
const ON_ERROR: &str = "on_error";

/// The count of requests to the outside.
pub const REQUESTS: &str = "requests";

/// The count of documents that a server had to be sent again.
pub const SENT_AGAIN: &str = "sent_again";

/// The count of bytes of text that were loaded, inflated if need be.
pub const TEXT_BYTES: &str = "text_bytes";

/// The count of bytes that were read of files as they lie there.
pub const FILE_BYTES: &str = "file_bytes";

/// The count of values that could not be used and became null ([`OnError::Null`]).
pub const NULLED: &str = "nulled";

/// What to do where a value that an expression cannot compute ends the run ([`OnError::Fail`]).
pub const UNCOMPUTED: &str =
    "let `on_error` be `reject` or `null`, or use `TRY_CAST` or `CASE` where that is meant";

/// Decodes an option table, of which each value was checked against its type, into a kind's options.
pub fn options<T: serde::de::DeserializeOwned>(table: toml::Table) -> Result<T> {
    table.try_into().map_err(|error: toml::de::Error| {
        Error::usage(error.message().replace("missing field", "missing key"))
    })
}
