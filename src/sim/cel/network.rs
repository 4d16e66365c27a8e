//! `ip`, `cidr` and `url`, and what can be asked of them.

#![expect(clippy::unnecessary_wraps, reason = "the interpreter says what its functions look like")]

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use cel::common::functions::Function;
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelString, DYN_TYPE, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

use super::types::{CIDR, IP, URL, argument, overload, value};

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address(IpAddr);

/// A range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    address: IpAddr,
    length: u8,
}

/// A URL, absolute or a path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link(http::Uri);

value!(Address, IP);
value!(Range, CIDR);
value!(Link, URL);

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

fn masked(address: IpAddr, length: u8) -> u128 {
    let (all, _) = bits(address);
    if length == 0 { 0 } else { all & (u128::MAX << (128 - u32::from(length.min(128)))) }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address = address_of(address)?;
        let length = length.parse::<u8>().ok().filter(|l| *l <= bits(address).1)?;
        Some(Self { address, length })
    }

    fn contains(&self, address: IpAddr, length: u8) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && length >= self.length
            && masked(address, self.length) == masked(self.address, self.length)
    }
}

/// Addresses without zones, and no IPv4 in the clothes of IPv6.
fn address_of(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address: &IpAddr| !matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()))
}

fn url_of(text: &str) -> Option<http::Uri> {
    text.parse::<http::Uri>().ok().filter(|uri| uri.scheme().is_some() || text.starts_with('/'))
}

fn answer<'b, 'v>(yes: bool) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelBool::from(yes)))
}

fn text<'b, 'v>(text: impl Into<String>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelString::from(text.into())))
}

fn given<'b>(args: &'b [CowVal<'_, '_>], function: &str) -> Result<&'b str, ExecutionError> {
    Ok(argument::<CelString<'_>>(args, 0, function)?.inner())
}

macro_rules! functions {
    ($($name:ident($args:ident) $body:block)*) => {
        $(fn $name<'b, 'v>($args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> $body)*
    };
}

functions! {
    ip(args) {
        let given = given(&args, "ip")?;
        let wrong = || ExecutionError::function_error("ip", format!("IP Address {given:?} parse error during conversion from string"));
        address_of(given).map(|a| CowVal::owned(Address(a))).ok_or_else(wrong)
    }
    is_ip(args) { answer(address_of(given(&args, "isIP")?).is_some()) }
    ip_is_canonical(args) {
        let given = given(&args, "ip.isCanonical")?;
        answer(address_of(given).is_some_and(|a| a.to_string() == given))
    }
    family(args) {
        let version = if argument::<Address>(&args, 0, "family")?.0.is_ipv4() { 4 } else { 6 };
        Ok(CowVal::owned(CelInt::from(version)))
    }
    is_unspecified(args) { answer(argument::<Address>(&args, 0, "isUnspecified")?.0.is_unspecified()) }
    is_loopback(args) { answer(argument::<Address>(&args, 0, "isLoopback")?.0.is_loopback()) }
    is_link_local(args) {
        answer(match argument::<Address>(&args, 0, "isLinkLocalUnicast")?.0 {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        })
    }
    is_link_local_multicast(args) {
        answer(match argument::<Address>(&args, 0, "isLinkLocalMulticast")?.0 {
            IpAddr::V4(v4) => v4.octets().starts_with(&[224, 0, 0]),
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        })
    }
    is_global_unicast(args) {
        answer(match argument::<Address>(&args, 0, "isGlobalUnicast")?.0 {
            IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_loopback() && !v4.is_multicast() && !v4.is_link_local() && !v4.is_broadcast(),
            IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast() && !v6.is_unicast_link_local(),
        })
    }
    ip_to_string(args) { text(argument::<Address>(&args, 0, "string")?.0.to_string()) }
    cidr(args) {
        let given = given(&args, "cidr")?;
        let wrong = || ExecutionError::function_error("cidr", format!("network address parse error during conversion from string: {given:?}"));
        Range::parse(given).map(CowVal::owned).ok_or_else(wrong)
    }
    is_cidr(args) { answer(Range::parse(given(&args, "isCIDR")?).is_some()) }
    contains_ip(args) {
        let range = argument::<Range>(&args, 0, "containsIP")?;
        let other = args.get(1).ok_or_else(|| overload("containsIP"))?;
        let address = match (other.downcast_ref::<Address>(), other.downcast_ref::<CelString<'_>>()) {
            (Some(address), _) => address.0,
            (None, Some(text)) => address_of(text.inner()).ok_or_else(|| overload("containsIP"))?,
            _ => return Err(overload("containsIP")),
        };
        answer(range.contains(address, bits(address).1))
    }
    contains_cidr(args) {
        let range = argument::<Range>(&args, 0, "containsCIDR")?;
        let other = args.get(1).ok_or_else(|| overload("containsCIDR"))?;
        let inner = match (other.downcast_ref::<Range>(), other.downcast_ref::<CelString<'_>>()) {
            (Some(inner), _) => inner.clone(),
            (None, Some(text)) => Range::parse(text.inner()).ok_or_else(|| overload("containsCIDR"))?,
            _ => return Err(overload("containsCIDR")),
        };
        answer(range.contains(inner.address, inner.length))
    }
    prefix_length(args) { Ok(CowVal::owned(CelInt::from(i64::from(argument::<Range>(&args, 0, "prefixLength")?.length)))) }
    cidr_ip(args) { Ok(CowVal::owned(Address(argument::<Range>(&args, 0, "ip")?.address))) }
    cidr_masked(args) {
        let range = argument::<Range>(&args, 0, "masked")?;
        let all = masked(range.address, range.length);
        let address = match range.address {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(all >> 96).unwrap_or_default().into()),
            IpAddr::V6(_) => IpAddr::V6(all.into()),
        };
        Ok(CowVal::owned(Range { address, length: range.length }))
    }
    cidr_to_string(args) {
        let range = argument::<Range>(&args, 0, "string")?;
        text(format!("{}/{}", range.address, range.length))
    }
    url(args) {
        let given = given(&args, "url")?;
        let wrong = || ExecutionError::function_error("url", format!("URL parse error during conversion from string: parse {given:?}: invalid URI for request"));
        url_of(given).map(|u| CowVal::owned(Link(u))).ok_or_else(wrong)
    }
    is_url(args) { answer(url_of(given(&args, "isURL")?).is_some()) }
    scheme(args) { text(argument::<Link>(&args, 0, "getScheme")?.0.scheme_str().unwrap_or_default()) }
    host(args) {
        let authority = argument::<Link>(&args, 0, "getHost")?.0.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        text(authority.rsplit('@').next().unwrap_or_default())
    }
    host_name(args) { text(argument::<Link>(&args, 0, "getHostname")?.0.host().unwrap_or_default().trim_matches(['[', ']'])) }
    port(args) { text(argument::<Link>(&args, 0, "getPort")?.0.port().map(|p| p.to_string()).unwrap_or_default()) }
    escaped_path(args) {
        let uri = &argument::<Link>(&args, 0, "getEscapedPath")?.0;
        text(uri.path())
    }
    query(args) {
        let uri = &argument::<Link>(&args, 0, "getQuery")?.0;
        let mut values: BTreeMap<&str, Vec<Box<dyn Val + 'v>>> = BTreeMap::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.entry(name).or_default().push(Box::new(CelString::from(value.to_owned())));
        }
        let map: HashMap<_, Box<dyn Val + 'v>> = values
            .into_iter()
            .map(|(name, list)| (super::budget::key(name), Box::new(CelList::from(list)) as Box<dyn Val + 'v>))
            .collect();
        Ok(CowVal::owned(CelMap::from(map)))
    }
}

/// All of them.
pub(super) fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    let of_text: [(&str, Function); 7] = [
        ("ip", ip),
        ("isIP", is_ip),
        ("ip.isCanonical", ip_is_canonical),
        ("cidr", cidr),
        ("isCIDR", is_cidr),
        ("url", url),
        ("isURL", is_url),
    ];
    for (name, function) in of_text {
        env.add_overload(name, &format!("{name}_string"), vec![STRING_TYPE], function)?;
    }
    env.add_overload("string", "ip_to_string", vec![IP.to_owned()], ip_to_string)?;
    env.add_overload("string", "cidr_to_string", vec![CIDR.to_owned()], cidr_to_string)?;
    let of_ip: [(&str, Function); 6] = [
        ("family", family),
        ("isUnspecified", is_unspecified),
        ("isLoopback", is_loopback),
        ("isLinkLocalUnicast", is_link_local),
        ("isLinkLocalMulticast", is_link_local_multicast),
        ("isGlobalUnicast", is_global_unicast),
    ];
    for (name, function) in of_ip {
        env.add_member_overload(name, &format!("ip_{name}"), IP.to_owned(), vec![], function)?;
    }
    let of_cidr: [(&str, Function); 3] = [("prefixLength", prefix_length), ("ip", cidr_ip), ("masked", cidr_masked)];
    for (name, function) in of_cidr {
        env.add_member_overload(name, &format!("cidr_{name}"), CIDR.to_owned(), vec![], function)?;
    }
    env.add_member_overload("containsIP", "cidr_contains_ip", CIDR.to_owned(), vec![DYN_TYPE], contains_ip)?;
    env.add_member_overload("containsCIDR", "cidr_contains_cidr", CIDR.to_owned(), vec![DYN_TYPE], contains_cidr)?;
    let of_url: [(&str, Function); 6] = [
        ("getScheme", scheme),
        ("getHost", host),
        ("getHostname", host_name),
        ("getPort", port),
        ("getEscapedPath", escaped_path),
        ("getQuery", query),
    ];
    for (name, function) in of_url {
        env.add_member_overload(name, &format!("url_{name}"), URL.to_owned(), vec![], function)?;
    }
    Ok(())
}
