//! The life of one connection: handshake, HELLO, then a reader and a writer until one of them ends.

use std::sync::Arc;

use burgrave_identity::tls::LinkPeer;
use burgrave_protocol::frame::{Decoder, Frame, FrameType};
use burgrave_protocol::message;
use burgrave_protocol::{VERSION, wire};
use burgrave_types::{GenesisHash, Problem, ProblemCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::listener::Socket;
use super::peer::Peer;
use super::session::Session;
use super::{ATTEST_EXPORTER, LinkServer};

/// Bytes that are collected for one write.
const BATCH: usize = 64 * 1024;

/// Bytes that one read asks for.
const READ: usize = 16 * 1024;

/// Serves one connection to its end.
pub(super) async fn run(server: Arc<LinkServer>, socket: Socket) {
    match socket {
        Socket::Tcp(stream) => serve(server, stream).await,
        Socket::Unix(stream) => serve(server, stream).await,
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(server: Arc<LinkServer>, stream: S) {
    let tls = match timeout(server.limits.handshake, server.acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::info!(error = %reason_of(&error), "an agent was refused in the TLS handshake");
            return;
        }
        Err(_) => {
            tracing::info!("an agent did not finish its TLS handshake in time");
            return;
        }
    };
    let (peer, exporter) = match identify(&server, &tls) {
        Ok(identified) => identified,
        Err(error) => {
            tracing::info!(%error, "an agent was refused after the TLS handshake");
            return;
        }
    };
    let link = server.hub.connect(server.limits.channels);
    let (reader, writer) = tokio::io::split(tls);
    let writing = tokio::spawn(write(Arc::clone(&server), Arc::clone(&link), writer));
    let session = Session::new(Arc::clone(&server), Arc::clone(&link), peer, exporter);
    let ended = read(&server, &session, reader).await;
    match &ended {
        Some(reason) => {
            tracing::info!(%reason, "an agent's link ended");
            link.end(reason);
        }
        None => link.end_silently(),
    }
    session.finish();
    if writing.await.is_err() {
        tracing::error!("the writer of an agent's link failed");
    }
}

/// Who the peer is, and the exporter that attestation is bound to.
fn identify<S>(server: &LinkServer, tls: &TlsStream<S>) -> Result<(LinkPeer, [u8; 32]), Problem> {
    let (_, connection) = tls.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    let unauthenticated = |error: String| Problem::new(ProblemCode::Unauthenticated, error);
    let peer = server.verifier.classify(chain).map_err(|error| unauthenticated(error.to_string()))?;
    let exporter = connection
        .export_keying_material([0; 32], ATTEST_EXPORTER, None)
        .map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()))?;
    Ok((peer, exporter))
}

/// Why our verifier refused the peer, or what the TLS library says.
fn reason_of(error: &std::io::Error) -> String {
    burgrave_identity::tls::refusal(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Reads frames until the connection ends; gives the reason that the peer is to be told, if it is this side that ends it.
async fn read(server: &LinkServer, session: &Session, mut reader: impl AsyncRead + Unpin) -> Option<Problem> {
    let mut decoder = Decoder::new();
    match timeout(server.limits.handshake, first_frame(&mut decoder, &mut reader)).await {
        Ok(Ok(Some(hello))) => {
            let welcomed = hello_of(&hello, &server.genesis).and_then(|hello| session.welcome(&hello));
            if let Err(reason) = welcomed {
                return Some(reason);
            }
        }
        Ok(Ok(None)) => return None,
        Ok(Err(reason)) => return Some(reason),
        Err(_) => return Some(Problem::new(ProblemCode::Protocol, "no HELLO came in time")),
    }
    let link = session.link();
    let attest_by = Instant::now() + server.limits.attestation;
    let mut heard = Instant::now();
    let mut pinged = false;
    loop {
        loop {
            if link.has_ended() {
                return None;
            }
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(reason) = session.frame(frame) {
                        return Some(reason);
                    }
                }
                Ok(None) => break,
                Err(error) => return Some(Problem::new(ProblemCode::Protocol, error.to_string())),
            }
        }
        if !session.is_attested() && Instant::now() >= attest_by {
            let late = format!("the agent did not attest within {} s", server.limits.attestation.as_secs());
            return Some(Problem::new(ProblemCode::NotAttested, late));
        }
        let silence = if pinged { server.limits.idle } else { server.limits.ping_after };
        let alarm = if session.is_attested() { heard + silence } else { attest_by.min(heard + silence) };
        reserve(&mut decoder);
        // A peer that does not read its answers is not read from either.
        let behind = link.is_behind();
        tokio::select! {
            biased;
            () = link.end.notified() => {}
            read = reader.read_buf(decoder.buffer_mut()), if !behind => match read {
                Ok(0) | Err(_) => return None,
                Ok(_) => {
                    heard = Instant::now();
                    pinged = false;
                }
            },
            () = link.drained.notified(), if behind => {}
            () = tokio::time::sleep_until(alarm) => {
                if pinged && heard.elapsed() >= server.limits.idle {
                    let silent = format!("nothing was heard for {} s", server.limits.idle.as_secs());
                    return Some(Problem::new(ProblemCode::PeerUnavailable, silent));
                }
                if !pinged && heard.elapsed() >= server.limits.ping_after {
                    pinged = true;
                    link.control(FrameType::Ping, 0, &[0; 9]);
                }
            }
        }
    }
}

async fn first_frame(decoder: &mut Decoder, reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, Problem> {
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => return Ok(Some(frame)),
            Ok(None) => {}
            Err(error) => return Err(Problem::new(ProblemCode::Protocol, error.to_string())),
        }
        reserve(decoder);
        if !matches!(reader.read_buf(decoder.buffer_mut()).await, Ok(1..)) {
            return Ok(None);
        }
    }
}

/// Keeps room for one read in the decoder, and no more.
fn reserve(decoder: &mut Decoder) {
    decoder.buffer_mut().reserve(READ);
}

fn hello_of(frame: &Frame, genesis: &GenesisHash) -> Result<wire::Hello, Problem> {
    let violation = |detail: String| Problem::new(ProblemCode::Protocol, detail);
    if frame.kind != FrameType::Hello {
        return Err(violation(format!("the first frame is {:?}, expected HELLO", frame.kind)));
    }
    let hello: wire::Hello = message::decode("Hello", &frame.payload).map_err(|error| violation(error.to_string()))?;
    if hello.version != VERSION {
        let detail = format!("the agent speaks version {} of the link, this node version {VERSION}", hello.version);
        return Err(violation(detail).with_fix("update the older of the two"));
    }
    if hello.genesis != genesis.as_bytes() {
        let meant = GenesisHash::try_from(hello.genesis.as_slice())
            .map_or_else(|_| "none".to_owned(), |meant| meant.to_string());
        let detail = format!("the agent means the domain with genesis hash `{meant}`, this one has `{genesis}`");
        return Err(Problem::new(ProblemCode::WrongDomain, detail)
            .with_fix("check the node's address and the genesis hash that the agent was started with"));
    }
    Ok(hello)
}

/// Writes what is queued, in batches, until the connection ends and nothing waits.
async fn write(server: Arc<LinkServer>, link: Arc<Peer>, mut writer: impl AsyncWrite + Unpin) {
    let limit = server.limits.idle;
    let mut batch = Zeroizing::new(Vec::with_capacity(READ));
    loop {
        if link.is_busy() {
            // Lets answers that are about to be there join the batch.
            tokio::task::yield_now().await;
        }
        batch.clear();
        for route in link.fill(&mut batch, BATCH) {
            if server.hub.drained(&route) {
                server.control.channel_closed(route.channel, "closed by a side");
            }
        }
        if !batch.is_empty() {
            let written = timeout(limit, async {
                writer.write_all(&batch).await?;
                writer.flush().await
            });
            if !matches!(written.await, Ok(Ok(()))) {
                link.end_silently();
                return;
            }
        } else if link.has_ended() {
            let _ = timeout(limit, writer.shutdown()).await;
            return;
        } else {
            link.wake.notified().await;
        }
    }
}
