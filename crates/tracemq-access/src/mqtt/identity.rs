//! Who a client has proven to be, for as long as its connection lives, and whether that still holds.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracemq_model::{Reason, TimeMs};

use super::group_of;
use super::hook::HookGrant;
use super::issued::{Bearer, Code, Issued, Notice, TokenDigest, TokenFault, Tokens};
use super::rules::{ClientRules, Deed, Use, Who};
use super::{Login, MqttAccess, Refusal, StoredPassword};

/// A digest of a secret: tells whether it is still the same.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// What a client has shown.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// Nothing: it was not asked.
    Nothing,
    /// The password that is stored so.
    Password(StoredPassword),
    /// A certificate.
    Certificate,
    /// A signature by an access key.
    Signature(Fingerprint),
    /// Tokens.
    Tokens(Tokens),
    /// A signature by its own credential.
    Device(Fingerprint),
    /// The program elsewhere let it in, on these terms.
    Hook(Arc<HookGrant>),
}

/// Who a client is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The client identifier.
    pub client_id: Arc<str>,
    /// The user name of its CONNECT.
    pub username: Option<Arc<str>>,
    /// The user that it has proven to be: a user's name, or the id of an access key or device credential.
    pub user: Option<Arc<str>>,
    /// Its address.
    pub address: IpAddr,
    pub(super) instance: Arc<str>,
    /// The listener that it came in by; empty when that is not known.
    pub(super) listener: Arc<str>,
    pub(super) anonymous: super::Anonymous,
    pub(super) proof: Proof,
}

impl Identity {
    pub(super) fn new(login: &Login<'_>) -> Self {
        Self {
            client_id: login.client_id.into(),
            username: login.username.map(Arc::from),
            user: None,
            address: login.address,
            instance: login.instance.into(),
            listener: login.listener.into(),
            anonymous: login.anonymous,
            proof: Proof::Nothing,
        }
    }

    fn who(&self) -> Who<'_> {
        let (listener, instance) = (&self.listener, &self.instance);
        Who { client_id: &self.client_id, user: self.user.as_deref(), listener, instance }
    }

    /// When what it came in with ends; none when it does not.
    pub fn expires(&self, access: &MqttAccess) -> Option<TimeMs> {
        let key = || access.keys.get(self.user.as_deref()?)?.expires;
        match &self.proof {
            Proof::Tokens(tokens) => [tokens.expires(), key()].into_iter().flatten().min(),
            Proof::Signature(_) => key(),
            Proof::Hook(grant) => grant.expires,
            Proof::Nothing | Proof::Password(_) | Proof::Certificate | Proof::Device(_) => None,
        }
    }

    fn tokens(&self) -> Option<&Tokens> {
        match &self.proof {
            Proof::Tokens(tokens) => Some(tokens),
            Proof::Nothing
            | Proof::Password(_)
            | Proof::Certificate
            | Proof::Signature(_)
            | Proof::Device(_)
            | Proof::Hook(_) => None,
        }
    }

    pub(super) fn came_by_token(&self, digest: &TokenDigest) -> bool {
        self.tokens().is_some_and(|tokens| tokens.has(digest))
    }

    pub(super) fn came_by_credential(&self, instance: &str, client_id: &str) -> bool {
        matches!(self.proof, Proof::Device(_)) && *self.instance == *instance && *self.client_id == *client_id
    }

    pub(super) fn is_of_group(&self, instance: &str, group: &str) -> bool {
        *self.instance == *instance && group_of(&self.client_id) == Some(group)
    }

    /// Takes a token that it publishes to renew one that it came in with. None when it came in without.
    pub fn renew(&self, payload: &[u8], issued: &Issued, now: TimeMs) -> Option<Result<(), Refusal>> {
        let tokens = self.tokens()?;
        let bearer = Bearer { access_key_id: self.user.as_deref().unwrap_or_default(), instance: &self.instance };
        let renewed = tokens.renew(&issued.tokens, payload, bearer, now);
        Some(renewed.map_err(|fault| {
            let detail = format!("of the token that it uploaded: {}", fault.text);
            Refusal::new(Reason::TokenRefused, detail).with_notice(fault.notice())
        }))
    }

    /// What is to be told about a topic that it may not use.
    pub fn notice_of_refusal(&self, used: Use, wanted: &str) -> Option<Notice> {
        self.tokens().map(|tokens| tokens.missing(used, wanted).notice())
    }

    /// When it is to be told next that what it came in with ends soon.
    pub fn warned_at(&self) -> Option<TimeMs> {
        self.tokens().and_then(Tokens::warned_at)
    }

    /// What of that it is to be told at `now`; it is told once.
    pub fn warnings(&self, now: TimeMs) -> Vec<Notice> {
        self.tokens().map(|tokens| tokens.warnings(now)).unwrap_or_default()
    }
}

/// What one client may do, under the rules of one moment.
#[derive(Clone, Debug)]
pub struct ClientAccess {
    rules: ClientRules,
    /// It may do nothing any more.
    shut: bool,
}

impl ClientAccess {
    /// Whether `who`, whose access this is, may do that with a topic or filter.
    pub fn allows(&self, who: &Identity, deed: Deed, wanted: &str) -> bool {
        if self.shut {
            return false;
        }
        let used = Use::from(deed);
        let denied = || self.rules.deny(&who.who(), used, wanted);
        let by_rules = || self.rules.allow(&who.who(), used, wanted);
        match &who.proof {
            // A token is a right by itself; only what a rule forbids it does not open.
            Proof::Tokens(tokens) => tokens.allow(used, wanted) && !denied(),
            Proof::Hook(grant) => match &grant.rules {
                Some(own) => own.allow(&who.who(), deed, wanted) && !denied(),
                None => by_rules(),
            },
            Proof::Nothing | Proof::Password(_) | Proof::Certificate | Proof::Signature(_) | Proof::Device(_) => {
                by_rules()
            }
        }
    }
}

impl MqttAccess {
    /// What `who` may do now.
    pub fn of(&self, who: &Identity, issued: &Issued, now: TimeMs) -> ClientAccess {
        ClientAccess { rules: self.rules.of(&who.who()), shut: self.standing(who, issued, now).is_err() }
    }

    /// Whether a client that was let in would still be.
    ///
    /// # Errors
    /// Why not: its connection is to be ended with that.
    pub fn standing(&self, who: &Identity, issued: &Issued, now: TimeMs) -> Result<(), Refusal> {
        if self.bans.iter().any(|ban| ban.fits_identity(who)) {
            return Err(Refusal::new(Reason::Banned, "client, user or address is in mqtt.banned since a reload"));
        }
        let withdrawn = |detail: &'static str| Err(Refusal::new(Reason::CredentialsWithdrawn, detail));
        if self.check_group(&who.instance, &who.client_id, issued).is_err() {
            return withdrawn("the client's group is not in mqtt.groups any more, or was deleted by a call");
        }
        let user = || self.users.as_ref().zip(who.user.as_deref()).and_then(|(users, name)| users.get(name));
        match &who.proof {
            Proof::Nothing => match who.anonymous {
                super::Anonymous::WhileNobodyIsKnown if !self.knows_nobody() => {
                    withdrawn("since a reload there are users, and it came in without a password")
                }
                super::Anonymous::Yes if who.username.is_some() && !self.knows_nobody() => {
                    withdrawn("since a reload there are users, and its user name was never checked")
                }
                super::Anonymous::Yes | super::Anonymous::WhileNobodyIsKnown | super::Anonymous::No => Ok(()),
            },
            Proof::Password(stored) => match user() {
                None => withdrawn("its user was taken out"),
                Some(user) if !user.enabled => withdrawn("its user was disabled"),
                Some(user) if user.password != *stored => withdrawn("its user's password was changed"),
                Some(_) => Ok(()),
            },
            Proof::Certificate => match (&self.users, user()) {
                (None, _) => Ok(()),
                (Some(_), Some(user)) if user.enabled => Ok(()),
                (Some(_), Some(_)) => withdrawn("its user was disabled"),
                (Some(_), None) => withdrawn("its user was taken out"),
            },
            Proof::Signature(known) => self.key_stands(who, Some(*known), now),
            Proof::Tokens(tokens) => {
                if let Some(fault) = tokens.fault(&issued.tokens, now) {
                    return Err(fallen(&fault));
                }
                let notice = || tokens.fault_of_key().notice();
                self.key_stands(who, None, now).map_err(|refusal| refusal.with_notice(notice()))
            }
            Proof::Device(known) => {
                let credential = issued.devices.get(&who.instance, &who.client_id);
                match credential.filter(|one| Some(&*one.id) == who.user.as_deref()) {
                    Some(one) if Fingerprint::of(&one.secret) == *known => Ok(()),
                    Some(_) => withdrawn("its device credential was refreshed"),
                    None => withdrawn("its device credential was taken away, or registered anew"),
                }
            }
            Proof::Hook(_) if !self.has_hook => withdrawn("the program that let it in is not asked any more"),
            Proof::Hook(grant) if grant.has_expired(now) => Err(expired("the expire_at of mqtt.hook is over")),
            Proof::Hook(_) => Ok(()),
        }
    }

    fn key_stands(&self, who: &Identity, known: Option<Fingerprint>, now: TimeMs) -> Result<(), Refusal> {
        let id = who.user.as_deref().unwrap_or_default();
        if self.keys.get(id).is_some_and(|key| key.enabled && key.has_expired(now)) {
            return Err(expired("its access key has expired"));
        }
        match self.signing_key(id, &who.instance, who.address, now) {
            Ok(secret) if known.is_none_or(|known| known == Fingerprint::of(secret)) => Ok(()),
            Ok(_) => Err(Refusal::new(Reason::CredentialsWithdrawn, "its access key's secret was changed")),
            Err(_) => Err(Refusal::new(Reason::CredentialsWithdrawn, "its access key is not good any more")),
        }
    }
}

/// The end of a connection by what became of its token.
fn fallen(fault: &TokenFault) -> Refusal {
    let reason = match fault.code {
        Code::Expired => Reason::CredentialsExpired,
        Code::Forged | Code::Revoked | Code::OtherResource | Code::OtherPermission | Code::Account => {
            Reason::CredentialsWithdrawn
        }
    };
    Refusal::new(reason, fault.text).with_notice(fault.notice())
}

fn expired(detail: &'static str) -> Refusal {
    Refusal::new(Reason::CredentialsExpired, detail)
}
