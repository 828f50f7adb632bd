//! The demo's hold on one of its enclaves.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use burgrave_types::{ChannelId, EnclaveName, GenesisHash, InstanceId, Problem, ResourceId};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use super::messages::{Answer, Answered, Ask, Numbered};

/// How long an enclave may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answered>>>>;

/// An enclave: a child process, killed when this is dropped.
pub(super) struct Enclave {
    name: EnclaveName,
    _child: Child,
    stdin: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Enclave {
    /// Starts one: this very program again, as a process of its own.
    pub(super) fn start(name: &EnclaveName, attester: &str, node: &str, genesis: GenesisHash) -> Result<Self> {
        let own = std::env::current_exe().context("this program's own path is not known")?;
        let mut child = Command::new(own)
            .arg("demo-agent")
            .args(["--enclave", &name.to_string(), "--attester", attester, "--node", node])
            .args(["--genesis", &genesis.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the process of `{name}` cannot be started"))?;
        let stdin = child.stdin.take().context("a child without stdin")?;
        let stdout = child.stdout.take().context("a child without stdout")?;
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(Numbered { number, body }) = serde_json::from_str(&line) else { break };
                if let Some(asked) = lock(&answers).remove(&number) {
                    // Whoever asked may have stopped waiting.
                    let _ = asked.send(body);
                }
            }
            // The process is gone: whoever waits is told by the closed channel.
            lock(&answers).clear();
        });
        Ok(Self { name: name.clone(), _child: child, stdin: stdin.into(), waiting, next: AtomicU64::new(0) })
    }

    /// Its name.
    pub(super) fn name(&self) -> &EnclaveName {
        &self.name
    }

    /// Asks; what the enclave was refused is an answer here.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answered> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).insert(number, sender);
        let what = format!("{ask:?}");
        let line = serde_json::to_string(&Numbered { number, body: ask })? + "\n";
        self.stdin.lock().await.write_all(line.as_bytes()).await.with_context(|| format!("`{}` is gone", self.name))?;
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.with_context(|| format!("`{}` did not answer within {PATIENCE:?}: {what}", self.name))?;
        answer.map_err(|_| anyhow!("the process of `{}` ended while it was asked: {what}", self.name))
    }

    /// Waits until it is attested.
    pub(super) async fn attested(&self) -> Result<Result<InstanceId, Problem>> {
        match self.ask(Ask::Attested).await? {
            Ok(Answer::Attested { instance }) => Ok(Ok(instance)),
            Ok(other) => self.unexpected(&other),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// How often it attested, and how often it lost its link.
    pub(super) async fn link(&self) -> Result<(u64, u64)> {
        match self.ask(Ask::Link).await?? {
            Answer::Link { attestations, lost } => Ok((attestations, lost)),
            other => self.unexpected(&other),
        }
    }

    /// Encrypts a text.
    pub(super) async fn encrypt(&self, resource: &ResourceId, text: &str) -> Result<Result<String, Problem>> {
        let (resource, text) = (resource.clone(), text.to_owned());
        match self.ask(Ask::Encrypt { resource, text }).await? {
            Ok(Answer::Ciphertext(ciphertext)) => Ok(Ok(ciphertext)),
            Ok(other) => self.unexpected(&other),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// Decrypts to a text.
    pub(super) async fn decrypt(&self, ciphertext: &str) -> Result<Result<String, Problem>> {
        self.text(Ask::Decrypt { ciphertext: ciphertext.to_owned() }).await
    }

    /// Gets a key, and tells its fingerprint.
    pub(super) async fn key(&self, resource: &ResourceId) -> Result<Result<String, Problem>> {
        match self.ask(Ask::Key { resource: resource.clone() }).await? {
            Ok(Answer::Fingerprint(fingerprint)) => Ok(Ok(fingerprint)),
            Ok(other) => self.unexpected(&other),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// Opens a channel to `peer`.
    pub(super) async fn connect(&self, peer: &EnclaveName) -> Result<Result<ChannelId, Problem>> {
        match self.ask(Ask::Connect { peer: peer.clone() }).await? {
            Ok(Answer::Channel { id, .. }) => Ok(Ok(id)),
            Ok(other) => self.unexpected(&other),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// Takes the next channel: its id and who is at its other end.
    pub(super) async fn accept(&self) -> Result<(ChannelId, String)> {
        match self.ask(Ask::Accept).await?? {
            Answer::Channel { id, peer } => Ok((id, peer)),
            other => self.unexpected(&other),
        }
    }

    /// Sends a text.
    pub(super) async fn send(&self, channel: ChannelId, text: &str) -> Result<()> {
        match self.ask(Ask::Send { channel, text: text.to_owned() }).await?? {
            Answer::Done => Ok(()),
            other => self.unexpected(&other),
        }
    }

    /// Receives a text of that length.
    pub(super) async fn receive(&self, channel: ChannelId, bytes: usize) -> Result<String> {
        Ok(self.text(Ask::Receive { channel, bytes }).await??)
    }

    /// Waits until a channel ends, and tells why.
    pub(super) async fn ended(&self, channel: ChannelId) -> Result<Problem> {
        match self.ask(Ask::Ended { channel }).await?? {
            Answer::Ended(problem) => Ok(problem),
            other => self.unexpected(&other),
        }
    }

    /// Begins to encrypt again and again.
    pub(super) async fn work(&self, resource: &ResourceId) -> Result<()> {
        match self.ask(Ask::Work { resource: resource.clone() }).await?? {
            Answer::Done => Ok(()),
            other => self.unexpected(&other),
        }
    }

    /// Ends that; says how many calls there were, how many failed, and how long the longest took, in milliseconds.
    pub(super) async fn rest(&self) -> Result<(u64, u64, u64)> {
        match self.ask(Ask::Rest).await?? {
            Answer::Worked { calls, failures, longest_ms } => Ok((calls, failures, longest_ms)),
            other => self.unexpected(&other),
        }
    }

    async fn text(&self, ask: Ask) -> Result<Result<String, Problem>> {
        match self.ask(ask).await? {
            Ok(Answer::Text(text)) => Ok(Ok(text)),
            Ok(other) => self.unexpected(&other),
            Err(problem) => Ok(Err(problem)),
        }
    }

    fn unexpected<T>(&self, answer: &Answer) -> Result<T> {
        bail!("`{}` answered {answer:?}, which is no answer to that", self.name)
    }
}

/// Locks; each change under the lock is whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
