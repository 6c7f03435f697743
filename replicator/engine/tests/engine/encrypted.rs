//! The two ends of a TLS connection as the control plane hands them over. Any key is taken: nobody is to be proven here.

use std::{
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::AlwaysResolvesServerRawPublicKeys,
    sign::CertifiedKey,
    version::TLS13,
};

use twindisk_core::ConnectionState;
use twindisk_engine::Input;

use crate::harness::{DEADLINE, Node, link, until};

/// A connected socket with its half of TLS, after the handshake.
pub(crate) type End = (TcpStream, Box<Connection>);

/// Two ends of one connection.
pub(crate) fn pair() -> (End, End) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    let name = ServerName::try_from("twindisk").expect("a name");
    let client = ClientConnection::new(client(), name).expect("client");
    let server = ServerConnection::new(server()).expect("server");
    let other = thread::spawn(move || shake(far, Connection::Server(server)));
    let near = shake(near, Connection::Client(client));
    (near, other.join().expect("server"))
}

/// Connects two running nodes by TLS and waits until they replicate.
pub(crate) fn connect(one: &Node, other: &Node) {
    let (mut near, mut far) = link(one, other);
    let (ours, theirs) = pair();
    (near.socket, near.tls) = (ours.0.into(), Some(ours.1));
    (far.socket, far.tls) = (theirs.0.into(), Some(theirs.1));
    one.sender().send(Input::Peer(near)).expect("running");
    other.sender().send(Input::Peer(far)).expect("running");
    until("the peers replicate", || {
        let established = |node: &Node| {
            let connection = node.status().peers[0].connection;
            [ConnectionState::Established, ConnectionState::Waiting].contains(&connection)
        };
        (established(one) && established(other)).then_some(())
    });
}

fn shake(mut socket: TcpStream, mut connection: Connection) -> End {
    socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
    while connection.is_handshaking() || connection.wants_write() {
        connection.complete_io(&mut socket).expect("handshake");
    }
    (socket, Box::new(connection))
}

fn client() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

fn server() -> Arc<ServerConfig> {
    // PKCS #8 of an Ed25519 key (RFC 8410) of the same byte all over.
    let mut key = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    key.resize(48, 7);
    let key = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(key)).expect("a key");
    let public = key.public_key().expect("its public half");
    let public = CertificateDer::from(public.as_ref().to_vec());
    let certified = Arc::new(CertifiedKey::new(vec![public], key));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::HandshakeNotComplete)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
