#!/usr/bin/env bash
# Runs the checks that need a CUDA device: run.sh [--only NAME,NAME...] LOGS [PROGRAMS]. LOGS gets one log per check;
# PROGRAMS is the folder of the test programs, where this script lies unless given. Where compute-sanitizer is installed,
# a short part runs under it. Ends with one line per check; exit status 1 when one failed. --only: these checks alone,
# where time on the device is short.
set -uo pipefail
known=(device ops moe model conform study-short-vision study-short-lm speed block block-hopper peers memcheck racecheck)
only=("${known[@]}")
[[ ${1:-} != --only || $# -lt 2 ]] || { IFS=, read -ra only <<<"$2"; shift 2; }
[[ ${1:--} != -* ]] || { echo "usage: run.sh [--only NAME,NAME...] LOGS [PROGRAMS]; names: ${known[*]}" >&2; exit 2; }
for name in "${only[@]}"; do
  [[ " ${known[*]} " == *" $name "* ]] || { echo "run.sh: no check is called '$name'; there are: ${known[*]}" >&2; exit 2; }
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=${2:-$here}
logs=$1
mkdir -p "$logs"
[[ ! -d $here/share ]] || export SWITCHYARD_HOME=$here/share
[[ ! -d $here/data ]] || export SWITCHYARD_DATA=$here/data
# The system's libraries first, those packed for what it does not have.
[[ ! -d $here/lib ]] ||
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/lib/x86_64-linux-gnu:/usr/lib64:$here/lib

# cuBLASLt: the loader finds an installed toolkit's; Python packages keep theirs apart.
if [[ -z ${SWITCHYARD_CUBLASLT:-} ]] && ! ldconfig -p 2>/dev/null | grep -q 'libcublasLt\.so\.13'; then
  for folder in /usr/local/cuda/lib64 $(python3 -c 'import sys; print(*sys.path)' 2>/dev/null); do
    found=$(find "$folder" -maxdepth 4 -name 'libcublasLt.so.13' 2>/dev/null | head -1)
    [[ -z $found ]] || { export SWITCHYARD_CUBLASLT=$found; break; }
  done
fi
echo "cuBLASLt: ${SWITCHYARD_CUBLASLT:-by the loader}"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | tee "$logs/device.txt"

failed=0
check() {  # NAME[-PART] COMMAND...
  local name=$1 start=$SECONDS status of=$1
  shift
  for part in resumed own_kernel moe model; do of=${of%-"$part"}; done
  [[ " ${only[*]} " == *" $of "* ]] || return 0
  "$@" >"$logs/$name.log" 2>&1
  status=$?
  (( status == 0 )) || failed=1
  printf '%-20s %-7s %3d s  %s\n' "$name" "$( (( status == 0 )) && echo passed || echo FAILED )" $(( SECONDS - start )) \
    "$(grep -E '^\[  (PASSED|SKIPPED|FAILED) +\] [0-9]+ test|SUMMARY' "$logs/$name.log" | tr '\n' ';')"
  (( status == 0 )) || grep -E '^\[  FAILED|Failure|got |========= (Invalid|Error|Race)' "$logs/$name.log" | head -40
}

check device "$programs/core_device_gpu_test"
check ops "$programs/core_ops_gpu_test"
check moe "$programs/core_moe_gpu_test"
check model "$programs/core_model_gpu_test"
check conform timeout 300 "$programs/switchyard" conform --all --mode device --json "$logs/conform.json"
check conform-own_kernel timeout 60 "$programs/switchyard" conform "$programs/core/conform/own_kernel/own_kernel.so" \
  --mode device
# A short study: records as any run leaves them. Twice, to see that finished cells are not run again.
for suite in study-short-vision study-short-lm; do
  [[ $suite == study-short-vision || -d ${SWITCHYARD_DATA:-datasets}/text/enwiki-sample ]] || continue
  check "$suite" timeout 600 "$programs/switchyard" run "$suite" --out "$logs" --checkpoint-every 0.2
  check "$suite-resumed" timeout 60 "$programs/switchyard" run "$suite" --out "$logs" --checkpoint-every 0.2 --resume
done
check speed timeout 60 "$programs/device_speed"
check block timeout 420 "$programs/switchyard" bench --device cuda --shapes grid --repetitions 5 --out "$logs/block.json"
# The same by Hopper's own instructions, where it is one: which way is to be the usual one?
SWITCHYARD_HOPPER=1 check block-hopper timeout 420 "$programs/switchyard" bench --device cuda --shapes grid \
  --repetitions 5 --out "$logs/block-hopper.json"
peers=$here/peers
[[ -d $peers ]] || peers=$here/../peers
check peers timeout 600 python3 "$peers/torch_block.py" --rounds 3 --switchyard "$programs/switchyard"
for log in conform study-short-vision study-short-lm speed block block-hopper peers; do
  [[ ! -f $logs/$log.log ]] || cat "$logs/$log.log"
done
if command -v compute-sanitizer >/dev/null; then
  # The ops with the most index arithmetic and shared memory.
  part='*/sort_segments:*/bucket:*/top_k_segments:*/assign_rows:*/scatter_pairs:*/softmax_segments:*/sparse_transport'
  part+=':*/attention:*/attention_backward:*/bias_swiglu_backward:*/token_cross_entropy:*/rms_norm_backward'
  part+=':*/cached_attention'
  plans='*AgreesWithTheCpu/'
  plans="${plans}token_choice_drops:${plans}assign_by_sequence_padding:${plans}soft_moe:${plans}smear:${plans}lent_experts"
  for tool in memcheck racecheck; do
    check "$tool" timeout 180 compute-sanitizer --tool "$tool" --error-exitcode 1 "$programs/core_ops_gpu_test" \
      --gtest_filter="${part//\*/*AgreesWithTheCpu}:Bf16Ops.*:*RaggedAttention.AgreesWithTheCpu/*"
    check "$tool-moe" timeout 90 compute-sanitizer --tool "$tool" --error-exitcode 1 "$programs/core_moe_gpu_test" \
      --gtest_filter="$plans:*ExpertsAgreeWithTheCpu"
    check "$tool-model" timeout 90 compute-sanitizer --tool "$tool" --error-exitcode 1 "$programs/core_model_gpu_test" \
      --gtest_filter='*RoutedBlock.AgreesWithTheCpu/*drops:*Bf16IsNearTheCpu/switch_top1:*Decoder.AgreesWithTheCpu/*routed'
  done
else
  echo "compute-sanitizer is not installed: memcheck and racecheck skipped"
fi
exit $failed
