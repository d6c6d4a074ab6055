//! Asking a server's index, with the query language that the embedded index understands too.

use serde_json::{Value, json};

use super::super::query_limits;
use super::ServerIndex;
use super::api::segment;
use super::fields;
use crate::error::Result;
use crate::http::Method;
use crate::stage::Folder;
use crate::stage::index::{Facet, Hit, Hits};

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
        let said = self.ask(folder, query, &json!({ "size": limit.min(HITS_MAX) }))?;
        let hits = said["hits"]["hits"].as_array().into_iter().flatten();
        let mut hits: Vec<Hit> = hits.map(hit).collect();
        // Equal scores are put in order here: to sort by `_id` servers have to be allowed first.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        Ok(Hits {
            total: said["hits"]["total"]["value"].as_u64().unwrap_or_default(),
            hits,
        })
    }

    /// The `limit` most frequent values of a field of what the query finds.
    pub(in super::super) fn facet(
        &self,
        folder: &Folder,
        query: &str,
        field: &str,
        limit: usize,
    ) -> Result<Facet> {
        let terms = json!({ "field": field, "size": limit.clamp(1, HITS_MAX) });
        let body = json!({ "size": 0, "aggs": { "values": { "terms": terms } } });
        let said = self.ask(folder, query, &body)?;
        let values = &said["aggregations"]["values"];
        let buckets = values["buckets"].as_array();
        let buckets = buckets.map(Vec::as_slice).unwrap_or_default();
        let (shown, hidden) = buckets.split_at(limit.min(buckets.len()));
        let documents = |bucket: &Value| bucket["doc_count"].as_u64().unwrap_or_default();
        let value = |bucket: &Value| {
            let key = match &bucket["key_as_string"] {
                Value::Null => &bucket["key"],
                text => text,
            };
            (key.clone(), documents(bucket))
        };
        let others = values["sum_other_doc_count"].as_u64().unwrap_or_default();
        Ok(Facet {
            total: said["hits"]["total"]["value"].as_u64().unwrap_or_default(),
            values: shown.iter().map(value).collect(),
            more: others + hidden.iter().map(documents).sum::<u64>(),
        })
    }

    /// What the server says of a query.
    fn ask(&self, folder: &Folder, query: &str, body: &Value) -> Result<Value> {
        query_limits::check(query)?;
        let api = self.api(folder)?;
        fields::check(&api, &self.index, query)?;
        let mut body = body.clone();
        body["query"] = json!({ "query_string": { "query": query, "lenient": true } });
        body["track_total_hits"] = true.into();
        let path = format!("{}/_search", segment(&self.index));
        let said = api.call(Method::Post, &path, Some(&body))?;
        said.well(&format!("search `{}`", self.index), &api.client)
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
