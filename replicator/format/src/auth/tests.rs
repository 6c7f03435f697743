//! What an honest pair agrees on, and what everybody else gets.

use proptest::{prelude::*, sample::Index};

use super::{messages::Hello, *};

const RESOURCE: ResourceId = ResourceId(0xbeef);
const DIALER: NodeId = NodeId(1);
const LISTENER: NodeId = NodeId(2);

fn local(node: NodeId) -> Local {
    Local {
        cluster: ClusterId(77),
        node,
        boot: BootId(1000 + u64::from(node.0)),
        versions: 1..=1,
        features: 0,
    }
}

fn secret(fill: u8) -> Secret {
    Secret::new(&[fill; 32]).unwrap()
}

fn link(peer: NodeId) -> Link {
    Link {
        resource: RESOURCE,
        peer,
    }
}

fn dialer(local: Local) -> (Dialer, Progress) {
    Dialer::new(local, link(LISTENER), secret(9), [3; 32], Channel::Clear)
}

/// Knows the secret of the link to the dialer only.
fn listener(local: Local) -> Listener<impl FnMut(Link) -> Option<Secret>> {
    Listener::new(
        local,
        |asked| (asked == link(DIALER)).then(|| secret(9)),
        [4; 32],
        Channel::Clear,
    )
}

/// Runs both ends; each message passes through `tamper` with its number.
fn run(
    (mut dialer, begin): (Dialer, Progress),
    mut listener: Listener<impl FnMut(Link) -> Option<Secret>>,
    mut tamper: impl FnMut(usize, &mut Vec<u8>),
) -> Result<(Session, Session), (&'static str, AuthError)> {
    let mut message = begin.send;
    tamper(0, &mut message);
    let hello = listener
        .handle_bytes(&message)
        .map_err(|error| ("listener", error))?;
    message = hello.send;
    tamper(1, &mut message);
    let proof = dialer
        .handle_bytes(&message)
        .map_err(|error| ("dialer", error))?;
    message = proof.send;
    tamper(2, &mut message);
    let answer = listener
        .handle_bytes(&message)
        .map_err(|error| ("listener", error))?;
    message = answer.send;
    tamper(3, &mut message);
    let end = dialer
        .handle_bytes(&message)
        .map_err(|error| ("dialer", error))?;
    Ok((end.done.unwrap(), answer.done.unwrap()))
}

fn refusal(dialer: (Dialer, Progress), of: Local) -> (&'static str, AuthError) {
    run(dialer, listener(of), |_, _| ()).unwrap_err()
}

#[test]
fn an_honest_pair_agrees() {
    let mut ours = local(DIALER);
    (ours.versions, ours.features) = (1..=4, 0b0110);
    let mut theirs = local(LISTENER);
    (theirs.versions, theirs.features) = (2..=3, 0b1100);
    let (left, right) = run(dialer(ours), listener(theirs), |_, _| ()).unwrap();
    assert_eq!((left.peer, left.peer_boot), (LISTENER, BootId(1002)));
    assert_eq!((right.peer, right.peer_boot), (DIALER, BootId(1001)));
    for session in [&left, &right] {
        assert_eq!(
            (session.resource, session.version, session.features),
            (RESOURCE, 3, 0b0100)
        );
    }
    assert_eq!(left.send_seed, right.receive_seed);
    assert_eq!(left.receive_seed, right.send_seed);
    assert_ne!(left.send_seed, left.receive_seed);
}

#[test]
fn bytes_may_come_one_by_one_and_frames_right_behind() {
    let (mut dialer, begin) = dialer(local(DIALER));
    let mut listener = listener(local(LISTENER));
    let mut to_listener = begin.send;
    let mut to_dialer = Vec::new();
    let mut need = HELLO_BYTES;
    let mut accepted = None;
    while accepted.is_none() {
        for byte in core::mem::take(&mut to_listener) {
            let progress = listener.handle_bytes(&[byte]).unwrap();
            need -= 1;
            if need == 0 {
                need = progress.need;
            }
            assert_eq!((progress.need, progress.used), (need, 1));
            to_dialer.extend(progress.send);
            accepted = accepted.or(progress.done);
        }
        if accepted.is_none() {
            for byte in core::mem::take(&mut to_dialer) {
                to_listener.extend(dialer.handle_bytes(&[byte]).unwrap().send);
            }
        }
    }
    to_dialer.extend(b"first frame");
    let progress = dialer.handle_bytes(&to_dialer).unwrap();
    assert!(progress.done.is_some());
    assert_eq!(progress.used, to_dialer.len() - b"first frame".len());
    assert_eq!(progress.need, 0);
    assert_eq!(dialer.handle_bytes(b"x"), Err(AuthError::Over));
    assert_eq!(listener.handle_bytes(b"x"), Err(AuthError::Over));
}

#[test]
fn the_log_says_what_is_wrong() {
    let mut of = local(LISTENER);
    of.cluster = ClusterId(78);
    let (who, error) = refusal(dialer(local(DIALER)), of);
    assert_eq!(
        (who, &error),
        ("listener", &AuthError::OtherCluster { node: DIALER })
    );
    assert!(
        error
            .to_string()
            .starts_with("node 1 is of another cluster")
    );

    let mut of = local(LISTENER);
    of.versions = 2..=3;
    let (who, error) = refusal(dialer(local(DIALER)), of);
    assert_eq!(who, "listener");
    assert!(
        error
            .to_string()
            .contains("we speak 2..3, the peer 1..1: upgrade the peer")
    );

    let (_, error) = refusal(dialer(local(DIALER)), local(NodeId(3)));
    let (wanted, me) = (LISTENER, NodeId(3));
    assert_eq!(
        error,
        AuthError::NotMe {
            node: DIALER,
            wanted,
            me
        }
    );

    let (_, error) = refusal(dialer(local(NodeId(5))), local(LISTENER));
    let node = NodeId(5);
    assert_eq!(
        error,
        AuthError::NotShared {
            node,
            resource: RESOURCE
        }
    );

    let other = Dialer::new(
        local(DIALER),
        link(LISTENER),
        secret(8),
        [3; 32],
        Channel::Clear,
    );
    let (who, error) = refusal(other, local(LISTENER));
    assert_eq!(
        (who, error),
        ("listener", AuthError::WrongSecret { node: DIALER })
    );

    let (_, error) = refusal(dialer(local(LISTENER)), local(LISTENER));
    assert_eq!(error, AuthError::Myself { node: LISTENER });

    let mut listener = listener(local(LISTENER));
    let http = b"GET / HTTP/1.1\r\nHost: standby.example\r\nAccept: */*\r\n\r\n";
    assert_eq!(listener.handle_bytes(http), Err(AuthError::NotTwindisk));
    assert_eq!(listener.handle_bytes(http), Err(AuthError::Over));
}

/// The dialer checks the listener as well: a listener of the right secret but another place is refused.
#[test]
fn the_dialer_refuses_who_it_did_not_dial() {
    let wrong = |local: Local, peer: NodeId, resource: ResourceId| {
        let (mut dialer, begin) = dialer(self::local(DIALER));
        let theirs = Hello::new(&local.versions, [4; 32], Channel::Clear);
        let proof = dialer.handle_bytes(&theirs.to_bytes()).unwrap().send;
        let ours = Hello::from_bytes(begin.send.as_slice().try_into().unwrap()).unwrap();
        let mut transcript = Transcript::new(&ours, &theirs, Channel::Clear);
        let (identity, said) = Identity::from_bytes(proof.as_slice().try_into().unwrap()).unwrap();
        assert!(transcript.verify(&secret(9), Role::Dialer, &identity, &said));
        let answer = Identity::new(&local, Link { resource, peer });
        let answer = transcript.prove(&secret(9), Role::Listener, &answer);
        dialer
            .handle_bytes(&answer)
            .map(|progress| progress.done.is_some())
    };
    assert_eq!(wrong(local(LISTENER), DIALER, RESOURCE), Ok(true));
    let node = NodeId(3);
    let wanted = LISTENER;
    assert_eq!(
        wrong(local(node), DIALER, RESOURCE),
        Err(AuthError::OtherNode { node, wanted })
    );
    let node = LISTENER;
    let other = ResourceId(1);
    assert_eq!(
        wrong(local(node), DIALER, other),
        Err(AuthError::OtherResource { node })
    );
    assert_eq!(
        wrong(local(node), NodeId(9), RESOURCE),
        Err(AuthError::NotMe {
            node,
            wanted: NodeId(9),
            me: DIALER
        })
    );
}

/// An attacker without the secret sends the dialer's own messages back to it.
#[test]
fn reflection_fails() {
    let (mut dialer, begin) = dialer(local(DIALER));
    let proof = dialer.handle_bytes(&begin.send).unwrap().send;
    assert!(dialer.handle_bytes(&proof).is_err());

    // With the identity turned round, only the role under the proof is left to stop it.
    let (mut dialer, begin) = self::dialer(local(DIALER));
    let mut proof = dialer.handle_bytes(&begin.send).unwrap().send;
    proof[48..50].copy_from_slice(&[LISTENER.0, DIALER.0]);
    let node = LISTENER;
    assert_eq!(
        dialer.handle_bytes(&proof),
        Err(AuthError::WrongSecret { node })
    );
    let hello = Hello::new(&(1..=1), [1; 32], Channel::Clear);
    let identity = Identity::new(&local(DIALER), link(LISTENER));
    let proof_as =
        |role| Transcript::new(&hello, &hello, Channel::Clear).prove(&secret(9), role, &identity);
    assert_ne!(proof_as(Role::Dialer), proof_as(Role::Listener));
}

/// Messages of an overheard handshake are worthless on the next connection.
#[test]
fn replay_fails_on_both_ends() {
    let mut heard: Vec<Vec<u8>> = Vec::new();
    let pair = (dialer(local(DIALER)), listener(local(LISTENER)));
    run(pair.0, pair.1, |_, message| heard.push(message.clone())).unwrap();

    let lookup = |asked: Link| (asked == link(DIALER)).then(|| secret(9));
    let mut listener = Listener::new(local(LISTENER), lookup, [5; 32], Channel::Clear);
    listener.handle_bytes(&heard[0]).unwrap();
    let node = DIALER;
    assert_eq!(
        listener.handle_bytes(&heard[2]),
        Err(AuthError::WrongSecret { node })
    );

    let (mut dialer, _) = Dialer::new(
        local(DIALER),
        link(LISTENER),
        secret(9),
        [6; 32],
        Channel::Clear,
    );
    dialer.handle_bytes(&heard[1]).unwrap();
    let node = LISTENER;
    assert_eq!(
        dialer.handle_bytes(&heard[3]),
        Err(AuthError::WrongSecret { node })
    );
}

fn over(
    ours: Channel,
    theirs: Channel,
) -> (
    Dialer,
    Progress,
    Listener<impl FnMut(Link) -> Option<Secret>>,
) {
    let (dialer, begin) = Dialer::new(local(DIALER), link(LISTENER), secret(9), [3; 32], ours);
    let lookup = |asked: Link| (asked == link(DIALER)).then(|| secret(9));
    let listener = Listener::new(local(LISTENER), lookup, [4; 32], theirs);
    (dialer, begin, listener)
}

/// The proofs cover the TLS channel: whoever relays the messages from one channel to another, with the hints mended or
/// not, gets nowhere, and one whose end is in the clear neither.
#[test]
fn the_channel_is_part_of_the_proof() {
    let (one, other) = (Channel::Tls([1; 32]), Channel::Tls([2; 32]));
    let (dialer, begin, listener) = over(one, one);
    run((dialer, begin), listener, |_, _| ()).unwrap();

    let (mut dialer, begin, mut listener) = over(one, other);
    let hello = listener.handle_bytes(&begin.send).unwrap();
    assert!(listener.sees_other_channel());
    let error = dialer.handle_bytes(&hello.send).unwrap_err();
    assert_eq!(error, AuthError::OtherChannel);
    assert!(error.to_string().contains("somebody stands between them"));
    let error = listener.handle_bytes(&[0; IDENTITY_BYTES]).unwrap_err();
    assert_eq!(error, AuthError::OtherChannel);

    // Hints that are mended on the way are part of what was said, and said wrong.
    let hint = |channel| Hello::new(&(1..=1), [0; 32], channel).to_bytes()[12..16].to_vec();
    let refused = ("listener", AuthError::WrongSecret { node: DIALER });
    for (ours, theirs) in [(one, other), (one, Channel::Clear), (Channel::Clear, one)] {
        let (dialer, begin, listener) = over(ours, theirs);
        let mended = run((dialer, begin), listener, |number, message| match number {
            0 => message[12..16].copy_from_slice(&hint(theirs)),
            1 => message[12..16].copy_from_slice(&hint(ours)),
            _ => {}
        });
        assert_eq!(mended.unwrap_err(), refused, "{ours:?} {theirs:?}");
    }

    // Of two channels with the same hint nothing but the proof knows that they are two.
    let mut seen = std::collections::HashMap::new();
    let (one, other) = (0..=u64::MAX)
        .find_map(|number| {
            let mut channel = [0; 32];
            channel[..8].copy_from_slice(&number.to_le_bytes());
            let same = seen.insert(hint(Channel::Tls(channel)), channel)?;
            Some((Channel::Tls(same), Channel::Tls(channel)))
        })
        .unwrap();
    let (dialer, begin, listener) = over(one, other);
    let relayed = run((dialer, begin), listener, |_, _| ());
    assert_eq!(relayed.unwrap_err(), refused);
}

/// A listener that lets nobody in says nothing but its hello.
#[test]
fn the_unproven_get_no_answer() {
    let other = Dialer::new(
        local(DIALER),
        link(LISTENER),
        secret(8),
        [3; 32],
        Channel::Clear,
    );
    let mut answers = Vec::new();
    run(other, listener(local(LISTENER)), |number, message| {
        if number % 2 == 1 {
            answers.push(message.clone());
        }
    })
    .unwrap_err();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].len(), HELLO_BYTES);
}

#[test]
fn secrets_are_long_and_never_shown() {
    let error = Secret::new(b"too short").unwrap_err();
    assert!(error.to_string().contains("9 bytes"));
    let shown = format!("{:?}", dialer(local(DIALER)).0);
    assert!(shown.contains("Secret(not shown)"));
    assert!(!shown.contains("9, 9, 9"));
}

proptest! {
    /// Whatever bit is flipped in whatever message, nobody ends with a session that the other does not share.
    #[test]
    fn a_flip_of_any_bit_ends_the_handshake(number in 0..4usize, bit: Index) {
        let pair = (dialer(local(DIALER)), listener(local(LISTENER)));
        let result = run(pair.0, pair.1, |at, message| {
            if at == number {
                let bit = bit.index(message.len() * 8);
                message[bit / 8] ^= 1 << (bit % 8);
            }
        });
        prop_assert!(result.is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut listener = listener(local(LISTENER));
        if let Ok(progress) = listener.handle_bytes(&bytes) {
            prop_assert!(progress.done.is_none());
        }
        let (mut dialer, _) = dialer(local(DIALER));
        if let Ok(progress) = dialer.handle_bytes(&bytes) {
            prop_assert!(progress.done.is_none());
        }
    }
}
