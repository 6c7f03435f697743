//! TLS on replication links: the one place where its settings are made, and what carries a handshake with it or without.

use std::{io, sync::Arc};

use ring::{rand::SystemRandom, signature::Ed25519KeyPair};
use rustls::{
    ClientConfig, Connection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        ring::{cipher_suite, default_provider, kx_group, sign::any_eddsa_type},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::AlwaysResolvesServerRawPublicKeys,
    sign::{CertifiedKey, SigningKey},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use twindisk_format::auth::Channel;

use crate::config::TlsMode;

/// This node's settings for both directions.
pub(crate) struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Those that a mode needs; `None`: everything goes in the clear.
    ///
    /// # Errors
    /// When there are no random numbers, or this machine lacks what TLS 1.3 needs.
    pub(crate) fn of(mode: TlsMode) -> io::Result<Option<Self>> {
        match mode {
            TlsMode::Off => Ok(None),
            TlsMode::Secret => Self::of_secret().map(Some).map_err(io::Error::other),
        }
    }

    /// A bare key, fresh for each run of the process, and nobody who vouches for it: see [`AnyKey`].
    fn of_secret() -> Result<Self, Error> {
        let (key, public) = fresh_key()?;
        Self::with_key(key, public)
    }

    fn with_key(key: Arc<dyn SigningKey>, public: CertificateDer<'static>) -> Result<Self, Error> {
        let mut provider = default_provider();
        // The fastest first; each of them will do.
        provider.cipher_suites = vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        provider.kx_groups = vec![kx_group::X25519];
        let provider = Arc::new(provider);
        let certified = Arc::new(CertifiedKey::new(vec![public], key));

        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
        // No connection follows from an earlier one: each has its own keys and its own exporter.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyKey(provider)))
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
        })
    }
}

/// A key, and its public half as TLS carries it.
fn fresh_key() -> Result<(Arc<dyn SigningKey>, CertificateDer<'static>), Error> {
    let no_random = |_| Error::FailedToGetRandomBytes;
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(no_random)?;
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(key.as_ref()))?;
    let no_public = || Error::General("an Ed25519 key without a public half".to_owned());
    let public = key.public_key().ok_or_else(no_public)?;
    let public = CertificateDer::from(public.as_ref().to_vec());
    Ok((key, public))
}

/// What an authentication goes through.
pub(crate) enum Carrier {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Carrier {
    /// The end that connects.
    pub(crate) async fn dial(socket: TcpStream, tls: Option<&Tls>) -> Result<Self, String> {
        let Some(tls) = tls else {
            return Ok(Self::Clear(socket));
        };
        // Nobody looks at the name.
        let name = ServerName::try_from("twindisk").map_err(|error| error.to_string())?;
        let stream = tls.connector.connect(name, socket).await.map_err(|error| {
            format!(
                "no TLS with it ({error}): perhaps it speaks in the clear (`tls` must be the same on both nodes), or it \
                 turns connections away; its log says more"
            )
        })?;
        Ok(Self::Tls(Box::new(stream.into())))
    }

    /// The end that was connected to. Whether the other one speaks as it should is seen in its first byte.
    pub(crate) async fn welcome(socket: TcpStream, tls: Option<&Tls>) -> Result<Self, String> {
        let mut first = [0];
        let seen = socket.peek(&mut first).await;
        if seen.map_err(|error| error.to_string())? == 0 {
            return Err("it closed the connection without a word".to_owned());
        }
        match (tls, first) {
            (None, [TLS_HANDSHAKE]) => Err(
                "it speaks TLS, and this node does not (`tls = \"off\"`, or every address in its \
                 configuration is on loopback): `tls` must be the same on both nodes"
                    .to_owned(),
            ),
            (None, _) => Ok(Self::Clear(socket)),
            (Some(tls), [TLS_HANDSHAKE]) => {
                let stream = tls.acceptor.accept(socket).await;
                let stream = stream.map_err(|error| format!("no TLS with it: {error}"))?;
                Ok(Self::Tls(Box::new(stream.into())))
            }
            (Some(_), _) => Err(
                "it speaks in the clear, and this node takes nothing but TLS: `tls` must be the same on both \
                 nodes (`tls = \"off\"` on both, for as long as one has a version without TLS)"
                    .to_owned(),
            ),
        }
    }

    /// What the proofs on it must cover.
    pub(crate) fn channel(&self) -> Result<Channel, String> {
        let Self::Tls(stream) = self else {
            return Ok(Channel::Clear);
        };
        let exported = match &**stream {
            TlsStream::Client(stream) => export(|out| {
                let connection = stream.get_ref().1;
                connection.export_keying_material(out, EXPORTER, Some(&[]))
            }),
            TlsStream::Server(stream) => export(|out| {
                let connection = stream.get_ref().1;
                connection.export_keying_material(out, EXPORTER, Some(&[]))
            }),
        };
        exported.map_err(|error| format!("TLS exports nothing: {error}"))
    }

    pub(crate) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(into).await,
            Self::Tls(stream) => stream.read(into).await,
        }
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// The socket, and what goes on with TLS on it.
    pub(crate) fn into_parts(self) -> (TcpStream, Option<Box<Connection>>) {
        match self {
            Self::Clear(socket) => (socket, None),
            Self::Tls(stream) => match *stream {
                TlsStream::Client(stream) => {
                    let (socket, connection) = stream.into_inner();
                    (socket, Some(Box::new(Connection::Client(connection))))
                }
                TlsStream::Server(stream) => {
                    let (socket, connection) = stream.into_inner();
                    (socket, Some(Box::new(Connection::Server(connection))))
                }
            },
        }
    }
}

fn export(with: impl FnOnce([u8; 32]) -> Result<[u8; 32], Error>) -> Result<Channel, Error> {
    Ok(Channel::Tls(with([0; 32])?))
}

/// Takes any key. That is safe for one reason, and only as long as it holds: nothing but the authentication goes through
/// the channel before each end has proven the shared secret over this very channel's exporter
/// ([`twindisk_format::auth::Channel`]), and whoever put his own key in has another channel on each side. The peer's
/// signature is verified all the same: it is what makes the exporter the peer's and no mixture.
#[derive(Debug)]
struct AnyKey(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never asked: there is no TLS 1.2 here.
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(cert.as_ref()),
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    /// The kind of key that each node makes.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// RFC 9266.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// The first byte of whoever begins with TLS.
const TLS_HANDSHAKE: u8 = 0x16;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Of a listener with this key and that public half.
    async fn dialled(
        key: Arc<dyn SigningKey>,
        public: CertificateDer<'static>,
    ) -> Result<Channel, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let theirs = Tls::with_key(key, public).unwrap();
        let ours = Tls::of_secret().unwrap();
        let (dialled, _listened) = tokio::join!(
            async { Carrier::dial(TcpStream::connect(address).await.unwrap(), Some(&ours)).await },
            async { Carrier::welcome(listener.accept().await.unwrap().0, Some(&theirs)).await }
        );
        dialled?.channel()
    }

    /// Whose key it is nobody asks, but whoever shows one must have it.
    #[tokio::test]
    async fn the_signature_is_verified() {
        let (key, public) = fresh_key().unwrap();
        let one = dialled(Arc::clone(&key), public.clone()).await.unwrap();
        let other = dialled(Arc::clone(&key), public).await.unwrap();
        assert!(one != other, "each channel has a name of its own");
        let (_, of_another) = fresh_key().unwrap();
        let error = dialled(key, of_another).await.unwrap_err();
        assert!(error.contains("BadSignature"), "{error}");
    }
}
