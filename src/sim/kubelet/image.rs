//! Images: which exist, how they are spelt in statuses, what family of programs they hold.
//!
//! There is no registry to ask. Rule: a reference that is not well formed never pulls; a one-word name (an official
//! image of Docker Hub) pulls when it is one of the well-known ones below or belongs to a configured workload;
//! everything with an organisation or a registry host pulls, unless the host is below `.invalid`, which never resolves
//! (RFC 6761). Of tags only those are missing that cannot be there: with a number of more than eight digits, with a version
//! far beyond the newest one of a well-known image, or with a word that says so. Configured workloads have every tag.

use sha2::{Digest, Sha256};

const OFFICIAL: &[&str] = &[
    "alpine",
    "busybox",
    "centos",
    "consul",
    "debian",
    "eclipse-temurin",
    "elasticsearch",
    "etcd",
    "fedora",
    "golang",
    "haproxy",
    "hello-world",
    "httpd",
    "influxdb",
    "java",
    "kafka",
    "mariadb",
    "maven",
    "memcached",
    "mongo",
    "mysql",
    "nats",
    "nginx",
    "node",
    "openjdk",
    "percona",
    "perl",
    "php",
    "postgres",
    "prom",
    "python",
    "rabbitmq",
    "redis",
    "registry",
    "ruby",
    "rust",
    "solr",
    "tomcat",
    "traefik",
    "ubuntu",
    "vault",
    "wordpress",
    "zookeeper",
];

/// Versions of well-known images that do not exist yet: the first number, and the second one of the same first.
const TOO_NEW: &[(&str, u64, u64)] = &[
    ("alpine", 4, 40),
    ("busybox", 2, 50),
    ("httpd", 3, 5),
    ("memcached", 2, 10),
    ("mysql", 10, 20),
    ("nginx", 2, 50),
    ("node", 30, u64::MAX),
    ("postgres", 25, u64::MAX),
    ("python", 4, 20),
    ("redis", 10, 20),
];
/// Words in tags of images that somebody wants to be missing.
const MISSING: &[&str] =
    &["nonexist", "non-exist", "doesnotexist", "does-not-exist", "doesntexist", "not-found", "notfound", "no-such", "invalid"];

/// Whether a tag cannot be there.
fn tag_is_missing(image: &str) -> bool {
    let name = repository(image);
    let Some(tag) = image.get(name.len() + 1..).filter(|_| !image.contains('@')) else { return false };
    let numbers: Vec<&str> = tag.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).collect();
    let version = |i: usize| -> Option<u64> { tag.trim_start_matches('v').split(['.', '-']).nth(i)?.parse().ok() };
    let beyond = TOO_NEW.iter().find(|(n, ..)| *n == name).is_some_and(|(_, first, second)| {
        version(0).is_some_and(|v| v >= *first) || (version(0).is_some_and(|v| v == first - 1) && version(1).is_some_and(|v| v >= *second))
    });
    beyond || numbers.iter().any(|n| n.len() > 8) || MISSING.iter().any(|word| tag.contains(word))
}

/// Whether this is the pause image, whatever its registry.
pub fn is_pause(image: &str) -> bool {
    repository(image).rsplit('/').next() == Some("pause")
}

/// Whether the image holds a system's basic programs and nothing else.
pub fn is_bare(image: &str) -> bool {
    is_shell(image) && !matches!(repository(image).rsplit('/').next(), Some("python" | "node"))
}

/// Whether the image's own command is a shell, which ends at once without input.
pub fn is_shell(image: &str) -> bool {
    matches!(
        repository(image).rsplit('/').next(),
        Some("busybox" | "alpine" | "debian" | "ubuntu" | "centos" | "fedora" | "netshoot" | "python" | "node")
    )
}

/// What a well-known image brings beyond the programs of its system.
pub fn programs(image: &str) -> &'static [&'static str] {
    if repository(image).rsplit('/').next() == Some("python") { &["python", "python3"] } else { &[] }
}

/// The program that a well-known image gives its arguments to.
pub fn entrypoint(image: &str) -> Option<&'static str> {
    let repository = repository(image);
    matches!(repository.trim_start_matches("docker.io/"), "curlimages/curl" | "alpine/curl").then_some("curl")
}

/// The port that a well-known server's image listens on when nothing else is said.
pub fn own_port(image: &str) -> Option<u16> {
    Some(match repository(image).rsplit('/').next()? {
        "nginx" | "httpd" | "traefik" | "wordpress" => 80,
        "redis" => 6379,
        "mysql" | "mariadb" | "percona" => 3306,
        "postgres" => 5432,
        "mongo" => 27017,
        "memcached" => 11211,
        "rabbitmq" => 5672,
        "tomcat" => 8080,
        _ => return None,
    })
}

/// The page that a well-known web server's image serves when it is left as it is.
pub fn own_page(image: &str) -> Option<&'static str> {
    match repository(image).rsplit('/').next()? {
        "nginx" => Some(include_str!("../data/nginx.html")),
        "httpd" => Some("<html><body><h1>It works!</h1></body></html>\n"),
        _ => None,
    }
}

/// The file that holds it.
pub fn own_file(image: &str) -> Option<(&'static str, &'static str)> {
    let path = match repository(image).rsplit('/').next()? {
        "nginx" => "/usr/share/nginx/html/index.html",
        "httpd" => "/usr/local/apache2/htdocs/index.html",
        _ => return None,
    };
    Some((path, own_page(image)?))
}

fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((r, tag)) if !tag.contains('/') => r,
        _ => image,
    }
}

/// The reference in full: `docker.io/library/python:3.9-slim`.
pub fn canonical(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    let host = image.contains('/') && (first.contains('.') || first.contains(':') || first == "localhost");
    let full = match (host, image.contains('/')) {
        (true, _) => image.to_owned(),
        (false, true) => format!("docker.io/{image}"),
        (false, false) => format!("docker.io/library/{image}"),
    };
    if image.contains('@') || repository(&full).len() < full.len() { full } else { format!("{full}:latest") }
}

/// Whether it is one of Docker Hub's official images.
pub fn is_official(image: &str) -> bool {
    canonical(image).starts_with("docker.io/library/")
}

/// The `imageID` of a container status.
pub fn id(image: &str) -> String {
    let full = canonical(image);
    let digest = Sha256::digest(full.as_bytes());
    digest.iter().fold(format!("{}@sha256:", repository(&full)), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
        text
    })
}

/// Why an image cannot be pulled: reason and message, or `None` when it can.
pub fn obstacle(image: &str, configured: bool) -> Option<(&'static str, String)> {
    let name = repository(image);
    let well_formed = !name.is_empty()
        && name.split('/').all(|p| !p.is_empty())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "./-_:".contains(c))
        && !image.chars().any(char::is_whitespace);
    if !well_formed {
        return Some((
            "InvalidImageName",
            format!("Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"),
        ));
    }
    let host = name.split('/').next().unwrap_or_default();
    if name.contains('/') && host.split(':').next().is_some_and(|h| h.ends_with(".invalid")) {
        let bare = host.split(':').next().unwrap_or(host);
        return Some((
            "ErrImagePull",
            format!(
                "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": failed to do request: Head \"https://{host}/v2/\": dial tcp: lookup {bare}: no such host"
            ),
        ));
    }
    if !configured && tag_is_missing(image) {
        let full = canonical(image);
        return Some((
            "ErrImagePull",
            format!("failed to pull and unpack image \"{full}\": failed to resolve reference \"{full}\": {full}: not found"),
        ));
    }
    if configured || name.contains('/') || OFFICIAL.contains(&name) {
        return None;
    }
    let full = canonical(image);
    Some((
        "ErrImagePull",
        format!(
            "failed to pull and unpack image \"{full}\": failed to resolve reference \"{full}\": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"
        ),
    ))
}

/// The family of programs that an image holds, guessed from its name.
pub fn family(image: &str) -> &'static str {
    let has = |w: &str| image.contains(w);
    if is_pause(image) || has("distroless") || has("microservices-demo") || has("scratch") {
        "distroless"
    } else if has("busybox") {
        "busybox"
    } else if has("alpine") {
        "alpine"
    } else if has("slim") {
        "debian-slim"
    } else {
        "debian"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelt_out() {
        assert_eq!(canonical("python:3.9-slim"), "docker.io/library/python:3.9-slim");
        assert_eq!(canonical("codewisdom/ts-ui"), "docker.io/codewisdom/ts-ui:latest");
        assert_eq!(canonical("gcr.io/google-containers/pause:latest"), "gcr.io/google-containers/pause:latest");
        assert!(is_pause("gcr.io/google-containers/pause:latest"));
    }

    #[test]
    fn servers_have_ports_and_pages_of_their_own() {
        assert_eq!(own_port("docker.io/library/redis:7"), Some(6379));
        assert!(own_page("nginx:1.27").is_some_and(|p| p.contains("<h1>Welcome to nginx!</h1>")));
        assert_eq!((own_port("some/thing"), own_page("some/thing")), (None, None));
    }

    #[test]
    fn unknown_official_images_do_not_pull() {
        assert!(obstacle("python:3.9-slim", false).is_none());
        assert!(obstacle("some/thing:1", false).is_none());
        assert_eq!(obstacle("pyhton:3.9", false).map(|o| o.0), Some("ErrImagePull"));
        assert!(obstacle("registry.invalid/web:1", true).is_some_and(|o| o.1.contains("lookup registry.invalid: no such host")));
        for missing in ["nginx:1.0.23449928384992872784", "nginx:1.161", "nginx:91.0", "some/thing:does-not-exist", "redis:v99"] {
            assert!(obstacle(missing, false).is_some_and(|o| o.1.ends_with(": not found")), "{missing}");
        }
        for there in
            ["nginx:1.27-alpine", "nginx", "nginx:stable", "debian:bookworm-20240110", "node:22-slim", "python:3.13.1", "busybox:1.37"]
        {
            assert_eq!(obstacle(there, false), None, "{there}");
        }
        assert_eq!(obstacle("nginx:91.0", true), None);
        assert_eq!(obstacle("Bad Name", false).map(|o| o.0), Some("InvalidImageName"));
    }
}
