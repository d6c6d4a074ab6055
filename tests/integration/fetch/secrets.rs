//! Secrets that are planted everywhere a secret may stand, and a server that repeats whatever it hears.

use super::Asking;
use crate::harness::{Variant, files};
use crate::scripted::{Say, Site};

#[test]
fn no_secret_is_ever_written() {
    let site = Site::start(|asked| {
        let heard = format!("{} {:?} {}", asked.target, asked.headers, asked.body);
        match asked.target.split('?').next() {
            Some("/login") => Say::json("{\"access_token\": \"PLANTED-token\"}"),
            Some("/a") => Say::json("{\"v\": 1}"),
            Some("/b" | "/logout") => Say::status(500, heard),
            Some("/c") => Say::status(302, "").with("location", format!("http://x.test/{heard}")),
            Some("/d") => Say::json(heard),
            _ => Say::status(404, heard),
        }
    });
    let (_, host) = site.url.split_once("://").expect("it has a scheme");
    let options = format!(
        r#"
        url = "http://me:PLANTED-user@{host}/{{id}}?api_key=PLANTED-query"
        headers.X-Api-Key = "PLANTED-header"
        session.url = "{0}/login"
        session.body = {{ user = "me", password = "PLANTED-password" }}
        session.header = "X-Session: Bearer {{token}}"
        session.close_url = "{0}/logout?token={{token}}"
        "#,
        site.url
    );
    // Of the user and password in the URL: `me:PLANTED-user`, as it is sent.
    let encoded = "bWU6UExBTlRFRC11c2Vy";
    let failing = options.replace("/login", "/nowhere");
    for (options, code) in [(&options, 0), (&failing, 1)] {
        for variant in Variant::EACH {
            let asking = Asking::about(&["a", "b", "c", "d", "e"], options);
            let outcome = asking.command(variant).args(["--json"]).outcome();
            assert_eq!(outcome.code, Some(code), "{variant}: {}", outcome.stderr);
            let mut written = files(asking.folder.path());
            written.remove("pipeline.toml");
            written.insert("stdout".to_owned(), outcome.stdout.into_bytes());
            written.insert("stderr".to_owned(), outcome.stderr.into_bytes());
            for (name, bytes) in written {
                let text = String::from_utf8_lossy(&bytes);
                for secret in ["PLANTED", encoded] {
                    assert!(
                        !text.contains(secret),
                        "{variant}: {secret} is in {name}:\n{text}"
                    );
                }
            }
        }
    }
    let heard = site.asked();
    for planted in [
        "PLANTED-query",
        "PLANTED-header",
        "PLANTED-password",
        "PLANTED-token",
        encoded,
    ] {
        let sent = heard.iter().any(|asked| {
            format!("{} {:?} {}", asked.target, asked.headers, asked.body).contains(planted)
        });
        assert!(sent, "{planted} was to be sent");
    }
}
