//! Certificates, keys and CAs of a listener: read from files, read again while the server runs, and what the record says
//! of a certificate that a client shows.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracemq_model::{Details, TimeMs};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where certificate, key and CA of a listener stand, and what is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those up to its CA, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Whether clients show a certificate.
    pub clients: ClientCertificates,
    /// Whether the common name of a client's certificate is its user name.
    pub user_is_common_name: bool,
}

/// Whether clients show a certificate; the file has the CAs that sign them, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for.
    Unasked,
    /// Asked for; one that is shown must be good.
    Optional(PathBuf),
    /// Without a good one nobody comes in.
    Required(PathBuf),
}

/// Why certificate, key or CA can't be used; the texts name the file.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// A file can't be read.
    #[error("can't read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// A file holds no PEM, or not a whole one.
    #[error("{0}: is no whole PEM file of the kind that is due: {1}")]
    Pem(PathBuf, String),
    /// Certificate and key are not a pair that can be served.
    #[error("{cert} and {key} can't be used together")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        why: rustls::Error,
    },
    /// The CAs can't be used.
    #[error("{0}: {1}")]
    ClientCa(PathBuf, String),
}

/// The certificates of a listener. Clones are the same ones: what is reloaded is in force for all.
#[derive(Clone)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    current: RwLock<Current>,
}

/// What is in force.
struct Current {
    config: Arc<ServerConfig>,
    not_after: Option<TimeMs>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads `files`.
    ///
    /// # Errors
    /// When one is missing, not whole, or does not fit the others.
    pub fn load(files: TlsFiles) -> Result<Self, CertificatesError> {
        let current = RwLock::new(read(&files)?);
        Ok(Self(Arc::new(Inner { files, current })))
    }

    /// Reads the files again; what they hold is in force for all handshakes from here on.
    ///
    /// # Errors
    /// As in [`load`](Self::load); what was in force stays so.
    pub fn reload(&self) -> Result<(), CertificatesError> {
        let new = read(&self.0.files)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The last moment at which what is in force is good: that of the first to expire, up to the CA. None when that can't be
    /// read of one.
    pub fn not_after(&self) -> Option<TimeMs> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).not_after
    }

    /// The server's end of a handshake on `stream`, with what is in force now: for listeners of which nothing goes on record,
    /// such as that of HTTP. How long it may take is the caller's to say.
    ///
    /// # Errors
    /// When the client breaks off or does not speak TLS, or nothing it offers can be taken.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        TlsAcceptor::from(self.current()).accept(stream).await
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    pub(super) fn user_is_common_name(&self) -> bool {
        self.0.files.user_is_common_name
    }
}

fn read(files: &TlsFiles) -> Result<Current, CertificatesError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.cert)?;
    let ends: Option<Vec<_>> = chain.iter().map(|certificate| look_at(certificate).not_after).collect();
    let not_after = ends.and_then(|ends| ends.into_iter().min());
    let key_pem = std::fs::read(&files.key).map_err(|error| CertificatesError::Read(files.key.clone(), error))?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|error| CertificatesError::Pem(files.key.clone(), error.to_string()))?;
    let pair = |why| CertificatesError::Pair { cert: files.cert.clone(), key: files.key.clone(), why };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match &files.clients {
        ClientCertificates::Unasked => builder.with_no_client_auth(),
        ClientCertificates::Optional(ca) => builder.with_client_cert_verifier(witness(ca, &provider, false)?),
        ClientCertificates::Required(ca) => builder.with_client_cert_verifier(witness(ca, &provider, true)?),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    if files.clients == ClientCertificates::Unasked {
        config.ticketer = ring::Ticketer::new().map_err(pair)?;
    } else {
        // A resumed session would skip the look at the certificate, which may have expired meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Current { config: Arc::new(config), not_after })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
    let pem = std::fs::read(file).map_err(|error| CertificatesError::Read(file.to_owned(), error))?;
    let wrong = |why: String| CertificatesError::Pem(file.to_owned(), why);
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it holds no certificate".into())) } else { Ok(found) }
}

fn witness(
    ca: &Path,
    provider: &Arc<CryptoProvider>,
    is_required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, CertificatesError> {
    let wrong = |why: String| CertificatesError::ClientCa(ca.to_owned(), why);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    Ok(Arc::new(Witness(builder.build().map_err(|error| wrong(error.to_string()))?)))
}

/// What the record says of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) subject: Option<Arc<str>>,
    pub(super) issuer: Option<Arc<str>>,
    pub(super) common_name: Option<Arc<str>>,
    pub(super) not_after: Option<TimeMs>,
}

thread_local! {
    /// The certificate that was last judged on this thread. Whoever made the library judge it takes it at once: the
    /// library itself forgets those that it refuses.
    static JUDGED: RefCell<Option<Shown>> = const { RefCell::new(None) };
}

/// The certificate that the call into the library before this one has judged, if it has.
pub(super) fn take_judged() -> Option<Shown> {
    JUDGED.take()
}

/// Judges as the library does, and remembers whom.
#[derive(Debug)]
struct Witness(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Witness {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        JUDGED.set(Some(look_at(end_entity)));
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn look_at(certificate: &[u8]) -> Shown {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Shown::default() };
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    Shown {
        subject: Some(Details::text(&subject.to_string())),
        issuer: Some(Details::text(&certificate.issuer().to_string())),
        // Whole or not at all: cut, it would be another user's name.
        common_name: common_name.filter(|name| name.len() <= Details::TEXT_MAX_BYTES).map(Into::into),
        not_after: Some(TimeMs(certificate.validity().not_after.timestamp().saturating_mul(1_000))),
    }
}
