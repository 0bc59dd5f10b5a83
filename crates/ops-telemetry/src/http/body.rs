//! A response's body, with its exchange.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;

pin_project! {
    /// The body of a response that went through a layer: what the service gave, or the text of an error. The exchange
    /// ends when it does.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        content: Content<B>,
        exchange: Option<Carried>,
    }
}

pin_project! {
    #[project = Part]
    #[derive(Debug)]
    enum Content<B> {
        Passed { #[pin] body: B },
        Own { text: Option<Bytes> },
    }
}

struct Carried(Exchange);

impl<B: http_body::Body> Body<B> {
    /// Goes on with the exchange until `body` ends.
    pub(super) fn passed(body: B, mut exchange: Exchange, head: &ResponseHead<'_>) -> Self {
        let len = body.size_hint().exact().or_else(|| content_length(head.headers));
        let has_none = head.is_to_head || matches!(head.status, 100..200 | 204 | 304);
        exchange.responded(head.status, len, has_none || body.is_end_stream());
        Self { content: Content::Passed { body }, exchange: Some(Carried(exchange)) }
    }

    /// The text of an error. The exchange has ended.
    pub(super) fn own(text: String) -> Self {
        Self { content: Content::Own { text: Some(text.into()) }, exchange: None }
    }
}

/// What decides whether a body follows.
pub(super) struct ResponseHead<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) is_to_head: bool,
}

impl<B> http_body::Body for Body<B>
where
    B: http_body::Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        match this.content.project() {
            Part::Own { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text.into())))),
            Part::Passed { mut body } => {
                let Some(Carried(exchange)) = this.exchange else { return body.poll_frame(context) };
                let entered = exchange.span.clone().entered();
                let frame = ready!(body.as_mut().poll_frame(context));
                drop(entered);
                match &frame {
                    Some(Ok(frame)) => {
                        exchange.passed(frame.data_ref().map_or(0, Buf::remaining));
                        if body.is_end_stream() {
                            exchange.end(None);
                        }
                    }
                    Some(Err(_)) => exchange.end(Some("body")),
                    None => exchange.end(None),
                }
                if !matches!(frame, Some(Ok(_))) {
                    *this.exchange = None;
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Passed { body } => body.is_end_stream(),
            Content::Own { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Passed { body } => body.size_hint(),
            Content::Own { text } => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Exchange").field(&self.0.span).finish()
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
