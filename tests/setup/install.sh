#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: the peers (ffmpeg,
# GStreamer, Chromium, Firefox, aiortc, PostgreSQL) and nothing of ours. Run by ./test; safe
# to run again, and quick when nothing is missing. Debian 12 or newer.
#
#   distribution packages   only those whose command or module is absent
#   .cache/node             npm packages of tests/peers/package-lock.json
#   .cache/venv             Python packages of tests/peers/requirements.txt
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# --- Distribution packages: "packages | test that passes when they are there | why"
gi() { /usr/bin/python3 -c "import gi; gi.require_version('$1', '1.0')"; }
gst() { gst-inspect-1.0 --exists "$1"; }
wanted=(
  "ffmpeg | command -v ffmpeg && command -v ffprobe | reads every stream that we serve, makes clips"
  "nodejs npm | command -v node && command -v npm | drives the browsers and the playlist validator"
  "chromium | command -v chromium | plays LL-HLS and WebRTC"
  "firefox-esr | command -v firefox-esr | plays H.265"
  "python3-venv | /usr/bin/python3 -c 'import venv, ensurepip' | aiortc, the WebRTC viewer that is not a browser"
  "python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-rtsp-server-1.0 | gi GstRtspServer | the camera that is not ours"
  "gstreamer1.0-tools | command -v gst-inspect-1.0 | GStreamer's own parts"
  "gstreamer1.0-plugins-base gstreamer1.0-plugins-good | gst decodebin && gst rtph264pay | RTP payloaders, demuxers"
  "gstreamer1.0-plugins-bad | gst h265parse && gst webrtcbin | H.264 and H.265 parsers, the WebRTC viewer that is GStreamer's"
  "gstreamer1.0-rtsp | gst rtspclientsink | publishes over RTSP"
  "gstreamer1.0-nice gir1.2-gst-plugins-bad-1.0 | gst nicesrc && gi GstWebRTC | its ICE, and Python's way to it"
  "gstreamer1.0-plugins-ugly gstreamer1.0-libav | gst x264enc && gst avenc_aac | encoders for the test camera"
  "glib-networking | ls /usr/lib/*/gio/modules/libgiognutls.so | TLS of the camera that is not ours"
  "gcc libc6-dev | command -v cc && [ -e /usr/include/stdio.h ] | the shim between a server, its disk and its clock"
  "postgresql | ls /usr/lib/postgresql/*/bin/initdb | the database of a catalogue that is not SQLite's"
  "pgbouncer | command -v pgbouncer | stands between a server and its PostgreSQL"
  "nginx libnginx-mod-rtmp | [ -x /usr/sbin/nginx ] && [ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] | the RTMP and HLS server that is not ours"
  "openssl | command -v openssl | a certificate for the TLS listeners under test"
)
missing=()
for line in "${wanted[@]}"; do
  IFS='|' read -r packages present why <<<"$line"
  if ! eval "$present" >/dev/null 2>&1; then
    echo "missing: ${packages% } (${why# })"
    read -r -a names <<<"$packages"
    missing+=("${names[@]}")
  fi
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing from Debian: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# --- npm and pip: made again when their lock file changes.
# fresh STAMP FILE: true when FILE is what was installed last time.
fresh() { [ -f "$1" ] && cmp -s "$1" "$2"; }

mkdir -p .cache/node
if ! fresh .cache/node/installed tests/peers/package-lock.json; then
  echo "installing npm packages into .cache/node (browser driver, playlist validator)"
  cp tests/peers/package.json tests/peers/package-lock.json .cache/node/
  (cd .cache/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp tests/peers/package-lock.json .cache/node/installed
fi
if ! fresh .cache/venv/installed tests/peers/requirements.txt; then
  echo "installing Python packages into .cache/venv (aiortc, pycurl)"
  rm -rf .cache/venv
  /usr/bin/python3 -m venv .cache/venv
  .cache/venv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/peers/requirements.txt
  cp tests/peers/requirements.txt .cache/venv/installed
fi
