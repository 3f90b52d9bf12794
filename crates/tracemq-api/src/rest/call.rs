//! What every call of the REST API begins with, in this order: who calls, how often, what was sent, of which instance, and
//! whether the key may. A handler that has an [`Allowed`] has been through all of it.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tracemq_access::params::{Params, Plus, decode};
use tracemq_model::TimeMs;
use utoipa::IntoParams;
use utoipa::openapi::path::ParameterIn;

use super::{Problem, login};
use crate::audit::{self, Entry, Peer};
use crate::caller::Caller;
use crate::metrics::{Outcome, Surface};
use crate::state::{Instance, Shared};

/// A call whose caller is known.
pub(super) struct Call<'a> {
    app: &'a Shared,
    /// Whose it is.
    pub(super) key: Caller,
    /// When it came.
    pub(super) now: TimeMs,
    target: String,
    sent: Params,
    known: BTreeSet<String>,
}

/// A call that may go on.
pub(super) struct Allowed {
    /// Whose it is.
    pub(super) key: Caller,
    /// When it came.
    pub(super) now: TimeMs,
    /// What it is about.
    pub(super) instance: Instance,
}

#[derive(serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InstanceParameter {
    /// Which instance; needed when the account has several.
    instance: Option<String>,
}

impl<'a> Call<'a> {
    /// Who calls, and how often; then what was sent, each parameter once.
    pub(super) fn begin(app: &'a Shared, request: &Parts) -> Result<Self, Problem> {
        let now = app.now();
        let peer = request.extensions.get::<Peer>().copied();
        app.throttle_address(peer, now).map_err(Problem::too_many_of_address)?;
        let key = login::login(&app.keys.in_force(), &request.headers, now)?;
        let key = Caller::new(key, peer, now);
        app.throttle(&key.account, now).map_err(Problem::too_many)?;
        let query = request.uri.query().unwrap_or_default();
        let sent = Params::parse(query.as_bytes()).and_then(|sent| Params::joined(&sent, &Params::default()));
        let sent = sent.map_err(|error| Problem::field("query", &format_args!("can't be read: {error}")))?;
        let target = request.uri.path_and_query().map(|target| audit::cut(target.as_str())).unwrap_or_default();
        Ok(Self { app, key, now, target, sent, known: BTreeSet::new() })
    }

    /// The parameters that `T` names.
    pub(super) fn parameters<T: IntoParams + DeserializeOwned>(&mut self) -> Result<T, Problem> {
        let mut found = Map::new();
        for parameter in T::into_params(|| Some(ParameterIn::Query)) {
            if let Some(text) = self.sent.get(&parameter.name) {
                found.insert(parameter.name.clone(), Value::String(text.to_owned()));
            }
            self.known.insert(parameter.name);
        }
        // All are texts, and none has to be there.
        serde_json::from_value(Value::Object(found)).map_err(|error| Problem::field("query", &error))
    }

    /// Whether it may: nothing was sent that no one asked for, the instance is the account's, and the key's policy allows
    /// one of `actions`, which are names of the same right.
    pub(super) fn allowed(self, actions: &'static [&'static str]) -> Result<Allowed, Problem> {
        let (app, target) = (self.app, self.target.clone());
        let (allowed, checked) = self.checked(actions)?;
        let outcome = if checked.is_ok() { "allowed" } else { "denied" };
        app.audit.query(&allowed.entry(actions, &target, outcome));
        checked.map(|()| allowed)
    }

    /// The same for a change, which writes down by itself what it does; only that it was denied is written down here, among the
    /// questions and without a name.
    pub(super) fn allowed_to_change(self, actions: &'static [&'static str]) -> Result<Allowed, Problem> {
        let app = self.app;
        let (allowed, checked) = self.checked(actions)?;
        if checked.is_err() {
            app.audit.query(&allowed.entry(actions, "", "denied"));
        }
        checked.map(|()| allowed)
    }

    fn checked(mut self, actions: &'static [&'static str]) -> Result<(Allowed, Result<(), Problem>), Problem> {
        let InstanceParameter { instance } = self.parameters()?;
        if let Some((unknown, _)) = self.sent.iter().find(|(name, _)| !self.known.contains(*name)) {
            let unknown: String = unknown.chars().take(64).collect();
            return Err(Problem::field(&unknown, &"is not a parameter of this call"));
        }
        let instance = match login::instance(self.app, &self.key, instance.as_deref()) {
            Ok(instance) => instance.clone(),
            Err(problem) => {
                let (action, named) =
                    (actions.first().copied().unwrap_or_default(), instance.as_deref().map(audit::cut));
                let outcome = format!("refused: {}", problem.code());
                self.app.audit.query(&self.key.entry(action, named.as_deref(), &self.target, &outcome));
                return Err(problem);
            }
        };
        let checked = login::check_policy(&self.key, &instance, actions);
        Ok((Allowed { key: self.key, now: self.now, instance }, checked))
    }
}

impl Allowed {
    /// As it is written down.
    pub(super) fn entry<'a>(&'a self, actions: &[&'a str], target: &'a str, outcome: &'a str) -> Entry<'a> {
        let action = actions.first().copied().unwrap_or_default();
        self.key.entry(action, Some(self.instance.id.as_str()), target, outcome)
    }
}

/// What stands in the request's path between `before` and `after`, decoded.
pub(super) fn named_in_path(request: &Parts, before: &str, after: &str) -> Result<String, Problem> {
    let path = request.uri.path();
    let name = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap_or_default();
    decode(name.as_bytes(), Plus::IsPlus).map_err(|error| Problem::field("path", &error))
}

/// The answer as JSON, or the problem; counted.
pub(super) fn answered<T: Serialize>(app: &Shared, answer: Result<T, Problem>) -> Response {
    let response = match answer {
        Ok(body) => (StatusCode::OK, Json(body)).into_response(),
        Err(problem) => problem.into_response(),
    };
    counted(app, Outcome::of(response.status()), response)
}

/// The same response, counted.
pub(super) fn counted(app: &Shared, outcome: Outcome, response: Response) -> Response {
    app.metrics.answered(Surface::Rest, outcome);
    response
}
