//! The HTTP side of the cluster.
//!
//! Input: HTTP/1.1 requests as kubectl, Ansible and the client libraries send them. Output: what a real API server
//! answers. One handler takes every path apart ([`call`]); everything but watches, logs that are followed and `exec`
//! runs in one go under the world's lock and a clock hold.

mod access;
mod answer;
mod apply;
mod attach;
mod body;
mod calendar;
mod call;
#[cfg(any(test, fuzzing))]
pub mod decoders;
pub(crate) mod definitions;
mod discovery;
mod escalation;
mod exec;
mod exposition;
mod forward;
pub mod inside;
mod labels;
mod logs;
mod metrics;
mod node;
mod order;
mod pod;
mod proxy;
mod read;
mod receive;
mod restart;
mod review;
pub(crate) mod roles;
pub use roles::install_roles;
mod scale;
mod selector;
mod server_metrics;
mod spdy;
mod table;
mod talk;
mod time;
mod traffic_metrics;
mod veil;
mod versions;
mod watch;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use self::access::Action;
use self::answer::Answer;
use self::call::{Call, Target};
use self::veil::Veil;
use super::clock::Hold;
use super::connections::Through;
use super::custom::{self, Customs};
use super::guarded;
use super::kubelet;
use super::managed::Writer;
use super::registry;
use super::schema;
use super::status::Status;
use super::tokens;
use super::world::{Engine, World};

/// The user of requests that say nothing about theirs.
const ANONYMOUS: &str = "system:anonymous";
/// The server as a service, for a listener or for tests.
///
/// Streams that never end by themselves end when `stop` is cancelled.
pub fn router(engine: Arc<Engine>, stop: CancellationToken) -> Router {
    let metrics = axum::routing::get(serve).with_state((Arc::clone(&engine), stop.clone()));
    clock_router(Arc::clone(&engine), stop.clone())
        .route("/.sim/metrics", metrics)
        .fallback_service(Router::new().fallback(serve).with_state((engine, stop)))
}

/// A user that requests without a token are taken for. kubectl sends no token over plain HTTP.
#[derive(Debug, Clone)]
pub(super) struct Door(pub(super) String);

/// [`router`] for one user.
pub(super) fn door(engine: Arc<Engine>, stop: CancellationToken, user: &str) -> Router {
    router(engine, stop).layer(axum::Extension(Door(user.to_owned())))
}

/// The cluster's clock alone.
pub(super) fn clock_router(engine: Arc<Engine>, stop: CancellationToken) -> Router {
    Router::new().route("/.sim/{*what}", axum::routing::get(time::serve)).with_state((engine, stop))
}

/// Serves a request. Simulated time stands still from its first byte to the last one of the answer, but for what
/// [`respond`] does without a hold.
async fn serve(State((engine, stop)): State<(Arc<Engine>, CancellationToken)>, request: Request) -> Response {
    let mut hold = Some(engine.clock.hold());
    let response = respond(engine, stop, request, &mut hold).await;
    match hold {
        Some(hold) => guarded::until_sent(response, hold),
        None => response,
    }
}

async fn respond(engine: Arc<Engine>, stop: CancellationToken, request: Request, hold: &mut Option<Hold>) -> Response {
    let (mut parts, body) = request.into_parts();
    let config = engine.with(|w| Arc::clone(&w.config));
    // A certificate counts before any token, also one that nobody has.
    let certified = match parts.extensions.get() {
        Some(ConnectInfo(Through { certified: Some(subject), .. })) => Some(access::Identity::certified(subject)),
        _ => None,
    };
    let who = certified.map_or_else(|| engine.with(|w| access::Identity::of(&parts.headers, w)), Ok);
    let mut call = match who {
        Ok(who) => Call::new(who, parts.method.clone(), &parts.uri, &parts.headers),
        Err(status) => {
            let verb = parts.method.as_str().to_ascii_lowercase();
            engine.with(|w| w.audit.note(w.now, "", &verb, parts.uri.path(), status.code));
            return Answer::from(status).into_response();
        }
    };
    call.who.inside = parts.extensions.get::<inside::Inside>().is_some();
    if let Some(Door(user)) = parts.extensions.get::<Door>()
        && call.who.user == ANONYMOUS
    {
        call.who.user.clone_from(user);
        call.who.groups = config.groups.get(user).cloned().unwrap_or_default();
        call.who.groups.push("system:authenticated".to_owned());
    }
    if let Some(wanted) = call.impersonate.take() {
        if let Err(status) = engine.with(|w| access::check_impersonation(w, &call.who, &wanted)) {
            engine.with(|w| audit(w, &call, "impersonate", status.code));
            return Answer::from(status).into_response();
        }
        let inside = call.who.inside;
        call.who = access::Identity { inside, ..wanted };
    }
    let body = match receive::body(&parts.headers, body).await {
        Ok(body) => body,
        Err(status) => {
            engine.with(|w| audit(w, &call, &call.method.as_str().to_ascii_lowercase(), status.code));
            return call.told(status.into());
        }
    };
    call.veil = if call.who.inside { Veil::inside(&config) } else { Veil::of(&config, &call.who.user) };
    let customs = engine.with(|w| w.customs.clone());
    let target = match Target::parse(&call.path, &customs) {
        None => {
            let method = call.method.as_str().to_ascii_lowercase();
            let action = Action { verb: &method, path: &call.text, ..Action::default() };
            let answer = engine.with(|w| access::check(w, &call.who, &action).map_or_else(Answer::from, |()| plain(&call, &customs, w)));
            let answer = call.veil.discovery(&call, answer);
            engine.with(|w| audit(w, &call, &call.method.as_str().to_ascii_lowercase(), answer.code));
            return call.told(answer);
        }
        Some(Err(status)) => {
            engine.with(|w| audit(w, &call, &call.method.as_str().to_ascii_lowercase(), status.code));
            return call.told(status.into());
        }
        Some(Ok(target)) if call.veil.hides_path(&target) => {
            let answer = Answer::no_page();
            engine.with(|w| audit(w, &call, &call.method.as_str().to_ascii_lowercase(), answer.code));
            return call.told(answer);
        }
        Some(Ok(target)) => target,
    };
    engine.charge_request();
    let verb = verb(&call, &target);
    if let Err(status) = engine.with(|w| access::check(w, &call.who, &action(&target, verb))) {
        engine.with(|w| audit(w, &call, verb, status.code));
        return call.told(status.into());
    }
    if verb == "watch" {
        let opened = watch::open(&engine, stop, call.clone(), target);
        let code = opened.as_ref().map_or_else(|s| s.code, |r| r.status().as_u16());
        engine.with(|w| audit(w, &call, verb, code));
        hold.take();
        return opened.unwrap_or_else(|s| call.told(s.into()));
    }
    if target.subresource.as_deref() == Some("exec") {
        let opened = exec(&engine, stop, &mut parts, &call, &target).await;
        let code = opened.as_ref().map_or_else(|s| s.code, |r| r.status().as_u16());
        engine.with(|w| audit(w, &call, "exec", code));
        // The command's host has a hold of its own.
        hold.take();
        return opened.unwrap_or_else(|s| call.told(s.into()));
    }
    if target.subresource.as_deref() == Some("attach") && target.kind.plural == "pods" {
        let opened = attach::open(&engine, stop, &mut parts, &call, &target).await;
        let code = opened.as_ref().map_or_else(|s| s.code, |r| r.status().as_u16());
        engine.with(|w| audit(w, &call, "attach", code));
        hold.take();
        return opened.unwrap_or_else(|s| call.told(s.into()));
    }
    if target.subresource.as_deref() == Some("portforward") && target.kind.plural == "pods" {
        let opened = forward::open(&engine, stop, &mut parts, &call, target.key()).await;
        let code = opened.as_ref().map_or_else(|s| s.code, |r| r.status().as_u16());
        engine.with(|w| audit(w, &call, "portforward", code));
        hold.take();
        return opened.unwrap_or_else(|s| call.told(s.into()));
    }
    if target.subresource.as_deref() == Some("log") && verb == "get" {
        let opened = match logs::open(&engine, stop.clone(), &call, &target) {
            Ok(response) if logs::framed(&parts.headers) => logs::over_socket(&mut parts, response, stop).await,
            other => other,
        };
        let code = opened.as_ref().map_or_else(|s| s.code, |r| r.status().as_u16());
        engine.with(|w| audit(w, &call, verb, code));
        hold.take();
        return opened.unwrap_or_else(|s| call.told(s.into()));
    }
    if target.subresource.as_deref() == Some("proxy") && target.name.is_some() {
        let answer = proxy::answer(&engine, &call, &target, hold).await.unwrap_or_else(Answer::from);
        engine.with(|w| audit(w, &call, verb, answer.code));
        return call.told(answer);
    }
    let answer = engine.with(|w| {
        w.writer = Writer::Client {
            manager: call.manager.clone(),
            api_version: target.kind.api_version(),
            subresource: target.subresource.clone().unwrap_or_default(),
        };
        w.requester = (!w.admission.is_empty()).then(|| registry::admission::Requester {
            user: call.who.info(),
            dry_run: call.dry_run(),
            subresource: target.subresource.clone().unwrap_or_default(),
        });
        let body = match verb {
            "update" => call.veil.complete(w, &target, &body),
            "patch" => restart::stamped(w, &parts.headers, &target, body),
            _ => body,
        };
        let mut answer = handle(w, &call, &target, verb, &body).unwrap_or_else(Answer::from);
        w.writer = Writer::Cluster;
        w.requester = None;
        answer.warnings.extend(registry::admission::take_warnings(w));
        answer.warnings.extend(deprecation(&target).map(str::to_owned));
        audit(w, &call, verb, answer.code);
        answer
    });
    let ahead = engine.calendar();
    let answer = if ahead != 0 && calendar::asked(&parts.headers) { calendar::moved(answer, ahead) } else { answer };
    call.told(answer)
}

async fn exec(engine: &Arc<Engine>, stop: CancellationToken, parts: &mut Parts, call: &Call, target: &Target) -> Result<Response, Status> {
    let key = target.key();
    let container = engine.with(|w| {
        let pod = w.store.get(&key).ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
        logs::container(pod, call.param("container"))
    })?;
    let host = kubelet::exec_host(engine, &key, &container)?;
    exec::open(parts, call, Arc::new(host), stop).await
}

/// What a request does, for the rules.
fn action<'a>(target: &'a Target, verb: &'a str) -> Action<'a> {
    let subresource = target.subresource.as_deref().unwrap_or_default();
    Action {
        // A WebSocket starts with GET, whatever it is for.
        verb: if matches!(subresource, "exec" | "attach" | "portforward") { "create" } else { verb },
        group: &target.kind.group,
        resource: &target.kind.plural,
        subresource,
        namespace: &target.namespace,
        name: target.name.as_deref().unwrap_or_default(),
        path: "",
    }
}

/// What the server says about kinds that are going out of use.
fn deprecation(target: &Target) -> Option<&'static str> {
    match (target.kind.group.as_str(), target.kind.plural.as_str()) {
        ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

fn audit(world: &mut World, call: &Call, verb: &str, code: u16) {
    world.audit.note(world.now, &call.who.user, verb, &call.text, code);
}

/// The verb of a request, as audit logs and discovery name it.
fn verb(call: &Call, target: &Target) -> &'static str {
    match (&call.method, &target.name) {
        (&Method::GET | &Method::HEAD, None) => {
            if target.watch || call.flag("watch") {
                "watch"
            } else {
                "list"
            }
        }
        (&Method::GET | &Method::HEAD, Some(_)) => {
            if target.subresource.is_none() && (target.watch || call.flag("watch")) {
                "watch"
            } else {
                "get"
            }
        }
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, None) => "deletecollection",
        (&Method::DELETE, Some(_)) => "delete",
        _ => "other",
    }
}

fn handle(world: &mut World, call: &Call, target: &Target, verb: &str, body: &Bytes) -> Result<Answer, Status> {
    let kind = &target.kind;
    if let Some(sub) = target.subresource.as_deref() {
        if kind.subresource(sub).is_none_or(|s| !s.verbs.iter().any(|v| v == verb)) {
            return Err(call::not_allowed());
        }
        return match (sub, verb) {
            ("scale", "get") => scale::get(world, target),
            ("scale", _) => scale::set(world, call, target, body),
            ("eviction", _) => pod::evict(world, call, target, body),
            ("binding", _) => pod::bind(world, call, target, body),
            ("token", _) => review::token(world, call, target, body),
            ("finalize", _) => finalize(world, call, target, body),
            ("status" | "resize" | "ephemeralcontainers" | "approval", "get") => read::get(world, call, target),
            ("status" | "resize" | "ephemeralcontainers" | "approval", "update") => write::replace(world, call, target, body),
            ("status" | "resize" | "ephemeralcontainers" | "approval", "patch") => write::patch(world, call, target, body),
            _ => Err(Status::new(501, "NotImplemented", format!("{}/{sub} is not part of this cluster", kind.plural))),
        };
    }
    if !kind.allows(verb) || (verb == "create") != (call.method == Method::POST) || (verb == "create" && target.name.is_some()) {
        return Err(call::not_allowed());
    }
    if verb == "create"
        && let Some(answer) = review::answer(world, call, target, body)
    {
        return answer;
    }
    match verb {
        _ if target.name.is_some() && world.store.get(&target.key()).is_some_and(|o| call.veil.hides(o)) => {
            Err(Status::not_found(&target.key().resource, &target.key().name))
        }
        "get" | "list" if kind.group == "metrics.k8s.io" => metrics::answer(world, call, target),
        "get" => read::get(world, call, target),
        "list" => read::list(world, call, target),
        "create" if kind.plural == "bindings" => pod::bind(world, call, target, body),
        "create" if kind.namespaced && target.namespace.is_empty() => Err(call::not_allowed()),
        "create" => write::create(world, call, target, body),
        "update" if target.name.is_some() => write::replace(world, call, target, body),
        "patch" if target.name.is_some() => write::patch(world, call, target, body),
        "delete" => write::delete(world, call, target, body),
        "deletecollection" => write::delete_collection(world, call, target, body),
        _ => Err(call::not_allowed()),
    }
}

fn finalize(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let given = body::of_kind(&call.content_type, body, &target.kind)?;
    let finalizers = if given["spec"]["finalizers"].is_array() { given["spec"]["finalizers"].clone() } else { json!([]) };
    let stored = registry::finalize_namespace(world, target.name.as_deref().unwrap_or_default(), finalizers)?;
    Ok(answer::object(call, target, 200, &stored, world.now))
}

/// Everything that is no resource: discovery, version, health.
fn plain(call: &Call, customs: &Customs, world: &World) -> Answer {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let found = |v: Option<Value>| v.map_or_else(Answer::no_page, |v| Answer::json(200, &v));
    match path.as_slice() {
        ["version"] => Answer::json(200, &discovery::version()),
        ["healthz" | "readyz" | "livez", ..] => health(call, path.first().copied().unwrap_or_default()),
        ["api" | "apis"] if discovery::wants_aggregated(&call.accept) => {
            let mut a = Answer::json(200, &discovery::aggregated(path == ["api"], customs));
            a.content_type = discovery::AGGREGATED;
            a
        }
        ["api"] => Answer::json(200, &discovery::api_versions()),
        ["apis"] => Answer::json(200, &discovery::group_list(customs)),
        ["api", version] => found(discovery::resource_list("", version, customs)),
        ["apis", group] => found(discovery::one_group(group, customs)),
        ["apis", group, version] => found(discovery::resource_list(group, version, customs)),
        ["openapi", "v2"] => discovery::swagger(&call.accept, customs),
        ["openapi", "v3"] => Answer::json(200, &openapi_index(customs)),
        ["openapi", "v3", "apis", group, version] if customs.of_version(group, version).next().is_some() => {
            Answer::json(200, &custom::document(&customs.of_version(group, version).collect::<Vec<_>>()))
        }
        ["openapi", "v3", rest @ ..] => match schema::openapi_v3(&rest.join("/")) {
            Some(document) => Answer { code: 200, content_type: "application/json", body: document, warnings: Vec::new() },
            None => Answer::no_page(),
        },
        ["metrics"] => node::exposed(server_metrics::text(world)),
        [".sim", "metrics"] => node::exposed(traffic_metrics::text(world)),
        [".well-known", "openid-configuration"] => Answer::json(200, &tokens::configuration()),
        ["openid", "v1", "jwks"] => Answer::json(200, &world.tokens.public()),
        [] => Answer::json(
            200,
            &json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
        ),
        _ => Answer::no_page(),
    }
}

/// The index at `/openapi/v3`, with the groups that clients defined.
fn openapi_index(customs: &Customs) -> Value {
    let mut index = schema::openapi_index();
    for (group, version) in customs.groups().into_iter().flat_map(|(g, vs)| vs.into_iter().map(move |v| (g.clone(), v))) {
        let kinds: Vec<_> = customs.of_version(&group, &version).collect();
        // Clients keep documents by their hash: it has to change with them.
        let hash = Sha256::digest(custom::document(&kinds).to_string());
        let hash = hash.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().concat();
        let path = format!("apis/{group}/{version}");
        index["paths"][&path] = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
    }
    index
}

fn health(call: &Call, what: &str) -> Answer {
    if call.query.iter().any(|(k, _)| k == "verbose") {
        // The real server's checks. Nothing of ours can fail one by one.
        let checks = include_str!("../data/readyz.txt").lines().filter(|c| what == "readyz" || !matches!(*c, "informer-sync" | "shutdown"));
        let lines = checks.map(|c| format!("[+]{c} ok\n")).collect::<Vec<_>>().concat();
        Answer::text(200, format!("{lines}{what} check passed\n"))
    } else {
        Answer::text(200, "ok")
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod suites;
#[cfg(test)]
mod tests;
