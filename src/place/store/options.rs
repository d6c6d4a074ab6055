//! How a bucket is reached: as the store's own tools read it from the environment, but for the server, which a stage may
//! name.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as S3};
use object_store::azure::{AzureConfigKey as Azure, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, ClientOptions, RetryConfig, StaticCredentialProvider};

use super::{Bucket, RETRIES, TRYING_MAX, WAIT, WAIT_MAX, aws_files};
use crate::error::{Error, Result};
use crate::http::{metadata_client, store_client};
use crate::place::endpoint::{WRITE, server};
use crate::place::url::{ObjectUrl, Scheme};
use crate::secrets::mask_url;

/// The network's own clients, with its trust, its proxies and its limits.
#[derive(Debug)]
struct Connector {
    endpoint: Option<String>,
    /// Whether that is the environment's: what it says of credentials is then of the same place.
    is_alone: bool,
    ca: Option<String>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // That is how the library asks for a client of a cloud's own services.
        let connecting = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let client = if connecting.as_deref() == Some("1s") {
            metadata_client()
        } else {
            store_client(self.endpoint.as_deref(), self.is_alone, self.ca.clone())
        };
        match client {
            Ok(client) => Ok(HttpClient::new(client)),
            Err(error) => Err(object_store::Error::Generic {
                store: "network",
                source: Box::new(error),
            }),
        }
    }
}

/// How requests are sent again.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: object_store::BackoffConfig {
            init_backoff: WAIT,
            max_backoff: WAIT_MAX,
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: TRYING_MAX,
    }
}

/// The bucket that has this object.
pub(super) fn bucket(url: &ObjectUrl) -> Result<Arc<dyn Bucket>> {
    match url.scheme {
        Scheme::S3 => s3(url),
        Scheme::Gs => google(url),
        Scheme::Az => azure(url),
        Scheme::Http | Scheme::Https => unreachable!("a web server has no buckets"),
    }
}

/// An environment variable that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn s3(url: &ObjectUrl) -> Result<Arc<dyn Bucket>> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in std::env::vars_os() {
        let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else {
            continue;
        };
        // What is empty is not set, as AWS's own tools have it.
        if name.starts_with("AWS_")
            && !value.is_empty()
            && let Ok(key) = name.to_ascii_lowercase().parse::<S3>()
        {
            builder = builder.with_config(key, value);
        }
    }
    let profile = aws_files::profile()?;
    let has_keys = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"]
        .iter()
        .any(|name| variable(name).is_some());
    if !has_keys {
        let keys = [
            ("aws_access_key_id", S3::AccessKeyId),
            ("aws_secret_access_key", S3::SecretAccessKey),
            ("aws_session_token", S3::Token),
        ];
        for (name, key) in keys {
            if let Some(value) = profile.get(name) {
                builder = builder.with_config(key, value);
            }
        }
    }
    if let Some(region) = profile.get("region")
        && variable("AWS_REGION").is_none()
        && variable("AWS_DEFAULT_REGION").is_none()
    {
        builder = builder.with_region(region);
    }
    let mut endpoint = endpoint(url)?;
    if let Some(own) = url.endpoint() {
        // Buckets stand in its path, wherever they stand in those of the environment's.
        builder = builder
            .with_config(S3::S3Endpoint, own)
            .with_virtual_hosted_style_request(false);
    }
    if let (None, Some(of_profile)) = (&endpoint, profile.get("endpoint_url")) {
        check_endpoint("`endpoint_url` of AWS's profile", of_profile)?;
        builder = builder.with_endpoint(of_profile);
        endpoint = Some(of_profile.clone());
    }
    if endpoint.as_deref().is_some_and(is_plain) {
        builder = builder.with_allow_http(true);
    }
    let ca =
        match variable("AWS_CA_BUNDLE") {
            None => None,
            Some(file) => Some(std::fs::read_to_string(&file).map_err(|error| {
                Error::io("read", &file, &error).hint("`AWS_CA_BUNDLE` names it")
            })?),
        };
    let store = builder
        .with_bucket_name(&url.bucket)
        .with_retry(retries())
        .with_http_connector(Connector {
            endpoint,
            is_alone: url.endpoint().is_none(),
            ca,
        })
        .build();
    Ok(Arc::new(store.map_err(|error| unusable(url, &error))?))
}

fn google(url: &ObjectUrl) -> Result<Arc<dyn Bucket>> {
    let mut builder = GoogleCloudStorageBuilder::from_env();
    let mut endpoint = endpoint(url)?;
    if let Some(own) = url.endpoint() {
        builder = builder.with_base_url(own);
    } else if let Some(emulator) = variable("STORAGE_EMULATOR_HOST") {
        let emulator = if emulator.contains("://") {
            emulator
        } else {
            format!("http://{emulator}")
        };
        check_endpoint("`STORAGE_EMULATOR_HOST`", &emulator)?;
        builder = builder.with_base_url(&emulator).with_skip_signature(true);
        endpoint = Some(emulator);
    }
    let skips = builder.get_config_value(&GoogleConfigKey::SkipSignature);
    if skips.is_some_and(|skips| ["true", "1"].contains(&skips.as_str())) {
        // The library asks for a token all the same where it writes, at last the cloud's own machines.
        let bearer = String::new();
        let none = StaticCredentialProvider::new(GcpCredential { bearer });
        builder = builder.with_credentials(Arc::new(none));
    }
    let store = builder
        .with_bucket_name(&url.bucket)
        .with_retry(retries())
        .with_http_connector(Connector {
            endpoint,
            is_alone: url.endpoint().is_none(),
            ca: None,
        })
        .build();
    Ok(Arc::new(store.map_err(|error| unusable(url, &error))?))
}

fn azure(url: &ObjectUrl) -> Result<Arc<dyn Bucket>> {
    let mut builder = MicrosoftAzureBuilder::from_env();
    // What Azure's own command line reads; the others are the library's.
    let others = [
        ("AZURE_STORAGE_ACCOUNT", Azure::AccountName),
        ("AZURE_STORAGE_KEY", Azure::AccessKey),
    ];
    for (name, key) in others {
        if let Some(value) = variable(name) {
            builder = builder.with_config(key, value);
        }
    }
    let mut endpoint = endpoint(url)?;
    if let Some(text) = variable("AZURE_STORAGE_CONNECTION_STRING") {
        let parts = connection(&text);
        let keys = [
            ("AccountName", Azure::AccountName),
            ("AccountKey", Azure::AccessKey),
            ("SharedAccessSignature", Azure::SasKey),
            ("BlobEndpoint", Azure::Endpoint),
        ];
        for (name, key) in keys {
            if let Some(value) = parts.get(name) {
                builder = builder.with_config(key, *value);
            }
        }
        if let (Some(named), None) = (parts.get("BlobEndpoint"), url.endpoint()) {
            check_endpoint("`BlobEndpoint` of `AZURE_STORAGE_CONNECTION_STRING`", named)?;
            endpoint = Some((*named).to_owned());
        }
    }
    if let Some(own) = url.endpoint() {
        builder = builder.with_endpoint(own.to_owned());
        builder = builder.with_use_emulator(false);
    }
    if endpoint.as_deref().is_some_and(is_plain) {
        builder = builder.with_allow_http(true);
    }
    let store = builder
        .with_container_name(&url.bucket)
        .with_retry(retries())
        .with_http_connector(Connector {
            endpoint,
            is_alone: url.endpoint().is_none(),
            ca: None,
        })
        .build();
    Ok(Arc::new(store.map_err(|error| unusable(url, &error))?))
}

/// The server that a stage names for this object, or else the first of these variables which is set; each that is set must
/// name one.
fn endpoint(url: &ObjectUrl) -> Result<Option<String>> {
    if let Some(own) = url.endpoint() {
        return Ok(Some(own.to_owned()));
    }
    for (name, value) in endpoints_set(url.scheme) {
        check_endpoint(&format!("`{name}`"), &value)?;
    }
    Ok(endpoints_set(url.scheme).next().map(|(_, value)| value))
}

/// The variables that are set of those that name a server, each with what it says; the first counts.
pub(super) fn endpoints_set(scheme: Scheme) -> impl Iterator<Item = (&'static str, String)> {
    let names: &[&str] = match scheme {
        Scheme::S3 => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"],
        Scheme::Gs => &["GOOGLE_BASE_URL"],
        Scheme::Az => &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"],
        Scheme::Http | Scheme::Https => &[],
    };
    names
        .iter()
        .filter_map(|name| Some((*name, variable(name)?)))
}

/// An error unless what the environment says is the address of a server.
fn check_endpoint(said_by: &str, value: &str) -> Result<()> {
    if server(value).is_some() {
        return Ok(());
    }
    let shown = mask_url(value);
    let error = Error::failed(format!(
        "{said_by} is `{shown}`, which is no address of a server"
    ));
    Err(error.hint(WRITE))
}

/// The parts `name=value` of a connection string.
fn connection(text: &str) -> HashMap<&str, &str> {
    text.split(';')
        .filter_map(|part| part.trim().split_once('='))
        .collect()
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

/// The environment does not say how the bucket is reached. What it says may be a secret.
fn unusable(url: &ObjectUrl, error: &object_store::Error) -> Error {
    let source = std::error::Error::source(error);
    if let Some(own) = source.and_then(|source| source.downcast_ref::<Error>()) {
        return own.clone();
    }
    let (what, variables) = match url.scheme {
        Scheme::S3 => ("s3", "`AWS_...`"),
        Scheme::Gs => ("gs", "`GOOGLE_...`"),
        _ => ("az", "`AZURE_...`"),
    };
    let failed = Error::failed(format!(
        "cannot use `{}`: the environment does not say how `{what}://` is reached",
        url.shown_bucket()
    ));
    let known = [
        ("Account must be specified", "no account is named"),
        (
            "AccessKey",
            "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` are both needed",
        ),
    ];
    let text = error.to_string().replace(' ', "");
    let mut known = known.iter();
    let failed = match known.find(|(words, _)| text.contains(&words.replace(' ', ""))) {
        Some((_, why)) => failed.cause(why),
        None => failed,
    };
    failed.hint(format!(
        "look at the variables {variables}; docs/places.md lists them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_address_of_a_server() {
        for known in ["http://localhost:9000", "https://h", "http://[::1]:1/x"] {
            assert!(check_endpoint("`E`", known).is_ok(), "{known}");
        }
        for other in [
            "localhost:9000",
            "localhost",
            "http://",
            "http:/h",
            "http://a b",
            " http://a",
            "http://a:b",
            "http://a:99999",
            "ftp://a",
            "/tmp",
        ] {
            let error = check_endpoint("`E`", other).expect_err(other);
            assert!(error.message.starts_with(&format!("`E` is `{other}`")));
        }
        let error = check_endpoint("`E`", "http://me:SECRET@a b").expect_err("no server");
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    }

    #[test]
    fn a_connection_string_is_read() {
        let text = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=ab==;";
        let parts = connection(text);
        assert_eq!(parts["AccountName"], "a");
        assert_eq!(parts["AccountKey"], "ab==");
    }
}
