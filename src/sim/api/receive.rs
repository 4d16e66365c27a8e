//! Request bodies: read up to a size, within a time, and not too many large ones at once.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::sim::status::Status;

/// The largest request body that is read, as a real server has it.
pub(super) const MAX: usize = 3 << 20;
/// How long it may take to arrive, in real time: it comes over loopback.
const LIMIT: Duration = Duration::from_secs(10);
/// A body that is too large is read on and dropped up to here: most clients look for an answer only when they have sent all of theirs.
const DROPPED_MAX: u64 = 512 << 20;
/// Bodies up to this size are read without asking for a place.
const SMALL: usize = 16 << 10;
/// So many larger ones are read at once.
static LARGE: Semaphore = Semaphore::const_new(16);

/// Reads a body.
pub(super) async fn body(headers: &HeaderMap, body: Body) -> Result<Bytes, Status> {
    // The cluster's time stands still for a request: nobody may stop it for good by not sending the rest of one.
    let late = |_| Status::new(408, "Timeout", "the request body did not arrive in time");
    tokio::time::timeout(LIMIT, read(headers, body)).await.map_err(late)?
}

async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Status> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let mut large = declared.is_some_and(|n| n > MAX as u64);
    // Whoever asks first whether to send it is told at once.
    if large && headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    let (mut read, mut dropped) = (Vec::new(), 0_u64);
    let mut place: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|e| Status::bad_request(format!("failed to read the request body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if large || read.len() + data.len() > MAX {
            large = true;
            read = Vec::new();
            dropped += data.len() as u64;
            if dropped > DROPPED_MAX {
                break;
            }
            continue;
        }
        if read.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        if read.len() + data.len() > SMALL && place.is_none() {
            place = LARGE.acquire().await.ok();
        }
        read.extend_from_slice(&data);
    }
    if large { Err(too_large()) } else { Ok(read.into()) }
}

fn too_large() -> Status {
    Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {MAX}"))
}
