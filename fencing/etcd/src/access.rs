//! Where etcd is, and with what this node proves itself there. Files are read when they are needed, so that a certificate
//! or a password that was renewed is used after the first failure with the old one.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{RootCertStore, crypto::CryptoProvider, pki_types, sign::CertifiedKey};
use ureq::tls::{
    Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem,
};

use crate::{
    fault::Fault,
    limits::{MAX_PASSWORD_BYTES, MAX_PEM_BYTES},
};

/// How etcd is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its members: `http://HOST:PORT` or `https://HOST:PORT`, at least one.
    pub endpoints: Vec<String>,
    /// What keys begin with: it ends with a slash.
    pub prefix: String,
    /// Who signs the members' certificates; nobody is believed over `https` without it.
    pub ca_file: Option<PathBuf>,
    /// Files with the certificate of this node and its private key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The user, and a file with the password.
    pub user: Option<(String, PathBuf)>,
}

impl Access {
    /// A client with no connection yet.
    pub(crate) fn agent(&self) -> Result<ureq::Agent, Fault> {
        let config = ureq::Agent::config_builder()
            .tls_config(self.tls()?)
            .http_status_as_error(false)
            .max_redirects(0)
            // What is nobody's business goes through no proxy that happens to be in the environment.
            .proxy(None)
            .user_agent("twindisk")
            .build();
        Ok(config.new_agent())
    }

    pub(crate) fn password(&self) -> Result<Option<(&str, String)>, Fault> {
        let Some((user, file)) = &self.user else {
            return Ok(None);
        };
        let bytes = read(file, MAX_PASSWORD_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| no_use(file, "it is no text"))?;
        let password = text.trim_end_matches(['\n', '\r']).to_owned();
        Ok(Some((user, password)))
    }

    fn tls(&self) -> Result<TlsConfig, Fault> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = match &self.ca_file {
            Some(file) => authorities(file)?,
            None => Vec::new(),
        };
        let own = match &self.certificate {
            Some((cert_file, key_file)) => Some(identity(cert_file, key_file, &provider)?),
            None => None,
        };
        Ok(TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(own)
            .unversioned_rustls_crypto_provider(provider)
            .build())
    }
}

/// Those who sign. One that is no certificate of an authority would be passed over in silence later.
fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>, Fault> {
    let all = certificates(file)?;
    let mut store = RootCertStore::empty();
    for one in &all {
        let der = pki_types::CertificateDer::from(one.der());
        store
            .add(der.into_owned())
            .map_err(|error| no_use(file, error))?;
    }
    Ok(all)
}

/// This node's certificate with its key. That they fit is seen here: the HTTP client takes it for granted.
fn identity(
    cert_file: &Path,
    key_file: &Path,
    provider: &CryptoProvider,
) -> Result<ClientCert, Fault> {
    let chain = certificates(cert_file)?;
    let pem = read(key_file, MAX_PEM_BYTES)?;
    let key = PrivateKey::from_pem(&pem).map_err(|error| no_use(key_file, error))?;
    let der = pki_types::PrivateKeyDer::try_from(key.der())
        .map_err(|error| no_use(key_file, error))?
        .clone_key();
    let own = chain.iter().map(|one| {
        let der = pki_types::CertificateDer::from(one.der());
        der.into_owned()
    });
    CertifiedKey::from_der(own.collect(), der, provider).map_err(|error| {
        let what = format!("it does not fit {}: {error}", cert_file.display());
        no_use(key_file, what)
    })?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, Fault> {
    let pem = read(file, MAX_PEM_BYTES)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(one) = item.map_err(|error| no_use(file, error))? {
            found.push(one);
        }
    }
    if found.is_empty() {
        return Err(no_use(file, "there is no certificate in it (PEM)"));
    }
    Ok(found)
}

fn read(file: &Path, most: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(|error| no_use(file, error))?;
    opened
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| no_use(file, error))?;
    if bytes.len() as u64 > most {
        return Err(no_use(file, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

fn no_use(file: &Path, why: impl ToString) -> Fault {
    Fault::File {
        file: file.to_owned(),
        why: why.to_string(),
    }
}
