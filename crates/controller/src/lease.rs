//! One controller of several at a time: the holder of a Lease.
//!
//! As client-go does it: a lease has run out once it was seen unchanged, by the clock of the one
//! who waits, for as long as it says. So nothing depends on clocks that agree. Writes carry the
//! version that was read, and the API server refuses all but the first.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Error};
use tokio::time::{Instant, sleep, timeout};

/// The part of a lease's duration after which it is renewed, or asked for again.
const PART: u32 = 5;

/// How much of a lease's duration may pass without a renewal until its holder gives up: others take
/// it only later.
const GIVE_UP: (u32, u32) = (2, 3);

/// A Lease to be held.
#[derive(Debug)]
pub(crate) struct Election {
    api: Api<Lease>,
    name: &'static str,
    identity: String,
    duration: Duration,
}

/// A lease as it was first seen in its present form.
#[derive(Debug, Default)]
struct Observed(Option<(LeaseSpec, Instant)>);

impl Observed {
    /// Whether the lease is free: it has no holder, or has run out while we watched.
    fn is_free(&mut self, spec: &LeaseSpec, now: Instant) -> bool {
        if spec
            .holder_identity
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            return true;
        }
        match &self.0 {
            Some((before, since)) if before == spec => {
                let seconds = spec.lease_duration_seconds.unwrap_or_default();
                let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
                now.duration_since(*since) >= duration
            }
            _ => {
                self.0 = Some((spec.clone(), now));
                false
            }
        }
    }
}

impl Election {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &'static str,
        identity: String,
        duration: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
            identity,
            duration,
        }
    }

    /// Waits until the lease is ours.
    pub(crate) async fn acquire(&self) {
        let mut observed = Observed::default();
        let mut last = String::new();
        loop {
            match self.try_to_acquire(&mut observed).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    let said = format!("cannot ask for the lease {}: {error}", self.name);
                    if said != last {
                        eprintln!("{said}");
                    }
                    last = said;
                }
            }
            sleep(self.duration / PART).await;
        }
    }

    async fn try_to_acquire(&self, observed: &mut Observed) -> Result<bool, Error> {
        let Some(lease) = self.api.get_opt(self.name).await? else {
            let lease = self.lease(LeaseSpec::default());
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if !self.is_mine(&spec) && !observed.is_free(&spec, Instant::now()) {
            return Ok(false);
        }
        let lease = Lease {
            metadata: lease.metadata,
            ..self.lease(spec)
        };
        won(self.replace(&lease).await)
    }

    /// Renews the lease until that fails for too long; says why.
    pub(crate) async fn keep(&self) -> String {
        let (of, parts) = GIVE_UP;
        let limit = self.duration * of / parts;
        let mut renewed = Instant::now();
        loop {
            sleep(self.duration / PART).await;
            let left = limit.saturating_sub(renewed.elapsed());
            let reason = match timeout(left, self.renew()).await {
                Ok(Ok(true)) => {
                    renewed = Instant::now();
                    continue;
                }
                Ok(Ok(false)) => return format!("the lease {} has another holder", self.name),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if renewed.elapsed() >= limit {
                return format!("the lease {} could not be renewed: {reason}", self.name);
            }
        }
    }

    async fn renew(&self) -> Result<bool, Error> {
        let lease = self.api.get(self.name).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        if !self.is_mine(&spec) {
            return Ok(false);
        }
        let lease = Lease {
            metadata: lease.metadata,
            ..self.lease(spec)
        };
        self.replace(&lease).await.map(|_| true)
    }

    /// Gives the lease back, so that the next one need not wait.
    pub(crate) async fn release(&self) -> Result<(), Error> {
        let lease = self.api.get(self.name).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        if !self.is_mine(&spec) {
            return Ok(());
        }
        let free = Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(String::new()),
                ..spec
            }),
            ..lease
        };
        self.replace(&free).await.map(drop)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, Error> {
        self.api
            .replace(self.name, &PostParams::default(), lease)
            .await
    }

    fn is_mine(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref() == Some(&self.identity)
    }

    /// The lease as ours, from now on.
    fn lease(&self, before: LeaseSpec) -> Lease {
        let now = MicroTime(Timestamp::now());
        let seconds = i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX);
        let mut spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(now.clone()),
            ..before
        };
        if before.holder_identity.as_deref() != Some(&self.identity) {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(before.lease_transitions.map_or(0, |count| count + 1));
        }
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        }
    }
}

/// Whether a write took place, or another one came first.
fn won(written: Result<Lease, Error>) -> Result<bool, Error> {
    match written {
        Ok(_) => Ok(true),
        Err(Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::Observed;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;
    use std::time::Duration;
    use tokio::time::Instant;

    fn held(renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some("other".to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_without_a_holder_is_free() {
        let mut observed = Observed::default();
        let released = LeaseSpec {
            holder_identity: Some(String::new()),
            ..held(0)
        };
        for spec in [LeaseSpec::default(), released] {
            assert!(observed.is_free(&spec, Instant::now()));
        }
    }

    #[test]
    fn a_lease_runs_out_by_our_clock_and_not_by_its_times() {
        let mut observed = Observed::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // A renewal far in the past, or in the future, tells nothing.
        for renewed in [0, 4_000_000_000] {
            assert!(!observed.is_free(&held(renewed), at(0)));
        }
        let spec = held(4_000_000_000);
        assert!(!observed.is_free(&spec, at(14)));
        assert!(observed.is_free(&spec, at(15)));
    }

    #[test]
    fn each_renewal_that_is_seen_starts_the_wait_anew() {
        let mut observed = Observed::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!observed.is_free(&held(1), at(0)));
        assert!(!observed.is_free(&held(2), at(14)));
        assert!(!observed.is_free(&held(2), at(28)));
        assert!(observed.is_free(&held(2), at(29)));
    }
}
