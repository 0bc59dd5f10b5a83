//! The admin answers as a `tower` service, for a router that is there already.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Buf;
use http::{HeaderMap, Request, Response, StatusCode, header};
use tower_service::Service;

use super::respond::{Admin, Answer, MAX_BODY, Question, text};

/// Answers as [`Admin`] does. It goes by the path of the request, so a router must not cut off a prefix.
#[derive(Clone, Debug)]
pub struct AdminService {
    admin: Admin,
}

impl Admin {
    /// Returns these answers as a service with `String` bodies.
    pub fn service(&self) -> AdminService {
        AdminService { admin: self.clone() }
    }
}

impl<B> Service<Request<B>> for AdminService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let admin = self.admin.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let answer = match read(body).await {
                Ok(body) => {
                    let accept = joined(&head.headers);
                    let question = Question {
                        method: head.method.as_str(),
                        target: head.uri.path_and_query().map_or(head.uri.path(), |target| target.as_str()),
                        accept: accept.as_deref(),
                        has_origin: head.headers.contains_key(header::ORIGIN),
                        body: &body,
                    };
                    admin.answer(&question)
                }
                Err(answer) => answer,
            };
            Ok(response(answer))
        })
    }
}

async fn read(body: impl http_body::Body) -> Result<Vec<u8>, Answer> {
    let mut body = pin!(body);
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|_| text(400, "the body could not be read"))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if read.len() + data.remaining() > MAX_BODY {
            return Err(text(413, "the body is longer than 4096 bytes"));
        }
        read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(read)
}

fn joined(headers: &HeaderMap) -> Option<String> {
    let accept: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    (!accept.is_empty()).then(|| accept.join(","))
}

fn response(answer: Answer) -> Response<String> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if let Some(methods) = answer.allow {
        headers.insert(header::ALLOW, http::HeaderValue::from_static(methods));
    }
    response
}
