//! For batching alone: mosec, an HTTP server that batches. No broker, and nothing that survives it.

use crate::load;
use crate::process;
use crate::report::{self, Row, Spread};
use crate::worker::Worker;
use anyhow::{Context, Result, ensure};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

/// Connections, each with one request under way: two of its batches.
const CONNECTIONS: usize = 128;
const REQUESTS: u64 = 20_000;
const BOOT: Duration = Duration::from_secs(30);

/// Runs it so often, on the model at `model`.
pub async fn run(python: &Path, model: &Path, folder: &Path, rounds: usize) -> Result<Vec<Row>> {
    let (mut rates, mut cpus, mut p99s) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let script = "benches/roundtrip/peers/mosec_server.py";
        let mut command = Command::new(python);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .args(["--address", "127.0.0.1", "--port", &port.to_string()])
            .env("MODEL", model);
        let mut worker = Worker::start(command, folder.join("mosec.log"))?;
        let (rate, cpu_us, p99_ms) = tokio::select! {
            asked = ask(port, worker.pid()?) => asked?,
            error = worker.ended() => return Err(error),
        };
        worker.stop().await?;
        println!(
            "round {round}: mosec, HTTP: {rate:.0}/s, {cpu_us:.1} µs/item, p99 {p99_ms:.1} ms"
        );
        rates.push(rate);
        cpus.push(cpu_us);
        p99s.push(p99_ms);
    }
    let figures = [
        ("items/s", rates),
        ("worker µs/item", cpus),
        ("p99 ms", p99s),
    ];
    let row = |(figure, values)| {
        let of = (report::MODEL, "128 connections, no broker", "mosec, HTTP");
        Some(Row::new(of, figure, Spread::of(values)?))
    };
    Ok(figures.into_iter().filter_map(row).collect())
}

/// Requests a second, CPU µs of each, and the 99th percentile of the time that one takes, ms.
async fn ask(port: u16, pid: u32) -> Result<(f64, f64, f64)> {
    let booted = Instant::now();
    while one(&mut connect(port).await, 0).await.is_err() {
        ensure!(booted.elapsed() < BOOT, "it does not answer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let next = Arc::new(AtomicU64::new(0));
    let (cpu, began) = (process::cpu(pid)?, Instant::now());
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let next = Arc::clone(&next);
        asking.spawn(async move {
            let mut connection = connect(port).await;
            let mut took = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= REQUESTS {
                    return anyhow::Ok(took);
                }
                let asked = Instant::now();
                one(&mut connection, index).await?;
                took.push(asked.elapsed().as_secs_f64() * 1e3);
            }
        });
    }
    let mut took = Vec::new();
    while let Some(done) = asking.join_next().await {
        took.extend(done??);
    }
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = process::cpu(pid)?.saturating_sub(cpu).as_secs_f64();
    took.sort_by(f64::total_cmp);
    let p99 = took.get(took.len() * 99 / 100).copied();
    let count = took.len() as f64;
    Ok((count / elapsed, cpu * 1e6 / count, p99.context("requests")?))
}

async fn connect(port: u16) -> Option<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(BufReader::new(stream))
}

/// One request over HTTP/1.1, on a connection that stays open.
async fn one(connection: &mut Option<BufReader<TcpStream>>, index: u64) -> Result<()> {
    let connection = connection.as_mut().context("no connection")?;
    let body = load::body(index);
    let head = format!(
        "POST /inference HTTP/1.1\r\nHost: mosec\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all((head + &body).as_bytes()).await?;
    let (mut length, mut line) = (0, String::new());
    connection.read_line(&mut line).await?;
    ensure!(line.contains(" 200 "), "mosec answered {line:?}");
    loop {
        line.clear();
        connection.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let score = answer.get("score").and_then(serde_json::Value::as_f64);
    let expected = f64::from(u32::try_from(load::amount(index))?);
    ensure!(
        score == Some(expected),
        "mosec answered {answer} to {index}"
    );
    Ok(())
}
