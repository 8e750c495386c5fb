#!/usr/bin/env bash
# All that needs a GPU, under eight minutes: tests, parts, the whole app. Results go to a folder.
#   benchmarks/gpu.sh FOLDER            on a GPU
#   SMALL=1 benchmarks/gpu.sh FOLDER    the same on the CPU, smaller
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
device=$([ "${SMALL:-}" ] && echo cpu || echo cuda)
export PYTHONPATH=$PWD

"$python" -m pytest -q -m gpu tests | tee "$out/tests.txt"
"$python" -m benchmarks gpu --device "$device" --out "$out/gpu.json" ${SMALL:+--small}
"$python" -m unimo_bids.cli.demo "$out/demo" ${SMALL:+--frames 6} > /dev/null
start=$(date +%s)
"$python" -m unimo_bids.cli.run "$out/demo" "$out/derivatives" participant --device "$device" \
  --work-dir "$out/work" --remove-workdir --skip-bids-validation > "$out/app.txt" 2>&1
echo "{\"device\": \"$device\", \"whole app on the demo, s\": $(($(date +%s) - start))}" > "$out/app.json"
cat "$out/gpu.json" "$out/app.json"
