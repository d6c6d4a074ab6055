//! Clients of the HTTP library, and whom they trust.

use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::connect::Connect;
use crate::error::{Error, Result};

/// A client that connects and proves itself as `connect` says, with or without TLS, and follows nothing.
pub(super) fn builder(connect: &Connect, secure: bool) -> Result<ClientBuilder> {
    let builder = reqwest::Client::builder()
        .use_rustls_tls()
        .http1_only()
        // Bodies are inflated where they are limited.
        .no_gzip()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect.connect_timeout)
        // To read the authorities takes longer than all the rest.
        .tls_built_in_root_certs(secure)
        .danger_accept_invalid_certs(!connect.verify);
    if let Some(pem) = connect.ca_certificate.as_ref().filter(|_| connect.verify) {
        // It is read without TLS too: one that cannot be read is an error from the start.
        let named = certificates(pem, "ca_certificate")?;
        if !secure {
            return Ok(builder);
        }
        let config = trusting(named, connect.identity.as_deref())?;
        return Ok(builder.use_preconfigured_tls(config));
    }
    let Some(pem) = &connect.identity else {
        return Ok(builder);
    };
    let identity = reqwest::Identity::from_pem(pem.as_bytes())
        .map_err(|error| unusable("client_certificate", &error))?;
    Ok(builder.identity(identity))
}

fn unusable(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("cannot use `{what}`"))
        .cause(error)
        .hint("it is to be a PEM file")
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| unusable(what, &error))?;
    if all.is_empty() {
        return Err(unusable(what, &"it holds no certificate"));
    }
    Ok(all)
}

/// Trusts the certificates that are named beside the system's authorities and the built-in ones.
fn trusting(named: Vec<CertificateDer<'static>>, identity: Option<&str>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    // One of the system's that cannot be read is not needed by most, and missed by its name where it is.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in &named {
        roots
            .add(certificate.clone())
            .map_err(|error| unusable("ca_certificate", &error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let failed = |error: &dyn std::fmt::Display| Error::failed("cannot set up TLS").cause(error);
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| failed(&error))?;
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            webpki,
            provider,
            named,
        }));
    let Some(pem) = identity else {
        return Ok(config.with_no_client_auth());
    };
    let bad = |error: &dyn std::fmt::Display| unusable("client_certificate", error);
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| bad(&error))?;
    config
        .with_client_auth_cert(certificates(pem, "client_certificate")?, key)
        .map_err(|error| bad(&error))
}

/// The usual checks, and one case more: a server that presents the very certificate that is named, though it
/// says of itself that it is an authority's (as `openssl req -x509` makes them).
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    named: Vec<CertificateDer<'static>>,
}

/// What the usual checks call that case; they find it after the certificate's time was found right.
const AN_AUTHORITY: &str = "CaUsedAsEndEntity";

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = self
            .webpki
            .verify_server_cert(presented, intermediates, name, ocsp, now);
        match usual {
            Err(error)
                if format!("{error:?}").contains(AN_AUTHORITY)
                    && self.named.iter().any(|named| named == presented) =>
            {
                verify_server_name(&ParsedCertificate::try_from(presented)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The error of a server whose certificate is not trusted, if that is what the words of an error say.
pub(super) fn distrust(certificate: &str, words: &[String]) -> Option<Error> {
    let last = words.last()?;
    let about = |word: &str| words.iter().any(|words| words.contains(word));
    if !about("certificate") {
        return None;
    }
    let hint = if about("not valid for") {
        "it names other hosts, or none: ask for the server by a name that it has, or make one with `subjectAltName`"
    } else {
        "`ca_certificate` names the PEM file of the authority that signed it, or of the certificate itself"
    };
    Some(
        Error::failed(format!("{certificate} is not trusted"))
            .cause(last)
            .hint(hint),
    )
}
