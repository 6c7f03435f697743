//! Who gets in, with TLS and without, and what everybody else is told.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpListener,
};

use super::*;
use crate::config::TlsMode::{self, Off, Secret as Tls13};

const SECRET: &str = "0123456789abcdef";
const RESOURCE: ResourceId = ResourceId(7);

fn identity(node: u8, secret: &str, mode: TlsMode) -> Identity {
    let text = format!(
        "cluster = \"t\"\nsecret = \"{secret}\"\n[nodes.n]\nid = {node}\naddress = \"127.0.0.1:1\""
    );
    let config = Config::parse(std::path::Path::new("t.toml"), &text).unwrap();
    Identity::new(&config, &config.nodes[0], Tls::of(mode).unwrap()).unwrap()
}

async fn bind() -> (TcpListener, std::net::SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn dial_at(
    address: std::net::SocketAddr,
    dialer: &Identity,
    peer: NodeId,
) -> Result<Proved, String> {
    let socket = TcpStream::connect(address).await.unwrap();
    dial(socket, dialer, RESOURCE, peer).await
}

async fn welcome_at(socket: &TcpListener, listener: &Identity) -> Result<Proved, String> {
    let (socket, _) = socket.accept().await.unwrap();
    welcome(socket, listener, |link| link.resource == RESOURCE).await
}

async fn meet(dialer: Identity, listener: Identity) -> [Result<Proved, String>; 2] {
    let (socket, address) = bind().await;
    let (dialled, listened) = tokio::join!(
        dial_at(address, &dialer, listener.local.node),
        welcome_at(&socket, &listener)
    );
    [dialled, listened]
}

fn refusals(met: [Result<Proved, String>; 2]) -> [String; 2] {
    met.map(|met| met.err().unwrap())
}

#[tokio::test]
async fn the_same_secret_lets_both_in() {
    for mode in [Off, Tls13] {
        let met = meet(identity(1, SECRET, mode), identity(2, SECRET, mode)).await;
        let [dialled, listened] = met.map(Result::unwrap);
        let peers = (dialled.session.peer, listened.session.peer);
        assert_eq!(peers, (NodeId(2), NodeId(1)));
        assert_eq!(dialled.session.send_seed, listened.session.receive_seed);
        for proved in [dialled, listened] {
            assert_eq!(proved.tls.is_some(), mode == Tls13);
            if let Some(tls) = proved.tls {
                assert_eq!(
                    tls.protocol_version(),
                    Some(rustls::ProtocolVersion::TLSv1_3)
                );
                assert!(!tls.is_handshaking() && !tls.wants_write());
            }
        }
    }
}

#[tokio::test]
async fn another_secret_lets_nobody_in() {
    for mode in [Off, Tls13] {
        let dialer = identity(1, SECRET, mode);
        let listener = identity(2, "fedcba9876543210", mode);
        let [dialled, listened] = refusals(meet(dialer, listener).await);
        assert!(dialled.contains("its log says why"), "{dialled}");
        assert!(listened.contains("different secrets"), "{listened}");
    }
}

/// A node that is to speak TLS never speaks in the clear, and each side says what is to be done.
#[tokio::test]
async fn one_mode_does_not_meet_the_other() {
    let met = meet(identity(1, SECRET, Off), identity(2, SECRET, Tls13)).await;
    let [dialled, listened] = refusals(met);
    assert!(
        dialled.contains("takes nothing but TLS: `tls` must be the same"),
        "{dialled}"
    );
    assert!(listened.contains("it speaks in the clear"), "{listened}");

    let met = meet(identity(1, SECRET, Tls13), identity(2, SECRET, Off)).await;
    let [dialled, listened] = refusals(met);
    assert!(
        dialled.contains("perhaps it speaks in the clear"),
        "{dialled}"
    );
    assert!(
        listened.contains("it speaks TLS, and this node does not"),
        "{listened}"
    );
}

/// Whoever ends TLS himself, with a key of his own towards each side, and relays every byte.
#[tokio::test]
async fn a_man_in_the_middle_is_seen_by_both() {
    let (dialer, listener) = (identity(1, SECRET, Tls13), identity(2, SECRET, Tls13));
    let (socket, address) = bind().await;
    let (trap, trap_address) = bind().await;
    let peer = listener.local.node;
    let between = async {
        let tls = Tls::of(Tls13).unwrap();
        let (caught, _) = trap.accept().await.unwrap();
        let caught = Carrier::welcome(caught, tls.as_ref()).await.unwrap();
        let onward = TcpStream::connect(address).await.unwrap();
        let onward = Carrier::dial(onward, tls.as_ref()).await.unwrap();
        let (Carrier::Tls(mut caught), Carrier::Tls(mut onward)) = (caught, onward) else {
            panic!("both are TLS");
        };
        let _ = copy_bidirectional(&mut caught, &mut onward).await;
        // Both must end now.
        let _ = (caught.shutdown().await, onward.shutdown().await);
    };
    let (dialled, listened, ()) = tokio::join!(
        dial_at(trap_address, &dialer, peer),
        welcome_at(&socket, &listener),
        between
    );
    for said in refusals([dialled, listened]) {
        assert!(said.contains("somebody stands between them"), "{said}");
    }
}

#[tokio::test]
async fn strangers_learn_nothing() {
    for (mode, what) in [(Off, "does not speak Twindisk"), (Tls13, "in the clear")] {
        let listener = identity(2, SECRET, mode);
        let (socket, address) = bind().await;
        let stranger = async {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let http = b"GET / HTTP/1.1\r\nHost: standby.example\r\nAccept: */*\r\n\r\n";
            socket.write_all(http).await.unwrap();
            let mut answer = Vec::new();
            // A reset is an end, too.
            let _ = socket.read_to_end(&mut answer).await;
            answer
        };
        let (answer, welcomed) = tokio::join!(stranger, welcome_at(&socket, &listener));
        assert_eq!(answer, b"");
        let said = welcomed.err().unwrap();
        assert!(said.contains(what), "{said}");
    }
}
