//! Something is not there, or is there and empty.

use super::rest::As::{Header, Key as Other, Login, Main, Nobody, Token as Session};
use super::rest::{self, Case as RestCase};
use super::signed::By::{Both, V1, V3};
use super::signed::Do::{
    Calls, Date, Drop, Form, Head, Key, Named, NoHead, NoSystem, Nonce, Set, System, Token, Unlisted, Version, With,
    Without,
};
use super::signed::{
    self, APPLY, Case, GET, OF_CLIENT, PUBLISH, QUERY, REFRESH, REGISTER, REVOKE, SEND, SESSION, SESSIONS, SUBSCRIBE,
    UNREGISTER,
};

pub(super) const SIGNED: &[Case] = &[
    // Parameters of operations.
    ("no region", Both, &[Without("MqttRegionId")], 400, "MissingMqttRegionId"),
    ("no instance", Both, &[Without("InstanceId")], 400, "MissingInstanceId"),
    ("no client", Both, &[Without("ClientId")], 400, "MissingClientId"),
    ("no beginning", Both, &[Without("BeginTime")], 400, "MissingBeginTime"),
    ("no end", Both, &[Without("EndTime")], 400, "MissingEndTime"),
    ("no page", Both, &[Without("CurrentPage")], 400, "MissingCurrentPage"),
    ("no page size", Both, &[Without("PageSize")], 400, "MissingPageSize"),
    ("empty region", Both, &[With("MqttRegionId", "")], 400, "MissingMqttRegionId"),
    ("empty instance", Both, &[With("InstanceId", "")], 400, "MissingInstanceId"),
    ("empty client", Both, &[With("ClientId", "")], 400, "MissingClientId"),
    ("empty beginning", Both, &[With("BeginTime", "")], 400, "MissingBeginTime"),
    ("empty end", Both, &[With("EndTime", "")], 400, "MissingEndTime"),
    ("empty page", Both, &[With("CurrentPage", "")], 400, "MissingCurrentPage"),
    ("empty page size", Both, &[With("PageSize", "")], 400, "MissingPageSize"),
    ("no client in a form", Both, &[Form, Without("ClientId")], 400, "MissingClientId"),
    ("messages of no client", Both, &[Calls(OF_CLIENT), Without("ClientId")], 400, "MissingClientId"),
    ("messages in no page", Both, &[Calls(OF_CLIENT), Without("CurrentPage")], 400, "MissingCurrentPage"),
    ("no message published", Both, &[Calls(PUBLISH), Without("MsgId")], 400, "MissingMsgId"),
    ("published since no time", Both, &[Calls(PUBLISH), Without("BeginTime")], 400, "MissingBeginTime"),
    ("no message delivered", Both, &[Calls(SUBSCRIBE), Without("MsgId")], 400, "MissingMsgId"),
    ("empty message delivered", Both, &[Calls(SUBSCRIBE), With("MsgId", "")], 400, "MissingMsgId"),
    ("delivered in no page size", Both, &[Calls(SUBSCRIBE), Without("PageSize")], 400, "MissingPageSize"),
    ("connected without instance", Both, &[Calls(SESSION), Without("InstanceId")], 400, "MissingInstanceId"),
    ("nobody connected", Both, &[Calls(SESSION), Without("ClientId")], 400, "MissingClientId"),
    ("none connected", V1, &[Named(SESSIONS)], 400, "MissingClientIdList"),
    ("all connected nowhere", Both, &[Calls(SESSIONS), Without("InstanceId")], 400, "MissingInstanceId"),
    ("a hole in the list", Both, &[Calls(SESSIONS), Without("ClientIdList.1")], 400, "InvalidClientIdList"),
    ("an empty one in the list", Both, &[Calls(SESSIONS), With("ClientIdList.2", "")], 400, "InvalidClientIdList"),
    ("token for no instance", Both, &[Calls(APPLY), Without("InstanceId")], 400, "MissingInstanceId"),
    ("token for nothing", Both, &[Calls(APPLY), Without("Resources")], 400, "MissingResources"),
    ("token to do nothing", Both, &[Calls(APPLY), Without("Actions")], 400, "MissingActions"),
    ("token without end", Both, &[Calls(APPLY), Without("ExpireTime")], 400, "MissingExpireTime"),
    ("no token to look up", Both, &[Calls(QUERY), Without("Token")], 400, "MissingToken"),
    ("no instance of a token", Both, &[Calls(QUERY), Without("InstanceId")], 400, "MissingInstanceId"),
    ("no token to revoke", Both, &[Calls(REVOKE), Without("Token")], 400, "MissingToken"),
    ("sent nowhere", Both, &[Calls(SEND), Without("InstanceId")], 400, "MissingInstanceId"),
    ("sent to no topic", Both, &[Calls(SEND), Without("MqttTopic")], 400, "MissingMqttTopic"),
    ("sent to an empty topic", Both, &[Calls(SEND), With("MqttTopic", "")], 400, "MissingMqttTopic"),
    ("nothing sent", Both, &[Calls(SEND), Without("Payload")], 400, "MissingPayload"),
    ("nobody registered", Both, &[Calls(REGISTER), Without("ClientId")], 400, "MissingClientId"),
    ("registered nowhere", Both, &[Calls(REGISTER), Without("InstanceId")], 400, "MissingInstanceId"),
    ("nobody's credential", Both, &[Calls(GET), Without("ClientId")], 400, "MissingClientId"),
    ("nobody's new secret", Both, &[Calls(REFRESH), Without("ClientId")], 400, "MissingClientId"),
    ("nobody taken out", Both, &[Calls(UNREGISTER), Without("ClientId")], 400, "MissingClientId"),
    // What says which call it is, by whom, when.
    ("no action", V1, &[NoSystem("Action")], 400, "MissingAction"),
    ("no version", V1, &[NoSystem("Version")], 400, "MissingVersion"),
    ("no key", V1, &[NoSystem("AccessKeyId")], 400, "MissingAccessKeyId"),
    ("no method", V1, &[NoSystem("SignatureMethod")], 400, "MissingSignatureMethod"),
    ("no version of the signature", V1, &[NoSystem("SignatureVersion")], 400, "MissingSignatureVersion"),
    ("no nonce", V1, &[NoSystem("SignatureNonce")], 400, "MissingSignatureNonce"),
    ("no time", V1, &[NoSystem("Timestamp")], 400, "MissingTimestamp"),
    ("empty method", V1, &[System("SignatureMethod", "")], 400, "MissingSignatureMethod"),
    ("empty version of the signature", V1, &[System("SignatureVersion", "")], 400, "MissingSignatureVersion"),
    ("empty action", Both, &[Named("")], 400, "MissingAction"),
    ("empty version", Both, &[Version("")], 400, "MissingVersion"),
    ("empty nonce", Both, &[Nonce("")], 400, "MissingSignatureNonce"),
    ("empty time", V1, &[Date("")], 400, "MissingTimestamp"),
    ("empty date", V3, &[Date("")], 400, "InvalidTimeStamp.Format"),
    ("empty key", V1, &[Key("")], 400, "MissingAccessKeyId"),
    ("empty credential", V3, &[Key("")], 400, "IncompleteSignature"),
    ("no action in the headers", V3, &[NoHead("x-acs-action")], 400, "MissingAction"),
    ("no version in the headers", V3, &[NoHead("x-acs-version")], 400, "MissingVersion"),
    ("no date", V3, &[NoHead("x-acs-date")], 400, "IncompleteSignature"),
    ("no host", V3, &[NoHead("host")], 400, "IncompleteSignature"),
    ("no hash", V3, &[NoHead("x-acs-content-sha256")], 400, "IncompleteSignature"),
    ("no nonce in the headers", V3, &[NoHead("x-acs-signature-nonce")], 400, "MissingSignatureNonce"),
    ("unsigned host", V3, &[Unlisted("host")], 400, "IncompleteSignature"),
    ("unsigned action", V3, &[Unlisted("x-acs-action")], 400, "IncompleteSignature"),
    ("unsigned date", V3, &[Unlisted("x-acs-date")], 400, "IncompleteSignature"),
    ("unsigned hash", V3, &[Unlisted("x-acs-content-sha256")], 400, "IncompleteSignature"),
    ("unsigned nonce", V3, &[Unlisted("x-acs-signature-nonce")], 400, "IncompleteSignature"),
    ("unsigned kind of a form", V3, &[Form, Unlisted("content-type")], 400, "IncompleteSignature"),
    ("no Authorization", V3, &[Drop("authorization")], 400, "MissingAuthorization"),
    ("empty Authorization", V3, &[Set("authorization", "")], 400, "IncompleteSignature"),
    ("only the method", V3, &[Set("authorization", "ACS3-HMAC-SHA256")], 400, "IncompleteSignature"),
    ("no token", Both, &[Key("sts")], 400, "MissingSecurityToken"),
    ("an empty token", Both, &[Key("sts"), Token("")], 400, "MissingSecurityToken"),
    ("an empty header more", V3, &[Head("x-acs-signature-nonce", "")], 400, "MissingSignatureNonce"),
];

const EVENTS: &str = "/api/v1/clients/GID_test@@@producer/events";

pub(super) const REST: &[RestCase] = &[
    (Nobody, "GET", EVENTS, 401, "login-required", ""),
    (Nobody, "GET", "/api/v1/clients", 401, "login-required", ""),
    (Nobody, "GET", "/api/v1/live", 401, "login-required", ""),
    (Nobody, "GET", "/api/v1/export", 401, "login-required", ""),
    (Nobody, "DELETE", EVENTS, 401, "login-required", ""),
    (Nobody, "DELETE", "/api/v1/connections?client=a", 401, "login-required", ""),
    (Header(""), "GET", EVENTS, 401, "login-required", ""),
    (Header("Basic"), "GET", EVENTS, 401, "login-required", ""),
    (Header("Basic "), "GET", EVENTS, 401, "login-required", ""),
    (Login(""), "GET", EVENTS, 401, "login-required", ""),
    (Login(":"), "GET", EVENTS, 401, "login-required", ""),
    (Login("main"), "GET", EVENTS, 401, "login-required", ""),
    (Login("main:"), "GET", EVENTS, 401, "login-required", ""),
    (Other("sts"), "GET", EVENTS, 401, "login-required", ""),
    (Session("sts", ""), "GET", EVENTS, 401, "login-required", ""),
    (Main, "GET", "/api/v1/clients//events", 400, "invalid-parameter", "client_id"),
    (Main, "GET", "/api/v1/clients/", 404, "no-such-path", ""),
    (Main, "DELETE", "/api/v1/clients//events", 400, "invalid-parameter", "client_id"),
    (Main, "GET", "/api/v1/addresses//events", 400, "invalid-parameter", "ip"),
    (Main, "GET", "/api/v1/", 404, "no-such-path", ""),
    (Main, "DELETE", "/api/v1/connections", 400, "invalid-parameter", "client"),
    (Main, "DELETE", "/api/v1/connections?client=", 400, "invalid-parameter", "client"),
    (Main, "DELETE", "/api/v1/connections?address=", 400, "invalid-parameter", "address"),
    (Main, "GET", "/api/v1/events?=1", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?since=", 400, "invalid-parameter", "since"),
    (Main, "GET", "/api/v1/events?limit=", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/events?limit", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/events?order=", 400, "invalid-parameter", "order"),
    (Main, "GET", "/api/v1/events?cursor=", 400, "invalid-parameter", "cursor"),
    (Main, "GET", "/api/v1/events?action=", 400, "invalid-parameter", "action"),
    (Main, "GET", "/api/v1/events?action=close,", 400, "invalid-parameter", "action"),
    (Main, "GET", "/api/v1/events?reason=", 400, "invalid-parameter", "reason"),
    (Main, "GET", "/api/v1/events?address=", 400, "invalid-parameter", "address"),
    (Main, "GET", "/api/v1/export?format=", 400, "invalid-parameter", "format"),
    (Main, "GET", "/api/v1/export?client=", 400, "invalid-parameter", "client"),
    (Main, "GET", "/api/v1/live?client=", 400, "invalid-parameter", "client"),
    (Main, "GET", "/api/v1/fleet/reasons?bucket=", 400, "invalid-parameter", "bucket"),
    (Main, "GET", "/api/v1/events?instance=", 404, "no-such-instance", "instance"),
];

#[tokio::test]
async fn of_signed_calls_what_is_missing_is_named() {
    signed::run(SIGNED).await;
}

#[tokio::test]
async fn of_rest_calls_what_is_missing_is_named() {
    rest::run(REST).await;
}
