//! Seal: RTP packets encrypted where they leave from: SRTP with AES-GCM.
//!
//! ```text
//!  DTLS ─► Master (our side's) ─► session key, session salt ─► Sealer
//!  outbox: header | payload  ─► header | ciphertext | tag      (in place, one pass)
//! ```
//!
//! Invariant: a place (SSRC, index) is used for one packet alone. The same packet may be sealed twice: it comes out the
//! same. Two packets sealed at one place would give the key away (RFC 7714 s8.3).
//! Spec: RFC 7714 s8 and s11; RFC 3711 s4.3; RFC 5764 s4.2.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use str0m::crypto::SrtpProvider;
use str0m::crypto::dtls::SrtpProfile;

/// Bytes of a session salt (RFC 7714 s12).
const SALT_BYTES: usize = 12;
const AES_BLOCK_BYTES: usize = 16;

/// What a key or salt is derived for (RFC 3711 s4.3.2).
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    RtpKey = 0,
    RtpSalt = 2,
    RtcpKey = 3,
}

/// An end of a DTLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// A master key with its salt.
pub(super) struct Master<'a> {
    key: &'a [u8],
    salt: &'a [u8],
}

impl<'a> Master<'a> {
    /// That of one side in what DTLS agreed on; none where that is no AES-GCM.
    pub(super) fn of(side: Side, material: &'a [u8], profile: SrtpProfile) -> Option<Self> {
        let key_bytes = match profile {
            SrtpProfile::AEAD_AES_128_GCM => 16,
            SrtpProfile::AEAD_AES_256_GCM => 32,
            _ => return None,
        };
        // The client's key, the server's key, the client's salt, the server's salt.
        let (keys, salts) = material.split_at_checked(2 * key_bytes)?;
        let (clients_key, servers_key) = keys.split_at_checked(key_bytes)?;
        let (clients_salt, servers_salt) = salts.split_at_checked(SALT_BYTES)?;
        let (key, salt) = match side {
            Side::Client => (clients_key, clients_salt),
            Side::Server => (servers_key, servers_salt),
        };
        Some(Self { key, salt })
    }

    /// `bytes` for one purpose, at most 64 KiB of blocks.
    pub(super) fn derive(&self, label: Label, bytes: usize, srtp: &dyn SrtpProvider) -> Vec<u8> {
        let mut block = [0; AES_BLOCK_BYTES];
        for (to, from) in block.iter_mut().zip(self.salt) {
            *to = *from;
        }
        block[7] ^= label as u8;
        let mut derived = Vec::with_capacity(bytes.next_multiple_of(AES_BLOCK_BYTES));
        for round in 0_u16.. {
            if derived.len() >= bytes {
                break;
            }
            [block[14], block[15]] = round.to_be_bytes();
            // A provider may write a block of padding behind the one that is wanted.
            let mut encrypted = [0; 2 * AES_BLOCK_BYTES];
            match self.key.len() {
                16 => srtp.srtp_aes_128_ecb_round(self.key, &block, &mut encrypted),
                _ => srtp.srtp_aes_256_ecb_round(self.key, &block, &mut encrypted),
            }
            derived.extend_from_slice(&encrypted[..AES_BLOCK_BYTES]);
        }
        derived.truncate(bytes);
        derived
    }

    /// Bytes of this key, and of those derived from it.
    pub(super) fn key_bytes(&self) -> usize {
        self.key.len()
    }
}

/// Which packet of a session one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ssrc: u32,
    /// The sequence number with its roll-overs (RFC 3711 s3.3.1).
    pub(super) index: u64,
}

/// Where a packet's parts begin in a buffer that ends with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) header_at: usize,
    pub(super) payload_at: usize,
}

/// Encrypts the RTP packets of one session.
pub(super) struct Sealer {
    key: LessSafeKey,
    salt: [u8; SALT_BYTES],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Holds a key.
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// With the session key and salt that follow from `master`.
    pub(super) fn new(master: &Master<'_>, srtp: &dyn SrtpProvider) -> Option<Self> {
        let key = master.derive(Label::RtpKey, master.key_bytes(), srtp);
        Self::with(&key, &master.derive(Label::RtpSalt, SALT_BYTES, srtp))
    }

    /// With a session key and its salt.
    pub(super) fn with(key: &[u8], salt: &[u8]) -> Option<Self> {
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self { key, salt: salt.try_into().ok()? })
    }

    /// Encrypts the packet at the end of `out`, which grows by the tag. One that can't be encrypted is taken off: nothing
    /// leaves in clear.
    pub(super) fn seal(&self, out: &mut Vec<u8>, parts: Parts, place: Place) {
        match self.tag_of_sealed(out, parts, place) {
            Some(tag) => out.extend_from_slice(tag.as_ref()),
            None => out.truncate(parts.header_at),
        }
    }

    fn tag_of_sealed(&self, out: &mut [u8], parts: Parts, place: Place) -> Option<Tag> {
        let (before, payload) = out.split_at_mut_checked(parts.payload_at)?;
        let header = before.get(parts.header_at..)?;
        let nonce = Nonce::assume_unique_for_key(self.nonce(place));
        self.key.seal_in_place_separate_tag(nonce, Aad::from(header), payload).ok()
    }

    fn nonce(&self, Place { ssrc, index }: Place) -> [u8; SALT_BYTES] {
        let [s3, s2, s1, s0] = ssrc.to_be_bytes();
        let [_, _, i5, i4, i3, i2, i1, i0] = index.to_be_bytes();
        let mut nonce = [0, 0, s3, s2, s1, s0, i5, i4, i3, i2, i1, i0];
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn check_vector(key: &str, sealed: &str) {
        let header = bytes("8040f17b 8041f8d3 5501a0b2");
        let sealer = Sealer::with(&bytes(key), &bytes("517569642070726f2071756f")).unwrap();
        let mut out = b"what waits already".to_vec();
        let header_at = out.len();
        out.extend_from_slice(&header);
        out.extend_from_slice(b"Gallia est omnis divisa in partes tres");
        let parts = Parts { header_at, payload_at: header_at + header.len() };
        sealer.seal(&mut out, parts, Place { ssrc: 0x5501_a0b2, index: 0xf17b });
        assert_eq!(&out[..header_at], b"what waits already");
        assert_eq!(&out[header_at..parts.payload_at], header, "the header stays readable");
        assert_eq!(out[parts.payload_at..], bytes(sealed));
    }

    #[test]
    fn packets_of_rfc_7714_come_out_as_there() {
        // s16.1.1
        check_vector(
            "000102030405060708090a0b0c0d0e0f",
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf \
             8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        );
        // s16.2.1
        check_vector(
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 \
             b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        );
    }

    #[test]
    fn session_keys_of_rfc_3711_are_derived_as_there() {
        // s B.3
        let (key, salt) = (bytes("e1f97a0d3e018be0d64fa32c06de4139"), bytes("0ec675ad498afeebb6960b3aabe6"));
        let master = Master { key: &key, salt: &salt };
        let srtp = str0m::crypto::from_feature_flags().srtp_provider;
        assert_eq!(master.derive(Label::RtpKey, 16, srtp), bytes("c61e7a93744f39ee10734afe3ff7a087"));
        assert_eq!(master.derive(Label::RtpSalt, 14, srtp), bytes("30cbbc08863d8c85d49db34a9ae1"));
        assert_eq!(master.derive(Label::RtpKey, 32, srtp).len(), 32);
    }

    #[test]
    fn each_side_takes_its_own_key_and_other_profiles_are_left_alone() {
        let material: Vec<u8> = (0..56).collect();
        let of = |side| Master::of(side, &material, SrtpProfile::AEAD_AES_128_GCM).unwrap();
        assert_eq!((of(Side::Client).key, of(Side::Client).salt), (&material[..16], &material[32..44]));
        assert_eq!((of(Side::Server).key, of(Side::Server).salt), (&material[16..32], &material[44..]));
        assert!(Master::of(Side::Client, &material, SrtpProfile::AES128_CM_SHA1_80).is_none());
        let cut = Master::of(Side::Client, &material[..40], SrtpProfile::AEAD_AES_128_GCM);
        assert!(cut.is_none(), "cut off");
    }

    #[test]
    fn roll_over_and_stream_change_the_nonce() {
        let sealer = Sealer::with(&[7; 16], &[0; 12]).unwrap();
        let nonce = |ssrc, index| sealer.nonce(Place { ssrc, index });
        assert_eq!(nonce(0x0102_0304, 0xffff), [0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(nonce(0x0102_0304, 0x1_0000), [0, 0, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0]);
        assert_ne!(nonce(1, 0), nonce(2, 0));
    }
}
