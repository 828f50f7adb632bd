//! An enclave of the demo: a process of its own with the product's agent in it, which does what it is asked on stdin.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_agent::{Agent, AgentConfig, AgentState, ChannelStream, NodeAddress};
use burgrave_attester::AttesterSpec;
use burgrave_seal::{SystemRandom, sha256};
use burgrave_types::{ChannelId, EnclaveName, GenesisHash, Problem, ProblemCode, ResourceId, SystemClock};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::messages::{Answer, Answered, Ask, Numbered};
use crate::commands::Outcome;

/// Who the enclave is.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[arg(long)]
    enclave: EnclaveName,
    #[arg(long)]
    attester: AttesterSpec,
    #[arg(long)]
    node: NodeAddress,
    #[arg(long)]
    genesis: GenesisHash,
}

/// Answers until stdin ends, which it does with the demo.
pub(crate) async fn agent(arguments: AgentArgs) -> Outcome {
    let config = AgentConfig {
        nodes: vec![arguments.node],
        genesis: arguments.genesis,
        enclave: arguments.enclave,
        attester: arguments.attester.open().map_err(anyhow::Error::new)?,
    };
    let agent = Agent::start(config, Arc::new(SystemClock), Arc::new(SystemRandom)).map_err(anyhow::Error::new)?;
    let enclave = Arc::new(Enclave {
        links: count_lost_links(&agent),
        agent,
        channels: Mutex::default(),
        work: Mutex::default(),
    });
    let (answers, mut answered) = mpsc::unbounded_channel::<Numbered<Answered>>();
    let mut questions = questions();
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some(Numbered { number, body }) = question else { return Ok(()) };
                let (enclave, answers) = (Arc::clone(&enclave), answers.clone());
                tokio::spawn(async move {
                    let body = enclave.answer(body).await;
                    // When nobody listens any more, the demo is over.
                    let _ = answers.send(Numbered { number, body });
                });
            }
            Some(answer) = answered.recv() => tell(&answer)?,
        }
    }
}

struct Enclave {
    agent: Agent,
    links: Arc<AtomicU64>,
    channels: Mutex<HashMap<ChannelId, Arc<Ends>>>,
    work: Mutex<Option<(JoinHandle<Worked>, Arc<tokio::sync::Notify>)>>,
}

/// The two directions of a channel.
struct Ends {
    read: Mutex<ReadHalf<ChannelStream>>,
    write: Mutex<WriteHalf<ChannelStream>>,
}

#[derive(Default)]
struct Worked {
    calls: u64,
    failures: u64,
    longest: Duration,
}

impl Enclave {
    async fn answer(&self, ask: Ask) -> Answered {
        match ask {
            Ask::Attested => {
                let status = self.agent.wait_attested().await?;
                let instance = status.instance.ok_or_else(|| broken("an attested agent without an instance"))?;
                Ok(Answer::Attested { instance })
            }
            Ask::Link => {
                let lost = self.links.load(Ordering::Relaxed);
                Ok(Answer::Link { attestations: self.agent.status().attestations, lost })
            }
            Ask::Encrypt { resource, text } => {
                let ciphertext = self.agent.encrypt(&resource, b"", text.as_bytes()).await?;
                Ok(Answer::Ciphertext(STANDARD.encode(ciphertext)))
            }
            Ask::Decrypt { ciphertext } => {
                let ciphertext = STANDARD.decode(ciphertext).map_err(|_| broken("a ciphertext that is not base64"))?;
                let plaintext = self.agent.decrypt(&ciphertext, b"").await?;
                Ok(Answer::Text(String::from_utf8_lossy(plaintext.expose()).into_owned()))
            }
            Ask::Key { resource } => {
                let key = self.agent.derive(&resource).await?;
                let digest = GenesisHash::from_bytes(sha256(key.expose()));
                Ok(Answer::Fingerprint(digest.short()))
            }
            Ask::Connect { peer } => Ok(self.keep(self.agent.connect(&peer).await?).await),
            Ask::Accept => Ok(self.keep(self.agent.accept().await?.1).await),
            Ask::Send { channel, text } => {
                let ends = self.channel(channel).await?;
                let mut write = ends.write.lock().await;
                write.write_all(text.as_bytes()).await.map_err(problem)?;
                write.flush().await.map_err(problem)?;
                Ok(Answer::Done)
            }
            Ask::Receive { channel, bytes } => {
                let ends = self.channel(channel).await?;
                let mut text = vec![0; bytes];
                ends.read.lock().await.read_exact(&mut text).await.map_err(problem)?;
                Ok(Answer::Text(String::from_utf8_lossy(&text).into_owned()))
            }
            Ask::Ended { channel } => {
                let ends = self.channel(channel).await?;
                match ends.read.lock().await.read_u8().await {
                    Ok(byte) => Err(broken(&format!("byte {byte} on a channel that was to end"))),
                    Err(error) => Ok(Answer::Ended(problem(error))),
                }
            }
            Ask::Work { resource } => self.begin_work(resource).await,
            Ask::Rest => self.end_work().await,
        }
    }

    async fn keep(&self, stream: ChannelStream) -> Answer {
        let (id, peer) = (stream.id(), stream.peer().to_string());
        let (read, write) = tokio::io::split(stream);
        let ends = Ends { read: Mutex::new(read), write: Mutex::new(write) };
        self.channels.lock().await.insert(id, Arc::new(ends));
        Answer::Channel { id, peer }
    }

    async fn channel(&self, id: ChannelId) -> Result<Arc<Ends>, Problem> {
        let channels = self.channels.lock().await;
        channels.get(&id).cloned().ok_or_else(|| broken(&format!("a question about `{id}`, which is not ours")))
    }

    async fn begin_work(&self, resource: ResourceId) -> Answered {
        let (agent, stop) = (self.agent.clone(), Arc::new(tokio::sync::Notify::new()));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut worked = Worked::default();
            let stopped = stopped.notified();
            tokio::pin!(stopped);
            loop {
                let begun = Instant::now();
                tokio::select! {
                    biased;
                    () = &mut stopped => return worked,
                    done = agent.encrypt(&resource, b"", b"work") => {
                        worked.calls += 1;
                        worked.failures += u64::from(done.is_err());
                        worked.longest = worked.longest.max(begun.elapsed());
                    }
                }
            }
        });
        *self.work.lock().await = Some((task, stop));
        Ok(Answer::Done)
    }

    async fn end_work(&self) -> Answered {
        let Some((task, stop)) = self.work.lock().await.take() else { return Err(broken("rest before work")) };
        stop.notify_one();
        let worked = task.await.map_err(|error| broken(&error.to_string()))?;
        let longest_ms = u64::try_from(worked.longest.as_millis()).unwrap_or(u64::MAX);
        Ok(Answer::Worked { calls: worked.calls, failures: worked.failures, longest_ms })
    }
}

/// Counts how often an attested agent is without a link, for as long as the process runs.
fn count_lost_links(agent: &Agent) -> Arc<AtomicU64> {
    let lost = Arc::new(AtomicU64::new(0));
    let (mut watch, counted) = (agent.watch(), Arc::clone(&lost));
    tokio::spawn(async move {
        let mut attested = false;
        while watch.changed().await.is_ok() {
            let now = watch.borrow_and_update().state == AgentState::Attested;
            if attested && !now {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            attested = now;
        }
    });
    lost
}

/// The questions on stdin, read by a thread of their own; the thread ends with the process.
fn questions() -> mpsc::UnboundedReceiver<Numbered<Ask>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Some(question) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { return };
            if sender.send(question).is_err() {
                return;
            }
        }
    });
    receiver
}

fn tell(answer: &Numbered<Answered>) -> Result<(), anyhow::Error> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// The problem within an error of a channel.
fn problem(error: std::io::Error) -> Problem {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()).cloned();
    inner.unwrap_or_else(|| Problem::new(ProblemCode::Protocol, error.to_string()))
}

fn broken(what: &str) -> Problem {
    Problem::new(ProblemCode::Internal, format!("the demo's enclave met {what}"))
}
