//! Asking a server's index, with the query language that the embedded index understands too.

use serde_json::{Value, json};

use super::super::local::{Hit, Hits};
use super::ServerIndex;
use super::api::segment;
use crate::error::Result;
use crate::http::Method;
use crate::stage::Folder;

/// Servers give no more in one answer (`index.max_result_window`).
const HITS_MAX: usize = 10_000;

impl ServerIndex {
    /// The best `limit` hits, and how many there are.
    pub(in super::super) fn search(
        &self,
        folder: &Folder,
        query: &str,
        limit: usize,
    ) -> Result<Hits> {
        let api = self.api(folder)?;
        let body = json!({
            "query": { "query_string": { "query": query, "lenient": true } },
            "size": limit.min(HITS_MAX),
            "track_total_hits": true,
        });
        let path = format!("{}/_search", segment(&self.index));
        let said = api.call(Method::Post, &path, Some(&body))?;
        let said = said.well(&format!("search `{}`", self.index), &api.client)?;
        let hits = said["hits"]["hits"].as_array().into_iter().flatten();
        let mut hits: Vec<Hit> = hits.map(hit).collect();
        // Equal scores are put in order here: to sort by `_id` servers have to be allowed first.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        Ok(Hits {
            total: said["hits"]["total"]["value"].as_u64().unwrap_or_default(),
            hits,
        })
    }
}

fn hit(hit: &Value) -> Hit {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "scores have 32 bits at the servers too"
    )]
    let score = hit["_score"].as_f64().unwrap_or_default() as f32;
    Hit {
        id: hit["_id"].as_str().unwrap_or_default().to_owned(),
        score,
        source: hit["_source"].to_string(),
    }
}
