//! GuardDuty: findings about who did what from where.

use std::borrow::Cow;
use std::io::BufRead;

use super::cloudtrail::is_service;
use super::json::{self, Cursor, Fault, Parser, Quoted, Stuck, decode, some};
use super::{Format, RECORD_LIMIT, ReadError, Sink};
use crate::report::DropReason;
use crate::sighting::{Principal, Sighting};

/// GuardDuty's findings.
///
/// Documents: JSON Lines as exported to S3, arrays, single findings, `{"findings":[…]}` as the service answers and
/// `{"Findings":[…]}` as SDKs and the command line print; each finding plain or inside of an EventBridge event (`detail`). Names
/// are known in both spellings: `remoteIpDetails.ipAddressV4` and `RemoteIpDetails.IpAddressV4`.
///
/// | Action, under `service.action` | Who, under `resource`, the first there is |
/// | --- | --- |
/// | `awsApiCallAction`, `networkConnectionAction`, `portProbeAction` | `accessKeyDetails.principalId`, `instanceDetails.instanceId` |
/// | `kubernetesApiCallAction` | `kubernetesDetails.kubernetesUserDetails.username`, then as above |
/// | `rdsLoginAttemptAction` | `rdsDbUserDetails.user`, each `LoginAttributes[].user` of the action, then as above |
///
/// The address is `remoteIpDetails.ipAddressV4`, or `ipAddressV6` where there is none. A port probe is a use for each of
/// its `portProbeDetails`, also when the same address probed several ports. The principal is as long as in CloudTrail, session
/// and all, so that one [`PrincipalRule`](crate::policy::PrincipalRule) makes the same entity of both; `accessKeyDetails.userName` is the
/// user's name, or that of the role. A finding has no ARN of the user. The time is `service.eventLastSeen`, or `updatedAt`.
///
/// Left out: [`ServiceCaller`](DropReason::ServiceCaller) where the caller is the domain of a service,
/// [`NoAddress`](DropReason::NoAddress) for other actions (such as DNS requests) and findings without any.
#[derive(Debug, Clone)]
pub struct GuardDuty {
    limit: usize,
}

impl Default for GuardDuty {
    fn default() -> Self {
        Self { limit: RECORD_LIMIT }
    }
}

impl GuardDuty {
    /// A reader of GuardDuty's findings.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a finding may be, in bytes; [`RECORD_LIMIT`] by default.
    #[must_use]
    pub fn record_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Format for GuardDuty {
    fn name(&self) -> &'static str {
        "guardduty"
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        json::read_records(&Findings, self.limit, input, sink)
    }
}

/// The parser, which is nobody's business.
struct Findings;

#[derive(Default)]
struct Finding<'a> {
    resource: Resource<'a>,
    last_seen: Option<Quoted<'a>>,
    updated: Option<Quoted<'a>>,
    action: Action<'a>,
}

#[derive(Default)]
struct Resource<'a> {
    principal: Option<Quoted<'a>>,
    user_name: Option<Quoted<'a>>,
    instance: Option<Quoted<'a>>,
    kubernetes_user: Option<Quoted<'a>>,
    database_user: Option<Quoted<'a>>,
}

#[derive(Default)]
struct Action<'a> {
    kind: Kind,
    remotes: Vec<Remote<'a>>,
    domain: Option<Quoted<'a>>,
    login_users: Vec<Quoted<'a>>,
}

#[derive(Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Other,
    Kubernetes,
    Database,
}

#[derive(Default, Clone, Copy)]
struct Remote<'a> {
    v4: Option<Quoted<'a>>,
    v6: Option<Quoted<'a>>,
}

impl Parser for Findings {
    type Record<'t> = Finding<'t>;

    const HOLDERS: &'static [&'static str] = &["findings", "Findings"];

    fn parse<'t>(&self, cursor: &mut Cursor<'t>) -> Result<Finding<'t>, Stuck> {
        let mut finding = Finding::default();
        let mut enveloped = None;
        cursor.object("", |cursor, key| match key {
            b"detail" => {
                let mut inner = Finding::default();
                cursor.object("detail", |cursor, key| member(cursor, key, &mut inner))?;
                enveloped = Some(inner);
                Ok(())
            }
            _ => member(cursor, key, &mut finding),
        })?;
        Ok(enveloped.unwrap_or(finding))
    }

    fn tell(&self, finding: Finding<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
        let Finding { resource, action, .. } = &finding;
        let time = match finding.last_seen {
            Some(_) => json::time("service.eventLastSeen", finding.last_seen)?,
            None => json::time("updatedAt", finding.updated)?,
        };
        let id = some(decode(resource.principal)?);
        let user_name = decode(resource.user_name)?;
        let instance = some(decode(resource.instance)?);
        let kubernetes_user =
            some(decode(resource.kubernetes_user)?).filter(|_| action.kind == Kind::Kubernetes);
        let mut users: Vec<Cow<'_, str>> = Vec::new();
        if action.kind == Kind::Database {
            match some(decode(resource.database_user)?) {
                Some(user) => users.push(user),
                None => {
                    for user in &action.login_users {
                        users.extend(some(Some(user.decode()?)));
                    }
                }
            }
        }
        users.extend(kubernetes_user);
        let mut addresses = Vec::with_capacity(action.remotes.len());
        for remote in &action.remotes {
            addresses.push(match some(decode(remote.v4)?) {
                Some(v4) => Some(v4),
                None => some(decode(remote.v6)?),
            });
        }
        let domain = decode(action.domain)?.unwrap_or_default();

        if addresses.is_empty() {
            sink.dropped(if is_service(&domain) {
                DropReason::ServiceCaller
            } else {
                DropReason::NoAddress
            });
        }
        for address in addresses {
            let Some(address) = address else {
                sink.dropped(DropReason::NoAddress);
                continue;
            };
            let mut tell = |principal| {
                sink.sighting(Sighting {
                    principal,
                    address: &address,
                    time,
                })
            };
            for user in &users {
                tell(Principal::named(user))?;
            }
            if users.is_empty() {
                tell(match &id {
                    Some(id) => Principal {
                        user_name: user_name.as_deref(),
                        ..Principal::aws(Some(id))
                    },
                    None => Principal {
                        id: instance.as_deref(),
                        ..Principal::default()
                    },
                })?;
            }
        }
        Ok(())
    }
}

fn member<'t>(cursor: &mut Cursor<'t>, key: &[u8], finding: &mut Finding<'t>) -> Result<(), Stuck> {
    match key {
        b"updatedAt" | b"UpdatedAt" => finding.updated = cursor.text("updatedAt")?,
        b"resource" | b"Resource" => {
            let mut resource = Resource::default();
            cursor.object("resource", |cursor, key| of_resource(cursor, key, &mut resource))?;
            finding.resource = resource;
        }
        b"service" | b"Service" => {
            (finding.last_seen, finding.action) = (None, Action::default());
            cursor.object("service", |cursor, key| match key {
                b"eventLastSeen" | b"EventLastSeen" => {
                    finding.last_seen = cursor.text("service.eventLastSeen")?;
                    Ok(())
                }
                b"action" | b"Action" => {
                    let mut action = Action::default();
                    cursor.object("service.action", |cursor, key| {
                        of_action(cursor, key, &mut action)
                    })?;
                    finding.action = action;
                    Ok(())
                }
                _ => cursor.skip(),
            })?;
        }
        _ => cursor.skip()?,
    }
    Ok(())
}

fn of_resource<'t>(cursor: &mut Cursor<'t>, key: &[u8], resource: &mut Resource<'t>) -> Result<(), Stuck> {
    match key {
        b"accessKeyDetails" | b"AccessKeyDetails" => {
            (resource.principal, resource.user_name) = (None, None);
            cursor.object("resource.accessKeyDetails", |cursor, key| {
                match key {
                    b"principalId" | b"PrincipalId" => {
                        resource.principal = cursor.text("resource.accessKeyDetails.principalId")?;
                    }
                    b"userName" | b"UserName" => {
                        resource.user_name = cursor.text("resource.accessKeyDetails.userName")?;
                    }
                    _ => cursor.skip()?,
                }
                Ok(())
            })
        }
        b"instanceDetails" | b"InstanceDetails" => {
            resource.instance = cursor.text_in("resource.instanceDetails", &["instanceId", "InstanceId"])?;
            Ok(())
        }
        b"kubernetesDetails" | b"KubernetesDetails" => {
            resource.kubernetes_user = None;
            cursor.object("resource.kubernetesDetails", |cursor, key| match key {
                b"kubernetesUserDetails" | b"KubernetesUserDetails" => {
                    resource.kubernetes_user = cursor.text_in(
                        "resource.kubernetesDetails.kubernetesUserDetails",
                        &["username", "Username"],
                    )?;
                    Ok(())
                }
                _ => cursor.skip(),
            })
        }
        b"rdsDbUserDetails" | b"RdsDbUserDetails" => {
            resource.database_user = cursor.text_in("resource.rdsDbUserDetails", &["user", "User"])?;
            Ok(())
        }
        _ => cursor.skip(),
    }
}

fn of_action<'t>(cursor: &mut Cursor<'t>, key: &[u8], action: &mut Action<'t>) -> Result<(), Stuck> {
    let kind = match key {
        b"awsApiCallAction"
        | b"AwsApiCallAction"
        | b"networkConnectionAction"
        | b"NetworkConnectionAction" => Kind::Other,
        b"kubernetesApiCallAction" | b"KubernetesApiCallAction" => Kind::Kubernetes,
        b"rdsLoginAttemptAction" | b"RdsLoginAttemptAction" => Kind::Database,
        b"portProbeAction" | b"PortProbeAction" => {
            return cursor.object("service.action.portProbeAction", |cursor, key| match key {
                b"portProbeDetails" | b"PortProbeDetails" => cursor.array("portProbeDetails", |cursor| {
                    let mut remote = Remote::default();
                    cursor.object("portProbeDetails", |cursor, key| match key {
                        b"remoteIpDetails" | b"RemoteIpDetails" => of_remote(cursor, &mut remote),
                        _ => cursor.skip(),
                    })?;
                    action.remotes.push(remote);
                    Ok(())
                }),
                _ => cursor.skip(),
            });
        }
        _ => return cursor.skip(),
    };
    // Actions that a finding does not have may be there as `null`.
    if !cursor.begins(b'{')? {
        return cursor.object("service.action", |cursor, _| cursor.skip());
    }
    action.kind = kind;
    let mut remote = Remote::default();
    cursor.object("service.action", |cursor, key| match key {
        b"remoteIpDetails" | b"RemoteIpDetails" => of_remote(cursor, &mut remote),
        b"domainDetails" | b"DomainDetails" => {
            action.domain = cursor.text_in("domainDetails", &["domain", "Domain"])?;
            Ok(())
        }
        b"LoginAttributes" | b"loginAttributes" => {
            action.login_users.clear();
            cursor.array("LoginAttributes", |cursor| {
                action
                    .login_users
                    .extend(cursor.text_in("LoginAttributes", &["user", "User"])?);
                Ok(())
            })
        }
        _ => cursor.skip(),
    })?;
    if remote.v4.is_some() || remote.v6.is_some() {
        action.remotes.push(remote);
    }
    Ok(())
}

fn of_remote<'t>(cursor: &mut Cursor<'t>, remote: &mut Remote<'t>) -> Result<(), Stuck> {
    *remote = Remote::default();
    cursor.object("remoteIpDetails", |cursor, key| {
        match key {
            b"ipAddressV4" | b"IpAddressV4" => remote.v4 = cursor.text("remoteIpDetails.ipAddressV4")?,
            b"ipAddressV6" | b"IpAddressV6" => remote.v6 = cursor.text("remoteIpDetails.ipAddressV6")?,
            _ => cursor.skip()?,
        }
        Ok(())
    })
}
