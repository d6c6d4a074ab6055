//! Behind the last document: the index is counted, waits for its copies, and takes the alias over; older ones
//! go.

use std::time::Duration;

use serde_json::json;

use super::super::super::Mode;
use super::super::api::segment;
use super::super::indices::{self, Holder, Mark, Ours};
use super::{ServerSink, check_uuid};
use crate::error::{Class, Error, Result};
use crate::http::Method;
use crate::schema::count as in_words;
use crate::stage::{Counts, warn_published};

/// What it means that older indices cannot be listed or deleted.
pub(super) const UNTIDY: &str = "older indices are left, and the next load deletes them";

/// Tries again of the call that finds out whether the alias has moved.
const LAST_RETRIES: u32 = 2;

/// The count of documents that an index holds after a load.
pub(in super::super) const IN_INDEX: &str = "in_index";

impl ServerSink {
    /// All documents can be found, and are as many as the ledger says.
    pub(super) fn verify(&mut self) -> Result<Counts> {
        let index = self
            .state
            .index
            .clone()
            .unwrap_or_else(|| self.alias.clone());
        let path = segment(&index);
        let refreshed = self
            .api
            .call(Method::Post, &format!("{path}/_refresh"), None)?;
        if refreshed.status != 403 {
            refreshed.well(&format!("refresh `{index}`"), &self.api.client)?;
        }
        if self.mode != Mode::Replace {
            check_uuid(&self.api, &self.state)?;
        }
        let said = self
            .api
            .call(Method::Get, &format!("{path}/_count"), None)?;
        if said.status == 403 && self.mode == Mode::Append {
            return Ok(Counts::new());
        }
        let body = said.well(
            &format!("count the documents of `{index}`"),
            &self.api.client,
        )?;
        let (count, shards) = (body["count"].as_u64(), &body["_shards"]);
        let whole = shards["successful"] == shards["total"];
        let Some(count) = count.filter(|_| whole) else {
            return Err(Error::failed(format!(
                "`{index}` cannot be counted: some shards do not answer"
            ))
            .cause(shards));
        };
        // A request that something between here and the server sends twice is answered the second time: what it
        // created is then called updated.
        let least = self.sum.created;
        let most = least + self.sum.confirmed + self.sum.updated;
        if self.mode == Mode::Replace && !(least..=most).contains(&count) {
            let short = if count < least {
                "the index"
            } else {
                "the ledger"
            };
            return Err(Error::failed(format!(
                "{short} is short: `{index}` holds {}, and {least} to {most} were taken",
                in_words(count, "document")
            ))
            .hint("nothing was published"));
        }
        Ok(Counts::from([(IN_INDEX.into(), count)]))
    }

    /// The new index holds enough to replace the one that serves.
    pub(super) fn refuse_too_few(&mut self, counts: &Counts) -> Result<()> {
        let (Some(replacing), Some(&new)) = (&self.state.replacing, counts.get(IN_INDEX)) else {
            return Ok(());
        };
        let alias_was_index = replacing.was_index.then(|| self.alias.clone());
        let Some(old) = replacing.old.clone().or(alias_was_index) else {
            return self.least.check(new, None);
        };
        let path = format!("{}/_count", segment(&old));
        let said = self.api.call(Method::Get, &path, None)?;
        let count = said.body["count"].as_u64().filter(|_| said.is_well());
        if count.is_none() {
            self.warnings.push(format!(
                "the documents of `{old}` cannot be counted ({}): `min_share` was not looked at",
                said.status
            ));
        }
        self.least.check(new, count)
    }

    /// Waits until the copies that the settings ask for are there, or cannot be.
    pub(super) fn wait_for_replicas(&mut self) -> Result<()> {
        let index = self.new_index();
        let path = format!("_cluster/health/{}", segment(&index));
        let health = self.api.call(Method::Get, &path, None)?;
        if !health.is_well() || health.body["status"] == "green" || self.wait_for_replicas_s == 0 {
            return Ok(());
        }
        let replicas = self.state.replacing.as_ref();
        let replicas = replicas.map(|replacing| &replacing.settings["index.number_of_replicas"]);
        let replicas: u64 = replicas
            .and_then(|number| number.as_str()?.parse().ok())
            .unwrap_or(1);
        let nodes = health.body["number_of_data_nodes"].as_u64();
        if nodes.is_some_and(|nodes| nodes <= replicas) {
            self.warnings.push(format!(
                "`{index}` has fewer copies than its settings ask for: there are not enough servers for {replicas} more (`settings = {{ number_of_replicas = 0 }}` asks for none)"
            ));
            return Ok(());
        }
        let seconds = self.wait_for_replicas_s;
        let waiting = format!("{path}?wait_for_status=green&timeout={seconds}s");
        let limit = Duration::from_secs(seconds + 30);
        let health = self
            .api
            .call_within(Method::Get, &waiting, None, Some(limit))?;
        if health.body["status"] != "green" {
            self.warnings.push(format!(
                "`{index}` had not all its copies within {seconds} s (`wait_for_replicas_s`)"
            ));
        }
        Ok(())
    }

    /// The one call that people who search notice.
    ///
    /// Of several loads at once one may win, and the server says which, in one step with the change itself.
    /// Where there was an index before, it must still have the alias (`must_exist`). Where there was none,
    /// the new one takes the alias as its write index, of which the server allows one an alias. So nothing
    /// has to be claimed before, and a run that is killed leaves no claim.
    pub(super) fn switch(&self) -> Result<()> {
        let Some(replacing) = &self.state.replacing else {
            return Ok(());
        };
        let (alias, new) = (&self.alias, self.new_index());
        let holders = indices::holders(&self.api, alias)?;
        if indices::has_alone(&holders, &new) {
            // Before an answer was lost, or the run was killed.
            return Ok(());
        }
        let holder = holders.first();
        if holder.map(|holder| &holder.name) != replacing.old.as_ref() || holders.len() > 1 {
            return Err(self.lost(&holders)?);
        }
        let mut actions = Vec::new();
        if replacing.was_index {
            actions.push(json!({"remove_index": {"index": alias}}));
        }
        match holder {
            Some(old) => {
                old.refuse_unknown(alias)?;
                actions.extend(old.pass_on(alias, &new));
            }
            None => {
                actions
                    .push(json!({"add": {"index": new, "alias": alias, "is_write_index": true}}));
            }
        }
        actions.push(json!({"remove": {"index": new, "alias": self.state.target}}));
        let actions = json!({ "actions": actions });
        let said = self.api.call(Method::Post, "_aliases", Some(&actions))?;
        let well = said.is_well() && said.body["errors"] != true;
        if well && holder.is_some() {
            return Ok(());
        }
        let now = indices::holders(&self.api, alias)?;
        if indices::has_alone(&now, &new) && (well || said.repeated) {
            return Ok(());
        }
        if well {
            // Somebody gave it to an index, not as its write index, since we looked.
            let withdraw = json!({"remove": {"index": new, "alias": alias}});
            let withdraw = json!({ "actions": [withdraw] });
            self.api
                .call(Method::Post, "_aliases", Some(&withdraw))?
                .well("take the alias back", &self.api.client)?;
        }
        if well || now != holders {
            return Err(self.lost(&now)?);
        }
        said.well(
            &format!("give the alias `{alias}` to the new index"),
            &self.api.client,
        )?;
        Err(Error::failed(format!(
            "cannot give the alias `{alias}` to the new index"
        )))
    }

    /// The error of a load that another one was faster than.
    fn lost(&self, holders: &[Holder]) -> Result<Error> {
        let (alias, new) = (&self.alias, self.new_index());
        let marked = indices::marked(&self.api, alias)?;
        let others = holders.iter().filter(|holder| holder.name != new);
        let others: Vec<String> = others
            .map(|Holder { name, .. }| {
                let ours = marked.iter().find(|ours| ours.name == *name);
                let run = ours.map(|ours| format!(" of run `{}`", ours.mark.run));
                format!("`{name}`{}", run.unwrap_or_default())
            })
            .collect();
        let message = if others.is_empty() {
            format!("the alias `{alias}` was taken away while this load went on")
        } else {
            format!(
                "the alias `{alias}` was given to another index while this load went on: {}",
                others.join(", ")
            )
        };
        Ok(Error::failed(message)
            .hint(format!(
                "run the pipeline anew if its documents are to serve; `etl rollback PIPELINE --clean`, with the same `--set`, deletes `{new}`"
            ))
            .beyond_resume())
    }

    /// Says which older indices go once the new one serves: all but those that are to be kept; only ours ever,
    /// and none that is searched under any other name.
    pub(super) fn doom(&mut self) -> Result<()> {
        let new = self.new_index();
        let replacing = self.state.replacing.as_ref();
        let old = replacing.and_then(|replacing| replacing.old.as_ref());
        let mut ours = indices::marked(&self.api, &self.alias)?;
        ours.retain(|ours| ours.name != new);
        // A run that was killed after it had published could not note that in the mark.
        let (mut published, half): (Vec<_>, Vec<_>) = ours
            .into_iter()
            .partition(|ours| ours.mark.state == indices::PUBLISHED || Some(&ours.name) == old);
        // What served until now is kept first: a newer one was turned away from.
        published.sort_by_key(|ours| Some(&ours.name) == old);
        let beyond = published.into_iter().rev().skip(self.keep);
        for Ours { name, aliases, .. } in beyond {
            match aliases.iter().find(|alias| **alias != self.alias) {
                None => self.doomed.push(name),
                Some(alias) => self.warnings.push(format!(
                    "`{name}` is kept, though `keep` is {}: it has the alias `{alias}`",
                    self.keep
                )),
            }
        }
        for Ours {
            name,
            mark,
            aliases,
        } in half
        {
            if crate::stage::has_ended(&self.runs, &mark.run) && aliases.is_empty() {
                self.doomed.push(name);
            } else {
                self.warnings.push(format!(
                    "`{name}` is half loaded, by run `{}`; `etl rollback PIPELINE --clean`, with the same `--set`, deletes it once that run has ended",
                    mark.run
                ));
            }
        }
        Ok(())
    }

    /// What an error of [`Self::switch`] means: none where the change was made and only its answer was lost.
    pub(super) fn explain(&mut self, error: Error) -> Result<()> {
        let (new, alias) = (self.new_index(), &self.alias);
        // The server was waited for already.
        self.api.retry = self.api.retry.at_most(LAST_RETRIES);
        match indices::holders(&self.api, alias) {
            Ok(now) if indices::has_alone(&now, &new) => Ok(()),
            Ok(_) => Err(error.cause(format!("`{new}` is left loaded; `{alias}` is as it was"))),
            Err(_) => Err(error.cause(format!(
                "`{new}` is left loaded; whether `{alias}` was given to it is not known: the server says nothing"
            ))),
        }
    }

    /// What is left to do once the alias has moved. None of it undoes that, so that what fails is a warning; a run
    /// that is stopped goes on here when it is resumed.
    pub(super) fn tidy_up(&mut self, warnings: &mut Vec<String>) -> Result<()> {
        let mut warn = |done: Result<()>, next: &str| match done {
            Err(error) if matches!(error.class, Class::Interrupted(_)) => Err(error),
            done => {
                warn_published(warnings, done, next);
                Ok(())
            }
        };
        if let Some(replacing) = &mut self.state.replacing {
            replacing.published = true;
        }
        let new = self.new_index();
        let written = self.state.write(&self.state_file);
        warn(
            written,
            "nothing needs to be done: the alias itself says so too",
        )?;
        let mark = Mark {
            state: indices::PUBLISHED.into(),
            ..self.mark.clone()
        };
        let unmarked = format!(
            "`etl rollback PIPELINE --clean` takes `{new}` for half loaded, and deletes it, once another load has replaced it"
        );
        warn(indices::set_mark(&self.api, &new, &mark), &unmarked)?;
        if self.doomed.is_empty() {
            return Ok(());
        }
        let ours = match indices::marked(&self.api, &self.alias) {
            Ok(ours) => ours,
            Err(error) => return warn(Err(error), UNTIDY),
        };
        // What somebody has given an alias meanwhile stays.
        let doomed = |ours: &&Ours| ours.aliases.is_empty() && self.doomed.contains(&ours.name);
        ours.iter()
            .filter(doomed)
            .try_for_each(|ours| warn(indices::delete(&self.api, &ours.name), UNTIDY))
    }
}
