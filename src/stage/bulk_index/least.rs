//! How many documents a new index must hold before it replaces another.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::schema::count;

/// `min_documents` and `min_share`, as they stand in the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub(super) struct Least {
    /// with `replace`: a new index of fewer documents is not published, and the run fails
    #[schemars(extend("x-execution" = true))]
    min_documents: u64,
    /// the same for one that holds less than this share of the documents of the index that it replaces
    #[schemars(range(min = 0, max = 1), extend("x-type" = "number from 0 to 1"))]
    #[schemars(extend("x-execution" = true))]
    min_share: f64,
}

impl Default for Least {
    fn default() -> Self {
        // A source that is suddenly empty, or holds less than half, is broken more often than it is right.
        Least {
            min_documents: 1,
            min_share: 0.5,
        }
    }
}

impl Least {
    /// Checks what the file alone shows.
    pub(super) fn check_share(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.min_share) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "`min_share` is {}; it is a share, 0 to 1",
            self.min_share
        ))
        .of(["min_share"]))
    }

    /// An error if an index of `new` documents may not replace one of `old`; `None`: there is no old one,
    /// or its documents cannot be counted.
    pub(super) fn check(&self, new: u64, old: Option<u64>) -> Result<()> {
        if new < self.min_documents {
            return Err(Error::failed(format!(
                "the new index holds {}, fewer than `min_documents` ({})",
                count(usize::try_from(new).unwrap_or(usize::MAX), "document"),
                self.min_documents
            ))
            .hint(format!(
                "nothing was published; `min_documents = {new}` publishes it"
            )));
        }
        let Some(old) = old else { return Ok(()) };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of more than 2^53 documents may be off by one"
        )]
        let (share, least) = (new as f64 / old.max(1) as f64, self.min_share * old as f64);
        #[expect(clippy::cast_precision_loss, reason = "the same")]
        if (new as f64) >= least {
            return Ok(());
        }
        Err(Error::failed(format!(
            "the new index holds {}, and the one that it replaces {old}: less than `min_share` ({})",
            count(new, "document"),
            self.min_share
        ))
        .hint(format!(
            "nothing was published; if so few are right, set `min_share = {}`",
            (share * 100.0).floor() / 100.0
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least(text: &str) -> Least {
        toml::from_str(text).expect("the test's own options")
    }

    #[test]
    fn an_index_that_is_nearly_empty_replaces_none() {
        // Options, documents of the new index, of the old one, and what must be set; empty: it replaces it.
        let cases: &[(&str, u64, Option<u64>, &str)] = &[
            ("", 1, None, ""),
            ("", 0, None, "`min_documents = 0`"),
            ("", 0, Some(3174), "`min_documents = 0`"),
            ("min_documents = 0", 0, Some(3174), "`min_share = 0`"),
            ("min_documents = 0", 0, Some(0), ""),
            ("min_documents = 0\nmin_share = 0", 0, Some(3174), ""),
            ("", 1587, Some(3174), ""),
            ("", 1586, Some(3174), "`min_share = 0.49`"),
            ("min_share = 0.49", 1586, Some(3174), ""),
            ("min_share = 1", 3173, Some(3174), "`min_share = 0.99`"),
            ("min_share = 1", 3174, Some(3174), ""),
            ("min_documents = 5", 4, Some(4), "`min_documents = 4`"),
        ];
        for (text, new, old, hint) in cases {
            let about = format!("{text}: {new} for {old:?}");
            match least(text).check(*new, *old) {
                Ok(()) => assert_eq!(*hint, "", "{about}"),
                Err(error) => {
                    let said = error.hint.unwrap_or_default();
                    assert!(!hint.is_empty() && said.contains(hint), "{about}: {said}");
                }
            }
        }
    }

    #[test]
    fn a_share_is_one() {
        for text in ["min_share = 1.1", "min_share = -0.1", "min_share = nan"] {
            let error = least(text).check_share().expect_err(text);
            assert_eq!(error.exit_code(), 2, "{text}");
        }
        assert!(least("").check_share().is_ok());
    }
}
