#!/usr/bin/env bash
# Runs the benchmarks that cargo knows and keeps what they print, dated, under benches/runs/.
#
# usage: benches/record.sh
set -euo pipefail
cd "$(dirname "$0")/.."
runs="benches/runs/$(date +%F)"
cargo build --release --locked --quiet --benches
{ nproc; grep -m 1 'model name' /proc/cpuinfo; git describe --always --dirty; } > "$runs-kernels.txt"
cp "$runs-kernels.txt" "$runs-local_index.txt"
cargo bench --locked --quiet --bench kernels -- --warm-up-time 1 --measurement-time 2 --sample-size 20 --discard-baseline 2> /dev/null \
    | grep -E '^[a-z].*|thrpt:|time:' | grep -v % >> "$runs-kernels.txt"
cargo bench --locked --quiet --bench local_index 2> /dev/null >> "$runs-local_index.txt"
