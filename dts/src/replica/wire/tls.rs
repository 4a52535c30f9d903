//! TLS of the replication connection, as the config sets it.

use std::sync::Arc;

use mysql_async::IoError;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use service::tls::{AnyCertificate, roots};
use tokio_rustls::TlsConnector;

use crate::config::{Tls, TlsMode};

type Result<T> = std::result::Result<T, mysql_async::Error>;

/// Prepares the client's side.
pub(super) fn connector(tls: &Tls) -> Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match tls.mode {
        TlsMode::Require => {
            builder.dangerous().with_custom_certificate_verifier(AnyCertificate::new(provider))
        }
        TlsMode::VerifyCa => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName::new(trusted(tls)?, provider)?)),
        TlsMode::Verify | TlsMode::Off => builder.with_root_certificates(trusted(tls)?),
    };
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = CertificateDer::pem_file_iter(cert).map_err(unreadable)?;
            let chain = chain.collect::<std::result::Result<_, _>>().map_err(unreadable)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
            builder.with_client_auth_cert(chain, key).map_err(failed)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name that the server's certificate must have.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|error| mysql_async::Error::Io(IoError::Tls(error.into())))
}

fn trusted(tls: &Tls) -> Result<RootCertStore> {
    roots(tls.ca_file.as_deref()).map_err(|problem| failed(rustls::Error::General(problem)))
}

fn failed(error: rustls::Error) -> mysql_async::Error {
    mysql_async::Error::Io(IoError::Tls(error.into()))
}

fn unreadable(error: rustls::pki_types::pem::Error) -> mysql_async::Error {
    mysql_async::Error::Io(IoError::Tls(error.into()))
}

/// `tls = "verify-ca"`: a certificate for any name, if a trusted authority has signed it.
#[derive(Debug)]
struct AnyName {
    strict: Arc<WebPkiServerVerifier>,
}

impl AnyName {
    fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Self> {
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let strict = strict.map_err(|error| failed(rustls::Error::General(error.to_string())))?;
        Ok(Self { strict })
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        // The name is checked last.
        let strict = &self.strict;
        match strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
