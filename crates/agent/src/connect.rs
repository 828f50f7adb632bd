//! From an address to a link: connection, TLS with the pinned domain, HELLO.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use burgrave_identity::tls::{ALPN_LINK, CredentialSlot, NodeVerifier, client_config, hybrid_only_provider, refusal};
use burgrave_identity::{DomainTrust, IdentityError, VerifiedIdentity};
use burgrave_protocol::frame::{Decoder, Frame, FrameType};
use burgrave_protocol::{VERSION, message, wire};
use burgrave_seal::binding::{EXPORTER_ATTEST, EXPORTER_LEN};
use burgrave_types::{Clock, GenesisHash, Problem, ProblemCode, Revision};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::NodeAddress;
use crate::link::{Event, Link};

/// How long connecting, the TLS handshake and HELLO may take, each.
const STEP: Duration = Duration::from_secs(10);
/// Bytes that may wait unsent in the kernel, where a control frame cannot overtake them.
const UNSENT: u32 = 128 * 1024;

/// What the agent says of itself and expects of the node.
pub(crate) struct Dial {
    pub(crate) genesis: GenesisHash,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) credential: Arc<CredentialSlot>,
    pub(crate) revision: Revision,
}

/// A link that was welcomed.
pub(crate) struct Connected {
    pub(crate) link: Arc<Link>,
    pub(crate) ack: wire::HelloAck,
    pub(crate) trust: DomainTrust,
    pub(crate) node: VerifiedIdentity,
    pub(crate) exporter: [u8; EXPORTER_LEN],
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.link.end(Problem::new(ProblemCode::Unavailable, "the link to the node was given up"));
    }
}

impl Dial {
    /// Connects to the node at `address`.
    ///
    /// # Errors
    /// `unavailable` where it cannot be reached, `domain.mismatch` where it is of another domain, else what the node says.
    pub(crate) async fn connect(&self, address: &NodeAddress) -> Result<(Connected, mpsc::Receiver<Event>), Problem> {
        match address {
            NodeAddress::Tcp(host) => {
                let stream = step(address, "connecting", TcpStream::connect(host)).await?;
                let prepared =
                    stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT));
                prepared.map_err(|error| unreachable(address, "connecting", &error))?;
                self.shake_hands(address, stream).await
            }
            NodeAddress::Unix(path) => {
                let stream = step(address, "connecting", UnixStream::connect(path)).await?;
                self.shake_hands(address, stream).await
            }
        }
    }

    async fn shake_hands<S>(
        &self,
        address: &NodeAddress,
        stream: S,
    ) -> Result<(Connected, mpsc::Receiver<Event>), Problem>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let internal = |error: String| Problem::new(ProblemCode::Internal, error);
        let verifier = NodeVerifier::new(self.genesis, Arc::clone(&self.clock));
        let credential = Some(Arc::clone(&self.credential));
        let config = client_config(hybrid_only_provider(), verifier.clone(), credential, &[ALPN_LINK])
            .map_err(|error| internal(error.to_string()))?;
        // Names mean nothing here: the verifier looks at the genesis hash.
        let name = ServerName::try_from("node.burgrave").map_err(|error| internal(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let tls =
            timeout(STEP, connector.connect(name, stream)).await.map_err(|_| late(address, "the TLS handshake"))?;
        let mut tls = tls.map_err(|error| refused(address, &error))?;
        let (_, connection) = tls.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        let (trust, node) = verifier.identify(chain).map_err(|error| not_the_node(address, &error))?;
        let exporter = connection
            .export_keying_material([0; EXPORTER_LEN], EXPORTER_ATTEST, None)
            .map_err(|error| internal(error.to_string()))?;
        let mut decoder = Decoder::new();
        let ack = timeout(STEP, self.hello(address, &mut tls, &mut decoder)).await;
        let ack = ack.map_err(|_| late(address, "HELLO"))??;
        let limits = ack.limits.unwrap_or(wire::Limits {
            requests: 1,
            channels: 1,
            message: 0,
            window: burgrave_protocol::credit::WINDOW,
        });
        let (link, events) = Link::start(tls, decoder, &limits);
        Ok((Connected { link, ack, trust, node, exporter }, events))
    }

    async fn hello<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        address: &NodeAddress,
        tls: &mut S,
        decoder: &mut Decoder,
    ) -> Result<wire::HelloAck, Problem> {
        let hello = wire::Hello {
            version: VERSION,
            agent: concat!("burgrave-agent/", env!("CARGO_PKG_VERSION")).to_owned(),
            genesis: self.genesis.as_bytes().to_vec(),
            revision: self.revision.0,
        };
        let frame = Frame::new(FrameType::Hello, 0, prost::Message::encode_to_vec(&hello));
        let sent = async {
            tls.write_all(&frame.encode()).await?;
            tls.flush().await
        };
        let written = sent.await;
        // A node that refused may have said why before it closed.
        let answer = first_frame(tls, decoder).await;
        written.map_err(|error| refused(address, &error))?;
        let frame = answer.map_err(|error| refused(address, &error))??;
        let violation = |detail: String| Problem::new(ProblemCode::Protocol, detail);
        match frame.kind {
            FrameType::Hello => {
                let ack: wire::HelloAck =
                    message::decode("HelloAck", &frame.payload).map_err(|error| violation(error.to_string()))?;
                if ack.version != VERSION {
                    let detail =
                        format!("the node speaks version {} of the link, this agent version {VERSION}", ack.version);
                    return Err(violation(detail).with_fix("update the older of the two"));
                }
                Ok(ack)
            }
            FrameType::GoAway => {
                let reason: wire::Problem =
                    message::decode("reason", &frame.payload).map_err(|error| violation(error.to_string()))?;
                Err(reason.into())
            }
            other => Err(violation(format!("the node's first frame is {other:?}, expected HELLO or GOAWAY"))),
        }
    }
}

async fn first_frame(
    stream: &mut (impl AsyncRead + Unpin),
    decoder: &mut Decoder,
) -> io::Result<Result<Frame, Problem>> {
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => return Ok(Ok(frame)),
            Ok(None) => {}
            Err(error) => return Ok(Err(Problem::new(ProblemCode::Protocol, error.to_string()))),
        }
        decoder.buffer_mut().reserve(4096);
        if stream.read_buf(decoder.buffer_mut()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn step<T>(address: &NodeAddress, what: &str, doing: impl Future<Output = io::Result<T>>) -> Result<T, Problem> {
    let done = timeout(STEP, doing).await.map_err(|_| late(address, what))?;
    done.map_err(|error| unreachable(address, what, &error))
}

fn late(address: &NodeAddress, what: &str) -> Problem {
    let detail = format!("{what} with the node at `{address}` took more than {} s", STEP.as_secs());
    Problem::new(ProblemCode::Unavailable, detail).with_fix("check the address and the network between")
}

fn unreachable(address: &NodeAddress, what: &str, error: &io::Error) -> Problem {
    Problem::new(ProblemCode::Unavailable, format!("{what} to the node at `{address}` failed: {error}"))
        .with_fix("check that the node runs and that the address is its agent link")
}

/// Why TLS or what follows it failed: this side's refusal of the node, or the node's of this side.
fn refused(address: &NodeAddress, error: &io::Error) -> Problem {
    match refusal(error) {
        Some(why) => not_the_node(address, why),
        None => unreachable(address, "the link", error),
    }
}

fn not_the_node(address: &NodeAddress, error: &IdentityError) -> Problem {
    let code = match error {
        IdentityError::OtherGenesis { .. } => ProblemCode::WrongDomain,
        _ => ProblemCode::Unauthenticated,
    };
    Problem::new(code, format!("the node at `{address}` is not accepted: {error}"))
        .with_fix("check the address, and the genesis hash that this agent was started with")
}
