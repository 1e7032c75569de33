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
 * @property {PublisherTexts} publisher
 */

/**
 * @typedef {object} PublisherTexts the page that publishes
 * @property {string} title
 * @property {string} source
 * @property {string} camera
 * @property {string} screen
 * @property {string} microphone
 * @property {string} noMicrophone
 * @property {string} codec
 * @property {string} bitrate
 * @property {string} start
 * @property {string} stop
 * @property {string} preview label of the picture
 * @property {(kind: string, number: number) => string} unnamed a device whose name the browser keeps to itself
 * @property {string} capturing
 * @property {(length: string) => string} live
 * @property {string} again the connection is made anew
 * @property {Record<import('./publisher/choice.js').Trouble, string>} troubles
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
  publisher: {
    title: 'Publicar',
    source: 'O que publicar',
    camera: 'Câmera',
    screen: 'Tela',
    microphone: 'Microfone',
    noMicrophone: 'Sem som',
    codec: 'Codec do vídeo',
    bitrate: 'Taxa máxima do vídeo (kbit/s)',
    start: 'Publicar',
    stop: 'Parar',
    preview: 'Imagem que está sendo publicada',
    unnamed: (kind, number) => `${kind} ${number}`,
    capturing: 'Aguardando a permissão do navegador…',
    live: (length) => `No ar há ${length}`,
    again: 'Conexão perdida; tentando de novo',
    troubles: {
      insecure: 'O navegador só libera câmera, microfone e tela em páginas https; abra esta página por https.',
      unsupported: 'Este navegador não codifica vídeo que o servidor receba (H.264 ou H.265).',
      forbidden: 'O navegador não permitiu a captura. Libere câmera e microfone para esta página e tente de novo.',
      missing: 'Nenhuma câmera ou microfone encontrado.',
      busy: 'A câmera ou o microfone está em uso por outro programa, ou não responde.',
      ended: 'A captura terminou: o aparelho foi desligado ou o compartilhamento foi encerrado.',
      denied: 'Acesso negado: este usuário não pode publicar aqui.',
      taken: 'Outra pessoa já publica neste endereço.',
      closed: 'Este endereço não recebe publicação: ele não existe ou tem outra fonte.',
      refused: 'O servidor não aceita este vídeo; escolha outro codec.',
      unreachable: 'O servidor respondeu, mas o vídeo não chega até ele (rede ou firewall).',
      network: 'Sem resposta do servidor.',
      unknown: 'A captura falhou.',
    },
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
  publisher: {
    title: 'Publish',
    source: 'What to publish',
    camera: 'Camera',
    screen: 'Screen',
    microphone: 'Microphone',
    noMicrophone: 'No sound',
    codec: 'Video codec',
    bitrate: 'Video bit rate at most (kbit/s)',
    start: 'Publish',
    stop: 'Stop',
    preview: 'The picture that is published',
    unnamed: (kind, number) => `${kind} ${number}`,
    capturing: 'Waiting for the browser’s permission…',
    live: (length) => `On air for ${length}`,
    again: 'Connection lost; trying again',
    troubles: {
      insecure: 'Browsers give cameras, microphones and screens to https pages only; open this page over https.',
      unsupported: 'This browser encodes no video that the server takes (H.264 or H.265).',
      forbidden: 'The browser did not allow the capture. Allow camera and microphone for this page and try again.',
      missing: 'No camera or microphone found.',
      busy: 'The camera or microphone is in use by another program, or does not answer.',
      ended: 'The capture has ended: the device was switched off, or sharing was stopped.',
      denied: 'Access denied: this user may not publish here.',
      taken: 'Somebody else publishes here already.',
      closed: 'Nothing is published here: the address does not exist or has another source.',
      refused: 'The server does not take this video; choose another codec.',
      unreachable: 'The server has answered, but the video does not reach it (network or firewall).',
      network: 'No answer from the server.',
      unknown: 'The capture failed.',
    },
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
