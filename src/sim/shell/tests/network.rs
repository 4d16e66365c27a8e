//! `ping`, `tc` and what else looks at the network.

use super::*;

#[tokio::test]
async fn pings() {
    let host = Arc::new(Fake::new("busybox"));
    *host.pings.lock().unwrap() = vec![Some(1_000), None, Some(3_000)];
    assert_eq!(
        script(&host, "ping -c 3 -W 1 db").await,
        "PING db (10.96.7.7): 56 data bytes\n64 bytes from 10.96.7.7: seq=0 ttl=62 time=1.000 ms\n64 bytes from 10.96.7.7: seq=2 ttl=62 time=3.000 ms\n\n\
         --- db ping statistics ---\n3 packets transmitted, 2 packets received, 33% packet loss\nround-trip min/avg/max = 1.000/2.000/3.000 ms\n"
    );
    let host = Arc::new(Fake::new("debian"));
    *host.pings.lock().unwrap() = vec![None, Some(1_500_000)];
    assert_eq!(
        script(&host, "ping -c 2 -W 1 8.8.8.8").await,
        "PING 8.8.8.8 (8.8.8.8) 56(84) bytes of data.\n\n--- 8.8.8.8 ping statistics ---\n2 packets transmitted, 0 received, 100% packet loss, time 1002ms\n\nCode(1)"
    );
    // How long the last reply is waited for hangs on what has come by the time the last request is sent.
    let second = Some(1_000_400);
    for (family, flags, replies, received, seconds) in [
        ("busybox", "-c 3 -W 2", [Some(400), Some(400), None], "2 packets received", 3),
        ("busybox", "-c 3 -W 2", [None, None, None], "0 packets received", 4),
        ("busybox", "-c 3 -W 2", [second; 3], "2 packets received", 3),
        ("busybox", "-c 3 -W 2", [Some(2_900_000); 3], "2 packets received", 4),
        ("debian", "-c 3 -W 2", [Some(400), Some(400), None], "2 received", 3),
        ("debian", "-c 3 -W 2", [None, None, None], "0 received", 4),
        ("debian", "-c 3 -W 2", [second; 3], "3 received", 3),
        ("debian", "-c 3 -i 0.2 -W 2", [Some(400), Some(400), None], "2 received", 0),
        ("debian", "-c 2 -w 9", [Some(400), None, Some(400)], "2 received", 2),
        ("debian", "-c 3 -w 2", [Some(400), None, Some(400)], "1 received", 2),
    ] {
        let host = Arc::new(Fake::new(family));
        *host.pings.lock().unwrap() = replies.to_vec();
        let shown = script(&host, &format!("ping {flags} 10.0.0.1; date +%s")).await;
        let (began, case) = (1_772_600_767_i64, format!("{family} {flags} {replies:?}: {shown}"));
        assert!(shown.contains(&format!(", {received}, ")), "{case}");
        assert!(shown.trim_end().ends_with(&(began + seconds).to_string()), "{case}");
    }
    check("debian", &[("ping -c 1 nowhere", "[ping: nowhere: Name or service not known\n]Code(2)")]).await;
}

#[tokio::test]
async fn tc_shows_what_shapes_the_network() {
    check(
        "debian",
        &[
            ("tc qdisc show dev eth0", "qdisc netem 1: root refcnt 2 limit 1000 delay 1s\n"),
            ("tc -s qd", "qdisc noqueue 0: dev lo root refcnt 2 \n Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\nqdisc netem 1: dev eth0 root refcnt 2 limit 1000 delay 1s\n Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n"),
            ("ip link | grep -c netem", "1\n"),
            ("tc qdisc del dev eth0 root; echo $?", "2\n[RTNETLINK answers: Operation not permitted\n]"),
            ("tc qdisc show dev eth7", "[Cannot find device \"eth7\"\n]Code(1)"),
        ],
    )
    .await;
    check("debian-slim", &[("tc qdisc", "[sh: 1: tc: not found\n]Code(127)")]).await;
}

/// The forms are those of BIND 9.18, asked by hand.
#[tokio::test]
async fn tools_of_bind_tell_what_the_name_server_says() {
    check(
        "debian",
        &[
            ("nslookup db", "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10#53\n\nName:\tdb.default.svc.cluster.local\nAddress: 10.96.7.7\n\n"),
            ("nslookup example.com | tail -4", "Non-authoritative answer:\nName:\texample.com\nAddress: 93.1.2.3\n\n"),
            ("nslookup nosuch | tail -2; host nosuch", "** server can't find nosuch: NXDOMAIN\n\nHost nosuch not found: 3(NXDOMAIN)\nCode(1)"),
            ("host db; host 10.96.7.7", "db.default.svc.cluster.local has address 10.96.7.7\n7.7.96.10.in-addr.arpa domain name pointer db.default.svc.cluster.local.\n"),
            ("dig +short db; dig +short +search db; dig -x 10.96.7.7 +short", "10.96.7.7\ndb.default.svc.cluster.local.\n"),
            ("dig +noall +answer db.default.svc.cluster.local", "db.default.svc.cluster.local. 5\tIN\tA\t10.96.7.7\n"),
            ("dig db | grep -e status -e ^.db | sed 's/, id: .*//'", ";; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN\n;db.\t\t\t\tIN\tA\n"),
            ("dig db.default.svc.cluster.local AAAA | grep -A1 AUTHORITY.S", ";; AUTHORITY SECTION:\ncluster.local.\t\t5\tIN\tSOA\tns.dns.cluster.local. hostmaster.cluster.local. 1700000000 7200 1800 86400 5\n"),
            ("dig +short slow; echo $?", ";; communications error to 10.96.0.10#53: timed out\n;; communications error to 10.96.0.10#53: timed out\n;; communications error to 10.96.0.10#53: timed out\n;; no servers could be reached\n9\n"),
        ],
    )
    .await;
}
