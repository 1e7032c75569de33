/**
 * @file HLS source: a live playlist put into a <video>, by hls.js or, where there is no MSE, by the browser itself.
 *
 * Belongs here: hls.js, its settings, what its errors mean. Does not: retries beyond hls.js's own quick ones
 * (-> recovery.js).
 */

import { kindOfStatus } from './whep.js';

const LIBRARY_URL = '/_/vendor/hls.min.js';
const HLS_TYPE = 'application/vnd.apple.mpegurl';

/**
 * @typedef {import('./webrtc-source.js').Source} Source
 * @typedef {import('./webrtc-source.js').SourceContext} SourceContext
 * @typedef {'page' | 'tile'} Profile one camera as near to live as can be, or one of many on a page
 * @typedef {any} HlsClass hls.js ships its types apart
 */

/** A quick second try inside hls.js bridges one lost request; an outage is recovery.js's. */
const QUICK_RETRY = Object.freeze({ maxNumRetry: 2, retryDelayMs: 300, maxRetryDelayMs: 1000 });
const NO_RETRY = Object.freeze({ maxNumRetry: 0, retryDelayMs: 0, maxRetryDelayMs: 0 });

/** @param {number} firstByteMs @param {object} retry */
function loadPolicy(firstByteMs, retry) {
  const maxTimeToFirstByteMs = firstByteMs;
  return {
    default: { maxTimeToFirstByteMs, maxLoadTimeMs: 20_000, timeoutRetry: retry, errorRetry: retry },
  };
}

/** True of both profiles. */
const COMMON = Object.freeze({
  // fMP4 goes to the decoder as it is: there is nothing for a worker to do but add a hop.
  enableWorker: false,
  backBufferLength: 10,
  // The server may hold the first playlist for 10 s while a camera on demand starts.
  manifestLoadPolicy: loadPolicy(12_000, NO_RETRY),
  playlistLoadPolicy: loadPolicy(10_000, QUICK_RETRY),
  fragLoadPolicy: loadPolicy(10_000, QUICK_RETRY),
});

/**
 * The distance to live is the playlist's PART-HOLD-BACK. hls.js adds a second to it after each stall by default and
 * keeps it; a fifth is enough for parts of 200 ms.
 */
const PAGE = Object.freeze({
  lowLatencyMode: true,
  liveSyncOnStallIncrease: 0.2,
  // Left to `catchUpRate`: hls.js only speeds up with more than a second in its buffer, which low latency never has.
  maxLiveSyncPlaybackRate: 1,
});

/** A viewer does not notice less than this, s, and chasing it would change the speed for ever. */
const BEHIND_MIN_S = 0.05;
/** With less than this buffered, s, speeding up would end in a stall. */
const CATCH_UP_BUFFER_MIN_S = 0.3;
const CATCH_UP_RATE_MAX = 1.3;

/**
 * Farther from live than this many target durations, the player jumps. Set after construction: together with the
 * setting that hls.js then demands beside it (liveSyncDurationCount), PART-HOLD-BACK would no longer count.
 */
const LATENCY_MAX_TARGET_DURATIONS = 6;

/** Whole segments, no blocking reload: see `tilePlaylist`. */
const TILE = Object.freeze({
  lowLatencyMode: false,
  liveSyncDurationCount: 2,
  maxBufferLength: 10,
  backBufferLength: 0,
});

/**
 * With longer segments than this, s (a camera whose GOP is long), a tile would be two of them behind, up to 42 s. It then takes
 * their parts, some at each poll, and keeps to a distance in seconds: the poll's interval and room for a late one.
 */
const TILE_SEGMENT_MAX_S = 4;
const TILE_POLL_S = 2;
const TILE_OF_PARTS = Object.freeze({
  lowLatencyMode: true,
  liveSyncDuration: 2 * TILE_POLL_S + 1,
  liveMaxLatencyDuration: 15,
});

/**
 * Playlists whose parts came too slowly for a first picture (a hundred requests for a GOP of 20 s, beside fifteen other tiles): a tile of
 * them takes whole segments from then on, and is further behind.
 * @type {Set<string>}
 */
const tooManyParts = new Set();

/**
 * @param {SourceContext & {profile: Profile}} context
 * @returns {Source}
 */
export function openHls(context) {
  /** @type {Source | null} */
  let source = null;
  let open = true;
  loadLibrary()
    .then((Hls) => {
      if (!open) return;
      if (Hls.isSupported()) source = openWithLibrary(Hls, context);
      else if (context.video.canPlayType(HLS_TYPE) !== '') source = openNative(context);
      else context.onFailure({ kind: 'unsupported', message: 'neither MSE nor native HLS' });
    })
    .catch((error) => {
      if (open) context.onFailure({ kind: 'network', message: String(error) });
    });
  return {
    close() {
      open = false;
      source?.close();
    },
    stage: () => source?.stage() ?? 'asking',
    stats: () => source?.stats() ?? { latencyS: null },
  };
}

/**
 * @param {HlsClass} Hls
 * @param {SourceContext & {profile: Profile}} context
 * @returns {Source}
 */
function openWithLibrary(Hls, { video, url, profile, onFailure }) {
  const mayTakeParts = !tooManyParts.has(url);
  const pLoader = () => tileLoader(Hls, mayTakeParts, (of) => Object.assign(hls.config, of));
  const settings = profile === 'page' ? PAGE : { ...TILE, pLoader: pLoader() };
  /** @type {any} */
  const hls = new Hls({ ...COMMON, ...settings });
  hls.config.liveMaxLatencyDurationCount = LATENCY_MAX_TARGET_DURATIONS;
  let open = true;
  /** @type {import('./webrtc-source.js').Stage} */
  let stage = 'asking';
  hls.on(Hls.Events.FRAG_BUFFERED, () => {
    stage = 'connected';
  });
  hls.on(Hls.Events.ERROR, (/** @type {string} */ _event, /** @type {any} */ data) => {
    if (!open || !data.fatal) return;
    onFailure({ kind: kindOfError(data), message: `${data.details} ${data.response?.code ?? ''}`.trim() });
  });
  // Needed by ManagedMediaSource (Safari), and a wall of cameras has no use for AirPlay.
  video.disableRemotePlayback = true;
  const onTime = () => {
    const { latency, targetLatency, mainForwardBufferInfo: buffer } = hls;
    const rate = catchUpRate({ latencyS: latency, targetS: targetLatency ?? 0, bufferS: buffer?.len ?? 0 });
    if (video.playbackRate !== rate) video.playbackRate = rate;
  };
  if (profile === 'page') video.addEventListener('timeupdate', onTime);
  hls.loadSource(url);
  hls.attachMedia(video);
  return {
    close() {
      open = false;
      const isWithoutPicture = stage === 'connected' && video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA;
      if (profile === 'tile' && isWithoutPicture) tooManyParts.add(url);
      video.removeEventListener('timeupdate', onTime);
      video.playbackRate = 1;
      hls.destroy();
      unload(video);
    },
    stage: () => stage,
    stats: () => ({
      latencyS: finite(hls.latency),
      targetLatencyS: finite(hls.targetLatency),
      bufferS: finite(hls.mainForwardBufferInfo?.len),
      playbackRate: video.playbackRate,
    }),
  };
}

/**
 * @param {SourceContext} context
 * @returns {Source}
 */
function openNative({ video, url, onFailure }) {
  const onError = () => {
    const failed = video.error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED ? 'absent' : 'media';
    onFailure({ kind: failed, message: video.error?.message ?? 'media error' });
  };
  video.addEventListener('error', onError, { once: true });
  video.src = url;
  return {
    close() {
      video.removeEventListener('error', onError);
      unload(video);
    },
    stage: () => (video.readyState > 0 ? 'connected' : 'asking'),
    stats: () => ({ latencyS: null }),
  };
}

/**
 * How fast to play to come back to the distance from live that the playlist asks for, in steps of a hundredth.
 * @param {{latencyS: number, targetS: number, bufferS: number}} position
 */
export function catchUpRate({ latencyS, targetS, bufferS }) {
  const behindS = latencyS - targetS;
  if (targetS <= 0 || !(behindS > BEHIND_MIN_S) || bufferS < CATCH_UP_BUFFER_MIN_S) return 1;
  return Math.min(CATCH_UP_RATE_MAX, Math.round(100 + 25 * behindS) / 100);
}

/**
 * What a fatal error of hls.js means.
 * @param {{type?: string, details?: string, response?: {code?: number}}} data
 * @returns {import('./recovery.js').FailureKind}
 */
export function kindOfError({ type, details, response }) {
  if (/codec/i.test(details ?? '')) return 'unsupported';
  if (type === 'networkError') return kindOfStatus(response?.code ?? 0);
  return 'media';
}

/**
 * A playlist as a tile reads it: polled instead of asking the server to hold each request, because browsers open six
 * connections to a plain HTTP host and sixteen players that each keep one waiting would starve one another. hls.js polls once a
 * TARGETDURATION, so a long one is told to it as TILE_POLL_S.
 * @param {string} playlist
 * @param {boolean} [mayTakeParts]
 * @returns {{playlist: string, settings: object}} and what hls.js must be set to
 */
export function tilePlaylist(playlist, mayTakeParts = true) {
  const polled = playlist.replace(/^(#EXT-X-SERVER-CONTROL:.*?)CAN-BLOCK-RELOAD=YES/m, '$1CAN-BLOCK-RELOAD=NO');
  const hasParts = mayTakeParts && polled.includes('\n#EXT-X-PART:');
  const target = /^#EXT-X-TARGETDURATION:(\d+)/m;
  if (!hasParts || Number(target.exec(polled)?.[1]) <= TILE_SEGMENT_MAX_S) return { playlist: polled, settings: {} };
  return { playlist: polled.replace(target, `#EXT-X-TARGETDURATION:${TILE_POLL_S}`), settings: TILE_OF_PARTS };
}

/** @param {HlsClass} Hls @param {boolean} mayTakeParts @param {(settings: object) => void} set */
function tileLoader(Hls, mayTakeParts, set) {
  return class extends Hls.DefaultConfig.loader {
    /** @param {any} context @param {any} config @param {any} callbacks */
    load(context, config, callbacks) {
      super.load(context, config, {
        ...callbacks,
        /** @param {any} response @param {any[]} rest */
        onSuccess(response, ...rest) {
          if (typeof response.data === 'string') {
            const { playlist, settings } = tilePlaylist(response.data, mayTakeParts);
            response.data = playlist;
            set(settings);
          }
          callbacks.onSuccess(response, ...rest);
        },
      });
    }
  };
}

/** @type {Promise<HlsClass> | null} */
let library = null;

/** hls.js is a classic script that sets `window.Hls`; a page that may do without it loads it when needed. */
function loadLibrary() {
  const loaded = /** @type {any} */ (window).Hls;
  if (loaded !== undefined) return Promise.resolve(loaded);
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = LIBRARY_URL;
    script.onload = () => resolve(/** @type {any} */ (window).Hls);
    script.onerror = () => {
      library = null;
      script.remove();
      reject(new Error('hls.js could not be loaded'));
    };
    document.head.append(script);
  });
  return library;
}

/** @param {HTMLVideoElement} video */
function unload(video) {
  video.removeAttribute('src');
  video.load();
}

/** @param {unknown} value */
function finite(value) {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}
