//! Certificates made on the spot, and a TLS client that shows them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

/// A CA.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub(crate) struct Paper {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Paper {
    /// Writes both as `NAME.pem` and `NAME.key`.
    pub(crate) fn save(&self, folder: &Path, name: &str) {
        fs::write(folder.join(format!("{name}.pem")), &self.cert).unwrap();
        fs::write(folder.join(format!("{name}.key")), &self.key).unwrap();
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Its own certificate, as if it were a server's.
    pub(crate) fn itself(&self) -> Paper {
        Paper { cert: self.pem(), key: self.issuer.key().serialize_pem() }
    }

    /// For a server called `localhost`.
    pub(crate) fn server(&self, common_name: &str) -> Paper {
        self.paper(common_name, ExtendedKeyUsagePurpose::ServerAuth, 2099)
    }

    /// The same, no longer good.
    pub(crate) fn expired_server(&self, common_name: &str) -> Paper {
        self.paper(common_name, ExtendedKeyUsagePurpose::ServerAuth, 2020)
    }

    /// For a client, good until the end of `last_year`.
    pub(crate) fn client(&self, common_name: &str, last_year: i32) -> Paper {
        self.paper(common_name, ExtendedKeyUsagePurpose::ClientAuth, last_year)
    }

    fn paper(&self, common_name: &str, purpose: ExtendedKeyUsagePurpose, last_year: i32) -> Paper {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages.push(purpose);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        Paper { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A client that believes `authority`, and shows `paper` when asked.
pub(crate) fn client_config(authority: &Authority, paper: Option<&Paper>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match paper {
        None => builder.with_no_client_auth(),
        Some(paper) => {
            let cert = CertificateDer::from_pem_slice(paper.cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(paper.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![cert], key).unwrap()
        }
    }
}

/// A TLS connection to `localhost` at `address`, not yet used.
pub(crate) fn tls(address: SocketAddr, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}
