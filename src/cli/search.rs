//! `etl search`: what an index holds.

use std::io::{Result, Write};

use serde_json::Value;

use crate::stage::bulk_index::Hits;

/// Prints hits, one JSON object a line; with `count` the number of all hits and nothing else.
pub fn print(hits: &Hits, count: bool, out: &mut impl Write) -> Result<()> {
    if count {
        return writeln!(out, "{}", hits.total);
    }
    for hit in &hits.hits {
        let id = Value::from(hit.id.as_str());
        // As JSON, not as a `Value`: the shortest digits of 32 bits, and the document as it was stored.
        let score = serde_json::to_string(&hit.score)?;
        writeln!(
            out,
            r#"{{"_id":{id},"_score":{score},"_source":{}}}"#,
            hit.source
        )?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::bulk_index::Hit;

    #[test]
    fn a_line_is_a_hit() {
        let hit = Hit {
            id: "a\"b".into(),
            score: 1.1,
            source: r#"{"n":1}"#.into(),
        };
        let hits = Hits {
            total: 7,
            hits: vec![hit],
        };
        let printed = |count| {
            let mut out = Vec::new();
            print(&hits, count, &mut out).expect("memory takes all");
            String::from_utf8(out).expect("JSON is UTF-8")
        };
        assert_eq!(
            printed(false),
            "{\"_id\":\"a\\\"b\",\"_score\":1.1,\"_source\":{\"n\":1}}\n"
        );
        assert_eq!(printed(true), "7\n");
    }
}
