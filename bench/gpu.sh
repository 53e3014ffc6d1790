#!/usr/bin/env bash
# Check a machine with a GPU, in one command and within 8 minutes: does it agree with the CPU, how
# fast is it, do trainings in bf16 end as in float32, and five folds of CHAOS where the volumes are there.
#
#   bench/gpu.sh [FOLDER of results, default bench]
#
# PYTHON         the interpreter (default: .venv/bin/python)
# CHAOS_FOLDER   the volumes as `fewshot prepare chaost2` takes them; unset: the five folds are left out
# STEPS          training steps of each fold (default: 1000)
# LIMIT          seconds for everything (default: 480); what does not fit is cut off
# TINY=1         small sizes on whatever device there is, to try the script out; only LIMIT bounds a part
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${1:-bench}
steps=${STEPS:-1000}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
tiny=()
speed=()
if [[ -n ${TINY:-} ]]; then
  tiny=(--tiny)
  export TORCHDYNAMO_DISABLE=1  # compiling takes minutes, and the numbers mean nothing here
  speed=(--steps 10)
elif ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo 'gpu.sh: torch finds no GPU here; TINY=1 tries the script out on the CPU' >&2
  exit 2
fi

# Run a command for at most so many seconds, and no longer than LIMIT allows.
bounded() {
  local seconds=$(( ${LIMIT:-480} - SECONDS ))
  if (( seconds < 1 )); then
    echo "no time is left for: ${*:2}" >&2
    return 1
  fi
  timeout "$(( $1 < seconds && ${#tiny[@]} == 0 ? $1 : seconds ))" "${@:2}"
}

status=0
bounded 150 "$python" bench/gpu_check.py "${tiny[@]}" --out "$out/gpu-check.json" || status=1
bounded 120 "$python" bench/gpu_speed.py "${tiny[@]}" "${speed[@]}" --out "$out/gpu-speed.json" || status=1
bounded 60 "$python" bench/precision.py "${tiny[@]}" --out "$out/gpu-precision.json" || status=1

if [[ -n ${CHAOS_FOLDER:-} ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  bounded 30 "$python" -m fewshot prepare chaost2 "$CHAOS_FOLDER" --work "$work" || exit 1
  bounded 120 "$python" -m fewshot run --dataset chaost2 --method ssl-alpnet --weights random \
    --steps "$steps" --precision bf16 --eval-precision bf16 --compile --work "$work" | tee "$out/gpu-chaos.txt" || status=1
else
  echo 'CHAOS_FOLDER is not set: the five folds are left out'
fi
exit "$status"
