//! What the report's text says of a load into servers: what became of the documents, how fast that went and what
//! its time went into, so that one sees whether client, wire or server is the bound.

use super::load::publish::IN_INDEX;
use crate::shown::{seconds, things, thousands};
use crate::stage::{Figures, REQUESTS, SENT_AGAIN};

/// The lines of a load.
pub(in super::super) fn lines(figures: &Figures) -> Vec<String> {
    let lines = documents(figures).into_iter();
    lines.chain(requests(figures)).collect()
}

/// What became of the documents: rows of one id are one document.
fn documents(figures: &Figures) -> Option<String> {
    let ends = figures.parts(&[
        ("created", "created"),
        ("updated", "updated"),
        ("unchanged", "unchanged"),
        ("deleted", "deleted"),
        ("confirmed", "confirmed"),
        ("not_found", "not found"),
        ("dropped", "dropped by a pipeline"),
        ("conflicts", "left as they were"),
    ]);
    if ends.is_empty() {
        return None;
    }
    let text = format!("documents: {}", ends.join(", "));
    Some(match figures.counts.get(IN_INDEX) {
        Some(count) => format!("{text}; {} in the index", thousands(*count)),
        None => text,
    })
}

/// How fast it went.
fn requests(figures: &Figures) -> Vec<String> {
    let of = |name: &str| figures.count(name);
    let time = figures.wall_s;
    if of(REQUESTS) == 0 || time == 0.0 {
        return Vec::new();
    }
    let before = of("resumed_rows");
    let mut text = format!(
        "{:.0} documents/s",
        (figures.rows_in - before) as f64 / time
    );
    if before == 0 {
        let rate = of("body_bytes") as f64 / 1e6 / time;
        text.push_str(&format!(", {rate:.1} MB/s"));
    } else {
        let before = thousands(before);
        text.push_str(&format!(" after the {before} of earlier attempts; in all"));
    }
    text.push_str(&format!(
        " in {}, at most {} at once",
        things(of(REQUESTS), "request"),
        of("concurrency").max(1),
    ));
    for part in figures.parts(&[
        (SENT_AGAIN, "sent again"),
        ("refused_429", "refused (429)"),
        ("splits", "splits"),
    ]) {
        text.push_str(&format!(", {part}"));
    }
    let on_the_wire = of("wire_ms").saturating_sub(of("server_ms"));
    let times = format!(
        "of {} s of requests the server took {} s, the wire {} s; {} s CPU here",
        seconds(of("wire_ms") as f64 / 1e3),
        seconds(of("server_ms") as f64 / 1e3),
        seconds(on_the_wire as f64 / 1e3),
        seconds(figures.cpu_s)
    );
    vec![text, times]
}
