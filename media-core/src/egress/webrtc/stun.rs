//! STUN: reads the USERNAME of a binding request, to find the session that a first packet is for.
//!
//! All sessions share one socket. A packet from an address not seen before can be told apart only by
//! the ICE username fragment that its STUN request carries (RFC 8445 s7.2.2: `local:remote` as the
//! receiver sees it). Whether the request is genuine (MESSAGE-INTEGRITY) is the ICE agent's to decide.
//!
//! Spec: RFC 8489 s5, s14; RFC 7983 s7 (which packets are STUN).

/// STUN's fixed cookie (RFC 8489 s5).
const MAGIC_COOKIE: u32 = 0x2112_a442;
/// Bytes before the attributes.
const HEADER_BYTES: usize = 20;
/// Method binding, class request (RFC 8489 s18.2).
const BINDING_REQUEST: u16 = 0x0001;
/// Attribute USERNAME (RFC 8489 s14.3).
const USERNAME: u16 = 0x0006;
/// Attributes looked at before giving up; ICE's requests have seven.
const ATTRIBUTES_MAX: usize = 16;

/// The receiver's username fragment in a STUN binding request; `None` for every other datagram.
pub fn binding_request_ufrag(datagram: &[u8]) -> Option<&str> {
    let (header, attributes) = datagram.split_at_checked(HEADER_BYTES)?;
    if u16_at(header, 0)? != BINDING_REQUEST || u32_at(header, 4)? != MAGIC_COOKIE {
        return None;
    }
    let mut attributes = attributes.get(..usize::from(u16_at(header, 2)?))?;
    for _ in 0..ATTRIBUTES_MAX {
        let kind = u16_at(attributes, 0)?;
        let len = usize::from(u16_at(attributes, 2)?);
        let value = attributes.get(4..4 + len)?;
        if kind == USERNAME {
            let (local, _remote) = std::str::from_utf8(value).ok()?.split_once(':')?;
            return Some(local);
        }
        // Values are padded to four bytes (RFC 8489 s14).
        attributes = attributes.get(4 + len.next_multiple_of(4)..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 s2.1: sample request with the username "evtj:h6vY".
    const RFC_5769_REQUEST: &[u8] = &[
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
        0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
        0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
        0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
        0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
        0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
        0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
    ];

    #[test]
    fn username_of_the_rfc_sample_request_is_found() {
        assert_eq!(binding_request_ufrag(RFC_5769_REQUEST), Some("evtj"));
    }

    #[test]
    fn truncated_or_foreign_datagrams_have_no_username() {
        for len in 0..RFC_5769_REQUEST.len() {
            assert_eq!(binding_request_ufrag(&RFC_5769_REQUEST[..len]), None, "{len} bytes");
        }
        let mut response = RFC_5769_REQUEST.to_vec();
        response[0] = 0x01;
        assert_eq!(binding_request_ufrag(&response), None);
        assert_eq!(binding_request_ufrag(&[0x80; 200]), None);
    }
}
