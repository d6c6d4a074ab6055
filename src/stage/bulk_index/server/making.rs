//! The index of a load on its way to being there: what it will be called, and that it is.

use serde_json::{Value, json};

use super::super::Mode;
use super::ServerIndex;
use super::api::{Api, segment};
use super::indices::{self, Mark};
use super::load::{Replacing, State, check_uuid};
use super::types;
use crate::error::{Error, Result};
use crate::http::Method;
use crate::schema::{Schema, list};
use crate::stage::Folder;

/// The index of a load on its way to being there.
pub(super) struct Making<'a> {
    pub(super) stage: &'a ServerIndex,
    pub(super) api: &'a Api,
    pub(super) mapping: Option<Value>,
    /// A new index has their types.
    pub(super) columns: Schema,
    pub(super) mark: Mark,
    pub(super) resumed: bool,
    pub(super) warnings: &'a mut Vec<String>,
}

/// What is there of the index that a load writes in place.
enum There {
    Nothing,
    /// We may not read it.
    Unknown,
    /// The answer to a question for it.
    Index(Value),
}

/// What a load would find, in words; nothing is made or changed.
pub(super) fn probe(stage: &ServerIndex, folder: &Folder) -> Result<String> {
    let api = stage.api(folder)?;
    let making = Making {
        stage,
        api: &api,
        mapping: stage.read_mapping(folder)?,
        columns: Schema::default(),
        mark: Mark {
            before: None,
            pipeline: String::new(),
            alias: stage.index.clone(),
            run: String::new(),
            state: indices::LOADING.into(),
        },
        resumed: false,
        warnings: &mut Vec::new(),
    };
    let name = &stage.index;
    if stage.mode != Mode::Replace {
        return Ok(match making.there()? {
            There::Nothing => format!("answers; no index `{name}` yet, it will be made"),
            There::Unknown => format!("answers; we may not read the index `{name}`"),
            There::Index(_) => format!("answers; the index `{name}` is there"),
        });
    }
    let replacing = making.plan("check".into())?.replacing;
    Ok(match replacing.and_then(|replacing| replacing.old) {
        Some(old) => format!("answers; `{name}` is `{old}`, and will be replaced"),
        None => format!("answers; nothing is called `{name}` yet"),
    })
}

impl Making<'_> {
    /// What it will be; nothing is made yet.
    pub(super) fn plan(&self, load: String) -> Result<State> {
        let alias = &self.stage.index;
        if self.stage.mode != Mode::Replace {
            return Ok(State {
                load,
                target: alias.clone(),
                index: None,
                uuid: None,
                replacing: None,
            });
        }
        let holders = indices::holders(self.api, alias)?;
        let was_index = holders.is_empty() && indices::find(self.api, alias)?.is_some();
        if was_index && !self.stage.options.replace_index {
            return Err(Error::failed(format!(
                "`{alias}` is an index, and `load = \"replace\"` makes it an alias"
            ))
            .hint("`replace_index = true` deletes it when the new one is published"));
        }
        holders
            .iter()
            .try_for_each(|holder| holder.refuse_unknown(alias))?;
        if holders.len() > 1 {
            let names: Vec<&str> = holders.iter().map(|holder| holder.name.as_str()).collect();
            return Err(Error::failed(format!(
                "the alias `{alias}` belongs to several indices: {}",
                list(&names)
            ))
            .hint("`load = \"replace\"` replaces one"));
        }
        let name = format!("{alias}-{load}");
        Ok(State {
            load,
            target: indices::write_alias(&name),
            index: Some(name),
            uuid: None,
            replacing: Some(Replacing {
                old: holders.into_iter().next().map(|holder| holder.name),
                was_index,
                settings: Value::Null,
                published: false,
            }),
        })
    }

    /// It is there, as it was planned.
    pub(super) fn ensure(&mut self, state: &mut State) -> Result<()> {
        let replacing = state.replacing.as_ref();
        self.mark.before = replacing.and_then(|replacing| replacing.old.clone());
        if state.uuid.is_some() {
            check_uuid(self.api, state)?;
            let (alias, new) = (&self.stage.index, state.index.clone());
            if let Some(replacing) = &mut state.replacing {
                // Killed after the switch, before it could be noted.
                let holders = indices::holders(self.api, alias)?;
                let holder = holders.first().map(|holder| &holder.name);
                replacing.published |= holder == new.as_ref();
                if !replacing.published && holder != replacing.old.as_ref() {
                    return Err(Error::failed(format!(
                        "the alias `{alias}` was given to another index since this load began"
                    ))
                    .hint("run the pipeline anew, without `--resume`; `etl rollback PIPELINE --clean`, with the same `--set`, deletes what is half loaded")
                    .beyond_resume());
                }
            }
            return Ok(());
        }
        let found = match (&state.index, &mut state.replacing) {
            (Some(name), Some(replacing)) => {
                let made = self.new_index(name, &state.target)?;
                self.add_types(&made)?;
                if let Some(old) = replacing.old.as_ref().filter(|_| !self.resumed) {
                    self.compare_settings(old, &made)?;
                }
                replacing.settings = indices::tuned_settings(&made.settings);
                Some(made)
            }
            _ => self.in_place()?,
        };
        state.uuid = found.as_ref().and_then(|found| found.uuid.clone());
        state.index = found.map(|found| found.name);
        Ok(())
    }

    /// The mapping with our mark.
    fn marked(&mut self, state: &str) -> Value {
        let mark = Mark {
            state: state.into(),
            ..self.mark.clone()
        };
        mark.put_into(self.mapping.take().unwrap_or_else(|| json!({})))
    }

    /// The index that is to replace another, written through an alias of its own.
    fn new_index(&mut self, name: &str, target: &str) -> Result<indices::Found> {
        if let Some(made) = indices::find(self.api, name)?.filter(|_| self.resumed) {
            return Ok(made);
        }
        let mapping = self.marked(indices::LOADING);
        let settings = self.stage.settings()?;
        let run = &self.mark.run;
        indices::create(self.api, name, settings, Some(&mapping), Some(target), run)?
            .ok_or_else(|| is_there(name, None))
    }

    /// An index that we made has the types of the columns.
    fn add_types(&mut self, made: &indices::Found) -> Result<()> {
        let warning = types::add(self.api, made, &self.columns)?;
        self.warnings.extend(warning);
        Ok(())
    }

    /// Says which settings of the old index the new one has not: somebody may have set them by hand.
    fn compare_settings(&mut self, old: &str, new: &indices::Found) -> Result<()> {
        let Some(old) = indices::find(self.api, old)? else {
            return Ok(());
        };
        let given = self.stage.settings()?.unwrap_or_default();
        let left = indices::settings_left_behind(&old.settings, &new.settings, &given);
        if !left.is_empty() {
            self.warnings.push(format!(
                "`{}` has settings that the new index has not: {} (`settings` gives them to it)",
                old.name,
                left.join(", ")
            ));
        }
        Ok(())
    }

    /// What is there of an index that is written as it is, if it may be written.
    fn there(&self) -> Result<There> {
        let (api, name) = (self.api, &self.stage.index);
        let path = format!("{}?flat_settings=true", segment(name));
        let said = api.call(Method::Get, &path, None)?;
        match said.status {
            404 => return Ok(There::Nothing),
            403 => return Ok(There::Unknown),
            _ => {}
        }
        let body = said.well(&format!("look at the index `{name}`"), &api.client)?;
        indices::refuse_data_stream(name, &body)?;
        let indices = body.as_object().into_iter().flatten();
        let mut marks = indices.map(|(_, index)| indices::mark_of(index));
        let mark = marks.next().flatten();
        let ours = mark.as_ref().is_some_and(|mark| mark.run == self.mark.run);
        if self.stage.mode == Mode::Create && !ours {
            return Err(is_there(name, mark.as_ref()));
        }
        Ok(There::Index(body))
    }

    /// An index that is written as it is, made if it is missing; `None`: we may not know it.
    fn in_place(&mut self) -> Result<Option<indices::Found>> {
        let (api, name) = (self.api, &self.stage.index);
        let path = segment(name);
        let body = match self.there()? {
            There::Index(body) => body,
            There::Nothing => {
                let settings = self.stage.settings()?;
                // One that must be new is marked: who goes on with this load knows it again.
                let mapping = match self.stage.mode {
                    Mode::Create => Some(self.marked(indices::MADE)),
                    _ => self.mapping.clone(),
                };
                let run = &self.mark.run;
                let made = indices::create(api, name, settings, mapping.as_ref(), None, run)?;
                if let Some(made) = made {
                    self.add_types(&made)?;
                    return Ok(Some(made));
                }
                // Somebody made it meanwhile: it is one that is there, and added to or refused as such.
                match self.there()? {
                    There::Index(body) => body,
                    There::Nothing | There::Unknown => {
                        return Err(Error::failed(format!(
                            "the index `{name}` was made by somebody else, and is gone again"
                        )));
                    }
                }
            }
            There::Unknown => {
                self.warnings.push(format!(
                    "we may not read `{name}`: neither that it is there nor its mapping was looked at"
                ));
                return Ok(None);
            }
        };
        let found = indices::of_body(&body);
        if let Some(found) = &found {
            let given = self.mapping.as_ref();
            self.warnings
                .extend(types::refuse_mixed(api, found, given, &self.columns)?);
        }
        if let Some(mapping) = &self.mapping {
            let said = api.call(Method::Put, &format!("{path}/_mapping"), Some(mapping))?;
            if said.status == 403 {
                self.warnings.push(format!(
                    "we may not change the mapping of `{name}`: it stays as it is"
                ));
            } else {
                said.well(&format!("add the mapping to that of `{name}`"), &api.client)
                    .map_err(|error| error.hint("`load = \"replace\"` makes the index anew"))?;
            }
        }
        Ok(found)
    }
}

/// The error of a load that must make an index which is there.
fn is_there(name: &str, mark: Option<&Mark>) -> Error {
    let by = mark.map(|mark| format!(": run `{}` made it", mark.run));
    Error::failed(format!(
        "the index `{name}` is there already{}",
        by.unwrap_or_default()
    ))
    .hint("`load = \"append\"` adds to it, `load = \"replace\"` makes it anew")
}

impl ServerIndex {
    fn settings(&self) -> Result<Option<Value>> {
        let settings = self.options.settings.as_ref();
        settings
            .map(serde_json::to_value)
            .transpose()
            .map_err(|error| Error::usage("`settings` cannot be JSON").cause(error))
    }
}

/// What the server takes in one body, as far as it says so.
pub(super) fn content_max(api: &Api) -> usize {
    let path = "_nodes/http?filter_path=nodes.*.http.max_content_length_in_bytes";
    let said = api.call(Method::Get, path, None).map(|said| said.body);
    let body = said.unwrap_or_default();
    let nodes = body["nodes"].as_object();
    let sizes = nodes.into_iter().flatten();
    sizes
        .filter_map(|(_, node)| node["http"]["max_content_length_in_bytes"].as_u64())
        .min()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(usize::MAX)
}
