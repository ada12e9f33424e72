#!/usr/bin/env bash
# Starts the cluster of compose.yaml, submits the quickstart to it from a container, and pulls the report to build/.
# The image is GANSVC_IMAGE, the engine ENGINE (docker or podman); arguments are handed on as --set PATH=VALUE.
set -euo pipefail
cd "$(dirname "$0")/.."
engine=${ENGINE:-podman}
read -ra compose <<<"${COMPOSE:-$([ "$engine" = docker ] && echo docker compose || echo podman-compose)}"
compose+=(-p gansvc-image-test -f docker/compose.yaml)

scratch=$(mktemp -d)
export GANSVC_STORAGE=$scratch/jobs GANSVC_TOKEN_FILE=$scratch/token GANSVC_PORT=${GANSVC_PORT:-8265}
export GANSVC_USER=${GANSVC_USER:-$([ "$(id -u)" = 0 ] && echo 10001:10001 || echo "$(id -u):$(id -g)")}
mkdir "$GANSVC_STORAGE"
(umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$GANSVC_TOKEN_FILE")
chmod 711 "$scratch"
[ "$(id -u)" != 0 ] || chown -R "$GANSVC_USER" "$GANSVC_STORAGE" "$GANSVC_TOKEN_FILE"

end() {
  local code=$?
  [ $code = 0 ] || "${compose[@]}" logs --tail=50 || true
  "${compose[@]}" down || true
  rm -rf "$scratch"
  exit $code
}
trap end EXIT

# A container as hardened as the cluster's, which sees the machine's loopback and nothing of the machine's files.
client=("$engine" run --rm --network host --user "$GANSVC_USER" --read-only --cap-drop ALL
  --security-opt no-new-privileges --tmpfs /tmp:mode=1777 --tmpfs /home/gansvc:mode=1777
  --volume "$GANSVC_STORAGE:$GANSVC_STORAGE" --volume "$GANSVC_TOKEN_FILE:/run/token:ro"
  --volume "$PWD/jobs:/jobs:ro" --env GANSVC_STORAGE="$GANSVC_STORAGE" --env RAY_AUTH_MODE=token)
address=http://127.0.0.1:$GANSVC_PORT

# Of the container's first process and its mounts, so that a container that is already up can be asked too.
# shellcheck disable=SC2016  # the container's shell expands these
checks='
  refuse() { echo "$1" >&2; exit 1; }
  grep -q "^Uid:[[:space:]]*[1-9]" /proc/1/status || refuse "it runs as root"
  grep -q "^CapBnd:[[:space:]]*0*$" /proc/1/status || refuse "it has capabilities"
  grep -q "^NoNewPrivs:[[:space:]]*1$" /proc/1/status || refuse "it may gain privileges"
  grep -q "^[^ ]* / [^ ]* ro[, ]" /proc/mounts || refuse "its root can be written to"
  touch /tmp/.here "$HOME/.here" || refuse "it has no folder to write to"
  for tool in gcc cc make /opt/gansvc/bin/pip; do
    if command -v "$tool"; then refuse "it has build tools"; fi
  done
  python /opt/gansvc/health.py || refuse "it is unhealthy"'

echo "== a container of its own has no rights"
"${client[@]}" "$GANSVC_IMAGE" sh -c "$checks; gansvc version; gansvc --help >/dev/null"

echo "== what it holds is pinned, and is what KubeRay and its reader pods start"
"${client[@]}" "$GANSVC_IMAGE" python -c '
import re, sys
from importlib.metadata import distributions
import kubernetes, torch
def line(name, version): return re.sub("[-_.]+", "-", name).lower() + "==" + version
pins = {line(*text.strip().split("==")) for text in open("/opt/gansvc/constraints.txt") if "==" in text}
loose = {line(item.name, item.version) for item in distributions() if item.name != "gansvc"} - pins
if loose: sys.exit("not pinned: " + ", ".join(sorted(loose)))'
"${client[@]}" "$GANSVC_IMAGE" bash -lc 'command -v ray gansvc python tar cat sleep'

echo "== the cluster starts, and its nodes have no rights"
"${compose[@]}" up --detach
deadline=$((SECONDS + 300))
nodes=0
until [ "$nodes" = 3 ]; do
  [ $SECONDS -lt $deadline ] || { echo "the head and two workers are not up after 300 s" >&2; exit 1; }
  sleep 3
  nodes=$("${compose[@]}" exec -T head python -c '
import ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
print("nodes", sum(node["Alive"] for node in ray.nodes()))' 2>/dev/null | sed -n 's/^nodes //p' || true)
done
for service in head worker; do
  "${compose[@]}" exec -T "$service" sh -c "$checks"
done

echo "== without the token nothing is answered"
"${client[@]}" "$GANSVC_IMAGE" python -c "
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen('$address/api/jobs/', timeout=10)
except urllib.error.HTTPError as error:
    sys.exit(error.code != 401)
sys.exit('the Jobs API answers anyone')"

echo "== a job"
sets=()
for value in "$@"; do sets+=(--set "$value"); done
"${client[@]}" --env RAY_AUTH_TOKEN_PATH=/run/token "$GANSVC_IMAGE" \
  gansvc submit --cluster "$address" "${sets[@]}" /jobs/quickstart.yaml
"${client[@]}" "$GANSVC_IMAGE" gansvc pull quickstart "$GANSVC_STORAGE/pulled"
rm -rf build/image-test
mkdir -p build
cp -R "$GANSVC_STORAGE/pulled" build/image-test
test -s build/image-test/report/report.html && test -s build/image-test/model/generator.safetensors
echo "the report is in build/image-test/report/report.html"
