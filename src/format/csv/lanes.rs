//! Which of 64 bytes equal a given one, as a bit mask. With SSE2, which every x86-64 has, this costs
//! a dozen instructions; elsewhere a loop says the same.
#![allow(unsafe_code, reason = "the SSE2 calls are marked so; see the proof")]

/// Bytes in one step.
pub const WIDTH: usize = 64;

/// 64 bytes at hand for comparisons.
#[cfg(target_arch = "x86_64")]
pub struct Lanes([std::arch::x86_64::__m128i; 4]);

#[cfg(target_arch = "x86_64")]
impl Lanes {
    /// Takes 64 bytes in hand.
    #[inline]
    pub fn load(bytes: &[u8; WIDTH]) -> Self {
        use std::arch::x86_64::_mm_loadu_si128;
        let part = |i: usize| {
            let part: &[u8; 16] = bytes[i * 16..]
                .first_chunk()
                .expect("64 bytes are four times 16");
            // SAFETY: SSE2 is part of the x86-64 baseline; the pointer is to 16 readable bytes, and
            // this load asks for no alignment.
            unsafe { _mm_loadu_si128(part.as_ptr().cast()) }
        };
        Lanes([part(0), part(1), part(2), part(3)])
    }

    /// Bit `i`: whether byte `i` is `byte`.
    #[inline]
    pub fn equal(&self, byte: u8) -> u64 {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8};
        let part = |i: usize| {
            // SAFETY: SSE2 is part of the x86-64 baseline, and these touch registers only.
            let mask = unsafe {
                _mm_movemask_epi8(_mm_cmpeq_epi8(self.0[i], _mm_set1_epi8(byte.cast_signed())))
            };
            u64::from(mask.cast_unsigned())
        };
        part(0) | part(1) << 16 | part(2) << 32 | part(3) << 48
    }

    /// Bit `i`: whether byte `i` is at most `byte`.
    #[inline]
    pub fn at_most(&self, byte: u8) -> u64 {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_max_epu8, _mm_movemask_epi8, _mm_set1_epi8};
        let part = |i: usize| {
            // SAFETY: SSE2 is part of the x86-64 baseline, and these touch registers only.
            let mask = unsafe {
                let most = _mm_set1_epi8(byte.cast_signed());
                _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(self.0[i], most), most))
            };
            u64::from(mask.cast_unsigned())
        };
        part(0) | part(1) << 16 | part(2) << 32 | part(3) << 48
    }
}

/// 64 bytes at hand for comparisons.
#[cfg(not(target_arch = "x86_64"))]
pub struct Lanes([u8; WIDTH]);

#[cfg(not(target_arch = "x86_64"))]
impl Lanes {
    /// Takes 64 bytes in hand.
    pub fn load(bytes: &[u8; WIDTH]) -> Self {
        Lanes(*bytes)
    }

    /// Bit `i`: whether byte `i` is `byte`.
    pub fn equal(&self, byte: u8) -> u64 {
        self.0
            .iter()
            .rev()
            .fold(0, |mask, &other| mask << 1 | u64::from(other == byte))
    }

    /// Bit `i`: whether byte `i` is at most `byte`.
    pub fn at_most(&self, byte: u8) -> u64 {
        self.0
            .iter()
            .rev()
            .fold(0, |mask, &other| mask << 1 | u64::from(other <= byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_for_bytes() {
        let bytes: [u8; WIDTH] = std::array::from_fn(|i| [0x7E, 0x80, 0x82, 0x7F, 0x81][i * 7 % 5]);
        let lanes = Lanes::load(&bytes);
        for byte in [0x7E, 0x7F, 0x80, 0x82, 0] {
            let mask = lanes.equal(byte);
            let at_most = lanes.at_most(byte);
            for (i, &other) in bytes.iter().enumerate() {
                assert_eq!(mask >> i & 1 == 1, other == byte, "byte {i}");
                assert_eq!(at_most >> i & 1 == 1, other <= byte, "byte {i}");
            }
        }
    }
}
