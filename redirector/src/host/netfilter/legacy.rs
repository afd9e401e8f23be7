//! What the kernel tells in /proc of iptables-legacy and IPVS, which have no netlink.

use std::fs;

use super::nftables::family;

/// The families in which iptables-legacy has a table `nat`. One without rules counts: from its making on its hooks
/// are there, connections are tracked, and rules come without notice.
pub fn nat() -> Vec<u8> {
    let families = [(family::IP, "ip_tables_names"), (family::IP6, "ip6_tables_names")];
    let with_nat = families.into_iter().filter(|(_, file)| read(file).lines().any(|table| table == "nat"));
    with_nat.map(|(family, _)| family).collect()
}

/// Virtual services of IPVS, each as the kernel writes it: protocol, address and port, scheduler. What is delivered
/// locally to one of these, IPVS takes (kube-proxy in IPVS mode).
pub fn ipvs_services() -> Vec<String> {
    services(&read("ip_vs"))
}

/// The lines of services in `/proc/net/ip_vs`: below each stand its servers, behind an arrow.
fn services(text: &str) -> Vec<String> {
    let mut services = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(protocol @ ("TCP" | "UDP" | "SCTP" | "FWM")) = words.next() else { continue };
        let (Some(at), scheduler) = (words.next(), words.next().unwrap_or_default()) else { continue };
        let at = if protocol == "FWM" { at.to_owned() } else { address(at) };
        services.push(format!("{} {at} {scheduler}", protocol.to_lowercase()));
    }
    services
}

/// An address and port in the kernel's hexadecimal: `0A600001:0050`, or `[2001:0db8:…]:0050`.
fn address(text: &str) -> String {
    let parsed = text.rsplit_once(':').and_then(|(address, port)| {
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(match address.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')) {
            Some(v6) => (v6.parse::<std::net::Ipv6Addr>().ok()?, port).into(),
            None => {
                let v4 = u32::from_str_radix(address, 16).ok()?;
                std::net::SocketAddr::from((v4.to_be_bytes(), port))
            }
        })
    });
    parsed.map_or_else(|| text.to_owned(), |address| address.to_string())
}

/// A file of the calling thread's network namespace; empty where the kernel has no such thing.
fn read(file: &str) -> String {
    fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::services;

    #[test]
    fn services_of_ipvs_are_read_without_their_servers() {
        let text = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0A000304:192B      Masq    1      0          0
UDP  0A60000A:0035 rr
TCP  [2001:0db8:0002:0000:0000:0000:0000:0001]:0050 wrr
FWM  00000002 rr persistent 300 FFFFFFFF
";
        assert_eq!(
            services(text),
            ["tcp 10.96.0.1:443 rr", "udp 10.96.0.10:53 rr", "tcp [2001:db8:2::1]:80 wrr", "fwm 00000002 rr"]
        );
        assert_eq!(services(""), [""; 0]);
    }
}
