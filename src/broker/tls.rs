//! Encrypted connections: whom to trust, and as whom to appear.
//!
//! Certificates are read anew for every connection, so that renewed ones need no restart.

use crate::broker::config::{Config, ConfigFault};
use std::path::Path;
use std::sync::Arc;
use std::{io, iter};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio_util::either::Either;

/// A connection to the broker, encrypted or not.
pub(super) type Socket = Either<TcpStream, TlsStream<TcpStream>>;

/// How the broker is known, and what it is shown.
#[derive(Clone)]
pub(super) struct Tls {
    server: ServerName<'static>,
    connector: TlsConnector,
}

impl Tls {
    /// Reads the files that `config` names; `host` is the URL's.
    pub(super) fn read(config: &Config, host: &str) -> Result<Tls, ConfigFault> {
        let (key, name) = match &config.tls_server_name {
            Some(name) => ("tls_server_name", name.as_str()),
            None => ("url", host),
        };
        let server = ServerName::try_from(name.to_owned()).map_err(|_| ConfigFault {
            key,
            found: format!("{name:?}"),
            expected: "a host's name or address, as it stands in the broker's certificate".into(),
            mend: "give the name without scheme and port".into(),
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("url", "amqps://", &error))?
            .with_root_certificates(roots(config.tls_ca_file.as_deref())?);
        let client = match (&config.tls_cert_file, &config.tls_key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(chain), Some(key)) => {
                let chain_of = certificates("tls_cert_file", chain)?;
                let private = PrivateKeyDer::from_pem_file(key);
                let private = private.map_err(|error| {
                    unreadable("tls_key_file", key, "an unencrypted private key", &error)
                })?;
                builder
                    .with_client_auth_cert(chain_of, private)
                    .map_err(|error| unusable("tls_key_file", &key.display().to_string(), &error))?
            }
            (Some(_), None) => return Err(half("tls_key_file", "tls_cert_file")),
            (None, Some(_)) => return Err(half("tls_cert_file", "tls_key_file")),
        };
        let connector = TlsConnector::from(Arc::new(client));
        Ok(Tls { server, connector })
    }

    /// Shakes hands; as long as the broker takes.
    pub(super) async fn wrap(&self, socket: TcpStream) -> io::Result<Socket> {
        let stream = self.connector.connect(self.server.clone(), socket).await?;
        Ok(Either::Right(stream))
    }
}

/// What is wrong with an encrypted connection, and how to mend it; `None` where that is not what is wrong.
pub(super) fn trouble(error: &io::Error) -> Option<String> {
    const CLIENT: &str = "the broker may want a client certificate that it trusts: broker.tls_cert_file and broker.tls_key_file";
    let mut causes = iter::successors(
        error
            .get_ref()
            .map(|inner| inner as &(dyn std::error::Error + 'static)),
        |cause| cause.source(),
    );
    let Some(fault) = causes.find_map(|cause| cause.downcast_ref::<Error>()) else {
        // It ends the connection right behind the alert, which is lost where this end still writes.
        let ended = [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
        ];
        return ended
            .contains(&error.kind())
            .then(|| format!("{error}; {CLIENT}"));
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are many, and more to come"
    )]
    let mend = match fault {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "name the certificate of the authority that signed the broker's in broker.tls_ca_file",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "connect by a name that the broker's certificate has, or set broker.tls_server_name to one"
        }
        Error::InvalidCertificate(_) => "have the broker's certificate renewed",
        Error::InvalidMessage(_) => "is this the broker's port for TLS (usually 5671)?",
        Error::AlertReceived(_) => CLIENT,
        _ => "see what the broker's log says of it",
    };
    Some(format!("{fault}; {mend}"))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, ConfigFault> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            return Err(ConfigFault {
                key: "tls_ca_file",
                found: "none, and no certificates of the system".into(),
                expected: "somebody to trust".into(),
                mend: "install ca-certificates, or name a PEM file of the broker's authority"
                    .into(),
            });
        }
        return Ok(roots);
    };
    for certificate in certificates("tls_ca_file", file)? {
        let shown = file.display().to_string();
        roots
            .add(certificate)
            .map_err(|error| unusable("tls_ca_file", &shown, &error))?;
    }
    Ok(roots)
}

fn certificates(
    key: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConfigFault> {
    const CERTIFICATES: &str = "one or more certificates";
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unreadable(key, file, CERTIFICATES, &error))?;
    if certificates.is_empty() {
        return Err(unreadable(key, file, CERTIFICATES, &"there is none in it"));
    }
    Ok(certificates)
}

fn unreadable(
    key: &'static str,
    file: &Path,
    expected: &str,
    reason: &dyn std::fmt::Display,
) -> ConfigFault {
    ConfigFault {
        key,
        found: format!("{} ({reason})", file.display()),
        expected: format!("a PEM file with {expected}"),
        mend: "check the path, and that the worker may read it".into(),
    }
}

fn unusable(key: &'static str, found: &str, error: &Error) -> ConfigFault {
    ConfigFault {
        key,
        found: format!("{found} ({error})"),
        expected:
            "certificates and a key that belong together, in a form that TLS 1.2 or 1.3 takes"
                .into(),
        mend: "have them issued again".into(),
    }
}

fn half(missing: &'static str, given: &str) -> ConfigFault {
    ConfigFault {
        key: missing,
        found: format!("nothing, but broker.{given}"),
        expected: "both or neither".into(),
        mend: "a client certificate needs its private key".into(),
    }
}
