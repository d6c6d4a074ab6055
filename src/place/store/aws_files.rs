//! The files of AWS's own tools, `~/.aws/credentials` and `~/.aws/config`: the keys, region and endpoint of a profile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::options::variable;
use crate::error::{Error, Result};

/// What a profile may say that takes another program or service to make keys of it.
const NOT_READ: [&str; 5] = [
    "sso_session",
    "sso_start_url",
    "role_arn",
    "credential_process",
    "web_identity_token_file",
];

/// What the files say of the profile that `AWS_PROFILE` names, or of `default`.
pub(super) fn profile() -> Result<HashMap<String, String>> {
    let named = variable("AWS_PROFILE");
    let home = variable("HOME").map(PathBuf::from);
    let file = |name: &str, usual: &str| {
        let usual = home.as_ref().map(|home| home.join(".aws").join(usual));
        variable(name).map(PathBuf::from).or(usual)
    };
    let config = text(file("AWS_CONFIG_FILE", "config").as_deref());
    let credentials = text(file("AWS_SHARED_CREDENTIALS_FILE", "credentials").as_deref());
    of_profile(named.as_deref(), &config, &credentials)
}

/// A file that cannot be read says nothing: most have none.
fn text(file: Option<&Path>) -> String {
    let read = |file: &Path| std::fs::read_to_string(file).ok();
    file.and_then(read).unwrap_or_default()
}

fn of_profile(
    named: Option<&str>,
    config: &str,
    credentials: &str,
) -> Result<HashMap<String, String>> {
    let name = named.unwrap_or("default");
    let mut found = section(config, &format!("profile {name}"));
    if name == "default" {
        found = found.or_else(|| section(config, name));
    }
    let keys = section(credentials, name);
    let Some(named) = named else {
        let mut all = found.unwrap_or_default();
        all.extend(keys.unwrap_or_default());
        return Ok(all);
    };
    if found.is_none() && keys.is_none() {
        return Err(Error::failed(format!(
            "`AWS_PROFILE` names the profile `{named}`, which is in neither file of AWS's tools"
        ))
        .hint("`aws configure list-profiles` lists those that are there"));
    }
    let mut all = found.unwrap_or_default();
    all.extend(keys.unwrap_or_default());
    let other = NOT_READ.iter().find(|key| all.contains_key(**key));
    match other {
        Some(key) if !all.contains_key("aws_access_key_id") => Err(Error::failed(format!(
            "the profile `{named}` has `{key}`, from which no keys are made here"
        ))
        .hint(format!(
            "run `eval \"$(aws configure export-credentials --profile {named} --format env)\"` first"
        ))),
        _ => Ok(all),
    }
}

/// The values of a section `[name]`; `None`: there is none.
fn section(text: &str, name: &str) -> Option<HashMap<String, String>> {
    let mut found: Option<HashMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(head) = trimmed.strip_prefix('[') {
            let head = head.trim_end_matches(']').split_whitespace();
            inside = head.collect::<Vec<_>>().join(" ") == name;
            if inside {
                found.get_or_insert_default();
            }
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((key, value)) = trimmed.split_once('=')
        {
            let values = found.get_or_insert_default();
            values.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n# x = y\ns3 =\n  max_queue = 3\n\n[profile two]\n\
         region=us-west-2\nendpoint_url = http://localhost:9000\n[profile sso]\nsso_session = x\n";
    const KEYS: &str = "[default]\naws_access_key_id = A\naws_secret_access_key = B=\n[two]\naws_access_key_id=C\n";

    #[test]
    fn a_profile_has_the_values_of_both_files() {
        let all = of_profile(None, CONFIG, KEYS).expect("it is there");
        assert_eq!(all["region"], "eu-west-1");
        assert_eq!(all["aws_secret_access_key"], "B=");
        assert!(!all.contains_key("max_queue"));
        let two = of_profile(Some("two"), CONFIG, KEYS).expect("it is there");
        assert_eq!(two["aws_access_key_id"], "C");
        assert_eq!(two["endpoint_url"], "http://localhost:9000");
        let sso = of_profile(Some("sso"), CONFIG, KEYS).expect_err("no keys");
        assert!(sso.message.contains("`sso_session`"), "{sso}");
        assert!(of_profile(Some("none"), CONFIG, KEYS).is_err());
        assert!(of_profile(None, "", "").expect("nothing").is_empty());
    }
}
