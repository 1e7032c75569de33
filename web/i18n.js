/**
 * @file Words: every text a person reads, in Brazilian Portuguese first and in English.
 *
 * Belongs here: texts, how a length of time is said. Does not: when to show them (-> player/page.js, grid/).
 */

/**
 * @typedef {object} Texts
 * @property {string} lang value for `<html lang>`
 * @property {string} connecting
 * @property {string} lost
 * @property {string} denied
 * @property {string} unsupported
 * @property {string} tapToPlay
 * @property {(length: string) => string} since
 * @property {string} unmute
 * @property {string} mute
 * @property {string} fullscreen
 * @property {string} exitFullscreen
 * @property {string} video label of the picture itself
 * @property {string} cameras
 * @property {string} filter
 * @property {string} none
 * @property {string} noneHelp
 * @property {string} noMatch
 * @property {string} loading
 * @property {string} serverLost
 * @property {(online: number, total: number) => string} count
 * @property {(readers: number) => string} readers
 * @property {Record<string, string>} states by normalized state, see grid/cameras.js
 */

/** @type {Texts} */
const PT = {
  lang: 'pt-BR',
  connecting: 'Conectando…',
  lost: 'Sinal perdido',
  denied: 'Acesso negado',
  unsupported: 'Este navegador não reproduz o vídeo desta câmera',
  tapToPlay: 'Toque para ver',
  since: (length) => `há ${length}`,
  unmute: 'Ligar o som',
  mute: 'Desligar o som',
  fullscreen: 'Tela cheia',
  exitFullscreen: 'Sair da tela cheia',
  video: 'Vídeo ao vivo',
  cameras: 'Câmeras',
  filter: 'Filtrar câmeras',
  none: 'Nenhuma câmera ainda',
  noneHelp: 'Acrescente uma em “paths” no arquivo de configuração; ela aparece aqui sozinha.',
  noMatch: 'Nenhuma câmera com este nome',
  loading: 'Carregando…',
  serverLost: 'Sem resposta do servidor; tentando de novo',
  count: (online, total) => `${online} de ${total} no ar`,
  readers: (readers) => (readers === 1 ? '1 espectador' : `${readers} espectadores`),
  states: {
    online: 'No ar',
    connecting: 'Conectando',
    frozen: 'Imagem congelada',
    backingoff: 'Aguardando',
    opencircuit: 'Pausada após falhas',
    idle: 'Sob demanda',
    unknown: 'Desconhecido',
  },
};

/** @type {Texts} */
const EN = {
  lang: 'en',
  connecting: 'Connecting…',
  lost: 'Signal lost',
  denied: 'Access denied',
  unsupported: 'This browser cannot play this camera’s video',
  tapToPlay: 'Tap to watch',
  since: (length) => `${length} ago`,
  unmute: 'Turn sound on',
  mute: 'Turn sound off',
  fullscreen: 'Full screen',
  exitFullscreen: 'Leave full screen',
  video: 'Live video',
  cameras: 'Cameras',
  filter: 'Filter cameras',
  none: 'No cameras yet',
  noneHelp: 'Add one under “paths” in the configuration file; it shows up here by itself.',
  noMatch: 'No camera by that name',
  loading: 'Loading…',
  serverLost: 'No answer from the server; trying again',
  count: (online, total) => `${online} of ${total} online`,
  readers: (readers) => (readers === 1 ? '1 viewer' : `${readers} viewers`),
  states: {
    online: 'Online',
    connecting: 'Connecting',
    frozen: 'Frozen',
    backingoff: 'Waiting',
    opencircuit: 'Paused after failures',
    idle: 'On demand',
    unknown: 'Unknown',
  },
};

/**
 * The texts for a browser language: English unless it is some Portuguese or not known.
 * @param {string | undefined} language as `navigator.language`
 * @returns {Texts}
 */
export function textsFor(language) {
  return !language || language.toLowerCase().startsWith('pt') ? PT : EN;
}

/**
 * A length of time as people read it, two units at most: `8 s`, `3 min 05 s`, `2 h 10 min`, `4 d 3 h`.
 * @param {number} ms
 * @returns {string}
 */
export function lengthOfTime(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days > 0) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${pad(minutes % 60)} min`;
  if (minutes > 0) return `${minutes} min ${pad(seconds % 60)} s`;
  return `${seconds} s`;
}

/** @param {number} value */
function pad(value) {
  return String(value).padStart(2, '0');
}
