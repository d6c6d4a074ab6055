//! Numbers as people write them: `1.234,50`, `1'234.50`, `1 234,5`.

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notation {
    /// Before the fraction.
    pub decimal: char,
    /// Between every three digits before it, where a number has any.
    pub thousands: Option<char>,
}

impl Default for Notation {
    fn default() -> Self {
        Notation {
            decimal: '.',
            thousands: None,
        }
    }
}

impl Notation {
    /// Whether it is the one that needs no rewriting.
    pub fn is_plain(self) -> bool {
        self == Notation::default()
    }

    /// Writes `number` as programs write it, with `.` and without separators, into `plain`. `false`: it is no
    /// number of this notation. What is left may still be no number.
    pub fn rewrite(self, number: &str, plain: &mut String) -> bool {
        plain.clear();
        let (whole, rest) = match number.find([self.decimal, 'e', 'E']) {
            Some(at) => number.split_at(at),
            None => (number, ""),
        };
        if !self.push_whole(whole, plain) {
            return false;
        }
        let Some(fraction) = rest.strip_prefix(self.decimal) else {
            // An exponent, or nothing.
            plain.push_str(rest);
            return self.decimal == '.' || !rest.contains('.');
        };
        plain.push('.');
        plain.push_str(fraction);
        !fraction.contains('.')
    }

    /// The digits before the fraction: separators stand between groups of three, in all of them or in none.
    fn push_whole(self, whole: &str, plain: &mut String) -> bool {
        let Some(thousands) = self.thousands.filter(|&it| whole.contains(it)) else {
            plain.push_str(whole);
            return !whole.contains('.');
        };
        let digits = whole.trim_start_matches(['+', '-']);
        plain.push_str(&whole[..whole.len() - digits.len()]);
        for (group, text) in digits.split(thousands).enumerate() {
            let is_whole = if group == 0 {
                matches!(text.len(), 1..=3)
            } else {
                text.len() == 3
            };
            if !is_whole || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return false;
            }
            plain.push_str(text);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::{parse_float, parse_int};
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        let of = |decimal, thousands| Notation { decimal, thousands };
        let (german, swiss, french) = (
            of(',', Some('.')),
            of('.', Some('\'')),
            of(',', Some('\u{202f}')),
        );
        for (notation, text, float) in [
            (german, "1.234,50", Some(1234.5)),
            (german, "-1.234.567", Some(-1_234_567.0)),
            (german, "12,5", Some(12.5)),
            (german, "12,5e3", Some(12_500.0)),
            (german, "1e3", Some(1000.0)),
            (german, ",5", Some(0.5)),
            (german, "1234,5", Some(1234.5)),
            (german, "1.23", None),
            (german, "1.2345", None),
            (german, "1.234.56", None),
            (german, ".234", None),
            (german, "1,2,3", None),
            (german, "1,234.5", None),
            (german, "1e1.5", None),
            (german, "1e1,5", None),
            (german, "--1.234", None),
            (german, "", None),
            (swiss, "1'234.50", Some(1234.5)),
            (swiss, "1234.5", Some(1234.5)),
            (swiss, "1'23", None),
            (swiss, "1,5", None),
            (french, "1\u{202f}234,5", Some(1234.5)),
            (french, "1 234,5", None),
            (of(',', None), "1.5", None),
            (of(',', None), "1,5", Some(1.5)),
        ] {
            let mut plain = String::new();
            let found = notation
                .rewrite(text, &mut plain)
                .then(|| parse_float(&plain));
            assert_eq!(found.flatten(), float, "{text:?}");
        }
        let mut plain = String::new();
        assert!(german.rewrite("-1.234", &mut plain));
        assert_eq!(parse_int(&plain), Some(-1234));
        assert!(german.rewrite("1,0", &mut plain));
        assert_eq!(parse_int(&plain), None);
    }
}
