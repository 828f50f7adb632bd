//! Our facts in Cedar's terms: the schema, entity ids, and for each request the small slice of entities it needs.
//!
//! This is the one module that builds Cedar values; the schema checks all of them, so a mistake here shows as a denial
//! with an error, never as a wrong grant.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use burgrave_types::claims::HexBytes;
use burgrave_types::{Claims, Concession, EnclaveName, Operation, ResourceKind};
use cedar_policy::{
    Context as CedarContext, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request as CedarRequest,
    RestrictedExpression, Schema,
};

use crate::request::{AdminFacts, InstanceFacts, Principal, Request, Resource};

/// The text of the schema that policies are validated against.
pub const SCHEMA: &str = include_str!("burgrave.cedarschema");

/// The prefix of every entity type and action.
pub(crate) const PREFIX: &str = "Burgrave::";

/// The schema, read once.
pub(crate) fn schema() -> &'static Schema {
    static PARSED: LazyLock<Schema> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the text is a constant of the program that every test reads")]
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("the built-in schema is valid");
        schema
    });
    &PARSED
}

/// A request and its entities, as Cedar takes them.
pub(crate) struct Input {
    pub(crate) request: CedarRequest,
    pub(crate) entities: Entities,
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
}

impl Input {
    /// Builds and validates both; an error says what does not fit.
    pub(crate) fn new(request: &Request<'_>) -> Result<Self, String> {
        let mut slice = Slice::default();
        let principal = slice.principal(request.principal)?;
        let resource = slice.resource(&request.resource)?;
        let action = uid("Action", request.operation.as_str())?;
        let context = context(request, &mut slice)?;
        let entities = slice.into_entities()?;
        let request = CedarRequest::new(principal.clone(), action.clone(), resource.clone(), context, Some(schema()))
            .map_err(|error| format!("the request does not fit the policy schema: {error}"))?;
        Ok(Self { request, entities, principal, action, resource })
    }
}

/// The Cedar type of a kind of resource.
pub(crate) const fn resource_type(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Keyspace => "Keyspace",
        ResourceKind::Key => "Key",
        ResourceKind::Channel => "Channel",
        ResourceKind::Enclave => "Enclave",
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let name: EntityTypeName = format!("{PREFIX}{kind}").parse().map_err(|error| format!("{error}"))?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

fn context(request: &Request<'_>, slice: &mut Slice) -> Result<CedarContext, String> {
    let given = &request.context;
    let mut pairs = vec![
        ("now".to_owned(), RestrictedExpression::new_long(given.now.unix_secs())),
        ("node".to_owned(), RestrictedExpression::new_entity_uid(uid("Node", &given.node.to_string())?)),
    ];
    if uses_age(request.operation) {
        let age = given.attestation_age.ok_or("the age of the asking instance's attestation is not known")?;
        pairs.push(("attAgeSecs".to_owned(), long(age)));
    }
    if communicates(request.operation) {
        let (peer, age) =
            given.peer.ok_or_else(|| format!("`{}` needs the peer, which is not known", request.operation))?;
        pairs.push(("peer".to_owned(), RestrictedExpression::new_entity_uid(slice.instance(peer)?)));
        pairs.push(("peerAttAgeSecs".to_owned(), long(age)));
    }
    CedarContext::from_pairs(pairs).map_err(|error| error.to_string())
}

/// Whether the context of this operation has the age of the attestation.
pub(crate) const fn uses_age(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Encrypt | Operation::Decrypt | Operation::Derive | Operation::Send | Operation::Receive
    )
}

/// Whether the context of this operation has a peer.
pub(crate) const fn communicates(operation: Operation) -> bool {
    matches!(operation, Operation::Send | Operation::Receive)
}

/// An age in whole seconds, rounded down; what is too long to count is as old as can be.
fn long(age: Duration) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}

/// The entities of one request. What is named twice (an enclave as principal's and as resource's) is kept once, with the
/// parents of both; an instance is not, or it would gain another's.
#[derive(Default)]
struct Slice {
    entities: HashMap<EntityUid, (HashMap<String, RestrictedExpression>, HashSet<EntityUid>)>,
}

impl Slice {
    fn add(
        &mut self,
        uid: EntityUid,
        attributes: impl IntoIterator<Item = (String, RestrictedExpression)>,
        parents: impl IntoIterator<Item = EntityUid>,
    ) -> EntityUid {
        let (own, above) = self.entities.entry(uid.clone()).or_default();
        own.extend(attributes);
        above.extend(parents);
        uid
    }

    fn principal(&mut self, principal: Principal<'_>) -> Result<EntityUid, String> {
        match principal {
            Principal::Instance(facts) => self.instance(facts),
            Principal::Candidate(facts) => {
                let uid = uid("Candidate", &facts.enclave.to_string())?;
                self.attested(
                    uid,
                    &facts.enclave,
                    facts.release.as_deref(),
                    &facts.groups,
                    (&facts.claims, &facts.conceded),
                )
            }
            Principal::Admin(facts) => self.admin(facts),
        }
    }

    fn instance(&mut self, facts: &InstanceFacts) -> Result<EntityUid, String> {
        let uid = uid("Instance", &facts.id.to_string())?;
        self.attested(uid, &facts.enclave, facts.release.as_deref(), &facts.groups, (&facts.claims, &facts.conceded))
    }

    fn attested(
        &mut self,
        instance: EntityUid,
        enclave: &EnclaveName,
        release: Option<&str>,
        groups: &[String],
        (claims, conceded): (&Claims, &BTreeSet<Concession>),
    ) -> Result<EntityUid, String> {
        if self.entities.contains_key(&instance) {
            return Err(format!("`{enclave}` would be its own peer: `{instance}` stands on both sides"));
        }
        let above = self.enclave(enclave, groups)?;
        let parent = match release {
            Some(release) => self.add(uid("Release", &format!("{enclave}@{release}"))?, [], [above]),
            None => above,
        };
        Ok(self.add(instance, [("att".to_owned(), claims_record(claims, conceded)?)], [parent]))
    }

    fn admin(&mut self, facts: &AdminFacts) -> Result<EntityUid, String> {
        let mut roles = Vec::new();
        for role in &facts.roles {
            roles.push(self.add(uid("Role", role.as_str())?, [], []));
        }
        Ok(self.add(uid("Admin", facts.name.as_str())?, [], roles))
    }

    fn namespace(&mut self, name: &str) -> Result<EntityUid, String> {
        Ok(self.add(uid("Namespace", name)?, [], []))
    }

    fn enclave(&mut self, name: &EnclaveName, groups: &[String]) -> Result<EntityUid, String> {
        let mut parents = vec![self.namespace(name.namespace().as_str())?];
        for group in groups {
            let home = match group.split_once('/') {
                Some((namespace, _)) => Some(self.namespace(namespace)?),
                None => None,
            };
            parents.push(self.add(uid("EnclaveGroup", group)?, [], home));
        }
        Ok(self.add(uid("Enclave", &name.to_string())?, [], parents))
    }

    fn resource(&mut self, resource: &Resource) -> Result<EntityUid, String> {
        let (id, owner, groups) = match resource {
            Resource::Domain => return uid("Domain", "this"),
            Resource::Namespace(name) => return self.namespace(name.as_str()),
            Resource::Named { id, owner, groups } => (id, owner, groups),
        };
        if id.kind == ResourceKind::Enclave {
            let name = id.name.to_string().parse().map_err(|error| format!("{error}"))?;
            return self.enclave(&name, groups);
        }
        let mut attributes = Vec::new();
        if id.kind == ResourceKind::Channel {
            let owner = owner.as_ref().ok_or_else(|| format!("the owner of `{id}` is not known"))?;
            attributes.push(("owner".to_owned(), RestrictedExpression::new_entity_uid(self.enclave(owner, groups)?)));
        }
        let namespace = self.namespace(id.name.namespace().as_str())?;
        Ok(self.add(uid(resource_type(id.kind), &id.name.to_string())?, attributes, [namespace]))
    }

    fn into_entities(self) -> Result<Entities, String> {
        let mut entities = Vec::with_capacity(self.entities.len());
        for (uid, (attributes, parents)) in self.entities {
            entities.push(Entity::new(uid, attributes, parents).map_err(|error| error.to_string())?);
        }
        Entities::from_entities(entities, Some(schema()))
            .map_err(|error| format!("the facts do not fit the policy schema: {error}"))
    }
}

fn claims_record(claims: &Claims, conceded: &BTreeSet<Concession>) -> Result<RestrictedExpression, String> {
    let hex =
        |value: &Option<HexBytes>| value.as_ref().map(|bytes| RestrictedExpression::new_string(bytes.to_string()));
    let text = |value: &Option<String>| value.clone().map(RestrictedExpression::new_string);
    let mut proved = Vec::new();
    for proof in &claims.proved {
        proved.push(RestrictedExpression::new_entity_uid(uid("Proof", proof.as_str())?));
    }
    fn words<T: std::fmt::Display>(all: &BTreeSet<T>) -> RestrictedExpression {
        RestrictedExpression::new_set(all.iter().map(|one| RestrictedExpression::new_string(one.to_string())))
    }
    let advisories = claims.tcb.advisories.iter().cloned().map(RestrictedExpression::new_string);
    // What is beyond a Long is left out: a `has` test then says no, which can only narrow a permit.
    let number = |value: Option<u64>| value.and_then(|n| i64::try_from(n).ok()).map(RestrictedExpression::new_long);
    let (boot, td) = (claims.boot.as_ref(), claims.td.as_ref());
    let fields = BTreeMap::from([
        ("tee", Some(RestrictedExpression::new_entity_uid(uid("Tee", claims.tee.as_str())?))),
        ("tcb", Some(RestrictedExpression::new_entity_uid(uid("TcbStatus", claims.tcb.status.as_str())?))),
        ("proved", Some(RestrictedExpression::new_set(proved))),
        ("advisories", Some(RestrictedExpression::new_set(advisories))),
        ("debug", claims.debug.map(RestrictedExpression::new_bool)),
        ("migratable", claims.migratable.map(RestrictedExpression::new_bool)),
        ("privilege", number(claims.privilege.map(u64::from))),
        ("product", text(&claims.product)),
        ("platform", hex(&claims.platform_id)),
        ("measurement", hex(&claims.launch.measurement)),
        ("signer", hex(&claims.launch.signer)),
        ("productId", text(&claims.launch.product_id)),
        ("svn", number(claims.launch.svn)),
        ("config", hex(&claims.config)),
        ("secureBoot", boot.and_then(|boot| boot.secure_boot).map(RestrictedExpression::new_bool)),
        ("kernelCommandLine", boot.and_then(|boot| text(&boot.kernel_command_line))),
        ("tdAttributes", td.map(|td| words(&td.attributes))),
        ("serviceTd", td.map(|td| RestrictedExpression::new_bool(td.service_td))),
        ("conceded", Some(conceded).filter(|all| !all.is_empty()).map(words)),
    ]);
    let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    RestrictedExpression::new_record(present).map_err(|error| error.to_string())
}
