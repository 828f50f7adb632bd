//! Connections: TLS, HTTP/1.1 and HTTP/2, and an end in good order.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use burgrave_types::{Problem, ProblemCode};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use super::auth::Peer;
use super::problem::Refusal;
use super::{RestServer, Shared};

/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;

/// Bytes of headers, at most.
const MAX_HEADERS: usize = 32 * 1024;

impl RestServer {
    /// Accepts clients from `listener` until [`RestServer::stop`] is called, or the future is dropped. Connections live on
    /// in tasks of their own.
    pub async fn serve(self: &Arc<Self>, listener: &TcpListener) {
        let mut stopping = self.shared.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accepting a client failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Ok(slot) = self.slots.clone().try_acquire_owned() else {
                tracing::warn!(
                    limit = self.shared.limits.connections,
                    "a client was turned away: too many connections"
                );
                continue;
            };
            let server = Arc::clone(self);
            tokio::spawn(async move {
                server.connection(stream).await;
                drop(slot);
            });
        }
    }

    /// Ends: nothing more is accepted, streams of events close, requests in flight get the time that the limits say.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let all = u32::try_from(self.shared.limits.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(self.shared.limits.drain, self.slots.acquire_many(all)).await.is_err() {
            tracing::warn!("requests were still in flight when the REST server ended");
        }
    }

    async fn connection(&self, stream: TcpStream) {
        // Answers are small, and are wanted at once.
        let _ = stream.set_nodelay(true);
        let patience = self.shared.limits.patience;
        let stream = match tokio::time::timeout(patience, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = match chain {
            [] => None,
            chain => match self.verifier.identify(chain) {
                Ok(identity) => Peer::of(&identity),
                Err(error) => return tracing::debug!(%error, "a client certificate was refused"),
            },
        };
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request| {
            Arc::clone(&activity).during(answer(Arc::clone(&self.shared), self.router.clone(), peer.clone(), request))
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(MAX_HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(MAX_HEADERS as u32)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(patience);
        let mut stopping = self.shared.stopping.clone();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let idle = self.shared.limits.idle;
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            _ = stopping.wait_for(|stopping| *stopping) => None,
            () = activity.idle_for(idle) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                if activity.streams.load(Ordering::Relaxed) {
                    connection.await
                } else {
                    // What was answered and is not read by now will not be read.
                    tokio::time::timeout(idle, connection).await.unwrap_or(Ok(()))
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, "a connection broke");
        }
    }
}

/// What goes on on a connection.
#[derive(Default)]
struct Activity {
    /// Requests so far.
    begun: AtomicU64,
    /// Requests in flight.
    running: AtomicUsize,
    /// Whether one was answered by a stream that goes on.
    streams: AtomicBool,
}

impl Activity {
    async fn during(
        self: Arc<Self>,
        answered: impl Future<Output = Result<Response, Infallible>>,
    ) -> Result<Response, Infallible> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(&self.running);
        let response = answered.await?;
        drop(running);
        if response.headers().get(header::CONTENT_TYPE).is_some_and(|media| media == "text/event-stream") {
            self.streams.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }

    /// Ends when nothing was asked for at least this long.
    async fn idle_for(&self, time: Duration) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(time).await;
            if self.running.load(Ordering::Relaxed) == 0 && self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }
}

/// Counts a request as long as it is waited for.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one request.
async fn answer(
    shared: Arc<Shared>,
    router: axum::Router,
    peer: Option<Peer>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let mut response = finish(router, request).await;
    let class = usize::from(response.status().as_u16() / 100).saturating_sub(2);
    if let Some(counter) = shared.responses.get(class) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Handles a request in a task of its own: once it has been read, it is finished even if its client does not wait for it.
async fn finish(router: axum::Router, request: Request<Body>) -> Response {
    match tokio::spawn(router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(error) => {
            tracing::error!(%error, "a request failed inside");
            let problem = Problem::new(ProblemCode::Internal, "something failed inside the node")
                .with_fix("the operator finds it in the node's log");
            Refusal::from(problem).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_change_whose_client_has_gone_is_finished() {
        let [begun, go, done] = [(); 3].map(|()| Arc::new(Notify::new()));
        let (at, on, off) = (begun.clone(), go.clone(), done.clone());
        let change = move || async move {
            at.notify_one();
            on.notified().await;
            off.notify_one();
        };
        let router = axum::Router::new().route("/", get(change));
        tokio::select! {
            _ = finish(router, Request::new(Body::empty())) => panic!("it cannot be done yet"),
            () = begun.notified() => {}
        }
        go.notify_one();
        tokio::time::timeout(Duration::from_secs(30), done.notified()).await.expect("it was given up");
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_a_problem_and_not_the_end() {
        let fails = || async {
            assert!(std::hint::black_box(false), "a test");
        };
        let router = axum::Router::new().route("/", get(fails));
        assert_eq!(finish(router, Request::new(Body::empty())).await.status(), 500);
    }
}
