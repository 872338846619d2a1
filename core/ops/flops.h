// How compute is counted. Every op reports through `count` before it touches memory, so a dry run adds up
// exactly what a real one does.
//
// FLOPs   one for each add, multiply or compare, and one for each divide, square root, exp, log, tanh or normal
//         distribution function: what a reader of the formula counts, whatever the machine needs for it. So gemm
//         is 2mnk, softmax 5 per element (max, subtract, exp, sum, scale), top-k one compare per candidate.
//         Copies, index arithmetic and random words are free.
// bytes   every tensor argument read once and written once; `add` arguments both. Not what caches save.
// Where the work depends on numbers on the device (list lengths, segment sizes), the largest possible is counted.
#pragma once
#include "core/device/exec.h"

namespace swy::ops {

// Adds the work of one op; false in a dry run, when the op must return without touching memory.
inline bool count(const Exec& ex, double flops, double bytes) {
  ex.tally->add(flops, bytes);
  return !ex.dry;
}

// Sizes of the work in doubles: products of extents stay exact and never overflow.
template <class... Extents>
double extent(Extents... n) {
  return (1.0 * ... * static_cast<double>(n));
}

}  // namespace swy::ops
