#!/usr/bin/env bash
# Makes a folder that runs on a machine with a CUDA device but without this project's build dependencies:
# pack.sh BUILD FOLDER. In it the programs of run.sh and the routers they load, without debug information, the shared
# libraries they need (the C library and the driver, which every such machine has, apart) and run.sh. cuBLASLt is not in
# it: half a gigabyte.
set -euo pipefail
(( $# == 2 )) || { echo "usage: pack.sh BUILD FOLDER" >&2; exit 2; }
build=$1 folder=$2
rm -rf "$folder"
mkdir -p "$folder/lib"
mkdir "$folder/plugins"
routers=({softmax_{token,expert}_choice,soft_moe,smear,deepseek_v3_bias,hash,dense,competesmoe,moe_plus_plus}.so)
for program in core_{device,ops,moe,model}_gpu_test device_speed block_throughput "${routers[@]/#/plugins/}"; do
  strip --strip-debug -o "$folder/$program" "$build/$program"
  ldd "$build/$program" | awk '$3 ~ /^\// {print $1, $3}' | while read -r name path; do
    case $name in
      libc.so*|libm.so*|libdl.so*|librt.so*|libpthread.so*|libcuda.so*) ;;
      *) cp -L "$path" "$folder/lib/$name" && chmod u+w "$folder/lib/$name" && strip --strip-debug "$folder/lib/$name" ;;
    esac
  done
done
cp benchmarks/gpu/run.sh "$folder/run.sh"
tar -C "$(dirname "$folder")" -czf "$folder.tar.gz" "$(basename "$folder")"  # to be carried there
du -sh "$folder" "$folder.tar.gz" | awk '{print "Packed " $2 ": " $1}'
echo "There: $(basename "$folder")/run.sh LOGS"
