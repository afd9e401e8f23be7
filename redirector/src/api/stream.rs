//! An answer without an end: a line of JSON for each item, as it comes.
//!
//! Of what a client does not take there wait one line here, what the connection buffers, and what the flows keep for a
//! watcher: behind that it loses lines, and is told how many.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::{sync::mpsc, time::sleep};

use super::connection::Life;
use crate::flows::{Filters, Item, Watcher};

/// The answer to somebody who watches, with these items before the first that comes.
pub(super) fn answer(before: Vec<Arc<Item>>, watcher: Watcher, filters: Filters, life: Life) -> Response {
    let (lines, body) = mpsc::channel(1);
    tokio::spawn(write(before, watcher, filters, life, lines));
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(body))).into_response()
}

/// Writes until the client is gone, which a connection that has grown too old is too.
async fn write(
    before: Vec<Arc<Item>>,
    mut watcher: Watcher,
    filters: Filters,
    life: Life,
    lines: mpsc::Sender<Bytes>,
) {
    for item in before {
        if !send(&lines, &item, &life).await {
            return;
        }
    }
    loop {
        let item = tokio::select! {
            item = watcher.next() => match item {
                Some(item) => item,
                None => return,
            },
            // What there was is taken, so that nobody is slow.
            () = sleep(life.age / 3) => {
                life.renew();
                continue;
            }
            () = lines.closed() => return,
        };
        if filters.take(&item) && !send(&lines, &item, &life).await {
            return;
        }
    }
}

/// Whether the client is still there.
async fn send(lines: &mpsc::Sender<Bytes>, item: &Item, life: &Life) -> bool {
    let mut text = String::new();
    for document in item.documents(true) {
        text += &document.to_string();
        text.push('\n');
    }
    let sent = lines.send(text.into()).await.is_ok();
    life.renew();
    sent
}

struct Lines(mpsc::Receiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
