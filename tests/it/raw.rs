//! An AMQP client that sends whatever bytes it is given: what no decent client lets a test do.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection with channel 1 open, in confirm mode.
pub(crate) struct RawConnection {
    socket: TcpStream,
    published: u64,
    unconfirmed: BTreeSet<u64>,
}

impl RawConnection {
    /// Connects as guest to the default virtual host.
    pub(crate) fn open(port: u16) -> io::Result<RawConnection> {
        Self::open_in(port, "/")
    }

    /// Connects as guest to a virtual host.
    pub(crate) fn open_in(port: u16, vhost: &str) -> io::Result<RawConnection> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut raw = RawConnection {
            socket,
            published: 0,
            unconfirmed: BTreeSet::new(),
        };
        raw.socket.write_all(b"AMQP\x00\x00\x09\x01")?;
        raw.expect(10, 10)?;
        let start_ok = [
            long(&[]),
            short(b"PLAIN"),
            long(b"\0guest\0guest"),
            short(b"en_US"),
        ];
        raw.method(0, 10, 11, &start_ok.concat())?;
        raw.expect(10, 30)?;
        // 16 channels, frames of 128 KiB, no heartbeat
        raw.method(0, 10, 31, &[0, 16, 0, 2, 0, 0, 0, 0])?;
        raw.method(0, 10, 40, &[short(vhost.as_bytes()), vec![0, 0]].concat())?;
        raw.expect(10, 41)?;
        raw.method(1, 20, 10, &[0])?;
        raw.expect(20, 11)?;
        raw.method(1, 85, 10, &[0])?;
        raw.expect(85, 11)?;
        Ok(raw)
    }

    /// Publishes with the given property list (flags first).
    pub(crate) fn publish(
        &mut self,
        exchange: &[u8],
        key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> io::Result<()> {
        let publish = [vec![0, 0], short(exchange), short(key), vec![0]];
        self.method(1, 60, 40, &publish.concat())?;
        let mut header = vec![0, 60, 0, 0];
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(properties);
        self.frame(2, 1, &header)?;
        self.frame(3, 1, body)?;
        self.published += 1;
        self.unconfirmed.insert(self.published);
        Ok(())
    }

    /// Waits until the broker has confirmed all that was published: what is not confirmed may be lost with its
    /// channel.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        while !self.unconfirmed.is_empty() {
            let ack = self.expect(60, 80)?;
            let (tag, multiple) = ack.split_at(8);
            let tag = u64::from_be_bytes(tag.try_into().unwrap());
            if multiple[0] == 0 {
                self.unconfirmed.remove(&tag);
            } else {
                self.unconfirmed = self.unconfirmed.split_off(&(tag + 1));
            }
        }
        Ok(())
    }

    fn method(
        &mut self,
        channel: u16,
        class: u16,
        method: u16,
        arguments: &[u8],
    ) -> io::Result<()> {
        let mut payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
        payload.extend(arguments);
        self.frame(1, channel, &payload)
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame.push(206);
        self.socket.write_all(&frame)
    }

    /// The arguments of the next method, which must be this one.
    fn expect(&mut self, class: u16, method: u16) -> io::Result<Vec<u8>> {
        let mut head = [0; 7];
        self.socket.read_exact(&mut head)?;
        let size = u32::from_be_bytes(head[3..7].try_into().unwrap());
        let mut payload = vec![0; size as usize + 1];
        self.socket.read_exact(&mut payload)?;
        let wanted = [class.to_be_bytes(), method.to_be_bytes()].concat();
        if let Some(arguments) = payload.strip_prefix(&*wanted) {
            return Ok(arguments.to_vec());
        }
        let text = String::from_utf8_lossy(&payload).into_owned();
        Err(io::Error::other(text))
    }
}

/// A short string.
pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).unwrap()];
    bytes.extend(text);
    bytes
}

/// A long string, or the frame of a table or an array.
pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    let mut long = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    long.extend(bytes);
    long
}
