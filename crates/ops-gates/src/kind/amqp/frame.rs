//! Frames and methods of AMQP 0-9-1 (the specification's chapters 2.3 and 4.2), on one channel.

use super::refusal;
use crate::kind::net::Wire;
use crate::outcome::{Fault, Finding};

/// A method's class and number in it.
pub(super) type Method = (u16, u16);

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;

/// A connection with one open channel.
pub(super) struct Link {
    wire: Wire,
}

/// What comes from the broker.
pub(super) enum Event {
    Method(Method, Arguments),
    /// The broker closed the channel or the connection, with its reason.
    Closed(u16, String),
}

/// The arguments of a method, written one after another, and read so.
#[derive(Default)]
pub(super) struct Arguments {
    bytes: Vec<u8>,
    at: usize,
}

impl Arguments {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn bits(mut self, bits: u8) -> Self {
        self.bytes.push(bits);
        self
    }

    pub(super) fn short(mut self, number: u16) -> Self {
        self.bytes.extend(number.to_be_bytes());
        self
    }

    /// A short string: what is longer than 255 bytes is cut, which no broker knows then.
    pub(super) fn text(mut self, text: &str) -> Self {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.bytes.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.bytes.extend(bytes);
        self
    }

    fn long_text(mut self, text: &[u8]) -> Self {
        self.bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.bytes.extend(text);
        self
    }

    /// A table of switches that are on.
    pub(super) fn table(self, names: &[&str]) -> Self {
        let table: Vec<u8> =
            names.iter().flat_map(|name| Self::new().text(name).bits(b't').bits(1).bytes).collect();
        self.long_text(&table)
    }

    fn number(&mut self, length: usize) -> Option<u32> {
        let bytes = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(super) fn long(&mut self) -> Option<u32> {
        self.number(4)
    }

    pub(super) fn read_text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number(1)?).ok()?;
        let bytes = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Link {
    /// Logs in, opens the virtual host and a channel.
    pub(super) async fn open(wire: Wire, user: &str, password: &str, vhost: &str) -> Result<Self, Finding> {
        let mut link = Self { wire };
        link.wire.send(b"AMQP\x00\x00\x09\x01").await?;
        link.expect((10, 10)).await?;
        // Without the first switch a wrong password would only close the connection.
        let capabilities =
            Arguments::new().table(&["authentication_failure_close", "connection.blocked"]).bytes;
        let properties = Arguments::new().text("capabilities").bits(b'F').bytes;
        let properties = [properties, capabilities].concat();
        let login = format!("\0{user}\0{password}");
        let start =
            Arguments::new().long_text(&properties).text("PLAIN").long_text(login.as_bytes()).text("en_US");
        link.send(0, (10, 11), start).await?;
        let mut tune = link.expect((10, 30)).await?;
        let limits = (tune.number(2), tune.number(4));
        let (Some(channels), Some(frame)) = limits else { return Err(link.strange()) };
        let channels = u16::try_from(channels).unwrap_or(u16::MAX);
        let mut tuned = Arguments::new().short(channels);
        tuned.bytes.extend(frame.to_be_bytes());
        // No heartbeats: the gate has a time of its own.
        link.send(0, (10, 31), tuned.short(0)).await?;
        link.send(0, (10, 40), Arguments::new().text(vhost).text("").bits(0)).await?;
        link.expect((10, 41)).await?;
        link.send(1, (20, 10), Arguments::new().text("")).await?;
        link.expect((20, 11)).await?;
        Ok(link)
    }

    /// Ends the session; what the broker says to that is of no interest any more.
    pub(super) async fn close(mut self) {
        let close = Arguments::new().short(200).text("done").short(0).short(0);
        if self.send(0, (10, 50), close).await.is_ok() {
            let _ = self.frame().await;
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.wire.place
    }

    pub(super) fn strange(&self) -> Finding {
        self.wire.strange("this is not AMQP 0-9-1")
    }

    /// Something else than what was asked for.
    pub(super) fn refused(&self, event: Event) -> Finding {
        match event {
            Event::Closed(code, text) => refusal(&self.wire.place, code, &text),
            Event::Method(..) => self.strange(),
        }
    }

    /// Calls a method on the channel and waits for what comes back.
    pub(super) async fn call(&mut self, method: Method, arguments: Arguments) -> Result<Event, Finding> {
        self.send(1, method, arguments).await?;
        self.next().await
    }

    /// Publishes to a queue; a message that finds none comes back.
    pub(super) async fn publish(&mut self, queue: &str, body: &[u8]) -> Result<(), Finding> {
        self.send(1, (60, 40), Arguments::new().short(0).text("").text(queue).bits(1)).await?;
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX).to_be_bytes();
        let header = [&[0, 60, 0, 0][..], &length, &[0, 0]].concat();
        self.put(HEADER, 1, &header).await?;
        self.put(BODY, 1, body).await
    }

    /// The content that follows a method which brings one.
    pub(super) async fn content(&mut self) -> Result<Vec<u8>, Finding> {
        let (kind, header) = self.frame().await?;
        let length = header.get(4..12).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let length = length.filter(|length| kind == HEADER && *length < 1024 * 1024);
        let length = length.ok_or_else(|| self.strange())?;
        let mut content = Vec::new();
        while (content.len() as u64) < length {
            match self.frame().await? {
                (BODY, bytes) => content.extend(bytes),
                _ => return Err(self.strange()),
            }
        }
        Ok(content)
    }

    /// The next method.
    pub(super) async fn next(&mut self) -> Result<Event, Finding> {
        let (kind, bytes) = self.frame().await?;
        if kind != METHOD {
            return Err(self.strange());
        }
        let mut arguments = Arguments { bytes, at: 0 };
        let halves = (arguments.number(2), arguments.number(2));
        let (Some(class), Some(number)) = halves else { return Err(self.strange()) };
        match (class, number) {
            (10, 50) | (20, 40) => {
                let code = arguments.number(2).and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
                Ok(Event::Closed(code, arguments.read_text().unwrap_or_default()))
            }
            // Memory or disk are short: the broker takes messages from nobody.
            (10, 60) => {
                let why: String = arguments.read_text().unwrap_or_default().chars().take(200).collect();
                Err(Finding::fail("blocked", format!("{} takes no messages: {why}", self.wire.place)))
            }
            (class, number) => {
                let method =
                    (u16::try_from(class).unwrap_or_default(), u16::try_from(number).unwrap_or_default());
                Ok(Event::Method(method, arguments))
            }
        }
    }

    async fn expect(&mut self, wanted: Method) -> Result<Arguments, Finding> {
        match self.next().await? {
            Event::Method(method, arguments) if method == wanted => Ok(arguments),
            event => Err(self.refused(event)),
        }
    }

    async fn send(&mut self, channel: u16, method: Method, arguments: Arguments) -> Result<(), Finding> {
        let head = Arguments::new().short(method.0).short(method.1);
        self.put(METHOD, channel, &[head.bytes, arguments.bytes].concat()).await
    }

    async fn put(&mut self, kind: u8, channel: u16, payload: &[u8]) -> Result<(), Finding> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.extend(payload);
        frame.push(END);
        self.wire.send(&frame).await
    }

    /// The next frame that is no heartbeat: its kind and its payload.
    async fn frame(&mut self) -> Result<(u8, Vec<u8>), Finding> {
        loop {
            let head = self.wire.take(7).await?;
            // A server of another version answers with a protocol header.
            if head.starts_with(b"AMQP") {
                let reason = format!("{} speaks another version of AMQP", self.wire.place);
                return Err(Finding::error(Fault::Parse, "protocol", reason));
            }
            let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
            if length > 1024 * 1024 {
                return Err(self.strange());
            }
            let mut payload = self.wire.take(length as usize + 1).await?;
            if payload.pop() != Some(END) {
                return Err(self.strange());
            }
            if head[0] != HEARTBEAT {
                return Ok((head[0], payload));
            }
        }
    }
}
