//! A listing that comes page by page.
//!
//! In: how one page is asked for. Out: the entries of all of them, held to a listing's promise. Never: goes on behind an
//! error, or asks for a page that nobody reads to.

use super::Order;
use crate::layout::ObjectKey;
use crate::storage::retry::Counters;
use crate::storage::{ListStream, Listed, StoreError};
use futures::StreamExt;
use std::future::Future;

/// The entries below `prefix` and behind `start_after`. `page` takes where to go on, which the page before said (`None` for
/// the first one), and gives its entries in order and where the next one goes on. Pages beyond the first are counted.
pub(in crate::storage) fn listing<'a, F>(
    url: String,
    prefix: &str,
    start_after: Option<&ObjectKey>,
    counters: &'a Counters,
    page: impl Fn(Option<String>) -> F + Send + 'a,
) -> ListStream<'a>
where
    F: Future<Output = Result<(Vec<Listed>, Option<String>), StoreError>> + Send + 'a,
{
    let pages = futures::stream::unfold(Some(None), move |place: Option<Option<String>>| {
        let asked = place.map(|place| {
            if place.is_some() {
                counters.count_request();
            }
            page(place)
        });
        async move {
            let (entries, next) = match asked?.await {
                Ok((entries, next)) => (entries.into_iter().map(Ok).collect(), next.map(Some)),
                Err(error) => (vec![Err(error)], None),
            };
            Some((futures::stream::iter(entries), next))
        }
    });
    let mut order = Order { prefix: prefix.to_owned(), last: start_after.cloned(), began: false };
    pages.flatten().filter_map(move |entry| std::future::ready(order.check(entry, &url))).boxed()
}
