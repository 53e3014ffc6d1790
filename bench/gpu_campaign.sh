#!/usr/bin/env bash
# Checks a machine with a GPU, then trains and evaluates methods on all folds at once: one process a fold, one
# GPU, one work folder. Everything ends within LIMIT seconds; what is finished by then is packed.
#
#   bench/gpu_campaign.sh DATA OUT METHOD=STEPS...        e.g. volumes results ssl-alpnet=8000 dspnet=2000
#
# DATA  prepared NIfTI volumes, a prepared store (folder or .tar.xz of it), or - for a phantom dataset
# OUT   receives campaign.log, campaign.tar.xz (records, logs, losses, tables; no weights, no volumes) and the
#       results of bench/gpu.sh
#
# PYTHON         interpreter (default: .venv/bin/python)
# LIMIT          seconds for everything (default: 540)
# CHECK_SECONDS  seconds for bench/gpu.sh (default: 150; 0 leaves it out)
# DATASET        default: chaost2
# YARDSTICKS     methods without training that run first (default: "all-foreground copy-support")
# SETTING        default: 1, where both groups share one training a fold
# FOLDS          default: "0 1 2 3 4"
# ENCODER        default: resnet101
# WEIGHTS        default: random; "densecl" pre-trains a backbone for every fold first, with PRETRAIN
# PRETRAIN       options of `fewshot pretrain densecl` (default: --precision bf16)
# RUN_OPTIONS    more options of `fewshot run` (default: --precision bf16)
# SCRATCH        where the work folder lies; a trained model has some 500 MB (default: $TMPDIR or /tmp)
# TINY=1         small checks on whatever device there is, to try the script out
set -uo pipefail
if (( $# < 3 )); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
  exit 2
fi
data=$([[ $1 == - ]] && echo - || realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
shift 2
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
limit=${LIMIT:-540}
dataset=${DATASET:-chaost2}
read -ra folds <<< "${FOLDS:-0 1 2 3 4}"
read -ra yardsticks <<< "${YARDSTICKS-all-foreground copy-support}"
read -ra run_options <<< "${RUN_OPTIONS---precision bf16}"
read -ra pretrain_options <<< "${PRETRAIN---precision bf16}"
work=$(mktemp -d -p "${SCRATCH:-${TMPDIR:-/tmp}}")
trap 'rm -rf "$work"' EXIT
exec > >(tee "$out/campaign.log") 2>&1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
cores=$(nproc)
threads=$(( cores > ${#folds[@]} ? cores / ${#folds[@]} : 1 ))
mkdir "$work/output"
status=0

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
left() { echo $(( limit - SECONDS - 15 )); } # 15 s are kept for packing
fewshot() { timeout -k 5 "$(( $(left) > 1 ? $(left) : 1 ))" "$python" -m fewshot "$@" --work "$work"; }

# Pack what is finished: at any moment, so that a later failure loses nothing.
pack() {
  mkdir -p "$work/pack"
  rm -rf "$work/pack/"*
  local part
  for part in records logs output; do
    [[ -d $work/$part ]] && cp -r "$work/$part" "$work/pack/$part"
  done
  (cd "$work" && find models backbones \( -name '*.json' -o -name losses.csv \) -exec cp --parents {} pack \; 2> /dev/null)
  cp "$work/stores/$dataset/index.json" "$work/pack/store-index.json"
  cp "$out/campaign.log" "$work/pack/"
  tar -C "$work/pack" -cJf "$out/campaign.tar.xz.partial" . && mv "$out/campaign.tar.xz.partial" "$out/campaign.tar.xz"
  say "packed $(du -k "$out/campaign.tar.xz" | cut -f1) KB, $(find "$work/records" -name '*.json' 2> /dev/null | wc -l) records"
}

# Steps taken so far in all trainings of the work folder.
steps_taken() { find "$work/models" "$work/backbones" -name losses.csv -exec cat {} + 2> /dev/null | grep -c '^[0-9]'; }

# Run a command for every fold at once; {} in its arguments is the fold. Says how fast the steps are.
at_once() {
  local name=$1 fold pids=() failed=0 before=0 now
  shift
  for fold in "${folds[@]}"; do
    OMP_NUM_THREADS=$threads fewshot "${@//\{\}/$fold}" > "$work/output/$name-$fold.txt" 2>&1 &
    pids+=($!)
  done
  before=$(steps_taken)
  while [[ -n $(jobs -rp) ]]; do
    sleep 5
    now=$(steps_taken)
    (( now > before )) && say "$name: $(( (now - before) / 5 )) steps a second, all folds together"
    before=$now
  done
  for fold in "${!pids[@]}"; do
    wait "${pids[fold]}" || { failed=1; say "$name, fold ${folds[fold]} failed:"; tail -n 5 "$work/output/$name-${folds[fold]}.txt"; }
  done
  return $failed
}

# 1. The program: its version must be known before hours of training, since every record names it.
version='import importlib.metadata as m; print(m.version("fewshot-medseg"))'
"$python" -c "$version" > /dev/null 2>&1 || "$python" -c 'from setuptools import setup; setup()' -q egg_info > /dev/null 2>&1
"$python" -c "$version" > /dev/null || { echo 'gpu_campaign.sh: the version of the package is unknown; install it' >&2; exit 2; }
if [[ -z ${TINY:-} ]] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo 'gpu_campaign.sh: torch finds no GPU here; TINY=1 tries the script out on the CPU' >&2
  exit 2
fi
"$python" -c 'import platform, torch; print("python", platform.python_version(), "torch", torch.__version__, *[torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())])'

# 2. The dataset.
mkdir -p "$work/stores"
if [[ $data == *.tar.xz ]]; then
  tar -C "$work/stores" -xJf "$data" || exit 1
elif [[ -f $data/index.json ]]; then
  cp -r "$data" "$work/stores/$dataset" || exit 1
elif [[ $data == - ]]; then
  fewshot prepare "$dataset" > "$work/output/prepare.txt" || exit 1
else
  fewshot prepare "$dataset" "$data" > "$work/output/prepare.txt" || exit 1
fi
say "$dataset is prepared"

# 3. Methods without training: what position alone gives, and a proof that records can be written.
pids=()
for method in "${yardsticks[@]}"; do
  fewshot run --dataset "$dataset" --setting "${SETTING:-1}" --method "$method" > "$work/output/$method.txt" 2>&1 &
  pids+=($!)
done
for number in "${!pids[@]}"; do
  wait "${pids[number]}" || { cat "$work/output/${yardsticks[number]}.txt"; exit 1; }
done
say 'yardsticks are recorded'
pack

# 4. Does the device agree with the CPU, and how fast is it?
if (( ${CHECK_SECONDS:-150} > 0 )); then
  LIMIT=${CHECK_SECONDS:-150} CHAOS_FOLDER='' bench/gpu.sh "$out" || { status=1; say 'a check missed its target or did not finish'; }
fi

# 5. A backbone for every fold, from its training scans alone.
weights=${WEIGHTS:-random}
if [[ $weights == densecl ]]; then
  weights=$work/backbone_{fold}.pt
  at_once pretrain pretrain densecl --dataset "$dataset" --folds '{}' --encoder "${ENCODER:-resnet101}" \
    --checkpoint-every 1000000 --out "$weights" "${pretrain_options[@]}" || { pack; exit 1; }
  say 'backbones are pre-trained'
fi

# 6. Every method: train and evaluate all folds at once, then one table of all.
for one in "$@"; do
  method=${one%%=*}
  if (( $(left) < 60 )) && [[ -z ${TINY:-} ]]; then
    say "$method is left out: $(left) s are left"
    continue
  fi
  arguments=(run --dataset "$dataset" --setting "${SETTING:-1}" --method "$method" --steps "${one#*=}"
    --encoder "${ENCODER:-resnet101}" --weights "$weights" --checkpoint-every 1000000 "${run_options[@]}")
  at_once "$method" "${arguments[@]}" --folds '{}' || status=1
  say "$method is done"
  fewshot table > "$work/output/table.txt" && cat "$work/output/table.txt"
  pack
done
exit "$status"
