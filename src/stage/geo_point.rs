//! `geo_point`: a latitude and a longitude become one column of [longitude, latitude], the order of
//! `GeoJSON` and of Elasticsearch's arrays. Where both are shared they are worked on once per session,
//! and the points stay shared.

use std::sync::Arc;

use polars_arrow::bitmap::Bitmap;
use serde::Deserialize;

use super::{
    Counts, Folder, NULLED, OnError, Output, Partitioning, Reject, Session, Setup, Stage,
    StageKind, TaskContext,
};
use crate::batch::{Batch, Cells, Once, look_up};
use crate::columns::{Column, List};
use crate::error::{Error, OfValue, Result, both};
use crate::schema::{Field, Schema, Type};
use crate::shown::rows;

/// The count of rows of which one degree is null and the other is not.
const HALF: &str = "half";

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "geo_point",
    summary: "joins latitude and longitude into one point",
    inputs: &[1],
    sink: false,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "location"
kind = "geo_point"
inputs = ["dates"]
latitude = "project_school_latitude"
longitude = "project_school_longitude"
into = "project_location"
"#,
    decode,
    lines: |figures| {
        let half = figures.count(HALF);
        let line = || {
            format!(
                "{} with only one of the two coordinates: no point there",
                rows(half)
            )
        };
        (half > 0).then(line).into_iter().collect()
    },
    ..StageKind::BASE
};

#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// degrees north, -90 to 90
    #[schemars(extend("x-type" = "column"))]
    latitude: String,
    /// degrees east, -180 to 180
    #[schemars(extend("x-type" = "column"))]
    longitude: String,
    /// the name of the new column [longitude, latitude], the last one
    into: String,
    /// whether the two columns go
    #[serde(default = "yes")]
    drop: bool,
    /// what becomes of a row with degrees out of range
    #[serde(default)]
    on_error: OnError,
}

fn yes() -> bool {
    true
}

fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    let options: Options = super::options(table)?;
    if options.latitude == options.longitude {
        return Err(Error::usage(format!(
            "`latitude` and `longitude` are one column, `{}`",
            options.latitude
        ))
        .hint("a point is made of two columns")
        .of(["latitude"])
        .of(["longitude"]));
    }
    Ok(Box::new(GeoPoint { options }))
}

struct GeoPoint {
    options: Options,
}

impl GeoPoint {
    /// The positions of latitude and longitude.
    fn positions(&self, input: &Schema) -> Result<(usize, usize)> {
        let position = |option: &str, name: &str| {
            let i = input.index(name).under(option)?;
            let ty = &input.fields[i].ty;
            if matches!(ty, Type::Float | Type::Int) {
                return Ok(i);
            }
            Err(Error::usage(format!(
                "column `{name}` is of type {}: a float is expected",
                ty.name()
            ))
            .hint(format!(
                "let `types` of `load_csv` say `{name} = \"float\"`"
            ))
            .of([option]))
        };
        both(
            position("latitude", &self.options.latitude),
            position("longitude", &self.options.longitude),
        )
    }
}

impl Stage for GeoPoint {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let (latitude, longitude) = self.positions(&inputs[0])?;
        let mut fields = inputs[0].fields.clone();
        if self.options.drop {
            remove_both(&mut fields, latitude, longitude);
        }
        let ty = Type::List(Box::new(Type::Float));
        fields.push(Field::new(&self.options.into, ty));
        Schema::new(fields).under("into")
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let [input] = <[Schema; 1]>::try_from(setup.inputs).expect("the kind takes one input");
        let (latitude, longitude) = self.positions(&input)?;
        Ok(Box::new(Locating {
            input,
            latitude,
            longitude,
            drop: self.options.drop,
            on_error: self.options.on_error,
            shared: Once::default(),
        }))
    }
}

fn remove_both<T>(columns: &mut Vec<T>, one: usize, other: usize) {
    columns.remove(one.max(other));
    columns.remove(one.min(other));
}

/// What became of a row's degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Neither is there, or both are and make a point.
    #[default]
    Fine,
    /// One of them is null.
    Half,
    /// The latitude is out of range; if both are, it stands further left.
    Latitude,
    /// The longitude is.
    Longitude,
}

/// Points of the rows of two columns.
struct Points {
    column: Column,
    states: Vec<State>,
}

struct Locating {
    input: Schema,
    latitude: usize,
    longitude: usize,
    drop: bool,
    on_error: OnError,
    /// By set of shared rows.
    shared: Once<u64, Points>,
}

impl Session for Locating {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let (points, states) = self.locate(&batch);
        let mut columns = batch.cells().to_vec();
        if self.drop {
            remove_both(&mut columns, self.latitude, self.longitude);
        }
        columns.push(points);
        let located = batch.clone().with_columns(columns);

        let mut counts = Counts::default();
        let mut count = |name: &str, of: &[State]| {
            let rows = states.iter().filter(|state| of.contains(state)).count();
            if rows > 0 {
                counts.insert(name.into(), rows as u64);
            }
        };
        count(HALF, &[State::Half]);
        if self.on_error == OnError::Null {
            let beyond = [State::Latitude, State::Longitude];
            count("out_of_range", &beyond);
            count(NULLED, &beyond);
            return Ok(Output {
                counts,
                ..Output::new(located)
            });
        }
        let mut rejects = Vec::new();
        for (row, state) in states.iter().enumerate() {
            let rejected = match state {
                State::Fine | State::Half => continue,
                State::Latitude => self.reject(&batch, row, self.latitude, 90),
                State::Longitude => self.reject(&batch, row, self.longitude, 180),
            };
            match rejected {
                Ok(reject) => rejects.push(reject),
                Err(fault) => return Output::before(self, batch.slice(0, row), fault),
            }
        }
        let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
        Ok(Output {
            rejects,
            counts,
            ..Output::new(located.without(&gone))
        })
    }
}

impl Locating {
    /// The points, and the state of each row.
    fn locate(&self, batch: &Batch) -> (Cells, Vec<State>) {
        let cells = batch.cells();
        let left = self.latitude < self.longitude;
        if let (Cells::Shared(latitude), Cells::Shared(longitude), Some(lookup)) = (
            &cells[self.latitude],
            &cells[self.longitude],
            batch.lookup(),
        ) {
            let points = self
                .shared
                .get(lookup.set, || points(latitude, longitude, left));
            let points = points.get().expect("`Once::get` has made it");
            let states = look_up(lookup, &points.states);
            return (Cells::Shared(points.column.clone()), states);
        }
        let (latitude, longitude) = (batch.column(self.latitude), batch.column(self.longitude));
        let points = points(&latitude, &longitude, left);
        (Cells::Own(points.column), points.states)
    }

    /// The reject of a row whose column `i` is beyond `limit` degrees, or the error that ends the run.
    fn reject(&self, batch: &Batch, row: usize, i: usize, limit: u32) -> Result<Reject> {
        let name = &self.input.fields[i].name;
        let value = match batch.slice(row, 1).column(i) {
            Column::Ints(ints) => ints.value(0).to_string(),
            floats => zmij::Buffer::new()
                .format(floats.floats().value(0))
                .to_owned(),
        };
        if self.on_error == OnError::Reject {
            let reason = format!("the value is not within -{limit} to {limit} degrees");
            let schema = &self.input;
            return Ok(Reject::of(
                batch,
                schema,
                row,
                Some(name),
                Some(&value),
                reason,
            ));
        }
        Err(Error::failed(format!(
            "`{value}` in column `{name}` is not within -{limit} to {limit} degrees"
        ))
        .hint("let `on_error` be `reject` or `null`, or see whether the two columns are swapped")
        .origin(batch.origin(row)))
    }
}

/// The points of two columns; `left`: the latitude stands left of the longitude.
fn points(latitude: &Column, longitude: &Column, left: bool) -> Points {
    let rows = latitude.len();
    let (latitudes, longitudes) = (degrees(latitude), degrees(longitude));
    let mut states = Vec::with_capacity(rows);
    let mut values = Vec::with_capacity(2 * rows);
    let mut offsets = Vec::with_capacity(rows + 1);
    let mut end = 0i64;
    offsets.push(end);
    for row in 0..rows {
        let state = match (latitude.is_null(row), longitude.is_null(row)) {
            (true, true) => State::Fine,
            (false, false) => check(latitudes[row], longitudes[row], left),
            _ => State::Half,
        };
        if state == State::Fine && !latitude.is_null(row) {
            values.extend([longitudes[row], latitudes[row]]);
            end += 2;
        }
        states.push(state);
        offsets.push(end);
    }
    let validity = (values.len() < 2 * rows).then(|| {
        let point = |ends: &[i64]| ends[0] < ends[1];
        offsets.windows(2).map(point).collect::<Bitmap>()
    });
    let column = Column::Lists(List {
        offsets: offsets.into(),
        values: Arc::new(Column::from_floats(values, None)),
        validity,
    });
    Points { column, states }
}

/// Whether both are in range; the one further left is blamed. A NaN is not in any range.
fn check(latitude: f64, longitude: f64, left: bool) -> State {
    let within = (
        (-90.0..=90.0).contains(&latitude),
        (-180.0..=180.0).contains(&longitude),
    );
    match within {
        (true, true) => State::Fine,
        (false, false) if left => State::Latitude,
        (_, false) => State::Longitude,
        (false, true) => State::Latitude,
    }
}

/// The values as floats; of nulls, anything.
fn degrees(column: &Column) -> Vec<f64> {
    match column {
        Column::Ints(ints) => ints.values().iter().map(|&int| int as f64).collect(),
        floats => floats.floats().values().as_slice().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{self, Random};
    use super::*;
    use crate::batch::{Lookup, new_set};
    use crate::columns::NONE;
    use crate::error::Class;
    use crate::stage::Figures;

    const OPTIONS: &str = "latitude = 'lat'\nlongitude = 'lon'\ninto = 'at'\n";

    fn input(latitude: Type) -> Schema {
        testing::schema(&[("lon", Type::Float), ("n", Type::Int), ("lat", latitude)])
    }

    fn message(options: &str, latitude: Type) -> String {
        let refused = testing::decode(&KIND, options)
            .and_then(|stage| testing::output_schema(stage.as_ref(), &input(latitude)));
        let error = refused.expect_err("it is refused");
        assert_eq!(error.class, Class::Usage);
        error.message
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        assert_eq!(
            message(OPTIONS, Type::String),
            "column `lat` is of type string: a float is expected"
        );
        let options = "latitude = 'lat'\nlongitude = 'lat'\ninto = 'at'";
        assert_eq!(
            message(options, Type::Float),
            "`latitude` and `longitude` are one column, `lat`"
        );
        let options = "latitude = 'lat'\nlongitude = 'lon'\ninto = 'n'";
        assert_eq!(message(options, Type::Float), "two columns are named `n`");
        assert!(message("latitude = 'lat'", Type::Float).contains("missing key"));
    }

    #[test]
    fn the_point_stands_last_and_may_take_over_a_name() {
        let names = |options: &str| {
            let stage = testing::decode(&KIND, options).expect("it is right");
            let output = testing::output_schema(stage.as_ref(), &input(Type::Float));
            let names = output.expect("it is taken");
            names.names().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names(OPTIONS), ["n", "at"]);
        assert_eq!(
            names(&format!("{OPTIONS}drop = false")),
            ["lon", "n", "lat", "at"]
        );
        let own = "latitude = 'lat'\nlongitude = 'lon'\ninto = 'lon'";
        assert_eq!(names(own), ["n", "lon"]);
    }

    /// Degrees of a column, a sixth of them null, some out of range.
    fn degrees_of(ty: &Type, limit: f64, rows: usize, random: &mut Random) -> Column {
        let picks = [0.0, -limit, limit, limit + 1.0, -7.0, f64::INFINITY];
        let values: Vec<f64> = (0..rows).map(|_| random.pick(&picks)).collect();
        let valid: Bitmap = (0..rows).map(|_| random.below(6) > 0).collect();
        if *ty == Type::Float {
            return Column::from_floats(values, Some(valid));
        }
        let whole = values.iter().map(|value| format!("{value:.0}").parse());
        let whole = whole.map(|int| int.unwrap_or(i64::MAX)).collect();
        Column::from_ints(whole, Some(valid))
    }

    /// What the stage does, said a row at a time.
    fn check_against_model(output: &Output, batch: &Batch, null: bool) {
        let plain = batch.plain();
        let numbers = testing::values(&plain[1]);
        let (mut points, mut rejects) = (Vec::new(), Vec::new());
        let (mut half, mut beyond) = (0, 0);
        for (row, number) in numbers.into_iter().enumerate() {
            let value = |column: &Column| (!column.is_null(row)).then(|| degrees(column)[row]);
            let (Some(lon), Some(lat)) = (value(&plain[0]), value(&plain[2])) else {
                half += u64::from(plain[0].is_null(row) != plain[2].is_null(row));
                points.push((number, Value::Null));
                continue;
            };
            let fault = if lon.abs() > 180.0 {
                Some("lon")
            } else {
                (lat.abs() > 90.0).then_some("lat")
            };
            match fault {
                None => points.push((number, json!([lon, lat]))),
                Some(_) if null => {
                    beyond += 1;
                    points.push((number, Value::Null));
                }
                Some(name) => rejects.push((row, Some(name.to_owned()), batch.origin(row))),
            }
        }
        let numbers = testing::values(&output.batch.column(0));
        let got = testing::values(&output.batch.column(1));
        assert_eq!(numbers.into_iter().zip(got).collect::<Vec<_>>(), points);
        let got = output.rejects.iter().map(|reject| {
            let reject = reject.clone();
            (reject.row as usize, reject.column, reject.origin)
        });
        assert_eq!(got.collect::<Vec<_>>(), rejects);
        let count = |name: &str| output.counts.get(name).copied().unwrap_or(0);
        assert_eq!((count("half"), count("out_of_range")), (half, beyond));
        assert_eq!(count(NULLED), beyond);
    }

    #[test]
    fn points_and_rejects_are_those_of_the_model() {
        let mut random = Random::new(3);
        for rows in [0, 1, 70] {
            for (ty, null) in [
                (Type::Float, false),
                (Type::Float, true),
                (Type::Int, false),
                (Type::Int, true),
            ] {
                let schema = input(ty.clone());
                let word = if null { "null" } else { "reject" };
                let options = format!("{OPTIONS}on_error = '{word}'");
                for which in [&[0, 2][..], &[2], &[0]] {
                    let size = |i| if which.contains(&i) { 20 } else { rows };
                    let (lon, lat) = (size(0), size(2));
                    let numbers = Column::from_ints((0..).take(rows).collect(), None);
                    let columns = vec![
                        degrees_of(&Type::Float, 180.0, lon, &mut random),
                        numbers,
                        degrees_of(&ty, 90.0, lat, &mut random),
                    ];
                    let batch = testing::share(columns, which, rows, &mut random);
                    let run = |batch: &Batch| {
                        testing::run(&KIND, &options, &schema, batch.clone()).expect("it runs")
                    };
                    let shared = run(&batch);
                    check_against_model(&shared, &batch, null);
                    assert_eq!(shared.batch.lookup().is_some(), which.len() == 2);
                    testing::assert_same(&shared, &run(&batch.clone().resolve()));
                }
            }
        }
    }

    #[test]
    fn a_faulty_shared_row_that_no_row_has_harms_no_one() {
        let schema = input(Type::Float);
        let set = new_set();
        let batch = |rows: Vec<u32>| {
            let lon = Column::from_floats(vec![1.0, 1.0], None);
            let lat = Column::from_floats(vec![91.0, 2.0], None);
            let count = rows.len();
            let numbers = Column::from_ints(vec![0; count], None);
            let cells = vec![Cells::Shared(lon), Cells::Own(numbers), Cells::Shared(lat)];
            let rows = rows.into();
            Batch::with_lookup(cells, Some(Lookup { set, rows }), count)
        };
        let options = format!("{OPTIONS}on_error = 'fail'");
        let stage = testing::decode(&KIND, &options).expect("it is right");
        let session = testing::open(stage.as_ref(), &schema);
        let good = session
            .run(batch(vec![1, NONE]), TaskContext::default())
            .expect("no row is at fault");
        let points = testing::values(&good.batch.column(1));
        assert_eq!(points, [json!([1.0, 2.0]), Value::Null]);
        let bad = session
            .run(batch(vec![1, 0]), TaskContext::default())
            .expect("the batch is fine");
        assert_eq!(bad.batch.rows(), 1, "the row in front goes on");
        assert_eq!(
            bad.fault.expect("row 1 is at fault").message,
            "`91.0` in column `lat` is not within -90 to 90 degrees"
        );
    }

    #[test]
    fn the_report_says_how_many_points_have_one_coordinate() {
        let lines = |half: u64| {
            let counts = Counts::from([(HALF.to_owned(), half)]);
            (KIND.lines)(&Figures::of(&counts))
        };
        assert!(lines(0).is_empty());
        let says = "2 rows with only one of the two coordinates: no point there";
        assert_eq!(lines(2), [says]);
    }
}
