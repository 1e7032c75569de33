/**
 * @file Pictures: tells when a <video> shows a new picture, which is the only proof that it plays.
 *
 * `playing` events and an advancing currentTime prove nothing: sound alone moves the clock. Where the browser cannot
 * report each frame, or does not while it paints nothing, its counter of decoded frames is compared.
 * A stream without a picture track (sound only) is judged by its clock, for want of better.
 */

/** How often the counters are read, ms. */
const POLL_MS = 500;

/**
 * @param {HTMLVideoElement} video
 * @param {() => void} onPicture called for each picture, at least once in POLL_MS while they come
 * @returns {() => void} stops watching
 */
export function watchPictures(video, onPicture) {
  let watching = true;
  let decoded = decodedPictures(video);
  let clock = video.currentTime;
  let frameHandle = 0;

  const perFrame = typeof video.requestVideoFrameCallback === 'function';
  const onFrame = () => {
    if (!watching) return;
    onPicture();
    frameHandle = video.requestVideoFrameCallback(onFrame);
  };
  if (perFrame) frameHandle = video.requestVideoFrameCallback(onFrame);

  const poll = setInterval(() => {
    const decodedNow = decodedPictures(video);
    const soundOnly = video.videoWidth === 0 && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    if (decodedNow > decoded || (soundOnly && video.currentTime > clock)) onPicture();
    decoded = decodedNow;
    clock = video.currentTime;
  }, POLL_MS);

  return () => {
    watching = false;
    clearInterval(poll);
    if (perFrame) video.cancelVideoFrameCallback(frameHandle);
  };
}

/** @param {HTMLVideoElement} video */
function decodedPictures(video) {
  return video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
}
