//! Keys: the crypto provider of our sessions: str0m's own, which also tells us what a session encrypts with.
//!
//! ```text
//!  negotiate ─ build ─► new_dtls ─► TappedDtls ─keying material─► Tap ─► Sealer ─► direct
//!                                                                  ▲
//!  str0m: sender report ─► Reporting (cipher) ─ put right by ──────┘ ─► encrypted, numbered, sent by str0m
//! ```
//!
//! str0m goes on with ICE, DTLS and all of RTCP, and alone numbers SRTCP packets; RTP is either all its own or all ours
//! (-> direct), since two who seal with one key would meet at one nonce. Its provider is static and knows no session. So
//! the thread that builds a session, or drives its handshake to the end, notes whose ciphers are being made: both are
//! one call, without an await.
//!
//! Belongs here: handing over. Does not: deriving and sealing (-> seal), a report's fields (-> reports).
//! Invariant: a cipher is taken for a session's by its key, never by its turn.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use str0m::config::{CryptoProvider, DtlsCert};
use str0m::crypto::dtls::{
    DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, CryptoError, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

use super::reports::SenderReports;
use super::seal::{Label, Master, Sealer, Side};

thread_local! {
    /// The session whose DTLS this thread made last, or whose keys it took last.
    static CURRENT: RefCell<Option<Arc<Tap>>> = const { RefCell::new(None) };
}

/// What one session encrypts with.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// What its sender reports say of packets that str0m did not send.
    pub(super) reports: SenderReports,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    sealer: Option<Sealer>,
    /// Whose cipher encrypts the reports.
    rtcp_key: Vec<u8>,
    /// That cipher puts them right.
    is_reporting: bool,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("is_reporting", &self.is_reporting).finish_non_exhaustive()
    }
}

impl Tap {
    /// What seals the session's RTP, once, and then nobody else may. None before DTLS is through, where no AES-GCM was agreed
    /// on, and where reports would be wrong.
    pub(super) fn take_sealer(&self) -> Option<Sealer> {
        let mut keys = self.lock();
        if keys.is_reporting { keys.sealer.take() } else { None }
    }

    fn agreed(&self, material: &KeyingMaterial, profile: SrtpProfile, ours: Side) {
        let srtp = provider().srtp_provider;
        let Some(master) = Master::of(ours, material, profile) else { return };
        let mut keys = self.lock();
        keys.rtcp_key = master.derive(Label::RtcpKey, master.key_bytes(), srtp);
        keys.sealer = Sealer::new(&master, srtp);
    }

    /// Whether `key` is the one for our reports, whose cipher is to be a [`Reporting`].
    fn claims(&self, key: &[u8]) -> bool {
        let mut keys = self.lock();
        let is_ours = keys.rtcp_key == key;
        keys.is_reporting |= is_ours;
        is_ours
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is underneath.
fn provider() -> CryptoProvider {
    str0m::crypto::from_feature_flags()
}

/// The provider of sessions that are tapped.
pub(super) fn tapped_provider() -> CryptoProvider {
    CryptoProvider { srtp_provider: &TappedSrtp, dtls_provider: &TappedDtls, ..provider() }
}

/// Builds a peer connection with [`tapped_provider`]; the second is its tap.
pub(super) fn tapped<T>(build: impl FnOnce() -> T) -> (T, Arc<Tap>) {
    CURRENT.set(None);
    let built = build();
    (built, CURRENT.take().unwrap_or_default())
}

#[derive(Debug)]
struct TappedDtls;

impl DtlsProvider for TappedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        provider().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        dtls_version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let instance = provider().dtls_provider.new_dtls(cert, now, dtls_version, mtu)?;
        let tap = Arc::new(Tap::default());
        CURRENT.set(Some(Arc::clone(&tap)));
        Ok(Box::new(TappedInstance { instance, tap }))
    }
}

#[derive(Debug)]
struct TappedInstance {
    instance: Box<dyn DtlsInstance>,
    tap: Arc<Tap>,
}

impl DtlsInstance for TappedInstance {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.instance.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let ours = if self.instance.is_active() { Side::Client } else { Side::Server };
            self.tap.agreed(material, *profile, ours);
            // str0m makes the ciphers next, before it asks anything else.
            CURRENT.set(Some(Arc::clone(&self.tap)));
        }
        output
    }

    fn set_active(&mut self, active: bool) {
        self.instance.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.instance.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.instance.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.instance.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.instance.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.instance.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.instance.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.instance.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.instance.close()
    }
}

/// Makes ciphers; those for our reports put them right.
#[derive(Debug)]
struct TappedSrtp;

impl SrtpProvider for TappedSrtp {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        provider().srtp_provider.aes_128_cm_sha1_80()
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &TappedSrtp
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &TappedSrtp
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        provider().srtp_provider.srtp_aes_128_ecb_round(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        provider().srtp_provider.srtp_aes_256_ecb_round(key, input, output);
    }
}

impl SupportedAeadAes128Gcm for TappedSrtp {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        let cipher = provider().srtp_provider.aead_aes_128_gcm().create_cipher(key, encrypt);
        match encrypt.then(|| claimant(&key)).flatten() {
            Some(tap) => Box::new(Reporting { cipher, tap }),
            None => cipher,
        }
    }
}

impl SupportedAeadAes256Gcm for TappedSrtp {
    fn create_cipher(&self, key: [u8; 32], encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        let cipher = provider().srtp_provider.aead_aes_256_gcm().create_cipher(key, encrypt);
        match encrypt.then(|| claimant(&key)).flatten() {
            Some(tap) => Box::new(Reporting { cipher, tap }),
            None => cipher,
        }
    }
}

/// The session whose reports are encrypted with `key`.
fn claimant(key: &[u8]) -> Option<Arc<Tap>> {
    CURRENT.with_borrow_mut(|current| current.take_if(|tap| tap.claims(key)))
}

/// The cipher of a session's outgoing RTCP.
#[derive(Debug)]
struct Reporting<C: ?Sized> {
    tap: Arc<Tap>,
    cipher: Box<C>,
}

impl<C: ?Sized> Reporting<C> {
    /// `input` with its reports put right; `aad` begins with the eight bytes before it (RFC 7714 s9.2).
    fn corrected(&self, aad: &[u8], input: &[u8]) -> Vec<u8> {
        let mut corrected = input.to_vec();
        self.tap.reports.correct(aad, &mut corrected);
        corrected
    }
}

impl AeadAes128GcmCipher for Reporting<dyn AeadAes128GcmCipher> {
    fn encrypt(
        &mut self,
        iv: &[u8; 12],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let corrected = self.corrected(aad, input);
        self.cipher.encrypt(iv, aad, &corrected, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        self.cipher.decrypt(iv, aads, input, output)
    }
}

impl AeadAes256GcmCipher for Reporting<dyn AeadAes256GcmCipher> {
    fn encrypt(
        &mut self,
        iv: &[u8; 12],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let corrected = self.corrected(aad, input);
        self.cipher.encrypt(iv, aad, &corrected, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        self.cipher.decrypt(iv, aads, input, output)
    }
}

#[cfg(test)]
mod tests {
    use media_core::time::{NtpTime, Timescale, WallTime};

    use super::super::reports::Sent;
    use super::*;

    /// Keying material of AES-128-GCM.
    fn material() -> KeyingMaterial {
        KeyingMaterial::new(&(0..56).collect::<Vec<u8>>())
    }

    fn agreed(profile: SrtpProfile) -> Arc<Tap> {
        let tap = Arc::new(Tap::default());
        tap.agreed(&material(), profile, Side::Client);
        CURRENT.set(Some(Arc::clone(&tap)));
        tap
    }

    #[test]
    fn report_is_put_right_before_it_is_encrypted_and_only_then_is_there_a_sealer() {
        let tap = agreed(SrtpProfile::AEAD_AES_128_GCM);
        let srtp = tapped_provider().srtp_provider;
        let factory = srtp.aead_aes_128_gcm();
        let unknown = factory.create_cipher([9; 16], true);
        assert!(tap.take_sealer().is_none(), "reports would be wrong: {unknown:?}");
        let key: [u8; 16] = tap.lock().rtcp_key.clone().try_into().unwrap();
        let mut cipher = factory.create_cipher(key, true);
        assert!(tap.take_sealer().is_some());
        assert!(tap.take_sealer().is_none(), "one seals, nobody else");
        let wall = WallTime(1_790_000_000_000_000);
        let sent =
            Sent { ssrc: 5, clock: Timescale::VIDEO, rtp_timestamp: 77, wall, packets: 3, octets: 3000 };
        tap.reports.note(sent);
        let head = [0x80, 200, 0, 6, 0, 0, 0, 5, 0x80, 0, 0, 0];
        let mut report = NtpTime::from_wall(wall).0.to_be_bytes().to_vec();
        report.extend([0; 12]);
        let mut sealed = [0; 36];
        cipher.encrypt(&[1; 12], &head, &report, &mut sealed).unwrap();
        let mut opened = [0; 20];
        let mut plain = provider().srtp_provider.aead_aes_128_gcm().create_cipher(key, false);
        assert_eq!(plain.decrypt(&[1; 12], &[&head], &sealed, &mut opened).unwrap(), 20);
        assert_eq!(opened[..8], report[..8]);
        assert_eq!(opened[8..], [0, 0, 0, 77, 0, 0, 0, 3, 0, 0, 0x0b, 0xb8]);
    }

    #[test]
    fn session_without_gcm_stays_str0ms() {
        let tap = agreed(SrtpProfile::AES128_CM_SHA1_80);
        assert!(tap.take_sealer().is_none());
    }

    #[test]
    fn each_session_that_is_built_has_a_tap_of_its_own() {
        let now = crate::runtime::clock::now();
        let cert = tapped_provider().dtls_provider.generate_certificate().unwrap();
        let build = || TappedDtls.new_dtls(&cert, now, DtlsVersion::Dtls12, None).unwrap();
        let ((first, tap), (_, other)) = (tapped(build), tapped(build));
        assert!(!Arc::ptr_eq(&tap, &other));
        assert!(!first.is_active());
        assert_eq!(Arc::strong_count(&tap), 2, "the session's and ours");
    }
}
