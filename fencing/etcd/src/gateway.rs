//! The JSON gateway of etcd's members (`/v3/kv/range`, `/v3/kv/txn`, `/v3/auth/authenticate`, `/v3/maintenance/status`):
//! requests, answers, and who asks. Bytes are base64 there, and 64-bit numbers are strings.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Access,
    fault::{Fault, refusal},
    limits::{MAX_ANSWER_BYTES, MAX_LIST_BYTES, MAX_LISTED},
};

/// All members, and what is kept between two questions.
pub(crate) struct Gateway {
    pub(crate) access: Access,
    /// With its connections; made anew, from the files as they are then, after a failure.
    agent: Mutex<Option<ureq::Agent>>,
    /// What the user has logged in with; every member takes it.
    login: Mutex<Option<Login>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Login {
    Token(String),
    /// etcd asks nobody who he is.
    NotNeeded,
}

/// One member, to be asked until a deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'g> {
    gateway: &'g Gateway,
    pub(crate) endpoint: &'g str,
    deadline: Instant,
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Pair {
    #[serde(deserialize_with = "bytes")]
    pub(crate) key: Vec<u8>,
    /// The revision of etcd in which it was set so.
    mod_revision: String,
    #[serde(default, deserialize_with = "bytes")]
    pub(crate) value: Vec<u8>,
}

/// What stands at some keys.
#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    header: Header,
    #[serde(default)]
    pub(crate) kvs: Vec<Pair>,
}

impl Range {
    /// Which etcd that is. A restore into a new cluster has another one.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.header.cluster_id
    }
}

#[derive(Debug, Deserialize)]
struct Header {
    cluster_id: String,
    member_id: String,
}

#[derive(Deserialize)]
struct Swapped {
    #[serde(default)]
    succeeded: bool,
}

#[derive(Deserialize)]
struct Authenticated {
    token: String,
}

#[derive(Deserialize)]
struct Status {
    header: Header,
    version: String,
    #[serde(default)]
    leader: String,
    #[serde(default)]
    errors: Vec<String>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which etcd it belongs to.
    pub cluster_id: String,
    /// Its version.
    pub version: String,
    /// Whether it leads; `None`: it knows no leader.
    pub leads: Option<bool>,
    /// Alarms, and other things that keep it from working.
    pub errors: Vec<String>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({:?})", self.access) // A token is nobody's business.
    }
}

impl Gateway {
    pub(crate) const fn new(access: Access) -> Self {
        Self {
            access,
            agent: Mutex::new(None),
            login: Mutex::new(None),
        }
    }

    /// The member of that number.
    pub(crate) fn line(&self, endpoint: usize, deadline: Instant) -> Option<Line<'_>> {
        let endpoint = self.access.endpoints.get(endpoint)?;
        Some(Line {
            gateway: self,
            endpoint,
            deadline,
        })
    }

    fn agent(&self) -> Result<ureq::Agent, Fault> {
        let mut agent = locked(&self.agent);
        if let Some(agent) = agent.as_ref() {
            return Ok(agent.clone());
        }
        Ok(agent.insert(self.access.agent()?).clone())
    }
}

impl Line<'_> {
    /// What stands at a key, as a majority knows it: never a `serializable` read, which one member answers from its past.
    pub(crate) fn get(&self, key: &str) -> Result<Range, Fault> {
        let body = json!({ "key": BASE64_STANDARD.encode(key) });
        self.call("/v3/kv/range", &body, MAX_ANSWER_BYTES)
    }

    /// The same of all keys that begin so.
    pub(crate) fn list(&self, prefix: &str) -> Result<Range, Fault> {
        // The prefix ends with a slash: the key behind all of those ends with what follows it.
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let body = json!({
            "key": BASE64_STANDARD.encode(prefix),
            "range_end": BASE64_STANDARD.encode(end),
            "limit": MAX_LISTED.to_string(),
        });
        self.call("/v3/kv/range", &body, MAX_LIST_BYTES)
    }

    /// Sets a key if it still stands there as it was read. Revisions are used again after a restore, so the value has to be
    /// the same, too.
    pub(crate) fn swap(&self, key: &str, from: Option<&Pair>, to: &[u8]) -> Result<bool, Fault> {
        let key = BASE64_STANDARD.encode(key);
        let compare = match from {
            None => json!([
                { "key": key, "result": "EQUAL", "target": "CREATE", "create_revision": "0" },
            ]),
            Some(from) => json!([
                { "key": key, "result": "EQUAL", "target": "MOD", "mod_revision": from.mod_revision },
                { "key": key, "result": "EQUAL", "target": "VALUE", "value": BASE64_STANDARD.encode(&from.value) },
            ]),
        };
        let put = json!({ "key": key, "value": BASE64_STANDARD.encode(to) });
        let body = json!({ "compare": compare, "success": [{ "request_put": put }] });
        let swapped: Swapped = self.call("/v3/kv/txn", &body, MAX_ANSWER_BYTES)?;
        Ok(swapped.succeeded)
    }

    /// What the member says of itself.
    pub(crate) fn status(&self) -> Result<Member, Fault> {
        let status: Status = self.call("/v3/maintenance/status", &json!({}), MAX_ANSWER_BYTES)?;
        let leader = Some(status.leader).filter(|leader| !matches!(leader.as_str(), "" | "0"));
        Ok(Member {
            leads: leader.map(|leader| leader == status.header.member_id),
            cluster_id: status.header.cluster_id,
            version: status.version,
            errors: status.errors,
        })
    }

    /// Asks as the user that is configured, if one is.
    fn call<T: DeserializeOwned>(&self, path: &str, body: &Value, most: u64) -> Result<T, Fault> {
        if self.gateway.access.user.is_none() {
            return self.post(path, body, None, most);
        }
        let known = locked(&self.gateway.login).clone();
        let login = match known {
            Some(login) => login,
            None => self.log_in()?,
        };
        match self.post(path, body, Some(&login), most) {
            Err(Fault::Token(_) | Fault::NeedsUser) => {
                let login = self.log_in()?;
                self.post(path, body, Some(&login), most)
            }
            result => result,
        }
    }

    fn log_in(&self) -> Result<Login, Fault> {
        *locked(&self.gateway.login) = None;
        let Some((name, password)) = self.gateway.access.password()? else {
            return Ok(Login::NotNeeded);
        };
        let body = json!({ "name": name, "password": password });
        let login = match self.post("/v3/auth/authenticate", &body, None, MAX_ANSWER_BYTES) {
            Ok(Authenticated { token }) => Login::Token(token),
            Err(Fault::NoAuthentication) => Login::NotNeeded,
            Err(fault) => return Err(fault),
        };
        *locked(&self.gateway.login) = Some(login.clone());
        Ok(login)
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        login: Option<&Login>,
        most: u64,
    ) -> Result<T, Fault> {
        let result = self.exchange(path, body, login, most);
        let (status, answer) = match result {
            Ok(answered) => answered,
            Err(fault) => {
                *locked(&self.gateway.agent) = None;
                return Err(fault);
            }
        };
        if status != 200 {
            return Err(refusal(status, &answer));
        }
        serde_json::from_slice(&answer).map_err(|error| Fault::NotUnderstood(error.to_string()))
    }

    /// One request; status and body of the answer.
    fn exchange(
        &self,
        path: &str,
        body: &Value,
        login: Option<&Login>,
        most: u64,
    ) -> Result<(u16, Vec<u8>), Fault> {
        let left = self.left()?;
        let agent = self.gateway.agent()?;
        let url = format!("{}{path}", self.endpoint);
        let mut request = agent.post(url).header("Content-Type", "application/json");
        if let Some(Login::Token(token)) = login {
            request = request.header("Authorization", token);
        }
        let request = request.config().timeout_global(Some(left)).build();
        let mut response = request.send(body.to_string())?;
        let status = response.status().as_u16();
        let answer = response.body_mut().with_config().limit(most);
        Ok((status, answer.read_to_vec()?))
    }

    fn left(&self) -> Result<Duration, Fault> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::Silent);
        }
        Ok(left)
    }
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let decoded = BASE64_STANDARD.decode(text);
    decoded.map_err(serde::de::Error::custom)
}

/// Nobody panics with one of these in hand, and nothing in them is half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
