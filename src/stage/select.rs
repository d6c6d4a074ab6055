//! `select`: which columns go on, in which order and by which names. Decided on the schema; at work a
//! session only moves columns, and shared ones stay shared.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Folder, Output, Partitioning, Session, Setup, Stage, StageKind, TaskContext};
use crate::batch::Batch;
use crate::error::{Error, OfValue, Result, both, every};
use crate::schema::Schema;

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "select",
    summary: "keeps, drops, orders and renames columns",
    inputs: &[1],
    sink: false,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "projects_renamed"
kind = "select"
inputs = ["projects"]
drop = ["school_city"]
rename = { total_donations = "donated" }
prefix = "project_"
prefix_except = ["projectid"]
"#,
    decode,
    ..StageKind::BASE
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the columns that go on, in this order
    #[schemars(extend("x-type" = "list of columns"), extend("x-default" = "all"))]
    keep: Option<Vec<String>>,
    /// of those, the columns that do not
    #[schemars(extend("x-type" = "list of columns"))]
    #[serde(default)]
    drop: Vec<String>,
    /// new names, all given at once, so that two columns can swap theirs
    #[schemars(extend("x-type" = "table old = new"))]
    #[serde(default)]
    rename: BTreeMap<String, String>,
    /// what every name then begins with
    #[serde(default)]
    prefix: String,
    /// names, after `rename`, that take no prefix
    #[schemars(extend("x-type" = "list of columns"))]
    #[serde(default)]
    prefix_except: Vec<String>,
}

fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    let options: Options = super::options(table)?;
    if options.prefix.is_empty() && !options.prefix_except.is_empty() {
        return Err(Error::usage("`prefix_except` without a `prefix`")
            .hint("give `prefix`, or leave `prefix_except` out")
            .of(["prefix_except"])
            .of(["prefix"]));
    }
    Ok(Box::new(Select { options }))
}

struct Select {
    options: Options,
}

impl Select {
    /// The output's columns, and the position in the input that each comes from.
    fn plan(&self, input: &Schema) -> Result<(Schema, Vec<usize>)> {
        let options = &self.options;
        let kept = options.keep.as_ref().map(|keep| input.indices(keep));
        let kept = kept.transpose().under("keep");
        let dropped = input.indices(&options.drop).under("drop");
        let renamed = every(options.rename.keys().map(|old| input.index(old))).under("rename");
        let (kept, _) = both(kept, both(dropped, renamed))?;
        let mut positions = kept.unwrap_or_else(|| (0..input.fields.len()).collect());
        let picked = |positions: &[usize]| {
            Schema::new(positions.iter().map(|&i| input.fields[i].clone()).collect())
        };
        let kept = picked(&positions)?;
        for i in kept.indices(&options.drop).under("drop")? {
            positions.retain(|&position| input.fields[position].name != kept.fields[i].name);
        }
        if positions.is_empty() {
            return Err(Error::usage("`keep` and `drop` leave no column")
                .hint("keep at least one")
                .of(["drop"])
                .of(["keep"]));
        }

        let mut output = picked(&positions)?;
        let old = every(options.rename.keys().map(|old| output.index(old))).under("rename")?;
        for (i, new) in old.into_iter().zip(options.rename.values()) {
            output.fields[i].name.clone_from(new);
        }
        let except = output
            .indices(&options.prefix_except)
            .under("prefix_except")?;
        for (i, field) in output.fields.iter_mut().enumerate() {
            if !except.contains(&i) {
                field.name.insert_str(0, &options.prefix);
            }
        }
        let output = Schema::new(output.fields).map_err(|error| self.of_new_names(error))?;
        Ok((output, positions))
    }
}

impl Select {
    /// An error about two columns of one name, with what gave one of them that name.
    fn of_new_names(&self, mut error: Error) -> Error {
        let name = error.values.pop().and_then(|mut path| path.pop());
        let mut renamed = self.options.rename.iter();
        let renamed = renamed.find(|(_, new)| Some(*new) == name.as_ref());
        let path = match renamed {
            Some((old, _)) => vec!["rename", old],
            None => vec!["prefix"],
        };
        error.of(path)
    }
}

impl Stage for Select {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(self.plan(&inputs[0])?.0)
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let (_, positions) = self.plan(&setup.inputs[0])?;
        Ok(Box::new(Selecting { positions }))
    }
}

struct Selecting {
    positions: Vec<usize>,
}

impl Session for Selecting {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let cells = batch.cells();
        let picked = self.positions.iter().map(|&i| cells[i].clone()).collect();
        Ok(Output::new(batch.with_columns(picked)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Random};
    use super::*;
    use crate::columns::Column;
    use crate::error::Class;
    use crate::schema::Type;

    fn names(options: &str, input: &[&str]) -> Result<Vec<String>> {
        let fields: Vec<_> = input.iter().map(|name| (*name, Type::Int)).collect();
        let stage = testing::decode(&KIND, options)?;
        let output = testing::output_schema(stage.as_ref(), &testing::schema(&fields))?;
        Ok(output.names().map(str::to_owned).collect())
    }

    fn message(options: &str, input: &[&str]) -> String {
        let error = names(options, input).expect_err("it is refused");
        assert_eq!(error.class, Class::Usage);
        error.message
    }

    #[test]
    fn options_apply_in_their_order() {
        let input = ["a", "b", "c", "d"];
        let all = "keep = ['d', 'b', 'a']\ndrop = ['b']\nrename = {a = 'd', d = 'x'}\n\
                   prefix = 'p_'\nprefix_except = ['x']";
        assert_eq!(names(all, &input).unwrap_or_default(), ["x", "p_d"]);
        assert_eq!(names("", &input).unwrap_or_default(), input);
        let swapped = names("rename = {a = 'b', b = 'a'}", &input);
        assert_eq!(swapped.unwrap_or_default(), ["b", "a", "c", "d"]);
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        let input = ["a", "b", "c"];
        let message = |options| message(options, &input);
        assert_eq!(
            message("keep = ['x']"),
            "no column `x`; there are `a`, `b`, `c`"
        );
        assert_eq!(
            message("keep = ['a']\ndrop = ['b']"),
            "no column `b`; there are `a`"
        );
        assert_eq!(
            message("rename = {x = 'y'}").split(';').next(),
            Some("no column `x`")
        );
        assert_eq!(
            message("drop = ['a']\nrename = {a = 'y'}"),
            "no column `a`; there are `b`, `c`"
        );
        let two = |name| format!("two columns are named `{name}`");
        assert_eq!(message("rename = {a = 'b'}"), two("b"));
        assert_eq!(message("keep = ['a', 'a']"), two("a"));
        assert_eq!(
            message("rename = {a = 'pb'}\nprefix = 'p'\nprefix_except = ['pb']"),
            two("pb")
        );
        assert_eq!(
            message("prefix = 'p'\nrename = {a = 'x'}\nprefix_except = ['a']"),
            "no column `a`; there are `x`, `b`, `c`"
        );
        assert_eq!(
            message("prefix_except = ['a']"),
            "`prefix_except` without a `prefix`"
        );
        assert_eq!(
            message("drop = ['a', 'b', 'c']"),
            "`keep` and `drop` leave no column"
        );
        assert!(message("colums = []").starts_with("unknown field `colums`"));
    }

    #[test]
    fn columns_move_whole_and_shared_ones_stay_shared() {
        let mut random = Random::new(7);
        for rows in [0, 1, 40] {
            let ints = |random: &mut Random| {
                let values = (0..rows).map(|_| i64::try_from(random.below(9)).unwrap_or(0));
                Column::from_ints(values.collect(), None)
            };
            let own = ints(&mut random);
            let text = Column::from_strings([Some("é"), None, Some("z")]);
            let more = Column::from_strings([None, Some("x"), Some("")]);
            let input = testing::schema(&[
                ("text", Type::String),
                ("own", Type::Int),
                ("more", Type::String),
            ]);
            let batch = testing::share(vec![text, own, more], &[0, 2], rows, &mut random);
            let given = testing::contents(&batch);
            let options = "keep = ['more', 'own']";
            let shared = testing::run(&KIND, options, &input, batch.clone()).expect("it runs");
            assert_eq!(shared.batch.cells().len(), 2);
            assert!(shared.batch.lookup().is_some(), "a shared column is left");
            let (columns, origins) = testing::contents(&shared.batch);
            assert_eq!(columns, [given.0[2].clone(), given.0[1].clone()]);
            assert_eq!(origins, given.1);

            let resolved = testing::run(&KIND, options, &input, batch.clone().resolve());
            testing::assert_same(&shared, &resolved.expect("it runs"));
            let alone = testing::run(&KIND, "keep = ['own']", &input, batch).expect("it runs");
            assert!(alone.batch.lookup().is_none(), "no shared column is left");
        }
    }
}
