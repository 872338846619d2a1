// `switchyard bench --device cuda`: what the routed block reaches on a CUDA device, beside what the device reaches at
// best. For every shape, in random order and in one process:
//
//   BLOCK/<router>/<shape>/<forward|backward>/<warm|cold>   a pass of the block: SwiGLU experts, no bias, none dropped
//   GEMM/<router>/<shape>   a dense product of as many FLOPs as the forward pass, [T,H] x [H,3IK] by the library:
//                           bf16 factors, fp32 result
//   COPY/<router>/<shape>   a copy within the device's memory
//
// Times are the device's own, of a recorded graph where the router allows it; the device is busy when a timed pass is
// enqueued, so the host's part does not show (counter host_ms has it). Warm: right after the same block's previous
// pass. Cold: after a buffer of more than twice the L2 cache was written. Backward always follows its forward pass.
//
// Counters: TFLOP/s of block_flops(); share_of_gemm and share_of_copy, that rate and the rate of counted bytes over
// product and copy measured right before the repetition; FLOPs by that formula, counted_FLOPs and bytes of one pass as
// the ops count them, router and activations with them; router_ms, dispatch_ms, experts_ms, combine_ms and host_ms of
// one more pass that is not recorded; sm_mhz, watts, celsius while it works; throttled, 1 when the device says that its
// clock was lowered, and the label says why; J/token of warm cases, where a repetition lasts long enough for the
// device's meter: of a forward pass, or of both passes for backward.
#pragma once
#include <string>
#include <vector>

#include "benchmarks/block_shape.h"
#include "core/moe/site.h"
#include "core/plugin/instance.h"

namespace swy::bench {

struct DeviceBench {
  std::vector<std::string> routers;
  std::vector<BlockShape> shapes;
  std::string precision = "bf16";  // of products: bf16, tf32 or fp32, and of the yardstick
  std::string filter, out;         // only cases that match; Google Benchmark's JSON
  int repetitions = 9;
  double min_time = 0.25;  // seconds of timed passes in a repetition, at least
  bool list = false;       // only print the names; needs no device
};

// Runs the cases on device 0 and prints a table. A shape for which the device has too little memory, or that a router
// refuses, is skipped with the reason. Throws Error: usage (a shape's K is no whole number or above its experts, no
// case matches), environment (no device), failure (a case failed on the device, after all others have run).
void bench_on_device(const DeviceBench&);

// ---- what is measured, the same on every device ----
moe::SiteSpec dropless_site(const BlockShape&);  // room for every token at every expert
// k as the shape's factor, and no noise, for those of these options that the router has.
OptionText top_k_options(const swy_router&, const BlockShape&);

}  // namespace swy::bench
