//! `etl` runs data pipelines from a TOML file: sequentially, on threads, in child processes or both,
//! with one and the same answer.
//!
//! # Bird's eye
//! A pipeline is a list of stages. **A stage declares how its rows may be partitioned
//! ([`stage::Partitioning`]); an executor decides where the batches are processed. Neither knows the
//! other.** So every stage runs unchanged under every executor, and the output is a function of the
//! input alone.
//!
//! ```text
//! pipeline.toml -> pipeline -> plan -> run -> executor -> fragment -> stage -> format
//!                  decode,     what    wires  orders      a batch     one      CSV, JSON,
//!                  check       runs    it     results     through     kind     Arrow, dates
//!                              where                      stages
//! ```
//!
//! # Code map: which file do I change?
//! * a new kind of stage: one file in [`stage`], one line in [`stage::STAGES`]
//! * what a stage says of itself as data (where it writes, what it reads, its policy): `stage::properties`; what can be
//!   done with an index beside loading it: [`stage::index`]
//! * a subcommand: one file in [`cli`]
//! * what a pipeline file may say: [`pipeline`] (outside the stages `source`, the keys of every stage `stage_keys`, values
//!   of options `option_checks`, `--set` and `--parallel` `overrides`, `${NAME}` `variables`); "did you mean": `meant`
//! * an option of a kind, its default and its limits: beside `struct Options`, in `options.rs` of the kind or where the kind
//!   stands; what is made of such structs: `stage::option`
//! * which stages run together, where, and how rows reach them: [`plan`]; `etl plan` prints it
//! * how a plan is wired into streams, measured and accounted for: [`run`]
//! * tasks of a cluster: [`cluster`], whose tasks `cluster::task` run; which stages go there `plan::placement`, how a run
//!   drives them `run::clustered`
//! * where batches are processed: [`executor`]; which stages process a batch in one pass: [`fragment`]
//! * a function or an operator of expressions, what a cast or an overflow does: [`expression`] (the table `functions`, the
//!   rest `translate`)
//! * several inputs as one stream, in turn: `run::stream::in_turn`, of which [`stage::concat`] is the reader
//! * a stage in two steps, a part for each batch and then all parts together: [`stage::Combiner`], fed by `run::combine`
//! * sums, counts and other aggregates of groups: the stage [`stage::aggregate`], exact numbers in its `sum` and `exact`;
//!   which aggregates a text may call: `expression::aggregate`
//! * what moves: [`batch`], made of [`columns`], described by a [`schema`]
//! * grouping, joining and partitioning by key: [`keys`], [`partition`]; the order of rows: [`order`]
//! * asking others about rows: `stage::fetch`, `stage::exec`; what comes of answers: [`stage::answers`]
//! * how much may wait: for a slow reader of several `run::stream`, files read ahead `run::read_ahead`, inside an executor
//!   `executor::window`
//! * how processes end: workers `executor::processes::children`, commands `stage::exec`, what a signal does [`stop`]
//! * what outlives a run, to be gone on with: [`state`] (`state::journal`, `state::checkpoint`, `state::resume`)
//! * how files get to disk, and who holds them: `disk`; files not published yet: `stage::partial_file`
//! * the network, retries and TLS: [`http`]; the load into servers: `stage::bulk_index::server`
//! * where data lies, which files a pattern stands for, what a file or object was when the run began: [`place`]; buckets
//!   and web servers, their credentials and errors: `place::store`
//! * how bytes become columns and columns bytes: [`mod@format`] (text, JSON, Arrow, Parquet; what is compressed
//!   `format::compression`, other encodings `format::text_encoding`); what is never printed: [`secrets`]
//! * what is said at the end: [`report`]; while it runs: [`progress`]; what a terminal is sent of data: [`shown`]
//! * before and after: [`bench::compare`], its arithmetic in [`report::verdict`]; runs kept: [`state::history`]
//! * how a stage is run best: [`bench::tune`], whose search is one file that runs nothing
//!
//! # Invariants
//! * Arrows point down only: cli, bench, run, plan, executor, fragment, stage, place, expression, format, error. A stage never sees an
//!   executor, a process or a progress bar; an executor never looks inside a batch.
//! * Results leave an executor in the order their batches came.
//! * `rows_in + added = rows_out + rejected + dropped`, for every stage, or the run fails.
//! * Nothing becomes visible outside before every stage has ended without error (documents that are
//!   appended to a server's index are, one by one).
//! * `unsafe` stands in `columns::views` and [`format::csv::lanes`], each use with its proof.
//!
//! # Absent on purpose
//! No data frames between stages: columns are polars' Arrow arrays (`polars-arrow`). polars computes within [`expression`]
//! only, and its process-wide thread pool is never entered. No plugin loading, no expression language of our own, nothing
//! asynchronous above [`http`] but the library that `http` runs for `place::store`, no global state but the signals and
//! the open buckets, no topological sort (a stage's inputs are defined above it), no scheduler,
//! shuffle or retry for many machines: that is an engine's work, which [`cluster`] drives.

pub mod batch;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod columns;
pub mod digest;
mod disk;
pub mod error;
pub mod executor;
#[cfg_attr(not(feature = "expressions"), path = "expression/absent.rs")]
pub mod expression;
pub mod format;
pub mod fragment;
pub mod http;
pub mod keys;
mod meant;
pub mod order;
pub mod partition;
pub mod pipeline;
pub mod place;
pub mod plan;
mod procs;
pub mod progress;
pub mod report;
pub mod run;
pub mod schema;
pub mod secrets;
pub mod shown;
pub mod stage;
pub mod state;
pub mod stop;
mod threads;
