//! One supervised connection: connects, watches, connects again, without end.
//!
//! lapin's own recovery stays off: with it a failure is never an error, and redeliveries just appear.

use crate::broker::config::{Config, ConfigFault, redact, strays};
use crate::broker::fault::{ConnectFault, UrlFault};
use crate::broker::screen::Marks;
use crate::broker::stream::{Kit, LastWrite, Screened};
use crate::broker::tls::{Socket, Tls, trouble};
use futures::StreamExt;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event};
use metrics::Counter;
use rand::Rng;
use secrecy::ExposeSecret;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// RabbitMQ takes no less, and larger frames are fewer.
const FRAME_MIN: u32 = 8_192;
/// What a channel or a close may take on a healthy connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often a connection is looked at, should lapin ever end one without an event.
const CHECK: Duration = Duration::from_millis(500);

/// Where to connect, parsed.
#[derive(Clone)]
pub(super) struct Endpoint {
    uri: AMQPUri,
    config: Config,
}

impl Endpoint {
    pub(super) fn of(config: &Config) -> Result<Endpoint, UrlFault> {
        let url = config.url.expose_secret();
        let fault = |reason| UrlFault {
            url: redact(url),
            reason,
        };
        // The parsers' own words may quote the URL.
        let parsed = url::Url::parse(url).map_err(|_| fault("it is no URL"))?;
        match parsed.scheme() {
            "amqp" | "amqps" => {}
            _ => return Err(fault("it does not start with amqp:// or amqps://")),
        }
        let host = parsed.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| fault("it names no host"))?;
        if strays(&parsed) {
            return Err(fault("an @ stands after the host"));
        }
        let uri = url.parse::<AMQPUri>();
        let mut uri = uri.map_err(|_| fault("its query or its percent-encoding cannot be read"))?;
        host.trim_matches(['[', ']'])
            .clone_into(&mut uri.authority.host);
        if uri.vhost.is_empty() {
            // `amqp://host/`: as most clients read it
            uri.vhost = "/".into();
        }
        if uri.authority.userinfo.username.is_empty() {
            "guest".clone_into(&mut uri.authority.userinfo.username);
            "guest".clone_into(&mut uri.authority.userinfo.password);
        }
        uri.query.heartbeat = Some(config.heartbeat_s);
        uri.query.frame_max = uri.query.frame_max.map(|size| size.max(FRAME_MIN));
        Ok(Endpoint {
            uri,
            config: config.clone(),
        })
    }

    /// How to encrypt, where the URL asks for it.
    pub(super) fn tls(&self) -> Result<Option<Tls>, ConfigFault> {
        if self.uri.scheme == AMQPScheme::AMQPS {
            return Tls::read(&self.config, &self.uri.authority.host).map(Some);
        }
        self.config.tls_setting().map_or(Ok(None), |key| {
            Err(ConfigFault {
                key,
                found: "a setting of encrypted connections, and a url that begins with amqp://"
                    .into(),
                expected: "amqps://".into(),
                mend: "change the url, or take this out".into(),
            })
        })
    }

    pub(super) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    fn address(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// Connects once; ends in bounded time.
    pub(super) async fn connect(&self, name: &str) -> Result<Link, ConnectFault> {
        let socket = self.socket().await?;
        let timeout = self.config.connect_timeout();
        let stream = Screened::new(socket, timeout);
        let (marks, written) = (stream.marks(), stream.written());
        // The socket is ours and bounded; lapin may fetch it once.
        let slot = Mutex::new(Some(stream));
        let fetch = async move |_: AMQPUri, _| {
            let stream = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            let spent = || io::Error::from(io::ErrorKind::NotConnected);
            Ok(AsyncTcpStream::Plain(stream.ok_or_else(spent)?))
        };
        let properties = ConnectionProperties::default()
            .with_connection_name(name.into())
            .with_client_property("product".into(), "inferq".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let runtime = Kit::current(timeout);
        let connecting = Connection::connector(self.uri.clone(), runtime, fetch, properties);
        // The stream's own deadline comes first; to abandon lapin's handshake would leak its thread.
        match tokio::time::timeout(timeout + PATIENCE, connecting).await {
            Ok(Ok(connection)) => Ok(Link {
                connection,
                marks,
                written,
                lost: CancellationToken::new(),
            }),
            Ok(Err(error)) => Err(self.fault(&error)),
            Err(_) => Err(ConnectFault::Silent {
                address: self.address(),
            }),
        }
    }

    async fn socket(&self) -> Result<Socket, ConnectFault> {
        let timeout = self.config.connect_timeout();
        let unreachable = |reason: String| ConnectFault::Unreachable {
            address: self.address(),
            reason,
        };
        let to = (self.uri.authority.host.as_str(), self.uri.authority.port);
        let socket = tokio::time::timeout(timeout, TcpStream::connect(to))
            .await
            .map_err(|_| unreachable("timed out".into()))?
            .map_err(|error| unreachable(error.to_string()))?;
        socket
            .set_nodelay(true)
            .map_err(|error| unreachable(error.to_string()))?;
        let address = self.address();
        let failed = |reason| ConnectFault::Tls {
            address: address.clone(),
            reason,
        };
        // Files are read, those of the system by the hundred.
        let endpoint = self.clone();
        let reading = tokio::task::spawn_blocking(move || endpoint.tls());
        let read = reading.await.map_err(|error| failed(error.to_string()))?;
        let tls = read.map_err(|fault| failed(fault.to_string()))?;
        let Some(tls) = tls else {
            return Ok(Socket::Left(socket));
        };
        match tokio::time::timeout(timeout, tls.wrap(socket)).await {
            Ok(wrapped) => wrapped
                .map_err(|error| failed(trouble(&error).unwrap_or_else(|| error.to_string()))),
            Err(_) => Err(ConnectFault::Silent { address }),
        }
    }

    fn fault(&self, error: &lapin::Error) -> ConnectFault {
        const ACCESS_REFUSED: u16 = 403;
        const NOT_ALLOWED: u16 = 530;
        let address = self.address();
        if let ErrorKind::ProtocolError(broker) = error.kind() {
            let reason = broker.get_message().to_string();
            match broker.get_id() {
                ACCESS_REFUSED => {
                    let user = self.uri.authority.userinfo.username.clone();
                    return ConnectFault::AccessRefused { user, reason };
                }
                NOT_ALLOWED => {
                    let vhost = self.uri.vhost.clone();
                    return ConnectFault::Vhost { vhost, reason };
                }
                _ => {}
            }
        }
        if let ErrorKind::IOError(io) = error.kind() {
            if io.kind() == io::ErrorKind::TimedOut {
                return ConnectFault::Silent { address };
            }
            // With TLS 1.3 a broker says only after the handshake that it does not like whom it sees.
            if self.uri.scheme == AMQPScheme::AMQPS
                && let Some(reason) = trouble(io)
            {
                return ConnectFault::Tls { address, reason };
            }
        }
        let reason = error.to_string();
        ConnectFault::Broken { address, reason }
    }
}

/// One live connection.
pub(super) struct Link {
    connection: Connection,
    /// What the screen mended on this connection.
    pub(super) marks: Arc<Marks>,
    /// When something was written to it last.
    pub(super) written: Arc<LastWrite>,
    /// Cancelled when the connection has failed or was closed.
    pub(super) lost: CancellationToken,
}

impl Link {
    pub(super) async fn channel(&self) -> Result<Channel, String> {
        let opening = self.connection.create_channel();
        tokio::select! {
            () = self.lost.cancelled() => Err("the connection is gone".into()),
            channel = tokio::time::timeout(PATIENCE, opening) => channel
                .map_err(|_| "no channel in time".to_string())?
                .map_err(|error| error.to_string()),
        }
    }

    pub(super) fn alive(&self) -> bool {
        !self.lost.is_cancelled() && self.connection.status().connected()
    }

    pub(super) async fn close(&self) {
        let closing = self.connection.close(200, "bye".into());
        let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
        self.lost.cancel();
    }
}

/// What is known of a connection.
#[derive(Clone, Default)]
pub(super) struct LinkState {
    pub(super) link: Option<Arc<Link>>,
    /// The broker's reason while it takes no publications.
    pub(super) blocked: Option<String>,
    /// When it began to take them last.
    pub(super) flows_since: Option<Instant>,
    /// Why there is no connection.
    pub(super) reason: Option<String>,
    /// Connections made so far.
    pub(super) connects: u64,
}

impl LinkState {
    pub(super) fn flows(&self) -> bool {
        self.blocked.is_none() && self.link.as_ref().is_some_and(|link| link.alive())
    }
}

/// Keeps a connection until `stop`; `state` always tells how it stands.
pub(super) async fn supervise(
    endpoint: Endpoint,
    name: &'static str,
    state: watch::Sender<LinkState>,
    stop: CancellationToken,
    reconnects: Counter,
) {
    let mut backoff = Backoff::default();
    loop {
        let attempt = tokio::select! {
            () = stop.cancelled() => return,
            attempt = endpoint.connect(name) => attempt,
        };
        let reason = match attempt {
            Ok(link) => {
                let since = Instant::now();
                let link = Arc::new(link);
                reconnects.increment((state.borrow().connects > 0).into());
                let reason = watch_over(&link, &state, &stop).await;
                if stop.is_cancelled() {
                    link.close().await;
                    state.send_modify(|state| state.link = None);
                    return;
                }
                link.lost.cancel();
                if since.elapsed() > PATIENCE {
                    backoff = Backoff::default();
                }
                reason
            }
            Err(fault) => fault.to_string(),
        };
        tracing::warn!(connection = name, reason, "not connected to the broker");
        state.send_modify(|state| {
            state.link = None;
            state.blocked = None;
            state.reason = Some(reason);
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

/// Until the connection fails or `stop`; why it failed.
async fn watch_over(
    link: &Arc<Link>,
    state: &watch::Sender<LinkState>,
    stop: &CancellationToken,
) -> String {
    let mut events = Box::pin(link.connection.events_listener());
    state.send_modify(|state| {
        state.link = Some(Arc::clone(link));
        state.blocked = None;
        state.flows_since = Some(Instant::now());
        state.reason = None;
        state.connects += 1;
    });
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return "closed".into(),
            event = events.next() => event,
            () = tokio::time::sleep(CHECK) => {
                if link.connection.status().connected() {
                    continue;
                }
                return "closed by the broker".into();
            }
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                tracing::warn!(reason, "the broker takes no publications for now");
                state.send_modify(|state| state.blocked = Some(reason));
            }
            Some(Event::ConnectionUnblocked) => state.send_modify(|state| {
                state.blocked = None;
                state.flows_since = Some(Instant::now());
            }),
            // lapin tells of channels here as well
            Some(Event::Error(error)) if !link.connection.status().connected() => {
                return error.to_string();
            }
            None => return "closed".into(),
            Some(_) => {}
        }
    }
}

/// The live connection, as soon as there is one; `None` when its supervisor has ended.
pub(super) async fn connected(state: &mut watch::Receiver<LinkState>) -> Option<Arc<Link>> {
    let alive = |state: &LinkState| state.link.as_ref().is_some_and(|link| link.alive());
    let state = state.wait_for(alive).await.ok()?;
    state.link.clone()
}

/// 0.1 s, doubling to 3 s, each with jitter.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(Duration::from_millis(100))
    }
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(Duration::from_secs(3));
        wait
    }
}
