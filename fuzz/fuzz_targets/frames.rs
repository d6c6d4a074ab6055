//! What parent and child say to each other: any bytes are a frame or none, and a batch of any values comes
//! back as it was, but not from a frame that was cut short.
#![no_main]

use etl::batch::Batch;
use etl::columns::Column;
use etl::executor::processes::frames::read_frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut payload = Vec::new();
    let mut rest = input;
    while let Some(header) = read_frame(&mut rest, &mut payload) {
        assert!(16 + header.len() + payload.len() <= input.len());
    }

    let texts: Vec<String> = input
        .split(|&byte| byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let rows = texts.len();
    let number = |row: usize| {
        input
            .get(row)
            .map_or(0, |&byte| i64::from(byte) << (row % 56))
    };
    let columns = vec![
        Column::from_strings(
            texts
                .iter()
                .map(|text| (text != "-").then_some(text.as_str())),
        ),
        Column::from_ints((0..rows).map(number).collect(), None),
    ];
    let origins: Vec<u64> = (0..rows as u64).collect();
    let batch = Batch::new(columns, rows).with_origins(Some(origins.into()));
    let frame = batch.encode().expect("any batch can be sent").concat();
    let back = Batch::decode(&frame).expect("it was encoded");
    assert_eq!(back.rows(), rows);
    assert_eq!(
        back.origins().map(|origins| origins.as_slice()),
        batch.origins().map(|origins| origins.as_slice())
    );
    for row in 0..rows {
        let (was, is) = (batch.column(0), back.column(0));
        assert_eq!(was.strings().get(row), is.strings().get(row));
        assert_eq!(
            batch.column(1).ints().value(row),
            back.column(1).ints().value(row)
        );
    }
});
