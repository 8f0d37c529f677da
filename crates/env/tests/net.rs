//! Which address of this machine others see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use outrigger_env::net::local_address_towards;

#[test]
fn the_way_to_this_machine_itself_is_its_loopback() {
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        match local_address_towards(SocketAddr::new(ip, 7700)) {
            Ok(own) => assert_eq!(own, ip),
            // A machine may have no IPv6 at all.
            Err(error) => assert!(ip.is_ipv6(), "{error}"),
        }
    }
}

#[test]
fn the_way_to_anywhere_has_an_address_if_there_is_one() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 9));
    let own = local_address_towards(elsewhere);
    assert!(own.is_err() || own.is_ok_and(|own| !own.is_unspecified()));
}
