//! Something is there twice, in the same or in different spellings, in one place or in two.

use super::rest::As::{Key, Main, Nobody, Token, Twice};
use super::rest::{self, Case as RestCase};
use super::signed::By::{Both, V1, V3};
use super::signed::Do::{Add, Auth, Calls, Form, Head, More, MoreBody, System, With};
use super::signed::{self, APPLY, Case, QUERY, SEND, SESSIONS};

const KEYED: &str = "ACS3-HMAC-SHA256 Credential=main,SignedHeaders=host,Signature=00";
const OTHERS: &str = "mqtt-cn-other";

pub(super) const SIGNED: &[Case] = &[
    // Also when it was signed so.
    ("client", Both, &[With("ClientId", "a"), With("ClientId", "b")], 400, "InvalidParameter"),
    ("the same client", Both, &[With("ClientId", "a"), With("ClientId", "a")], 400, "InvalidParameter"),
    ("instance", Both, &[With("InstanceId", "mqtt-cn-test"), With("InstanceId", OTHERS)], 400, "InvalidParameter"),
    ("region", Both, &[With("MqttRegionId", "a"), With("MqttRegionId", "b")], 400, "InvalidParameter"),
    ("beginning", Both, &[With("BeginTime", "1"), With("BeginTime", "2")], 400, "InvalidParameter"),
    ("page size", Both, &[With("PageSize", "5"), With("PageSize", "500")], 400, "InvalidParameter"),
    ("in a form", Both, &[Form, With("ClientId", "a"), With("ClientId", "b")], 400, "InvalidParameter"),
    ("in lower case", Both, &[With("clientid", "b")], 400, "InvalidParameter"),
    ("in upper case", Both, &[With("INSTANCEID", OTHERS)], 400, "InvalidParameter"),
    ("in camel case", Both, &[With("instanceId", OTHERS)], 400, "InvalidParameter"),
    ("nobody reads it", Both, &[With("Extra", "1"), With("Extra", "2")], 400, "InvalidParameter"),
    ("one of the list", Both, &[Calls(SESSIONS), With("clientidlist.1", "b")], 400, "InvalidParameter"),
    ("token", Both, &[Calls(QUERY), With("Token", "a"), With("Token", "b")], 400, "InvalidParameter"),
    ("topic", Both, &[Calls(SEND), With("mqtttopic", "b")], 400, "InvalidParameter"),
    ("appended payload", Both, &[Calls(SEND), More("&Payload=off")], 400, "InvalidParameter"),
    ("resources", Both, &[Calls(APPLY), With("resources", "#")], 400, "InvalidParameter"),
    ("a list by one name", Both, &[Calls(SESSIONS), With("ClientIdList.01", "b")], 400, "InvalidClientIdList"),
    // Appended behind the signature.
    ("appended client", Both, &[More("&ClientId=b")], 400, "InvalidParameter"),
    ("appended instance", Both, &[More("&InstanceId=mqtt-cn-other")], 400, "InvalidParameter"),
    ("escaped name", Both, &[More("&%43lientId=b")], 400, "InvalidParameter"),
    ("in a form behind a form", Both, &[Form, MoreBody("&ClientId=b")], 400, "InvalidParameter"),
    ("in the query before a form", Both, &[Form, More("?ClientId=b")], 400, "InvalidParameter"),
    ("key", V1, &[More("&AccessKeyId=foreign")], 400, "InvalidParameter"),
    ("signature", V1, &[More("&Signature=AAAA")], 400, "InvalidParameter"),
    ("signature in lower case", V1, &[More("&signature=AAAA")], 400, "InvalidParameter"),
    ("nonce", V1, &[More("&SignatureNonce=another")], 400, "InvalidParameter"),
    ("time", V1, &[More("&Timestamp=2026-11-22T08:17:52Z")], 400, "InvalidParameter"),
    ("action", V1, &[More("&Action=ApplyToken")], 400, "InvalidParameter"),
    ("format", V1, &[More("&Format=XML")], 400, "InvalidParameter"),
    ("method", V1, &[More("&SignatureMethod=HMAC-SHA1")], 400, "InvalidParameter"),
    // In both places that could be read.
    ("signature in query and header", V1, &[Add("authorization", KEYED)], 400, "MissingAction"),
    ("signed in headers and by a parameter", V3, &[With("Signature", "AAAA")], 400, "IncompleteSignature"),
    ("key in headers and by a parameter", V3, &[With("AccessKeyId", "foreign")], 400, "IncompleteSignature"),
    ("another action in a header", V1, &[Head("x-acs-action", "ApplyToken")], 400, "InvalidAction"),
    ("another version in a header", V1, &[Head("x-acs-version", "2019-12-10")], 400, "InvalidVersion"),
    ("another action by a parameter", V3, &[With("Action", "ApplyToken")], 400, "InvalidAction"),
    ("another version by a parameter", V3, &[With("Version", "2019-12-10")], 400, "InvalidVersion"),
    ("another key in a header", V3, &[Head("x-acs-accesskey-id", "foreign")], 400, "IncompleteSignature"),
    ("two kinds of signature", V1, &[System("SignatureType", "BEARERTOKEN")], 400, "InvalidSignatureType"),
    // Headers.
    ("Authorization", V3, &[Add("authorization", KEYED)], 400, "IncompleteSignature"),
    ("host", V3, &[Add("host", "127.0.0.1:8080")], 400, "IncompleteSignature"),
    ("action header", V3, &[Add("x-acs-action", "QueryMqttTraceDevice")], 400, "InvalidParameter"),
    ("version header", V3, &[Add("x-acs-version", "2020-04-20")], 400, "InvalidParameter"),
    ("date header", V3, &[Add("x-acs-date", "2026-11-22T08:17:52Z")], 400, "IncompleteSignature"),
    ("nonce header", V3, &[Add("x-acs-signature-nonce", "another")], 400, "IncompleteSignature"),
    ("hash header", V3, &[Add("x-acs-content-sha256", "00")], 400, "IncompleteSignature"),
    ("accept header", V3, &[Add("accept", "text/xml")], 400, "InvalidParameter"),
    ("content type", Both, &[Form, Add("content-type", "application/json")], 400, "InvalidParameter"),
    ("name in SignedHeaders", V3, &[Auth("Credential=a,SignedHeaders=a;a,Signature=c")], 400, "IncompleteSignature"),
    ("part of Authorization", V3, &[Auth("Credential=a,Credential=b,Signature=c")], 400, "IncompleteSignature"),
];

const EVENTS: &str = "/api/v1/events";

pub(super) const REST: &[RestCase] = &[
    (Twice, "GET", EVENTS, 401, "login-required", ""),
    (Main, "GET", "/api/v1/events?limit=1&limit=2", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?limit=1&limit=1", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?limit=1&LIMIT=1000", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?limit=1&%6cimit=2", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?instance=a&instance=b", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?since=1h&since=2h", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?action=close&action=connect", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?cursor=&cursor=", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/clients?prefix=a&prefix=b", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/clients?prefix=a&glob=b", 400, "invalid-parameter", "prefix"),
    (Main, "GET", "/api/v1/clients?contains=a&like=b", 400, "invalid-parameter", "prefix"),
    (Main, "GET", "/api/v1/clients/a/events?page=1&cursor=x", 400, "invalid-parameter", "page"),
    (Main, "GET", "/api/v1/clients/a/events?page=1&action=close", 400, "invalid-parameter", "page"),
    (Main, "GET", "/api/v1/fleet/reasons?bucket=1h&bucket=1m", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/export?format=csv&format=ndjson", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/live?client=a&client=b", 400, "invalid-parameter", "query"),
    (Main, "DELETE", "/api/v1/connections?client=a&client=b", 400, "invalid-parameter", "query"),
    (Main, "DELETE", "/api/v1/connections?client=a&username=b", 400, "invalid-parameter", "client"),
    (Main, "DELETE", "/api/v1/connections?username=a&address=192.0.2.7", 400, "invalid-parameter", "client"),
    (Main, "DELETE", "/api/v1/clients/a/events?instance=a&instance=b", 400, "invalid-parameter", "query"),
    (Nobody, "GET", "/api/v1/events?limit=1&limit=2", 401, "login-required", ""),
    (Key("foreign"), "GET", "/api/v1/events?instance=a&Instance=b", 400, "invalid-parameter", "query"),
    (Token("main", "a token that it has not"), "GET", EVENTS, 401, "login-required", ""),
];

#[tokio::test]
async fn of_signed_calls_nothing_is_taken_that_is_there_twice() {
    signed::run(SIGNED).await;
}

#[tokio::test]
async fn of_rest_calls_nothing_is_taken_that_is_there_twice() {
    rest::run(REST).await;
}
