//! Back to the index before, and away with what was left half loaded.

use std::path::Path;

use serde_json::json;

use super::ServerIndex;
use super::indices::{self, LOADING};
use crate::error::{Error, Result};
use crate::http::Method;
use crate::stage::{Folder, has_ended};

impl ServerIndex {
    /// Gives the alias to the newest index that was published before the one that has it.
    pub(in super::super) fn roll_back(&self, folder: &Folder) -> Result<Vec<String>> {
        let api = self.api(folder)?;
        let alias = &self.index;
        let holders = indices::holders(&api, alias)?;
        let [current] = &holders[..] else {
            return Err(Error::failed(format!(
                "`{alias}` is not the alias of one index: no load has replaced it"
            )));
        };
        let marked = indices::marked(&api, alias)?;
        let of_current = marked.iter().find(|(name, _)| name == current);
        let before = of_current.and_then(|(_, mark)| mark.before.clone());
        let is_there = |name: &String| Ok(indices::find(&api, name)?.is_some());
        let before = match before {
            Some(before) if is_there(&before)? => before,
            _ => {
                return Err(
                    Error::failed(format!("no index from before `{current}` is kept"))
                        .hint("`keep` says how many are"),
                );
            }
        };
        let actions = json!({ "actions": [
            { "remove": { "index": current, "alias": alias, "must_exist": true } },
            { "add": { "index": before, "alias": alias } },
        ] });
        let said = api.call(Method::Post, "_aliases", Some(&actions))?;
        if !(said.repeated && indices::holders(&api, alias)? == [before.clone()]) {
            said.well(
                &format!("give the alias `{alias}` to `{before}`"),
                &api.client,
            )?;
        }
        Ok(vec![format!(
            "`{alias}` is `{before}` again; `{current}` is kept"
        )])
    }

    /// Deletes what bears its name, as an index or as the alias of some, and what was to replace it.
    pub(in super::super) fn delete(&self, folder: &Folder) -> Result<()> {
        let api = self.api(folder)?;
        let mut names = indices::holders(&api, &self.index)?;
        if names.is_empty() {
            names.extend(indices::find(&api, &self.index)?.map(|found| found.name));
        }
        let marked = indices::marked(&api, &self.index)?;
        names.extend(marked.into_iter().map(|(name, _)| name));
        names.sort();
        names.dedup();
        names
            .iter()
            .try_for_each(|name| indices::delete(&api, name))
    }

    /// Deletes the indices that loads left half done, but for those of runs that go on.
    pub(in super::super) fn clean(&self, folder: &Folder, runs: &Path) -> Result<Vec<String>> {
        let api = self.api(folder)?;
        let holders = indices::holders(&api, &self.index)?;
        let mut done = Vec::new();
        for (name, mark) in indices::marked(&api, &self.index)? {
            if mark.state != LOADING || holders.contains(&name) {
                continue;
            }
            let known = runs.join(&mark.run).exists();
            if known && !has_ended(runs, &mark.run) {
                done.push(format!(
                    "`{name}` is being loaded by run `{}`: kept",
                    mark.run
                ));
                continue;
            }
            indices::delete(&api, &name)?;
            done.push(format!(
                "`{name}` is deleted, which run `{}` left half loaded",
                mark.run
            ));
        }
        if done.is_empty() {
            done.push(format!("nothing of `{}` was left half loaded", self.index));
        }
        Ok(done)
    }
}
