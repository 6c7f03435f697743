//! HTTP for whoever watches: `/primary`, `/standby` and `/health` for reverse proxies, `/metrics` for Prometheus.
//!
//! It tells, and changes nothing. It has a thread of its own and reads what the agent's loop publishes: whatever clients
//! do, the loop goes on deciding, and when that stands still, this thread says so.

mod health;
mod metrics;
mod published;

use std::{
    collections::VecDeque,
    future::pending,
    io,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, State},
    handler::Handler,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{info, warn};

use crate::run::Driver;
use health::Question;
use published::{Member, View};
pub(crate) use published::{Said, Serve, Tally};

/// Between two publications of the loop.
const PUBLISH: Duration = Duration::from_millis(100);

/// Connections at once: a few proxies and a Prometheus. One more closes the oldest, so that idle ones lock nobody out.
const CONNECTIONS: usize = 16;
/// The whole head of a request has to be there within this time.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// A connection is over within this time: one request, and an answer that somebody reads.
const WHOLE_TIME: Duration = Duration::from_secs(10);
/// A head is no longer than this: the least that hyper takes.
const HEAD_BYTES: usize = 8 << 10;
/// Before an address that can't be listened at is tried once more: it may come with an interface.
const BIND_RETRY: Duration = Duration::from_secs(5);
/// Before the next connection is accepted when that failed: for want of file descriptors, most likely.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Starts the thread, if HTTP is configured.
pub(crate) fn start(driver: &mut Driver) -> Publisher {
    let mut tick = interval(PUBLISH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Some(address) = driver.settings.http else {
        return Publisher { to: None, tick };
    };
    let (to, said) = watch::channel(Arc::new(driver.said()));
    let source = Source {
        said,
        serve: driver.serve.subscribe(),
        members: Member::all(&driver.settings).into(),
    };
    let thread = thread::Builder::new().name("http".to_owned());
    if let Err(error) = thread.spawn(move || live(address, source)) {
        // A failover does not depend on being watched.
        warn!(%address, "nobody answers HTTP: its thread did not start: {error}");
    }
    Publisher { to: Some(to), tick }
}

/// The loop's side of it.
pub(crate) struct Publisher {
    to: Option<watch::Sender<Arc<Said>>>,
    tick: Interval,
}

impl Publisher {
    /// Returns when something is to be published: never, if nobody reads it.
    pub(crate) async fn due(&mut self) {
        if self.to.is_none() {
            return pending().await;
        }
        self.tick.tick().await;
    }

    pub(crate) fn publish(&self, driver: &mut Driver) {
        if let Some(to) = &self.to {
            to.send_replace(Arc::new(driver.said()));
        }
    }
}

/// What answers are made of.
#[derive(Clone)]
struct Source {
    said: watch::Receiver<Arc<Said>>,
    serve: watch::Receiver<Serve>,
    members: Arc<[Member]>,
}

impl Source {
    fn look<T>(&self, at: impl FnOnce(&View<'_>) -> T) -> T {
        // Copies, so that no lock is held while an answer is made.
        let said = self.said.borrow().clone();
        let serve = self.serve.borrow().clone();
        at(&View {
            said: &said,
            serve: &serve,
            members: &self.members,
            now: Instant::now(),
        })
    }
}

fn live(address: SocketAddr, source: Source) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(async { listen(bind(address).await, source).await }),
        Err(error) => warn!(%address, "nobody answers HTTP: the runtime did not start: {error}"),
    }
}

async fn listen(listener: TcpListener, source: Source) {
    let service = TowerToHyperService::new(router(source));
    let mut open = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("no HTTP connection can be accepted: {error}");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        open.retain(|one: &tokio::task::AbortHandle| !one.is_finished());
        if open.len() == CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let task = tokio::spawn(converse(stream, service.clone()));
        open.push_back(task.abort_handle());
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut told = None::<io::ErrorKind>;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "HTTP is answered");
                return listener;
            }
            Err(error) => {
                if told != Some(error.kind()) {
                    warn!(%address, "HTTP can't be answered there, which is tried again and again: {error}");
                }
                told = Some(error.kind());
                sleep(BIND_RETRY).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, service: TowerToHyperService<Router>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What became of it is the client's affair.
    let _ = timeout(WHOLE_TIME, connection).await;
}

fn router(source: Source) -> Router {
    let mut router = Router::new();
    for question in [Question::Primary, Question::Standby] {
        let all = move |State(source): State<Source>, uri: Uri| async move {
            judged(&source, question, None, &uri)
        };
        let one = move |State(source): State<Source>, Path(name): Path<String>, uri: Uri| async move {
            judged(&source, question, Some(&name), &uri)
        };
        router = router
            .route(question.path(), asked(all))
            .route(&format!("{}/{{resource}}", question.path()), asked(one));
    }
    router
        .route("/health", asked(async |State(source): State<Source>| well(&source)))
        .route("/metrics", asked(async |State(source): State<Source>| numbers(&source)))
        .fallback(async || {
            let there = "there is /primary, /primary/RESOURCE, /standby, /standby/RESOURCE, /health and /metrics";
            wrong(StatusCode::NOT_FOUND, there.to_owned())
        })
        .with_state(source)
}

/// HEAD is GET without its body; OPTIONS is what HAProxy's checks are made of by default.
fn asked<H: Handler<T, Source>, T: 'static>(handler: H) -> MethodRouter<Source> {
    get(handler.clone()).options(handler)
}

fn judged(source: &Source, question: Question, name: Option<&str>, uri: &Uri) -> Response {
    // Whoever writes `/primary?resource=r0` must not be told of all resources instead.
    if uri.query().is_some() {
        let path = question.path();
        return wrong(
            StatusCode::BAD_REQUEST,
            format!(
                "nothing is asked with `?`: write {path} for all resources, {path}/RESOURCE for one"
            ),
        );
    }
    source.look(|view| match health::judge(view, question, name) {
        Some(verdict) => json(code(verdict.ok), &verdict),
        None => {
            let known: Vec<&str> = view.members.iter().map(|one| &*one.name).collect();
            let known = known.join(", ");
            wrong(
                StatusCode::NOT_FOUND,
                format!("this node has no such resource: it has {known}"),
            )
        }
    })
}

fn well(source: &Source) -> Response {
    source.look(|view| {
        let health = health::health(view);
        json(code(health.ok), &health)
    })
}

fn numbers(source: &Source) -> Response {
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, source.look(metrics::render)).into_response()
}

const fn code(ok: bool) -> StatusCode {
    if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn wrong(code: StatusCode, why: String) -> Response {
    #[derive(Serialize)]
    struct Wrong {
        why: String,
    }
    json(code, &Wrong { why })
}

fn json(code: StatusCode, body: &impl Serialize) -> Response {
    let mut body = serde_json::to_vec(body).unwrap_or_default();
    body.push(b'\n');
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (code, kind, body).into_response()
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
