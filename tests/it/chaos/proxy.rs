//! A TCP proxy in front of the broker that does to connections what networks do.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use super::dice::Dice;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// They pass.
    Fair,
    /// They stop, and pass later.
    Stalled,
    /// Connections are reset.
    Reset,
    /// The broker's side ends; the other is not told, and what it sends goes nowhere.
    HalfOpen,
    /// Each piece of at most [`PIECE`] takes 200 ms to 2 s.
    Slow,
    /// The next piece is cut short, and the connection ends.
    Truncated,
}

const PIECE: usize = 16 * 1024;

/// A listening port whose connections go to the first of several brokers that takes them.
pub(super) struct Proxy {
    port: u16,
    weather: Arc<watch::Sender<Weather>>,
    listening: JoinHandle<()>,
}

/// Why a connection through the proxy ended.
enum End {
    Closed,
    Reset,
    HalfOpen,
}

impl Proxy {
    pub(super) async fn start(brokers: Arc<Mutex<Vec<u16>>>, dice: Dice) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = Arc::new(watch::Sender::new(Weather::Fair));
        let shared = Arc::clone(&weather);
        let listening = tokio::spawn(async move {
            for number in 0.. {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                let (brokers, weather) = (Arc::clone(&brokers), shared.subscribe());
                let dice = dice.fork(number);
                tokio::spawn(async move {
                    let brokers = brokers.lock().unwrap().clone();
                    // A failed connection is what the two ends have to live with.
                    let _ = relay(client, &brokers, weather, dice).await;
                });
            }
        });
        Proxy {
            port,
            weather,
            listening,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f?heartbeat=5", self.port)
    }

    pub(super) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn relay(
    mut client: TcpStream,
    brokers: &[u16],
    weather: watch::Receiver<Weather>,
    dice: Dice,
) -> io::Result<()> {
    let mut broker = dial(brokers).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let end = {
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        let up = pump(from_client, to_broker, weather.clone(), dice.fork(0));
        let down = pump(from_broker, to_client, weather, dice.fork(1));
        tokio::select! {
            end = up => end?,
            end = down => end?,
        }
    };
    match end {
        End::Closed => {}
        End::Reset => {
            client.set_zero_linger()?;
            broker.set_zero_linger()?;
        }
        End::HalfOpen => {
            drop(broker);
            tokio::io::copy(&mut client, &mut tokio::io::sink()).await?;
        }
    }
    Ok(())
}

async fn dial(brokers: &[u16]) -> io::Result<TcpStream> {
    for port in brokers {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", *port)).await {
            return Ok(stream);
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut weather: watch::Receiver<Weather>,
    mut dice: Dice,
) -> io::Result<End> {
    let mut piece = vec![0; PIECE];
    loop {
        let now = *weather.borrow_and_update();
        match now {
            Weather::Reset => return Ok(End::Reset),
            Weather::HalfOpen => return Ok(End::HalfOpen),
            Weather::Fair | Weather::Stalled | Weather::Slow | Weather::Truncated => {}
        }
        let read = tokio::select! {
            read = from.read(&mut piece), if now != Weather::Stalled => read?,
            changed = weather.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(End::Closed),
            },
        };
        if read == 0 {
            return Ok(End::Closed);
        }
        match now {
            Weather::Truncated => {
                // The last byte of a frame is its end: without it and some more, none is whole.
                let cut = read.saturating_sub(3).max(1).min(read);
                to.write_all(&piece[..cut]).await?;
                to.flush().await?;
                return Ok(End::Closed);
            }
            Weather::Slow => {
                let delay = Duration::from_millis(dice.between(200, 2_000));
                super::lasting(delay).await;
            }
            Weather::Fair | Weather::Stalled | Weather::Reset | Weather::HalfOpen => {}
        }
        to.write_all(&piece[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy before an echo, and a connection through it that works.
    async fn connected() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(Arc::new(Mutex::new(vec![1, port])), Dice::new(1)).await;
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        assert_eq!(echo(&mut client).await.unwrap(), Some(8));
        (proxy, client)
    }

    /// Sends 8 bytes and takes what comes back until 8, the end (how many) or 300 ms of silence (none).
    async fn echo(client: &mut TcpStream) -> io::Result<Option<usize>> {
        client.write_all(b"12345678").await?;
        let mut bytes = Vec::new();
        let reading = client.take(8).read_to_end(&mut bytes).await;
        reading.map(Some)
    }

    async fn silent(client: &mut TcpStream) -> bool {
        let patience = Duration::from_millis(300);
        tokio::time::timeout(patience, echo(client)).await.is_err()
    }

    #[tokio::test]
    async fn the_proxy_does_to_a_connection_what_it_is_told() {
        let (proxy, mut client) = connected().await;
        proxy.set(Weather::Stalled);
        assert!(silent(&mut client).await);
        proxy.set(Weather::Fair);
        let mut stalled = [0; 8];
        client.read_exact(&mut stalled).await.unwrap();

        proxy.set(Weather::Slow);
        let start = tokio::time::Instant::now();
        assert_eq!(echo(&mut client).await.unwrap(), Some(8));
        assert!(start.elapsed() >= Duration::from_millis(400), "both ways");

        proxy.set(Weather::HalfOpen);
        assert!(silent(&mut client).await);
        proxy.set(Weather::Fair);
        assert!(silent(&mut client).await, "it never hears of it");

        let (proxy, mut client) = connected().await;
        proxy.set(Weather::Truncated);
        assert!(matches!(echo(&mut client).await, Ok(Some(0..8)) | Err(_)));

        let (proxy, mut client) = connected().await;
        proxy.set(Weather::Reset);
        let reset = client.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    }
}
