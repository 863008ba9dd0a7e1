//! Files that prove who asks and who answers: token, client certificate, certificate authorities.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts};

use crate::http::error::Error;
use crate::http::options::Options;

/// The longest token, in bytes.
const TOKEN_MAX: u64 = 8192;

/// The longest file of certificates or keys.
const PEM_MAX: u64 = 4 << 20;

/// Something that works and should be changed nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Every user of this machine can read a secret: the token or the key in this file.
    Readable(PathBuf),
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Readable(path) => {
                let path = path.display();
                write!(f, "every user can read the secret in {path}; `chmod o= {path}` ends that")
            }
        }
    }
}

/// What this side shows to the servers of the given addresses.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// The value of `Authorization`.
    pub(crate) authorization: Option<String>,
    pub(crate) certificate: Option<ClientCert>,
}

impl Credentials {
    pub(crate) fn read(options: &Options) -> Result<(Self, Vec<Warning>), Error> {
        let mut credentials = Self::default();
        let mut warnings = Vec::new();
        if let Some(path) = &options.token_file {
            credentials.authorization = Some(format!("Bearer {}", token(path)?));
            warnings.extend(readable(path));
        }
        if let Some((chain, key)) = &options.certificate {
            credentials.certificate = Some(certificate(chain, key)?);
            warnings.extend(readable(key));
        }
        Ok((credentials, warnings))
    }
}

/// The cryptography that is used for TLS.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn token(path: &Path) -> Result<String, Error> {
    let bytes = read(path, "the token", TOKEN_MAX)?;
    // No error shows what is in the file.
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(path, "one line with a token, without spaces in it"));
    }
    Ok(text.to_owned())
}

fn certificate(chain: &Path, key: &Path) -> Result<ClientCert, Error> {
    let pem = read(chain, "the client certificate", PEM_MAX)?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong(chain, "certificates as PEM"))?;
    if certificates.is_empty() {
        return Err(wrong(chain, "at least one certificate as PEM"));
    }
    let pem = read(key, "the key of the client certificate", PEM_MAX)?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| wrong(key, "a private key as PEM, without a passphrase"))?;

    // The client panics later on what does not fit together.
    rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .and_then(|builder| {
            builder
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_client_auth_cert(certificates.clone(), private)
        })
        .map_err(|error| {
            let (chain, key) = (chain.display(), key.display());
            Error::Setup(format!("{chain} and {key} cannot be used together: {error}"))
        })?;

    let key = PrivateKey::from_pem(&pem)
        .map_err(|_| wrong(key, "a private key as PEM, without a passphrase"))?;
    Ok(ClientCert::new_with_certs(&owned(&certificates), key))
}

/// The certificate authorities: those of the option, else those that the environment names, else
/// the system's.
pub(crate) fn roots(options: &Options) -> Result<RootCerts, Error> {
    if let Some(path) = &options.cacert {
        let pem = read(path, "the certificate authorities", PEM_MAX)?;
        let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|_| wrong(path, "certificates as PEM"))?;
        check_usable(&found).map_err(|()| wrong(path, "at least one certificate as PEM"))?;
        return Ok(RootCerts::new_with_certs(&owned(&found)));
    }
    let named = &options.roots;
    let found = if named.file.is_none() && named.folders.is_empty() {
        rustls_native_certs::load_native_certs().certs
    } else {
        let file = rustls_native_certs::load_certs_from_paths(named.file.as_deref(), None);
        let folders = named.folders.iter();
        let folders = folders
            .flat_map(|path| rustls_native_certs::load_certs_from_paths(None, Some(path)).certs);
        file.certs.into_iter().chain(folders).collect()
    };
    check_usable(&found).map_err(|()| {
        let places = if named.file.is_none() && named.folders.is_empty() {
            "where systems keep them"
        } else {
            "where SSL_CERT_FILE and SSL_CERT_DIR say"
        };
        Error::Setup(format!(
            "found no certificate authorities {places}; name a PEM file of them, \
             or install the package ca-certificates"
        ))
    })?;
    Ok(RootCerts::new_with_certs(&owned(&found)))
}

fn check_usable(found: &[CertificateDer<'static>]) -> Result<(), ()> {
    let mut store = rustls::RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(found.iter().cloned());
    if usable == 0 { Err(()) } else { Ok(()) }
}

fn owned(certificates: &[CertificateDer<'static>]) -> Vec<Certificate<'static>> {
    certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
}

fn wrong(path: &Path, expected: &str) -> Error {
    Error::Setup(format!("expected {expected} in {}", path.display()))
}

fn read(path: &Path, what: &str, most: u64) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::Setup(format!("cannot read {what} {}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(wrong(path, &format!("{what} in {most} bytes at most")));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn readable(path: &Path) -> Option<Warning> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| Warning::Readable(path.to_owned()))
}

#[cfg(not(unix))]
fn readable(_path: &Path) -> Option<Warning> {
    None
}
