//! Questions to Redis, each bounded in time.

use std::{
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use deadpool_redis::{
    Manager, Pool, PoolError,
    redis::{
        AsyncConnectionConfig, FromRedisValue, RedisError, ScriptInvocation,
        aio::MultiplexedConnection, cmd,
    },
};
use secrecy::{ExposeSecret, SecretString};

use crate::telemetry::metrics::StoreMetrics;

use super::circuit::{Circuit, Fault, Pass};

/// Redis, as far as it answers in time.
pub(super) struct Link {
    /// Makes a connection, and makes it anew where it is dead. It asks for a sign of life each time it hands it
    /// out, which would double the round trips: a sound one is shared instead, and that pipelines.
    pool: Pool,
    circuit: Mutex<Circuit<MultiplexedConnection>>,
    timeout: Duration,
    metrics: StoreMetrics,
}

impl Link {
    /// Connects to nothing yet.
    pub(super) fn new(url: &SecretString, timeout: Duration) -> Result<Link, String> {
        let unbounded = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let manager = Manager::new_with_config(url.expose_secret(), unbounded);
        let manager = manager.map_err(|error| error.to_string())?;
        let pool = Pool::builder(manager).max_size(1).build();
        Ok(Link {
            pool: pool.map_err(|error| error.to_string())?,
            circuit: Mutex::new(Circuit::new(Instant::now(), timeout)),
            timeout,
            metrics: StoreMetrics::new(),
        })
    }

    /// Runs a script; `None` where Redis does not answer in time, or did not lately.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Option<T> {
        self.ask(async |connection| script.invoke_async(connection).await)
            .await
    }

    /// Connects, so that the first request finds a connection.
    pub(super) async fn greet(&self) {
        // A failure is told and counted, and the next request tries again.
        let _: Option<String> = self
            .ask(async |connection| cmd("PING").query_async(connection).await)
            .await;
    }

    /// An answer came that nobody understands.
    pub(super) fn misunderstood(&self) {
        self.metrics.faults.increment(1);
    }

    /// Whether it answers, and if not, why.
    pub(super) fn state(&self) -> (bool, Option<String>) {
        let circuit = self.circuit();
        let (up, reason) = circuit.state();
        (up, reason.map(str::to_owned))
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Option<T> {
        let Some(pass) = self.circuit().pass(Instant::now()) else {
            self.metrics.skipped.increment(1);
            return None;
        };
        let asking = async {
            let mut connection = self.connection(&pass).await.map_err(broke)?;
            let answer = question(&mut connection).await.map_err(broke)?;
            Ok((answer, connection))
        };
        let end = tokio::time::timeout(self.timeout, asking).await;
        match end.unwrap_or(Err(Fault::Silent(self.timeout))) {
            Ok((answer, connection)) => {
                if self.circuit().answered(&pass, connection) {
                    tracing::info!("the duplicate store answers again");
                }
                self.metrics.up.set(1.0);
                Some(answer)
            }
            Err(fault) => {
                self.metrics.faults.increment(1);
                if self.circuit().failed(&pass, Instant::now(), &fault) {
                    self.metrics.up.set(0.0);
                    tracing::warn!(%fault, "going on without the duplicate store");
                }
                None
            }
        }
    }

    async fn connection(
        &self,
        pass: &Pass<MultiplexedConnection>,
    ) -> Result<MultiplexedConnection, PoolError> {
        match &pass.connection {
            Some(connection) => Ok(connection.clone()),
            None => Ok((*self.pool.get().await?).clone()),
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit<MultiplexedConnection>> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broke(error: impl Display) -> Fault {
    Fault::Broke(error.to_string())
}
