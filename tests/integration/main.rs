//! The program seen from outside: its exit code, its files, its words. One binary, so that the tests link
//! once.
//!
//! Nothing here sleeps for luck or takes a fixed port: what a test waits for it watches, with a deadline.
//! What a machine does not offer (Python, the shared data, root) is skipped with a printed line.

mod arrow;
mod bad_csv;
mod bad_files;
mod bad_input;
mod bad_ndjson;
mod bad_parquet;
mod before_a_run;
mod cases;
mod cluster;
mod cluster_files;
mod compare;
mod docs;
mod durable;
mod elastic;
mod equivalence;
mod exec;
mod fetch;
#[expect(dead_code, reason = "the example's own command line")]
#[path = "../../examples/generate_donors.rs"]
mod generate_donors;
mod harness;
mod inputs;
mod limits;
mod local_index;
mod objects;
mod only_new;
mod oracle;
mod outputs;
mod pages;
mod parquet;
mod plans;
mod real;
mod refused;
mod screen;
mod scripted;
mod server;
mod signals;
mod tune;
