#!/usr/bin/env bash
# Makes a folder that runs on a machine with a CUDA device but without this project's build dependencies:
# pack.sh BUILD FOLDER [DATA]. In it the programs of run.sh and all routers, without debug information, the shared
# libraries they need (the C library and the driver, which every such machine has, apart), suites and schemas, run.sh and
# the comparison with PyTorch; and the sample of Wikipedia, where the folder DATA has it. cuBLASLt is not in it: half a
# gigabyte.
set -euo pipefail
(( $# == 2 || $# == 3 )) || { echo "usage: pack.sh BUILD FOLDER [DATA]" >&2; exit 2; }
build=$1 folder=$2 data=${3:-datasets}
rm -rf "$folder"
mkdir -p "$folder"/{lib,plugins,peers}

# GDAL stays out: OpenCV is linked with it for geographic images, which no data set has, and it brings 170 MB of
# libraries. In its place is one whose functions stop the program.
lean=$(mktemp -d)
trap 'rm -rf "$lean"' EXIT
codecs=$(ldd "$build/switchyard" | awk '/libopencv_imgcodecs/ {print $3}')
gdal=$(readelf -d "$codecs" | sed -n 's/.*NEEDED.*\[\(libgdal\.so[^]]*\)\].*/\1/p')
if [[ -n $gdal ]]; then
  used=$(nm -D --undefined-only "$codecs" | awk '{sub(/@.*/, "", $2); print $2}')
  offered=$(nm -D --defined-only "$(ldd "$codecs" | awk -v l="$gdal" '$1 == l {print $3}')" | awk '{sub(/@.*/, "", $3); print $3}')
  comm -12 <(sort -u <<<"$used") <(sort -u <<<"$offered") | sed 's/.*/.globl &\n.type &, @function\n&: ud2/' |
    cc -shared -nostdlib -Wl,-soname,"$gdal" -x assembler - -o "$lean/$gdal"
fi

mkdir -p "$folder/core/conform/own_kernel"
for program in core_{device,ops,moe,model}_gpu_test device_speed switchyard core/conform/own_kernel/own_kernel.so \
    $(cd "$build" && echo plugins/*.so); do
  strip --strip-debug -o "$folder/$program" "$build/$program"
  LD_LIBRARY_PATH=$lean ldd "$build/$program" | awk '$3 ~ /^\// {print $1, $3}' | while read -r name path; do
    case $name in
      libc.so*|libm.so*|libdl.so*|librt.so*|libpthread.so*|libcuda.so*) ;;
      *) cp -L "$path" "$folder/lib/$name" && chmod u+w "$folder/lib/$name" && strip --strip-debug "$folder/lib/$name" ;;
    esac
  done
done
for files in benchmarks/suites reports/schema data/manifests; do
  mkdir -p "$folder/share/$files"
  cp "$files"/*.json "$folder/share/$files/"
done
if [[ -d $data/text/enwiki-sample ]]; then
  mkdir -p "$folder/data/text"
  cp -r "$data/text/enwiki-sample" "$folder/data/text/"
fi
cp benchmarks/gpu/run.sh "$folder/run.sh"
cp benchmarks/peers/torch_block.py "$folder/peers/"
# A dictionary that spans the programs: each has the same kernels.
XZ_OPT="-9 -T0" tar -C "$(dirname "$folder")" -cJf "$folder.tar.xz" "$(basename "$folder")"  # to be carried there
du -sh "$folder" "$folder.tar.xz" | awk '{print "Packed " $2 ": " $1}'
most=60  # MiB
if (( $(stat -c %s "$folder.tar.xz") > most << 20 )); then
  echo "$folder.tar.xz is larger than $most MiB" >&2
  exit 1
fi
echo "There: $(basename "$folder")/run.sh LOGS"
