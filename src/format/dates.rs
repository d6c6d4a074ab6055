//! stand-in
/// x
pub fn write_iso(_micros: i64, _utc: bool, _out: &mut Vec<u8>) {}
