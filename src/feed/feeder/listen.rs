//! The feeder's socket: lines in, lines out.
//!
//! In: connections of wal-fetch and of who looks at the status. Out: answers of [`Feeder`]. Never: lets one client hold up
//! another, waits for one that says nothing, takes a line longer than any of ours.

use super::{Feeder, Reply, What};
use crate::error::{Answer, Code, Error};
use crate::feed::protocol::{LONGEST, Line, Question, told};
use std::os::unix::net::UnixListener;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How often a client that waits is told that we live.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// A question comes at once, or not at all.
const QUESTION: Duration = Duration::from_secs(5);

/// Answer on this socket until aborted.
pub(super) fn listen(listener: UnixListener, feeder: Feeder) -> Answer<JoinHandle<()>> {
    let error = |cause| Error::new(Code::LocalIo, "cannot listen for wal-fetch").because(cause);
    listener.set_nonblocking(true).map_err(error)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(error)?;
    let us = rustix::process::geteuid().as_raw();
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                // Other users of the machine have no business here.
                Ok((stream, _)) if !stream.peer_cred().is_ok_and(|peer| peer.uid() == us || peer.uid() == 0) => {}
                Ok((stream, _)) => {
                    let feeder = feeder.clone();
                    // A client that goes away in the middle is not our trouble.
                    tokio::spawn(async move { drop(serve(stream, &feeder).await) });
                }
                // Out of descriptors, perhaps: the others will give theirs back.
                Err(_) => tokio::time::sleep(HEARTBEAT).await,
            }
        }
    }))
}

async fn serve(mut stream: UnixStream, feeder: &Feeder) -> std::io::Result<()> {
    let (input, mut output) = stream.split();
    let mut line = String::new();
    let mut input = BufReader::new(input).take(LONGEST as u64);
    match timeout(QUESTION, input.read_line(&mut line)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(()),
    }
    match Question::parse(line.trim_end_matches('\n')) {
        Some(Question::Get { file, settings }) => {
            let mut answer = std::pin::pin!(feeder.get(file, settings));
            let reply = loop {
                match timeout(HEARTBEAT, &mut answer).await {
                    Ok(reply) => break reply,
                    Err(_) => output.write_all(Line::Wait(feeder.received()).line().as_bytes()).await?,
                }
            };
            let lines: String = lines(reply).iter().map(Line::line).collect();
            output.write_all(lines.as_bytes()).await
        }
        Some(Question::Ready { file, settings }) => {
            let lines: String = lines(feeder.ready(file, settings).await).iter().map(Line::line).collect();
            output.write_all(lines.as_bytes()).await
        }
        Some(question) => {
            let status = feeder.tell(question).await;
            let text = status.and_then(|status| serde_json::to_string(&status).ok());
            output.write_all(text.map(|text| text + "\n").unwrap_or_default().as_bytes()).await
        }
        // Another version of ours, or something else.
        None => Ok(()),
    }
}

fn lines(reply: Reply) -> Vec<Line> {
    let Reply { what, notes, warnings } = reply;
    let mut lines: Vec<Line> = notes.into_iter().map(Line::Note).collect();
    lines.extend(warnings.into_iter().map(Line::Warn));
    lines.push(match what {
        What::Take(path) => Line::Take(path.display().to_string()),
        What::Absent => Line::Absent,
        What::Refused(error) => told(&error),
        What::Yourself(why) => Line::Yourself(why),
        What::Leave => Line::Leave,
    });
    lines
}
