//! What a client's rights are found by while it is away and the server was started anew: for a will that waits.
//!
//! Written as JSON: who it was, and a digest of what it came in with. No secret, and no right: those are what stands when it
//! is read.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::identity::{Fingerprint, Proof};
use super::{Anonymous, Identity, MqttAccess};

#[derive(Serialize, Deserialize)]
struct Keepsake {
    client_id: String,
    username: Option<String>,
    user: Option<String>,
    address: IpAddr,
    instance: String,
    /// Earlier ones did not say.
    #[serde(default)]
    listener: String,
    anonymous: Anonymous,
    proof: Shown,
}

/// A proof that can be looked up again. Tokens, and what the program elsewhere allowed, can't.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Shown {
    Nothing,
    Password(Fingerprint),
    Certificate,
    Signature(Fingerprint),
    Device(Fingerprint),
}

impl Identity {
    /// What it is found by later. None for one that came by tokens, or by the program elsewhere: these rights end with the
    /// process.
    pub fn keepsake(&self) -> Option<String> {
        let proof = match &self.proof {
            Proof::Nothing => Shown::Nothing,
            Proof::Password(stored) => Shown::Password(Fingerprint::of(stored.as_str())),
            Proof::Certificate => Shown::Certificate,
            Proof::Signature(known) => Shown::Signature(*known),
            Proof::Device(known) => Shown::Device(*known),
            Proof::Tokens(_) | Proof::Hook(_) => return None,
        };
        let keepsake = Keepsake {
            client_id: self.client_id.as_ref().to_owned(),
            username: self.username.as_deref().map(ToOwned::to_owned),
            user: self.user.as_deref().map(ToOwned::to_owned),
            address: self.address,
            instance: self.instance.as_ref().to_owned(),
            listener: self.listener.as_ref().to_owned(),
            anonymous: self.anonymous,
            proof,
        };
        serde_json::to_string(&keepsake).ok()
    }
}

impl MqttAccess {
    /// Who left this keepsake. None when it is not from [`Identity::keepsake`], or its user has another password by now or is
    /// gone. What that client may do, and whether it may do anything, is asked as ever.
    pub fn recall(&self, keepsake: &str) -> Option<Identity> {
        let kept: Keepsake = serde_json::from_str(keepsake).ok()?;
        let proof = match kept.proof {
            Shown::Nothing => Proof::Nothing,
            Shown::Password(known) => {
                let user = self.users.as_ref()?.get(kept.user.as_deref()?)?;
                let same = Fingerprint::of(user.password.as_str()) == known;
                Proof::Password(same.then(|| user.password.clone())?)
            }
            Shown::Certificate => Proof::Certificate,
            Shown::Signature(known) => Proof::Signature(known),
            Shown::Device(known) => Proof::Device(known),
        };
        Some(Identity {
            client_id: kept.client_id.into(),
            username: kept.username.map(Into::into),
            user: kept.user.map(Into::into),
            address: kept.address,
            instance: kept.instance.into(),
            listener: kept.listener.into(),
            anonymous: kept.anonymous,
            proof,
        })
    }
}
