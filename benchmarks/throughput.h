// What one routed block costs and how near it comes to the machine: router alone, dispatch, experts, combine, the whole
// block, the whole training step of a ViT and of a language model, forward and backward, and reading and writing with
// the latter, per router and shape, as Google Benchmark cases; and what corrupting images costs. A stage is
// timed inside the real block, with the caches as the block leaves them.
#pragma once
#include <string>
#include <vector>

#include "benchmarks/block_shape.h"

namespace benchmark {
class State;
}

namespace swy::bench {

// Registers every case of (router, shape). Names are BLOCK/<router>/<shape>/<stage>/<pass> and STEP/<router>/<shape>;
// the dense product is GEMM/1024. Counters: FLOP/s as counted by the ops, and `share_of_gemm`, that rate over the rate
// of a 1024^3 product measured on the same threads right before the repetition.
void register_throughput(const std::vector<std::string>& routers, const std::vector<BlockShape>& shapes);

// throughput_language.cc: LM_STEP/<router>/<shape> the training step, LM_PREFILL/... half the context read at once,
// LM_DECODE/... the other half written token by token, for all sequences together. Counter tokens/s; experts drop
// nothing, whatever the shape's factor.
void register_language_throughput(const std::vector<std::string>& routers, const std::vector<BlockShape>& shapes);

// throughput_corrupt.cc: CORRUPT/<corruption> at 32x32 and severity 5 and CORRUPT/evaluation, a batch of the dense
// model of vision-cifar10-mini. Counters: images/s, and `evaluations`, the time of an image over that of evaluating it.
void register_corruption_throughput();

// ---- for the cases ----
double gemm_rate();  // FLOP/s of the yardstick, measured now
void report_rate(benchmark::State&, double flops, double seconds, double yardstick);

}  // namespace swy::bench
