//! The server against clients of every kind, on real sockets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{fixture::Scene, *};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a thread of its own, which ends with the test.
struct Server {
    address: SocketAddr,
    said: watch::Sender<Arc<Said>>,
    serve: watch::Sender<Serve>,
    _end: oneshot::Sender<()>,
}

impl Server {
    fn start(scene: Scene) -> Self {
        let scene = lasting(scene);
        let (said, told) = watch::channel(Arc::new(scene.said));
        let (serve, looked) = watch::channel(scene.serve);
        let source = Source {
            said: told,
            serve: looked,
            members: scene.members.into(),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("as tokio wants it");
        let address = listener.local_addr().expect("it is bound");
        let (end, ended) = oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = listen(listener, source) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            said,
            serve,
            _end: end,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Sends these bytes and reads to the end: an error is an end too.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        rest(&mut stream)
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let said = self.say(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let code = said.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.unwrap_or_else(|| panic!("{said:?}")), said)
    }
}

/// It does not grow old on a slow machine.
fn lasting(mut scene: Scene) -> Scene {
    scene.said.at += Duration::from_secs(3600);
    if let Serve::Answered { at, .. } = &mut scene.serve {
        *at += Duration::from_secs(3600);
    }
    scene
}

fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn paths_methods_and_codes() {
    let server = Server::start(Scene::primary());
    for method in ["GET", "HEAD", "OPTIONS"] {
        for (path, wanted) in [
            ("/primary", 200),
            ("/primary/r0", 200),
            ("/primary/r1", 404),
            ("/primary?resource=r0", 400),
            ("/standby", 503),
            ("/standby/r0", 503),
            ("/health", 200),
            ("/metrics", 200),
            ("/", 404),
            ("/primary/r0/x", 404),
            ("/primary/%ff", 400),
            ("/primary/%0d%0aX:%20y", 404),
            ("/primary/..%2f..%2fetc%2fpasswd", 404),
        ] {
            let (code, said) = server.ask(method, path);
            assert_eq!(code, wanted, "{method} {path}: {said}");
            let body = said.split_once("\r\n\r\n").expect("a head").1;
            assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}: {said}");
        }
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "XYZ"] {
        let (code, said) = server.ask(method, "/primary");
        assert!(
            code == 405 || code == 404 || code == 400,
            "{method}: {said}"
        );
    }
    let (_, said) = server.ask("GET", "/metrics");
    assert!(
        said.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{said}"
    );
    assert!(
        said.contains("twindisk_primary{resource=\"r0\"} 1\n"),
        "{said}"
    );
    let (_, said) = server.ask("GET", "/standby");
    assert!(
        said.contains("content-type: application/json\r\n"),
        "{said}"
    );
    assert!(said.contains("it is primary here"), "{said}");
}

#[test]
fn it_tells_what_was_published_last() {
    let server = Server::start(Scene::primary());
    assert_eq!(server.ask("GET", "/primary").0, 200);
    let standby = lasting(Scene::standby());
    server.serve.send_replace(standby.serve);
    assert_eq!(server.ask("GET", "/primary").0, 503);
    server.serve.send_replace(Serve::Gone);
    let (code, said) = server.ask("GET", "/health");
    assert!(code == 503 && said.contains("does not run"), "{said}");
    // The loop stands still, and the thread of HTTP says so.
    server.serve.send_replace(lasting(Scene::primary()).serve);
    assert_eq!(server.ask("GET", "/health").0, 200);
    let mut old = standby.said;
    old.at = Instant::now()
        .checked_sub(Duration::from_secs(3))
        .expect("after the boot");
    server.said.send_replace(Arc::new(old));
    let (code, said) = server.ask("GET", "/health");
    assert!(code == 503 && said.contains("decided nothing"), "{said}");
}

#[test]
fn hostile_bytes_are_refused_and_harm_nobody() {
    let server = Server::start(Scene::primary());
    let long = "x".repeat(HEAD_BYTES);
    let many = "a: b\r\n".repeat(200);
    let garbage: Vec<u8> = (0..20_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let cases: &[(&str, Vec<u8>)] = &[
        ("garbage", garbage),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("zeroes", vec![0; 10_000]),
        ("newlines", b"\r\n".repeat(10_000)),
        (
            "a long path",
            format!("GET /{long} HTTP/1.1\r\n\r\n").into_bytes(),
        ),
        (
            "a long header",
            format!("GET /primary HTTP/1.1\r\na: {long}\r\n\r\n").into_bytes(),
        ),
        (
            "many headers",
            format!("GET /primary HTTP/1.1\r\n{many}\r\n").into_bytes(),
        ),
        (
            "a header without an end",
            format!("GET /primary HTTP/1.1\r\na: {}", long.repeat(100)).into_bytes(),
        ),
        (
            "two lengths",
            b"GET /primary HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(),
        ),
        (
            "a header folded",
            b"GET /primary HTTP/1.1\r\na: b\r\n\tc\r\n\r\n".to_vec(),
        ),
    ];
    for (what, bytes) in cases {
        let said = server.say(bytes);
        assert!(!said.starts_with("HTTP/1.1 200"), "{what}: {said}");
        assert_eq!(server.ask("GET", "/primary").0, 200, "after {what}");
    }
    // A body is promised and never comes: it is not waited for.
    let promised = b"GET /primary HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n";
    assert!(server.say(promised).starts_with("HTTP/1.1 200"));
    // Two requests on one connection: one is answered.
    let both = server.say(&b"GET /primary HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2));
    assert_eq!(both.matches("HTTP/1.1").count(), 1, "{both}");
}

#[test]
fn half_a_request_is_dropped_after_a_while() {
    let server = Server::start(Scene::primary());
    for half in [&b""[..], b"GET /primary HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = server.connect();
        let began = Instant::now();
        stream.write_all(half).expect("it listens");
        rest(&mut stream);
        let lasted = began.elapsed();
        assert!(lasted < WHOLE_TIME, "{half:?} lasted {lasted:?}");
        assert!(lasted >= HEAD_TIME / 2, "{half:?} lasted {lasted:?}");
    }
    // A byte now and then does not prolong it.
    let mut slow = server.connect();
    let began = Instant::now();
    while slow.write_all(b"G").is_ok() {
        assert!(began.elapsed() < WHOLE_TIME, "it is still open");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn idle_connections_lock_nobody_out() {
    let server = Server::start(Scene::primary());
    let idle: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    for mut stream in &idle {
        let _ = stream.write_all(b"GET /primary HTTP/1.1\r\n");
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(server.ask("GET", "/primary").0, 200);
    }
    // They did not wait for the idle ones to be dropped for their silence: those were closed when new ones came.
    let open = idle.iter().filter(|stream| {
        let mut stream: &TcpStream = stream;
        stream.set_nonblocking(true).expect("a mode");
        let read = stream.read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    });
    assert!(open.count() <= CONNECTIONS, "too many at once");
    assert!(began.elapsed() < HEAD_TIME, "{:?}", began.elapsed());
}

#[test]
fn an_address_that_is_taken_is_waited_for() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("it is bound");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut waiting = std::pin::pin!(bind(address));
        let early = timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(early.is_err(), "it is taken");
        drop(other);
        let listener = timeout(PATIENCE, waiting).await.expect("it is free");
        assert_eq!(listener.local_addr().ok(), Some(address));
    });
}
