//! The operation itself: a page of one device's history.

use serde::Serialize;
use tracemq_model::{ClientId, Event, InstanceId, Order, Subject, TimeMs, TimeRange, TracePage, TraceQuery};

use crate::caller::Caller;
use crate::gaps::merged;
use crate::lookup::LookupError;
use crate::state::Shared;

use super::actions::Operation;
use super::fault::Fault;
use super::incoming::Incoming;
use super::scope::{self, find_instance, is_plain, number, resource_names, text};
use super::words;

/// The answer, but for the request's id.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) paging: Paging,
    pub(super) total: u64,
    pub(super) device_info_list: Vec<DeviceInfo>,
    /// How many spans of the range are not on record.
    pub(super) gaps: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeviceInfo {
    pub(super) channel_id: String,
    pub(super) time: String,
    pub(super) action_code: &'static str,
    pub(super) action: &'static str,
    pub(super) action_info: &'static str,
}

impl DeviceInfo {
    fn of(event: &Event, utc_offset_s: i32) -> Option<Self> {
        let (action, action_code) = words::action(event.action)?;
        Some(Self {
            channel_id: event.connection.to_string(),
            time: words::time(event.time, utc_offset_s),
            action_code,
            action,
            action_info: words::action_info(event.reason),
        })
    }
}

pub(super) async fn query(app: &Shared, key: &Caller, incoming: &Incoming) -> Result<Page, Fault> {
    check_policy(key, Operation::TraceDevice, incoming)?;
    let parameters = Parameters::read(incoming)?;
    let instance = find_instance(app, key, parameters.instance, Some(parameters.region))?;
    let query = parameters.query(instance.id.clone());
    // Before the page: what gets to the store meanwhile is in one of the two.
    let (gaps, range) = (app.unstored.gaps(), query.range);
    let asked = app.lookup.page(query, move |found| TracePage { gaps: merged(found.gaps, &gaps, range), ..found });
    let found = asked.await.map_err(|error| failure(&error))?;
    app.metrics.metered(&instance.id);
    Ok(parameters.page(&found, app.settings.utc_offset_s))
}

pub(super) fn failure(error: &LookupError) -> Fault {
    match error {
        LookupError::Busy => Fault::overloaded(),
        LookupError::Store(source) => {
            tracing::error!(error = source as &dyn std::error::Error, "a query of the store failed");
            Fault::internal()
        }
        LookupError::BrokenOff => Fault::internal(),
    }
}

/// Judges the very texts that decide later. One that could not name anything, such as one that would shift the parts
/// of a resource's name, stands as nothing here and is refused with the parameters.
pub(super) fn check_policy(key: &Caller, operation: Operation, incoming: &Incoming) -> Result<(), Fault> {
    let plain = |name| incoming.all.get(name).filter(|text| is_plain(text)).unwrap_or_default();
    let [short, long] = resource_names(plain("MqttRegionId"), key, plain("InstanceId"));
    scope::allow(key, operation, &[&short, &long])
}

struct Parameters<'a> {
    region: &'a str,
    instance: &'a str,
    client: ClientId,
    range: TimeRange,
    paging: Paging,
    order: Order,
}

/// Which page, of which size, as it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    pub(super) current_page: i32,
    pub(super) page_size: i32,
}

impl Paging {
    /// How many to pass over, and how many to show.
    pub(super) fn window(self) -> (u64, usize) {
        let pages_before = u64::try_from(self.current_page - 1).unwrap_or(0);
        let offset = pages_before * u64::try_from(self.page_size).unwrap_or(0);
        (offset, usize::try_from(self.page_size).unwrap_or(0))
    }
}

impl<'a> Parameters<'a> {
    fn read(incoming: &'a Incoming) -> Result<Self, Fault> {
        let region = region(incoming)?;
        let instance = text(incoming, "InstanceId")?;
        let client = ClientId::new(text(incoming, "ClientId")?).map_err(|_| Fault::invalid("ClientId"))?;
        let (range, paging) = range(incoming, true)?;
        let paging = paging.ok_or_else(|| Fault::missing("CurrentPage"))?;
        let order = order(incoming)?;
        Ok(Self { region, instance, client, range, paging, order })
    }

    fn query(&self, instance: InstanceId) -> TraceQuery {
        let (offset, limit) = self.paging.window();
        TraceQuery {
            instance,
            subject: Subject::Client(self.client.clone()),
            range: self.range,
            order: self.order,
            offset,
            limit,
        }
    }

    fn page(&self, found: &TracePage, utc_offset_s: i32) -> Page {
        Page {
            paging: self.paging,
            total: found.total,
            device_info_list: found.events.iter().filter_map(|event| DeviceInfo::of(event, utc_offset_s)).collect(),
            gaps: found.gaps.len(),
        }
    }
}

pub(super) fn region(incoming: &Incoming) -> Result<&str, Fault> {
    let region = text(incoming, "MqttRegionId")?;
    if is_plain(region) { Ok(region) } else { Err(Fault::invalid("MqttRegionId")) }
}

/// When, and which page of an operation that has pages.
pub(super) fn range(incoming: &Incoming, has_pages: bool) -> Result<(TimeRange, Option<Paging>), Fault> {
    let from = TimeMs(number(incoming, "BeginTime")?);
    let to = TimeMs(number(incoming, "EndTime")?);
    let paging = if has_pages {
        let current_page = number(incoming, "CurrentPage")?;
        Some(Paging { current_page, page_size: number(incoming, "PageSize")? })
    } else {
        None
    };
    if from > to {
        return Err(Fault::invalid("BeginTime"));
    }
    if paging.is_some_and(|paging| paging.current_page < 1) {
        return Err(Fault::invalid("CurrentPage"));
    }
    if paging.is_some_and(|paging| !(1..=100).contains(&paging.page_size)) {
        return Err(Fault::invalid("PageSize"));
    }
    Ok((TimeRange { from, to }, paging))
}

pub(super) fn order(incoming: &Incoming) -> Result<Order, Fault> {
    match incoming.all.get("Reverse").unwrap_or_default() {
        "" => Ok(Order::OldestFirst),
        no if no.eq_ignore_ascii_case("false") => Ok(Order::OldestFirst),
        yes if yes.eq_ignore_ascii_case("true") => Ok(Order::NewestFirst),
        _ => Err(Fault::invalid("Reverse")),
    }
}
