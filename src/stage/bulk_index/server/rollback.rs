//! Back to the index before, and away with what was left half loaded.

use std::path::Path;

use serde_json::json;

use super::ServerIndex;
use super::indices::{self, LOADING, Ours};
use crate::error::{Error, Result};
use crate::http::Method;
use crate::stage::{Folder, has_ended};

impl ServerIndex {
    /// Gives the alias to the newest index that was published before the one that has it.
    pub(in super::super) fn roll_back(&self, folder: &Folder) -> Result<Vec<String>> {
        let api = self.api(folder)?;
        let alias = &self.index;
        let holders = indices::holders(&api, alias)?;
        let [holder] = &holders[..] else {
            return Err(Error::failed(format!(
                "`{alias}` is not the alias of one index: no load has replaced it"
            )));
        };
        holder.refuse_unknown(alias)?;
        let current = &holder.name;
        let marked = indices::marked(&api, alias)?;
        let of_current = marked.iter().find(|ours| ours.name == *current);
        let before = of_current.and_then(|ours| ours.mark.before.clone());
        let is_there = |name: &String| Ok(indices::find(&api, name)?.is_some());
        let before = match before {
            Some(before) if is_there(&before)? => before,
            _ => {
                return Err(
                    Error::failed(format!("no index from before `{current}` is kept"))
                        .hint("`keep` says how many are; if the run had `to` or `index` from `--set`, give the same again"),
                );
            }
        };
        let actions = json!({ "actions": holder.pass_on(alias, &before) });
        let said = api.call(Method::Post, "_aliases", Some(&actions))?;
        let done_before = said.repeated && {
            let holders = indices::holders(&api, alias)?;
            indices::has_alone(&holders, &before)
        };
        if !done_before {
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
        let api = self.api_to_clear(folder)?;
        let holders = indices::holders(&api, &self.index)?;
        let mut names: Vec<String> = holders.into_iter().map(|holder| holder.name).collect();
        if names.is_empty() {
            names.extend(indices::find(&api, &self.index)?.map(|found| found.name));
        }
        let marked = indices::marked(&api, &self.index)?;
        names.extend(marked.into_iter().map(|ours| ours.name));
        names.sort();
        names.dedup();
        names
            .iter()
            .try_for_each(|name| indices::delete(&api, name))
    }

    /// Deletes the indices that loads left half done: of runs of this state folder that have ended. What
    /// runs of other folders are about, nobody can know from here, so `force` decides.
    pub(in super::super) fn clean(
        &self,
        folder: &Folder,
        runs: &Path,
        force: bool,
    ) -> Result<Vec<String>> {
        let api = self.api(folder)?;
        let mut done = Vec::new();
        for Ours {
            name,
            mark,
            aliases,
        } in indices::marked(&api, &self.index)?
        {
            let run = &mark.run;
            if mark.state != LOADING || aliases.contains(&self.index) {
                continue;
            }
            if let [alias, ..] = &aliases[..] {
                done.push(format!("`{name}` has the alias `{alias}`: kept"));
                continue;
            }
            let known = runs.join(run).exists();
            if known && !has_ended(runs, run) {
                done.push(format!("`{name}` is being loaded by run `{run}`: kept"));
                continue;
            }
            if !known && !force {
                done.push(format!(
                    "`{name}` is kept: `{}` knows no run `{run}`, which may be loading it still (`--state` names its folder; `--force` deletes it all the same)",
                    runs.display()
                ));
                continue;
            }
            indices::delete(&api, &name)?;
            done.push(format!(
                "`{name}` is deleted, which run `{run}` left half loaded"
            ));
        }
        if done.is_empty() {
            done.push(format!("nothing of `{}` was left half loaded", self.index));
        }
        Ok(done)
    }
}
