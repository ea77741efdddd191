//! Where a running server is: its LSN and its timeline.
//!
//! In: a connection string of libpq's, a deadline. Out: a [`Place`]. Never: writes anything there, or repeats the connection
//! string, which may hold a password.
//! Source: PostgreSQL, System Administration Functions; the functions were renamed in 10.

use super::wal_verify::Place;
use crate::error::{Answer, Code, Error};
use crate::pg::{Lsn, TimelineId};
use std::time::Duration;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Ask it.
pub async fn place(connection: &str, deadline: Duration) -> Answer<Place> {
    match tokio::time::timeout(deadline, ask(connection)).await {
        Ok(place) => place,
        Err(_) => Err(failed(format!("it did not answer within {} s", deadline.as_secs()))),
    }
}

fn failed(what: String) -> Error {
    Error::new(Code::StoreUnreachable, what)
        .on("the server of --pg")
        .hint("Say where it is with --lsn and --timeline instead, or leave all of them out: then the end of the archive counts.")
}

async fn ask(connection: &str) -> Answer<Place> {
    let (client, running) = tokio_postgres::connect(connection, NoTls)
        .await
        .map_err(|error| failed("cannot connect, which is tried without TLS".to_owned()).because(error))?;
    let running = tokio::spawn(running);
    let place = asked(&client).await;
    drop(client);
    running.abort();
    place
}

async fn asked(client: &Client) -> Answer<Place> {
    let version: u32 = value(client, "SHOW server_version_num").await?.parse().unwrap_or(0);
    let standby = value(client, "SELECT pg_is_in_recovery()").await? == "t";
    let (wal, lsn) = if version >= 100_000 { ("wal", "lsn") } else { ("xlog", "location") };
    let query = match standby {
        // The name is made for the timeline that is being written.
        false => format!("SELECT pg_current_{wal}_{lsn}(), substr(pg_{wal}file_name(pg_current_{wal}_{lsn}()), 1, 8)"),
        true => format!(
            "SELECT greatest(pg_last_{wal}_receive_{lsn}(), pg_last_{wal}_replay_{lsn}()), lpad(upper(to_hex(greatest(\
             (SELECT timeline_id FROM pg_control_checkpoint()), \
             (SELECT min_recovery_end_timeline FROM pg_control_recovery()), \
             (SELECT max(received_tli) FROM pg_stat_wal_receiver)))), 8, '0')"
        ),
    };
    let row = row(client, &query).await?;
    let text = |index: usize| row.get(index).and_then(Option::as_deref).unwrap_or_default();
    let strange = || failed(format!("it answers {:?} and {:?}, which is no place in the WAL", text(0), text(1)));
    let lsn: Lsn = text(0).parse().map_err(|_| strange())?;
    let timeline = TimelineId::parse_hex(text(1)).map_err(|_| strange())?;
    Ok(Place { lsn, timeline })
}

async fn value(client: &Client, query: &str) -> Answer<String> {
    Ok(row(client, query).await?.into_iter().next().flatten().unwrap_or_default())
}

/// The first row, as text.
async fn row(client: &Client, query: &str) -> Answer<Vec<Option<String>>> {
    let answers =
        client.simple_query(query).await.map_err(|error| failed("cannot ask it".to_owned()).because(error))?;
    let row = answers.into_iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.ok_or_else(|| failed("it gave no answer".to_owned()))?;
    Ok((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect())
}
