//! What those that dropped have in common against those that stayed.
//!
//! Stayed has who was connected when the window began, as far as that shows in the day before it, and has no drop in the window.
//! Each client counts once, by the newest of its events that counts; of names only digests are kept.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use tracemq_model::{Action, ClientId, Event, Filter, Gap, Order, TimeRange};
use tracemq_store::{EventStore, StoreError};
use utoipa::ToSchema;

use super::dropped::drops_of;
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::lookup::Waiting;
use crate::rest::Problem;
use crate::rest::call::{Call, InstanceParameter, answered};
use crate::rest::parameters::{FilterParameters, LimitParameter, WindowParameters};
use crate::rest::problem::Problems;
use crate::rest::row::GapRow;
use crate::state::Shared;

/// How far before the window a connection may have begun.
const BEFORE_MS: i64 = 86_400_000;
/// Clients that are told apart: eight bytes each.
const CLIENTS_MAX: usize = 2_000_000;
/// Values that are told apart in all.
const VALUES_MAX: usize = 100_000;

/// What those that dropped have in common.
#[derive(Serialize, ToSchema)]
struct Common {
    /// Clients that dropped in the window.
    dropped: u64,
    /// Clients that were connected when it began, and did not drop.
    stayed: u64,
    /// What tells the two apart most comes first.
    items: Vec<TraitRow>,
    /// Whether there were more clients or values than are told apart, so that the counts are of a part.
    is_partial: bool,
    /// Spans for which the record is incomplete, in the window and the day before it.
    gaps: Vec<GapRow>,
}

/// One thing that clients can have in common.
#[derive(Serialize, ToSchema)]
struct TraitRow {
    /// Which: `listener`, `subnet` (/24, /64), `username`, `protocol`, `tls_version`, `certificate_issuer`, `keep_alive_s`, `group`
    /// (of client identifiers `GROUP@@@DEVICE`).
    dimension: &'static str,
    /// What it is. None: the event has none.
    value: Option<String>,
    /// How many of those that dropped have it.
    dropped: u64,
    /// Which part of those that dropped that is, 0 to 1.
    dropped_share: f64,
    /// How many of those that stayed have it.
    stayed: u64,
    /// Which part of those that stayed that is, 0 to 1.
    stayed_share: f64,
}

/// What dropped clients have in common
///
/// By listener, subnet, user, protocol, TLS version, certificate issuer, keep alive and group: which part of those that dropped in the window has a value, and
/// which part of those that were connected when it began and stayed. Drops are ends without a DISCONNECT packet unless `action` or
/// `reason` say otherwise.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/common",
    tag = "Fleet",
    params(WindowParameters, FilterParameters, LimitParameter, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = Common), Problems)
)]
pub(crate) async fn common(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read(&app, &request).await)
}

async fn read(app: &Shared, request: &Parts) -> Result<Common, Problem> {
    let mut call = Call::begin(app, request)?;
    let (window, limit): (WindowParameters, LimitParameter) = (call.parameters()?, call.parameters()?);
    let filter: FilterParameters = call.parameters()?;
    let call = call.allowed(PERMISSIONS)?;
    let mut filter = filter.read(call.instance.id, window.read(call.now)?, None)?;
    drops_of(&mut filter);
    let (limit, unstored) = (limit.read()?, app.unstored.clone());
    let asked = app.lookup.ask_long(move |store, waiting| {
        let unstored = unstored.gaps();
        let (groups, gaps) = compare(store, &filter, waiting)?;
        let range = TimeRange { from: filter.range.from.plus(-BEFORE_MS), to: filter.range.to };
        Ok(groups.answer(limit, merged(gaps, &unstored, range)))
    });
    asked.await.map_err(|error| Problem::lookup(&error))
}

fn compare(store: &dyn EventStore, drops: &Filter, waiting: &Waiting) -> Result<(Groups, Vec<Gap>), StoreError> {
    let mut groups = Groups::default();
    let mut gaps = store.scan(drops, Order::NewestFirst, &mut |event| {
        groups.dropped(event);
        waiting.go_on()
    })?;
    let from = drops.range.from;
    let before = TimeRange { from: from.plus(-BEFORE_MS), to: from.plus(-1) };
    let before = Filter::all(drops.instance.clone(), before);
    gaps.extend(store.scan(&before, Order::NewestFirst, &mut |event| {
        groups.before(event);
        waiting.go_on()
    })?);
    Ok((groups, gaps))
}

type Trait = (&'static str, Option<String>);

/// Those that dropped and those that stayed.
#[derive(Default)]
struct Groups {
    hasher: RandomState,
    /// Digests of the clients whose group is known.
    seen: HashSet<u64>,
    dropped: u64,
    stayed: u64,
    counts: HashMap<Trait, [u64; 2]>,
    is_partial: bool,
}

const DROPPED: usize = 0;
const STAYED: usize = 1;

impl Groups {
    fn dropped(&mut self, event: &Event) {
        if self.is_new(event.client.as_ref()) {
            self.dropped += 1;
            self.count(event, DROPPED);
        }
    }

    /// An event before the window, the newest first: the first one of a client says whether it was connected.
    fn before(&mut self, event: &Event) {
        if self.is_new(event.client.as_ref()) && event.action == Action::Connect {
            self.stayed += 1;
            self.count(event, STAYED);
        }
    }

    fn is_new(&mut self, client: Option<&ClientId>) -> bool {
        let Some(client) = client else { return false };
        let digest = self.hasher.hash_one(client.as_str());
        if self.seen.len() >= CLIENTS_MAX && !self.seen.contains(&digest) {
            self.is_partial = true;
            return false;
        }
        self.seen.insert(digest)
    }

    fn count(&mut self, event: &Event, group: usize) {
        for one in traits(event) {
            if self.counts.len() >= VALUES_MAX && !self.counts.contains_key(&one) {
                self.is_partial = true;
                continue;
            }
            if let Some(count) = self.counts.entry(one).or_default().get_mut(group) {
                *count += 1;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share is shown in a few digits")]
    fn answer(self, limit: usize, gaps: Vec<Gap>) -> Common {
        let share = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let mut items: Vec<TraitRow> = self
            .counts
            .into_iter()
            .map(|((dimension, value), [dropped, stayed])| TraitRow {
                dimension,
                value,
                dropped,
                dropped_share: share(dropped, self.dropped),
                stayed,
                stayed_share: share(stayed, self.stayed),
            })
            .filter(|row| row.dropped > 0)
            .collect();
        let difference = |row: &TraitRow| row.dropped_share - row.stayed_share;
        items.sort_by(|one, other| {
            let by_difference = difference(other).total_cmp(&difference(one));
            by_difference.then_with(|| (one.dimension, &one.value).cmp(&(other.dimension, &other.value)))
        });
        items.truncate(limit);
        let gaps = gaps.into_iter().map(GapRow::of).collect();
        Common { dropped: self.dropped, stayed: self.stayed, items, is_partial: self.is_partial, gaps }
    }
}

fn traits(event: &Event) -> [Trait; 8] {
    let details = &event.details;
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let group = event.client.as_ref().and_then(|client| client.as_str().split_once("@@@"));
    [
        ("listener", text(&details.listener)),
        ("subnet", event.peer.map(|peer| subnet(peer.ip()))),
        ("username", text(&details.username)),
        ("protocol", details.protocol.map(|protocol| protocol.to_string())),
        ("tls_version", details.tls_version.map(|version| version.to_string())),
        ("certificate_issuer", text(&details.certificate_issuer)),
        ("keep_alive_s", details.keep_alive_s.map(|seconds| seconds.to_string())),
        ("group", group.map(|(group, _)| group.to_owned())),
    ]
}

/// The /24 of an IPv4 address, the /64 of an IPv6 one.
fn subnet(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            format!("{}/64", std::net::Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_grouped_by_their_network() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(subnet(address.parse().unwrap()), expected);
        }
    }
}
