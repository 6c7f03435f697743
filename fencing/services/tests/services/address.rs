//! Virtual IPs in network namespaces: a peer with a bridge, and two nodes on it.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use twindisk_services::{Problem, Role, ServiceState};

use crate::support::{LONG, Scene, block_on, inside, isolated, states, tool, until};

const V4: &str = "10.91.0.100";
const V6: &str = "fd91::100";
const BOTH: &str = "{ address = '10.91.0.100/24', interface = 'eth0' }, { address = 'fd91::100/64', interface = 'eth0' }";

/// The hardware addresses of the two nodes.
const A: &str = "02:00:00:00:91:0a";
const B: &str = "02:00:00:00:91:0b";

/// Namespaces `peer`, `a` and `b`.
fn network() {
    for name in ["peer", "a", "b"] {
        tool("ip", &["netns", "add", name]);
    }
    ip("-n peer link add sw0 type bridge");
    for (node, hardware) in [("a", A), ("b", B)] {
        ip(&format!(
            "-n peer link add {node}0 type veth peer name eth0 netns {node}"
        ));
        ip(&format!("-n {node} link set eth0 address {hardware}"));
        ip(&format!("-n {node} link set eth0 up"));
        ip(&format!("-n peer link set {node}0 master sw0 up"));
    }
    ip("-n peer link set sw0 up");
    ip("-n peer addr add 10.91.0.1/24 dev sw0");
    ip("-n peer addr add fd91::1/64 dev sw0 nodad");
}

fn ip(words: &str) -> String {
    tool("ip", &words.split(' ').collect::<Vec<_>>())
}

/// What the peer knows of an address.
fn neighbour(address: &str) -> String {
    ip(&format!("-n peer neigh show {address}"))
}

/// The peer sends something to it, and so must know where it is.
fn talk_to(address: &str) {
    let address = SocketAddr::new(address.parse().unwrap(), 9);
    inside("peer", || {
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        // Refused, or still resolving: the kernel asks for the neighbour all the same.
        let _ = socket.send_to(b"?", address);
    });
}

/// As if the neighbour had missed every announcement so far.
fn mislead(address: &str) {
    ip(&format!(
        "-n peer neigh replace {address} lladdr {A} dev sw0 nud stale"
    ));
    assert!(neighbour(address).contains(A));
}

#[test]
fn the_peer_follows_an_address_that_moves() {
    isolated("the_peer_follows_an_address_that_moves", || {
        network();
        let scene = Scene::new();
        inside("a", || {
            let mut stack = scene.stack(BOTH);
            block_on(async {
                stack.start(7).await.unwrap();
                for address in [V4, V6] {
                    until("the peer does not find it on a", || {
                        talk_to(address);
                        neighbour(address).contains(A)
                    })
                    .await;
                }
            });
            // The node is cut off and keeps its address: nobody tells the peer.
            ip("-n peer link set a0 down");
        });
        // Without an announcement the peer goes on talking to a.
        ip("-n b addr add 10.91.0.100/24 dev eth0");
        ip("-n b addr add fd91::100/64 dev eth0 nodad");
        for address in [V4, V6] {
            assert!(neighbour(address).contains(A), "{}", neighbour(address));
        }
        ip("-n b addr del 10.91.0.100/24 dev eth0");
        ip("-n b addr del fd91::100/64 dev eth0");

        inside("b", || {
            let mut stack = scene.stack(BOTH);
            block_on(async {
                stack.start(7).await.unwrap();
                for address in [V4, V6] {
                    until("the peer does not follow to b", || {
                        neighbour(address).contains(B)
                    })
                    .await;
                    mislead(address);
                }
                for address in [V4, V6] {
                    until("nothing is announced again", || {
                        neighbour(address).contains(B)
                    })
                    .await;
                }
                stack.stop(Role::Primary).await.unwrap();
                assert_eq!(states(&stack).await, [const { ServiceState::Down }; 2]);
                let left = ip("-n b addr show dev eth0");
                assert!(!left.contains(V4) && !left.contains(V6), "{left}");
            });
        });
    });
}

#[test]
fn an_address_that_is_found_up_is_announced() {
    isolated("an_address_that_is_found_up_is_announced", || {
        network();
        let scene = Scene::new();
        inside("b", || {
            block_on(scene.stack(BOTH).start(7)).unwrap();
            for address in [V4, V6] {
                mislead(address);
            }
            // As after a restart of the agent.
            let mut stack = scene.stack(BOTH);
            block_on(async {
                assert_eq!(states(&stack).await, [const { ServiceState::Up }; 2]);
                stack.start(7).await.unwrap();
                // The runtime stands still meanwhile: only what was announced at once can arrive.
                for address in [V4, V6] {
                    let deadline = Instant::now() + LONG;
                    while !neighbour(address).contains(B) {
                        assert!(
                            Instant::now() < deadline,
                            "{address} was not announced at once"
                        );
                    }
                }
                stack.stop(Role::Primary).await.unwrap();
                stack.stop(Role::Primary).await.unwrap();
            });
        });
    });
}

#[test]
fn an_interface_that_cannot_carry_it_is_an_error() {
    isolated("an_interface_that_cannot_carry_it_is_an_error", || {
        network();
        let scene = Scene::new();
        let one = "{ address = '10.91.0.100/24', interface = 'eth0' }";
        inside("b", || {
            block_on(async {
                let missing = one.replace("eth0", "eth7");
                let error = scene.stack(&missing).start(7).await.unwrap_err();
                assert!(
                    error.to_string().contains("interface eth7 does not exist"),
                    "{error}"
                );
                assert!(error.still_up.is_empty(), "{error}");

                ip("-n b link set eth0 down");
                let error = scene.stack(one).start(7).await.unwrap_err();
                assert!(
                    error.to_string().contains("interface eth0 is down"),
                    "{error}"
                );
                ip("-n b link set eth0 up");

                ip("-n b addr add 10.91.0.100/32 dev lo");
                let error = scene.stack(one).start(7).await.unwrap_err();
                assert!(matches!(&error.problem, Problem::Occupied(_)), "{error}");
                assert!(
                    error.to_string().contains("this node has it on lo"),
                    "{error}"
                );
                // It is on this node: no other may have it.
                assert_eq!(error.still_up.len(), 1, "{error}");
            });
        });
    });
}
