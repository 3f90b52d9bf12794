//! Changed after it was signed, signed with another secret or another method, or a proof that is made up.

use super::rest::As::{Key as Other, Login, Token as Session};
use super::rest::{self, Case as RestCase};
use super::signed::By::{Both, V1, V3};
use super::signed::Do::{
    Auth, BodyIs, Calls, Drop, Form, Head, Key, Method, More, MoreBody, Secret, Set, Swap, Token, Unlisted, With,
};
use super::signed::{self, APPLY, Case, SEND};

const FORM: &str = "application/x-www-form-urlencoded";
const EMPTY_IN_UPPER_CASE: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
const MADE_UP: &str = "Credential=main,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;\
                       x-acs-signature-nonce;x-acs-version,Signature={64:0}";
const TOKEN: &str = "x-acs-security-token";
const MISMATCH: &str = "InvalidSecurityToken.MismatchWithAccessKey";

pub(super) const SIGNED: &[Case] = &[
    ("another client", Both, &[Swap("producer", "consumer")], 400, "SignatureDoesNotMatch"),
    ("another instance", Both, &[Swap("mqtt-cn-test", "mqtt-cn-other")], 400, "SignatureDoesNotMatch"),
    ("another region", Both, &[Swap("cn-hangzhou", "cn-beijing")], 400, "SignatureDoesNotMatch"),
    ("another beginning", Both, &[Swap("BeginTime=1", "BeginTime=0")], 400, "SignatureDoesNotMatch"),
    ("another end", Both, &[Swap("EndTime=1", "EndTime=9")], 400, "SignatureDoesNotMatch"),
    ("another page", Both, &[Swap("CurrentPage=1", "CurrentPage=2")], 400, "SignatureDoesNotMatch"),
    ("another page size", Both, &[Swap("PageSize=5", "PageSize=100")], 400, "SignatureDoesNotMatch"),
    ("another order", Both, &[Swap("Reverse=false", "Reverse=true")], 400, "SignatureDoesNotMatch"),
    ("an empty value", Both, &[Swap("PageSize=5", "PageSize=")], 400, "SignatureDoesNotMatch"),
    ("a parameter less", Both, &[Swap("&Reverse=false", "")], 400, "SignatureDoesNotMatch"),
    ("a parameter more", Both, &[More("&Extra=1")], 400, "SignatureDoesNotMatch"),
    ("an empty parameter more", Both, &[More("&Extra")], 400, "SignatureDoesNotMatch"),
    ("a letter of a name to its value", Both, &[Swap("PageSize=5", "PageSiz=e5")], 400, "SignatureDoesNotMatch"),
    ("two parameters to one", Both, &[Swap("&Reverse=false", "%26Reverse%3Dfalse")], 400, "SignatureDoesNotMatch"),
    ("a name in lower case", Both, &[Swap("PageSize=5", "pagesize=5")], 400, "SignatureDoesNotMatch"),
    ("a page of a form", Both, &[Form, MoreBody("0")], 400, "SignatureDoesNotMatch"),
    ("a parameter more in a form", Both, &[Form, MoreBody("&Extra=1")], 400, "SignatureDoesNotMatch"),
    ("a body that is not signed", V3, &[BodyIs("x")], 400, "SignatureDoesNotMatch"),
    ("a form that is not signed", V3, &[Set("content-type", FORM), BodyIs("Extra=1")], 400, "IncompleteSignature"),
    ("the hash of another body", V3, &[Head("x-acs-content-sha256", "{64:0}")], 400, "SignatureDoesNotMatch"),
    ("the hash in upper case", V3, &[Head("x-acs-content-sha256", EMPTY_IN_UPPER_CASE)], 400, "SignatureDoesNotMatch"),
    ("no hash but a word", V3, &[Head("x-acs-content-sha256", "UNSIGNED-PAYLOAD")], 400, "SignatureDoesNotMatch"),
    ("GET sent as POST", V1, &[Method("POST")], 400, "SignatureDoesNotMatch"),
    ("POST sent as GET", V3, &[Method("GET")], 400, "SignatureDoesNotMatch"),
    ("another action", V1, &[Swap("QueryMqttTraceDevice", "QueryToken")], 400, "SignatureDoesNotMatch"),
    ("another action in a header", V3, &[Set("x-acs-action", "QueryToken")], 400, "SignatureDoesNotMatch"),
    ("another nonce", V1, &[Swap("SignatureNonce=nonce", "SignatureNonce=once")], 400, "SignatureDoesNotMatch"),
    ("another nonce in a header", V3, &[Set("x-acs-signature-nonce", "another")], 400, "SignatureDoesNotMatch"),
    ("another time", V1, &[Swap("08%3A17%3A52Z", "08%3A17%3A53Z")], 400, "SignatureDoesNotMatch"),
    ("another date", V3, &[Set("x-acs-date", "2026-11-22T08:17:53Z")], 400, "SignatureDoesNotMatch"),
    ("another host", V3, &[Set("host", "elsewhere.example")], 400, "SignatureDoesNotMatch"),
    ("another key", V1, &[Swap("AccessKeyId=main", "AccessKeyId=second")], 400, "SignatureDoesNotMatch"),
    ("another account's key", V1, &[Swap("AccessKeyId=main", "AccessKeyId=foreign")], 400, "SignatureDoesNotMatch"),
    ("a key of nobody's", V1, &[Swap("AccessKeyId=main", "AccessKeyId=admin")], 404, "InvalidAccessKeyId.NotFound"),
    ("a key of nobody's, signed", Both, &[Key("admin")], 404, "InvalidAccessKeyId.NotFound"),
    ("a key in upper case", Both, &[Key("MAIN")], 404, "InvalidAccessKeyId.NotFound"),
    ("another secret", Both, &[Secret("guess")], 400, "SignatureDoesNotMatch"),
    ("the secret with a space", Both, &[Secret("Secret/With+Odd=Chars&01 ")], 400, "SignatureDoesNotMatch"),
    ("the secret in lower case", Both, &[Secret("secret/with+odd=chars&01")], 400, "SignatureDoesNotMatch"),
    ("no secret", Both, &[Secret("")], 400, "SignatureDoesNotMatch"),
    ("the secret without its &", V3, &[Secret("Secret/With+Odd=Chars&01&")], 400, "SignatureDoesNotMatch"),
    ("no signature", V1, &[Swap("&Signature=", "&S=")], 400, "MissingSignature"),
    ("an empty signature", V1, &[Swap("&Signature=", "&Signature=&S=")], 400, "MissingSignature"),
    ("a longer signature", V1, &[Swap("&Signature=", "&Signature=A")], 400, "SignatureDoesNotMatch"),
    ("zeros for a signature", V1, &[Swap("&Signature=", "&Signature={27:A}%3D&S=")], 400, "SignatureDoesNotMatch"),
    ("a made-up signature", V3, &[Auth(MADE_UP)], 400, "SignatureDoesNotMatch"),
    ("a signature over nothing", V3, &[Auth("Credential=a,SignedHeaders=,Signature=0")], 400, "IncompleteSignature"),
    ("a signed header less", V3, &[Head("x-extra", "1"), Drop("x-extra")], 400, "IncompleteSignature"),
    ("a token that nobody signed", V1, &[More("&SecurityToken=x")], 400, "SignatureDoesNotMatch"),
    ("an unsigned token", V3, &[Set("x-acs-security-token", "x")], 400, "IncompleteSignature"),
    ("a token left unsigned", V3, &[Key("sts"), Token("x"), Unlisted(TOKEN)], 400, "IncompleteSignature"),
    ("a token for a key without one", Both, &[Token("CAIS+token/==%")], 400, MISMATCH),
    ("another token", Both, &[Key("sts"), Token("CAIS+token/==%25")], 400, MISMATCH),
    ("a made-up token", Both, &[Key("sts"), Token("TMQ1.e30.x")], 400, MISMATCH),
    ("a token for more topics", V1, &[Calls(APPLY), Swap("t%2F1", "%23")], 400, "SignatureDoesNotMatch"),
    ("another payload", Both, &[Calls(SEND), Swap("Payload=on", "Payload=off")], 400, "SignatureDoesNotMatch"),
    ("another topic", Both, &[Calls(SEND), Swap("a%2Fb", "a%2Fc")], 400, "SignatureDoesNotMatch"),
    ("a token for longer", Both, &[Calls(APPLY), Swap("ExpireTime=1", "ExpireTime=2")], 400, "SignatureDoesNotMatch"),
    ("what nobody reads", Both, &[With("Extra", "1"), Swap("Extra=1", "Extra=2")], 400, "SignatureDoesNotMatch"),
    ("a header of theirs that nobody signed", V3, &[Set("x-acs-extra", "1")], 400, "IncompleteSignature"),
];

const EVENTS: &str = "/api/v1/events";

pub(super) const REST: &[RestCase] = &[
    (Login("main:guess"), "GET", EVENTS, 401, "login-required", ""),
    (Login("main:Secret/With+Odd=Chars&01 "), "GET", EVENTS, 401, "login-required", ""),
    (Login("main:secret/with+odd=chars&01"), "GET", EVENTS, 401, "login-required", ""),
    (Login("main:Secret/With+Odd=Chars&0"), "GET", EVENTS, 401, "login-required", ""),
    (Login("MAIN:Secret/With+Odd=Chars&01"), "GET", EVENTS, 401, "login-required", ""),
    (Login(" main:Secret/With+Odd=Chars&01"), "GET", EVENTS, 401, "login-required", ""),
    (Login("admin:Secret/With+Odd=Chars&01"), "GET", EVENTS, 401, "login-required", ""),
    (Login("main:no key has this secret, and no caller is let in by it"), "GET", EVENTS, 401, "login-required", ""),
    (Login("admin:no key has this secret, and no caller is let in by it"), "GET", EVENTS, 401, "login-required", ""),
    (Login("main:guess"), "DELETE", "/api/v1/clients/a/events", 401, "login-required", ""),
    (Login("main:guess"), "DELETE", "/api/v1/connections?client=a", 401, "login-required", ""),
    (Login("main:guess"), "GET", "/api/v1/live", 401, "login-required", ""),
    (Login("main:guess"), "GET", "/api/v1/export", 401, "login-required", ""),
    (Session("sts", "CAIS+token/==%25"), "GET", EVENTS, 401, "login-required", ""),
    (Session("sts", "cais+token/==%"), "GET", EVENTS, 401, "login-required", ""),
    (Session("main", "CAIS+token/==%"), "GET", EVENTS, 401, "login-required", ""),
    (Session("sts", "TMQ1.e30.x"), "GET", EVENTS, 401, "login-required", ""),
    (Other("admin"), "GET", EVENTS, 401, "login-required", ""),
];

#[tokio::test]
async fn of_signed_calls_nothing_can_be_changed() {
    signed::run(SIGNED).await;
}

#[tokio::test]
async fn of_rest_calls_no_made_up_proof_opens_anything() {
    rest::run(REST).await;
}
