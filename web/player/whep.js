/**
 * @file WHEP: one viewer session over HTTP, from offer to DELETE; a publisher's (WHIP) is the same with another endpoint.
 *
 *      OPTIONS ──► ICE servers (Link)
 *      POST offer ──► 201 answer, Location ──► PATCH candidates found later ... DELETE
 *                 └─► 4xx/5xx ──► WhepError, with the HLS address when the server names one
 *
 * The offer leaves without waiting for candidates: a server on a reachable address needs none of ours to answer the
 * checks that we send to it, and waiting would cost the first picture up to a second. Those found are sent by PATCH.
 *
 * Belongs here: HTTP and SDP text. Does not: <video>, retries (-> recovery.js).
 * Spec: draft-ietf-wish-whep, RFC 9725 s4.2-4.6, RFC 8840 (fragments), RFC 8288 (Link).
 */

/** An answer to POST may take as long as a camera on demand takes to start (10 s). */
const POST_TIMEOUT_MS = 12_000;
const OPTIONS_TIMEOUT_MS = 2_000;
/** ICE servers are asked for again after this: TURN credentials live for 24 h, a changed list should arrive sooner. */
const ICE_SERVERS_FRESH_MS = 600_000;
/** Candidates found within this are sent together. */
const TRICKLE_BATCH_MS = 50;
/** More links than this in one header are ignored. */
const LINKS_MAX = 32;

/**
 * @typedef {import('./recovery.js').FailureKind} FailureKind
 * @typedef {{url: string, params: Record<string, string>}} Link
 */

/** Why a session could not be had. */
export class WhepError extends Error {
  /**
   * @param {FailureKind} kind
   * @param {string} message
   * @param {{status?: number, retryAfterMs?: number, fallbackUrl?: string}} [evidence] `status` of the answer, if any
   */
  constructor(kind, message, evidence = {}) {
    super(message);
    this.name = 'WhepError';
    this.kind = kind;
    this.status = evidence.status;
    this.retryAfterMs = evidence.retryAfterMs;
    this.fallbackUrl = evidence.fallbackUrl;
  }
}

/**
 * Asks for ICE servers and remembers them, so that a reconnect costs no extra round trip. A failure is no error: most
 * servers on a public address need none.
 */
export class IceServers {
  #url;
  #fetch;
  #readAt = -Infinity;
  /** @type {RTCIceServer[]} */ #servers = [];

  /**
   * @param {string} url WHEP endpoint
   * @param {typeof fetch} fetchFn
   */
  constructor(url, fetchFn) {
    this.#url = url;
    this.#fetch = fetchFn;
  }

  /**
   * @param {number} now ms
   * @returns {Promise<RTCIceServer[]>}
   */
  async get(now) {
    if (now - this.#readAt < ICE_SERVERS_FRESH_MS) return this.#servers;
    try {
      const response = await this.#fetch(this.#url, {
        method: 'OPTIONS',
        signal: AbortSignal.timeout(OPTIONS_TIMEOUT_MS),
      });
      if (response.ok) this.store(response.headers.get('link'), now);
    } catch {
      // The POST that follows will say what is wrong.
    }
    return this.#servers;
  }

  /**
   * @param {string | null} header Link
   * @param {number} now ms
   */
  store(header, now) {
    this.#readAt = now;
    this.#servers = iceServersFrom(parseLinks(header, this.#url));
  }
}

export class WhepSession {
  #url;
  #peer;
  #fetch;
  #iceServers;
  #abort = new AbortController();
  /** @type {string | null} */ #location = null;
  /** @type {string | null} */ #etag = null;
  /** @type {string[]} candidate lines that the server has not heard of */ #pending = [];
  /** @type {ReturnType<typeof setTimeout> | null} */ #batch = null;
  #gathered = false;
  #trickling = true;

  /**
   * @param {object} options
   * @param {string} options.url WHEP endpoint
   * @param {RTCPeerConnection} options.peer with its transceivers added
   * @param {IceServers} options.iceServers
   * @param {typeof fetch} options.fetchFn
   */
  constructor({ url, peer, iceServers, fetchFn }) {
    this.#url = url;
    this.#peer = peer;
    this.#iceServers = iceServers;
    this.#fetch = fetchFn;
  }

  /**
   * @param {number} now ms
   * @returns {Promise<void>} when the answer is in place; media may still be on its way
   * @throws {WhepError}
   */
  async open(now) {
    const peer = this.#peer;
    peer.addEventListener('icecandidate', (event) => this.#onCandidate(event.candidate));
    const [iceServers, offer] = await Promise.all([this.#iceServers.get(now), peer.createOffer()]);
    this.#checkOpen();
    if (iceServers.length > 0) peer.setConfiguration({ ...peer.getConfiguration(), iceServers });
    await peer.setLocalDescription(offer);
    this.#checkOpen();

    const response = await this.#post(peer.localDescription?.sdp ?? '');
    const body = await response.text();
    if (response.status !== 201) throw refusal(response, body);
    this.#accept(response);
    this.#checkOpen();
    const answer = response.headers.get('link');
    if (answer !== null) this.#iceServers.store(answer, now);
    try {
      await peer.setRemoteDescription({ type: 'answer', sdp: body });
    } catch (error) {
      throw new WhepError('media', `answer not understood: ${text(error)}`);
    }
    this.#scheduleTrickle();
  }

  /** Ends the session on the server too, even while the page goes away. */
  close() {
    this.#abort.abort();
    this.#trickling = false;
    if (this.#batch !== null) clearTimeout(this.#batch);
    if (this.#location === null) return;
    const location = this.#location;
    this.#location = null;
    this.#fetch(location, { method: 'DELETE', keepalive: true }).catch(() => {
      // The server drops a viewer that stops answering (RFC 7675) all the same.
    });
  }

  /** @param {string} sdp */
  async #post(sdp) {
    const timeout = AbortSignal.timeout(POST_TIMEOUT_MS);
    const headers = { 'Content-Type': 'application/sdp', Accept: 'application/sdp' };
    try {
      // Not aborted by close(): an answer under way names a session that must then be deleted.
      return await this.#fetch(this.#url, { method: 'POST', headers, body: sdp, signal: timeout });
    } catch (error) {
      throw new WhepError('network', `post failed: ${text(error)}`);
    }
  }

  /** @param {Response} response */
  #accept(response) {
    const location = response.headers.get('location');
    if (location === null) return;
    this.#location = new URL(location, response.url || this.#url).href;
    this.#etag = response.headers.get('etag');
  }

  /** Throws when close() came in between; a session created meanwhile is deleted. */
  #checkOpen() {
    if (!this.#abort.signal.aborted) return;
    this.close();
    throw new WhepError('ended', 'closed while opening');
  }

  /** @param {RTCIceCandidate | null} candidate */
  #onCandidate(candidate) {
    if (candidate === null || candidate.candidate === '') this.#gathered = true;
    else this.#pending.push(candidate.candidate);
    if (this.#location !== null) this.#scheduleTrickle();
  }

  #scheduleTrickle() {
    if (!this.#trickling || this.#location === null || this.#batch !== null) return;
    if (this.#pending.length === 0 && !this.#gathered) return;
    this.#batch = setTimeout(() => {
      this.#batch = null;
      void this.#sendCandidates();
    }, TRICKLE_BATCH_MS);
  }

  async #sendCandidates() {
    const offer = this.#peer.localDescription?.sdp ?? '';
    const fragment = trickleFragment(offer, this.#pending.splice(0), this.#gathered);
    if (this.#location === null || fragment === null) return;
    /** @type {Record<string, string>} */
    const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag' };
    if (this.#etag !== null) headers['If-Match'] = this.#etag;
    try {
      const signal = this.#abort.signal;
      const response = await this.#fetch(this.#location, { method: 'PATCH', headers, body: fragment, signal });
      // 405 or 501: this server does without (RFC 9725 s4.3). The session goes on.
      if (!response.ok) this.#trickling = false;
    } catch {
      this.#trickling = false;
    }
    if (this.#gathered && this.#pending.length === 0) this.#trickling = false;
    this.#scheduleTrickle();
  }
}

/**
 * What an answer other than 201 means.
 * @param {{status: number, headers: {get(name: string): string | null}, url?: string}} response
 * @param {string} body
 * @returns {WhepError}
 */
export function refusal(response, body) {
  const { status, headers } = response;
  const answer = parseJson(body);
  const message = `${status}: ${answer.error ?? (body.slice(0, 200) || 'no reason given')}`;
  const retryAfterMs = retryAfter(headers.get('retry-after'));
  const alternate = parseLinks(headers.get('link'), response.url || undefined).find(isHlsAlternate);
  if (status >= 400 && status < 500 && (alternate !== undefined || answer.fallback === 'hls')) {
    return new WhepError('refused', message, { status, fallbackUrl: alternate?.url });
  }
  return new WhepError(kindOfStatus(status), message, { status, retryAfterMs });
}

/**
 * @param {number} status
 * @returns {FailureKind}
 */
export function kindOfStatus(status) {
  if (status === 401 || status === 403) return 'denied';
  if (status === 404 || status === 409 || status === 503) return 'absent';
  return 'network';
}

/**
 * Retry-After in seconds; its date form is not used by media servers and is ignored (RFC 9110 s10.2.3).
 * @param {string | null} header
 * @returns {number | undefined} ms
 */
export function retryAfter(header) {
  return header !== null && /^\d{1,6}$/.test(header.trim()) ? Number(header) * 1000 : undefined;
}

/**
 * A Link header's links whose target is a URL (RFC 8288 s3). Commas and semicolons may stand inside <> and quotes.
 * @param {string | null} header
 * @param {string} [base] for relative targets
 * @returns {Link[]}
 */
export function parseLinks(header, base) {
  const links = [];
  for (const match of (header ?? '').matchAll(/<([^>]*)>((?:[^,"]|"(?:\\.|[^"\\])*")*)/g)) {
    if (links.length >= LINKS_MAX) break;
    const [, target = '', rest = ''] = match;
    const url = absolute(target.trim(), base);
    if (url !== null) links.push({ url, params: parseParams(rest) });
  }
  return links;
}

/**
 * @param {Link[]} links
 * @returns {RTCIceServer[]}
 */
export function iceServersFrom(links) {
  return links
    .filter(({ params, url }) => hasRel(params, 'ice-server') && /^(stun|turn)s?:/i.test(url))
    .map(({ params, url }) =>
      params.username === undefined
        ? { urls: url }
        : { urls: url, username: params.username, credential: params.credential ?? '' },
    );
}

/**
 * Candidates as the body of a PATCH. All media is bundled, so they are those of the first section.
 * @param {string} offer SDP with the credentials the candidates belong to
 * @param {string[]} candidates `candidate:...` lines
 * @param {boolean} last whether no more will follow
 * @returns {string | null} null when there is nothing to say
 */
export function trickleFragment(offer, candidates, last) {
  if (candidates.length === 0 && !last) return null;
  const first = (/** @type {RegExp} */ pattern) => pattern.exec(offer)?.[1];
  const ufrag = first(/^a=ice-ufrag:(\S+)/m);
  const pwd = first(/^a=ice-pwd:(\S+)/m);
  const media = first(/^m=(\S+ \S+ \S+ \S+)/m);
  const mid = first(/^a=mid:(\S+)/m);
  if (ufrag === undefined || pwd === undefined || media === undefined || mid === undefined) return null;
  const lines = [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${pwd}`, `m=${media}`, `a=mid:${mid}`];
  lines.push(...candidates.map((candidate) => `a=${candidate.replace(/^a=/, '')}`));
  if (last) lines.push('a=end-of-candidates');
  return `${lines.join('\r\n')}\r\n`;
}

/** @param {Link} link */
function isHlsAlternate({ url, params }) {
  const type = (params.type ?? '').toLowerCase();
  const isHls = type === 'application/vnd.apple.mpegurl' || type === 'application/x-mpegurl';
  return hasRel(params, 'alternate') && isHls && /^https?:/i.test(url);
}

/** @param {Record<string, string>} params @param {string} rel */
function hasRel(params, rel) {
  return (params.rel ?? '').toLowerCase().split(/\s+/).includes(rel);
}

/** @param {string} rest everything after `<...>` @returns {Record<string, string>} */
function parseParams(rest) {
  /** @type {Record<string, string>} */
  const params = {};
  for (const match of rest.matchAll(/;\s*([\w!#$&+\-.^`|~]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s;,]*))/g)) {
    const [, name = '', quoted, plain] = match;
    params[name.toLowerCase()] ??= quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '';
  }
  return params;
}

/** @param {string} target @param {string} [base] */
function absolute(target, base) {
  try {
    return new URL(target, base).href;
  } catch {
    return null;
  }
}

/** @param {string} body @returns {{error?: unknown, fallback?: unknown}} */
function parseJson(body) {
  try {
    const value = JSON.parse(body);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** @param {unknown} error */
function text(error) {
  return error instanceof Error ? error.message : String(error);
}
