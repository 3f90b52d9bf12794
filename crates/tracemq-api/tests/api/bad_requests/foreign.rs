//! What belongs to another account, or what the key's policy does not allow.

use super::rest::As::{Key as Other, Main};
use super::rest::{self, Case as RestCase};
use super::signed::By::{Both, V1, V3};
use super::signed::Do::{Calls, Form, Head, Key, Named, StrangersToken, With, Without};
use super::signed::{
    self, APPLY, Case, Do, GET, OF_CLIENT, PUBLISH, QUERY, REFRESH, REGISTER, REVOKE, SEND, SESSION, SESSIONS,
    SUBSCRIBE, UNREGISTER,
};

const THEIRS: Do = With("InstanceId", "mqtt-cn-other");
const THEIR_CLIENT: Do = With("ClientId", "GID_stranger@@@pump");
const FOREIGN: &str = "InstancePermissionCheckFailed";

pub(super) const SIGNED: &[Case] = &[
    ("history", Both, &[THEIRS], 400, FOREIGN),
    ("history in its region", Both, &[THEIRS, With("MqttRegionId", "cn-beijing")], 400, FOREIGN),
    ("history of its client", Both, &[THEIRS, THEIR_CLIENT], 400, FOREIGN),
    ("history by a form", Both, &[Form, THEIRS], 400, FOREIGN),
    ("history the other way about", Both, &[Key("foreign")], 400, FOREIGN),
    ("messages of a client", Both, &[Calls(OF_CLIENT), THEIRS], 400, FOREIGN),
    ("a message published", Both, &[Calls(PUBLISH), THEIRS], 400, FOREIGN),
    ("a message delivered", Both, &[Calls(SUBSCRIBE), THEIRS], 400, FOREIGN),
    ("messages the other way about", Both, &[Calls(OF_CLIENT), Key("foreign")], 400, FOREIGN),
    ("who is connected", Both, &[Calls(SESSION), THEIRS], 400, FOREIGN),
    ("who are connected", Both, &[Calls(SESSIONS), THEIRS], 400, FOREIGN),
    ("a token for its topics", Both, &[Calls(APPLY), THEIRS], 400, FOREIGN),
    ("whether its token is good", Both, &[Calls(QUERY), StrangersToken, THEIRS], 400, FOREIGN),
    ("its token revoked", Both, &[Calls(REVOKE), StrangersToken, THEIRS], 400, FOREIGN),
    ("its token revoked as our own", Both, &[Calls(REVOKE), StrangersToken], 400, "ParameterCheckFailed"),
    ("a message to its devices", Both, &[Calls(SEND), THEIRS], 400, FOREIGN),
    ("a message the other way about", Both, &[Calls(SEND), Key("foreign")], 400, FOREIGN),
    ("a credential for it", Both, &[Calls(REGISTER), THEIRS], 400, FOREIGN),
    ("its credential", Both, &[Calls(GET), THEIRS], 400, FOREIGN),
    ("a new secret for it", Both, &[Calls(REFRESH), THEIRS], 400, FOREIGN),
    ("its credential taken out", Both, &[Calls(UNREGISTER), THEIRS], 400, FOREIGN),
    ("its credential as our own", Both, &[Calls(GET), THEIR_CLIENT], 400, "ParameterCheckFailed"),
    ("another host and region", V1, &[THEIRS, Head("x-acs-region-id", "cn-beijing")], 400, FOREIGN),
    ("the right account in a header", V1, &[THEIRS, Head("x-acs-account-id", "stranger")], 400, FOREIGN),
    ("a second instance beside its own", V3, &[THEIRS, With("Instance", "mqtt-cn-test")], 400, FOREIGN),
    ("its own in a region that it is not in", Both, &[Key("foreign"), THEIRS], 400, "InstanceNotFound"),
    // What no policy allows, or one forbids.
    ("a key for other calls", Both, &[Key("nothing")], 403, "NoPermission"),
    ("a key that is denied it", Both, &[Key("denied")], 403, "NoPermission"),
    ("a key for other instances", Both, &[Key("good-only")], 403, "NoPermission"),
    ("a key for another region", Both, &[Key("by-name"), With("MqttRegionId", "cn-beijing")], 403, "NoPermission"),
    ("another account's, forbidden too", Both, &[Key("nothing"), THEIRS], 403, "NoPermission"),
    ("no instance, forbidden too", Both, &[Key("good-only"), Without("InstanceId")], 403, "NoPermission"),
    ("an instance as a pattern", Both, &[Key("good-only"), With("InstanceId", "good*")], 403, "NoPermission"),
    ("an instance with a colon", Both, &[Key("good-only"), With("InstanceId", "x:good1")], 403, "NoPermission"),
    ("messages by a key for histories", Both, &[Calls(OF_CLIENT), Key("by-name")], 403, "NoPermission"),
    ("sessions by a key for histories", Both, &[Calls(SESSION), Key("by-name")], 403, "NoPermission"),
    ("a token by a key for histories", Both, &[Calls(APPLY), Key("by-name")], 403, "NoPermission"),
    ("a token revoked by a key for histories", Both, &[Calls(REVOKE), Key("by-name")], 403, "NoPermission"),
    ("a message by a key for histories", Both, &[Calls(SEND), Key("by-name")], 403, "NoPermission"),
    ("a message by a key for other instances", Both, &[Calls(SEND), Key("good-only")], 403, "NoPermission"),
    ("a credential by a key for histories", Both, &[Calls(GET), Key("by-name")], 403, "NoPermission"),
    ("a credential taken out by a key for histories", Both, &[Calls(UNREGISTER), Key("by-name")], 403, "NoPermission"),
    ("bad parameters, forbidden too", Both, &[Key("nothing"), With("PageSize", "0")], 403, "NoPermission"),
    ("what is not served, by any key", Both, &[Named("ListInstances"), Key("nothing")], 404, "ApiNotSupport"),
];

pub(super) const REST: &[RestCase] = &[
    (Main, "GET", "/api/v1/events?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients/a?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients/a/events?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients/a/sessions?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients/a/why?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/addresses/192.0.2.1/events?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/fleet/reasons?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/fleet/flappers?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/fleet/dropped?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/fleet/common?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/export?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/live?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/gaps?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients/a/messages?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Other("nothing"), "GET", "/api/v1/clients/a/messages", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/messages/01A2026D8B48DEADBEEF000000000001", 403, "not-allowed", ""),
    (Main, "GET", "/api/v1/connections?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "DELETE", "/api/v1/connections?client=a&instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "DELETE", "/api/v1/clients/a/events?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/events?instance=mqtt-cn-oth%65r", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients/GID_stranger%40%40%40pump", 404, "no-such-client", ""),
    (Other("foreign"), "GET", "/api/v1/events?instance=mqtt-cn-test", 404, "no-such-instance", "instance"),
    (Other("foreign"), "GET", "/api/v1/export?instance=mqtt-cn-test", 404, "no-such-instance", "instance"),
    (Other("foreign"), "DELETE", "/api/v1/clients/a/events?instance=mqtt-cn-test", 404, "no-such-instance", "instance"),
    (Other("nothing"), "GET", "/api/v1/events?instance=mqtt-cn-other", 404, "no-such-instance", "instance"),
    (Other("nothing"), "GET", "/api/v1/clients", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/clients/a", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/clients/a/events", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/clients/a/sessions", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/clients/a/why", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/addresses/192.0.2.7/events", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/fleet/reasons", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/fleet/common", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/live", 403, "not-allowed", ""),
    (Other("nothing"), "GET", "/api/v1/gaps", 403, "not-allowed", ""),
    (Other("nothing"), "DELETE", "/api/v1/clients/a/events", 403, "not-allowed", ""),
    (Other("good-only"), "GET", "/api/v1/events", 403, "not-allowed", ""),
    (Other("denied"), "GET", "/api/v1/clients/a/events", 403, "not-allowed", ""),
];

#[tokio::test]
async fn signed_calls_give_nothing_of_another_account_s() {
    signed::run(SIGNED).await;
}

#[tokio::test]
async fn rest_calls_give_nothing_of_another_account_s() {
    rest::run(REST).await;
}
