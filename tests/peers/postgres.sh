#!/usr/bin/env bash
# A PostgreSQL server of a test's own, on a socket in a folder of its own; nothing is synced. Ends with standard input.
#
#   says {"socket": FOLDER} and "stopped"; takes the lines "stop" and "start"
#
# It refuses to run as root, and is then run as the user that Debian's package has for it.
set -euo pipefail

bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
if [ ! -x "$bin/initdb" ]; then
  echo 'PostgreSQL is not installed: run tests/setup/install.sh, or install the package postgresql' >&2
  exit 1
fi

folder=$(mktemp -d --suffix=.gtv)
chmod 755 "$folder"
as_user() { "$@"; }
if [ "$(id -u)" = 0 ]; then
  chown postgres "$folder"
  as_user() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
fi
cd "$folder"

start() {
  as_user "$bin/pg_ctl" start --pgdata="$folder/data" --log="$folder/log" --wait --silent \
    --options="-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off -c full_page_writes=off \
      -c synchronous_commit=off -c max_connections=300 -c shared_buffers=64MB ${1:-}" || { cat "$folder/log" >&2; exit 1; }
  echo "{\"socket\": \"$folder\"}"
}
stop() { as_user "$bin/pg_ctl" stop --pgdata="$folder/data" --mode=fast --wait --silent || true; }
trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 0' TERM

as_user "$bin/initdb" --pgdata="$folder/data" --auth=trust --username=postgres --no-sync --encoding=UTF8 --locale=C.UTF-8 >/dev/null
start
while read -r order; do
  case $order in
    stop) stop; echo stopped ;;
    start) start ;;
  esac
done
