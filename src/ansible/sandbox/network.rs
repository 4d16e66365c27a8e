//! The network inside a namespace of its own: nothing but this machine's inside, with the addresses of the trial's servers.
//!
//! Input: a policy; effect: the loopback device is up and has the servers' addresses, so that they are reached under the names
//! they have outside; output: a listener for each server, for the runner to serve outside. There is no way to anywhere else:
//! what is not listened at is refused, all other addresses are unreachable. Formats: rtnetlink(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::libc;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto, socket_with, sockopt};

use super::policy::Policy;

/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first device of every network.
const LOOPBACK: u32 = 1;
/// Whom Ansible's facts ask the way to, so as to find out the machine's own address
/// (`ansible.module_utils.facts.network.linux`). Nobody is there.
const ASKED: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// No search for others with that address.
const ALONE: u8 = 0x02;
const HEADER: usize = 16;

/// Prepares the network that this process has just been given.
pub(super) fn open(policy: &Policy) -> io::Result<Vec<OwnedFd>> {
    let kernel = Kernel::connect()?;
    kernel.ask(
        libc::RTM_NEWLINK,
        0,
        &[0, 0, 0, 0].into_iter().chain(LOOPBACK.to_ne_bytes()).chain(up()).chain(up()).collect::<Vec<u8>>(),
    )?;
    let mut addresses: Vec<IpAddr> = policy.servers.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback()).collect();
    addresses.extend(policy.address.map(IpAddr::V4));
    addresses.sort_unstable();
    addresses.dedup();
    for address in addresses {
        kernel.add_address(address)?;
    }
    if let Some(own) = policy.address {
        kernel.add_way(ASKED, own)?;
    }
    policy.servers.iter().map(|server| TcpListener::bind(server).map(OwnedFd::from)).collect()
}

fn up() -> [u8; 4] {
    libc::IFF_UP.to_ne_bytes()
}

/// Who is asked to change the network.
struct Kernel(OwnedFd);

impl Kernel {
    fn connect() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(socket))
    }

    fn add_address(&self, address: IpAddr) -> io::Result<()> {
        let (family, bits, flags) = match address {
            IpAddr::V4(_) => (libc::AF_INET, 32, 0),
            IpAddr::V6(_) => (libc::AF_INET6, 128, ALONE),
        };
        let mut body = vec![small(family), bits, flags, libc::RT_SCOPE_UNIVERSE];
        body.extend(LOOPBACK.to_ne_bytes());
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        attribute(&mut body, libc::IFA_LOCAL, &octets);
        attribute(&mut body, libc::IFA_ADDRESS, &octets);
        self.ask(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body)
    }

    /// To one address, from our own.
    fn add_way(&self, to: Ipv4Addr, own: Ipv4Addr) -> io::Result<()> {
        let mut body = vec![
            small(libc::AF_INET),
            32,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_BOOT,
            libc::RT_SCOPE_LINK,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        attribute(&mut body, libc::RTA_DST, &to.octets());
        attribute(&mut body, libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
        attribute(&mut body, libc::RTA_PREFSRC, &own.octets());
        self.ask(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body)
    }

    /// Sends a request and waits for the answer, which is a number: zero, or what went wrong.
    fn ask(&self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<()> {
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags).unwrap_or(0);
        let length = u32::try_from(HEADER + body.len()).unwrap_or(0);
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        // Which request, and whose: the kernel knows.
        message.extend([0; 8]);
        message.extend(body);
        sendto(&self.0, &message, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
        let mut answer = [0_u8; 1024];
        let (_, got) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        let said = answer.get(HEADER..HEADER + 4).filter(|_| got >= HEADER + 4).and_then(|n| n.try_into().ok());
        match said.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }
}

fn small(family: libc::c_int) -> u8 {
    u8::try_from(family).unwrap_or(0)
}

/// Adds an attribute; its value is a multiple of four bytes long.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(u16::try_from(4 + value.len()).unwrap_or(0).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}
