// What one routed block costs and how near it comes to the machine: router alone, dispatch, experts, combine, the whole
// block, the whole training step, forward and backward, per router and shape, as Google Benchmark cases. A stage is
// timed inside the real block, with the caches as the block leaves them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace swy::bench {

struct BlockShape {
  std::string name;
  int32_t images = 32, width = 128, hidden = 256, experts = 8;  // 64 tokens an image (32x32 pixels, patches of 4)
  double factor = 1;                                            // expert slots per token
};

// A name ("mini", "wide", "fine", "small") or "images=32,width=128,hidden=256,experts=8,factor=1" with any of the keys.
// Throws Error (usage) naming what is wrong and the names there are.
BlockShape parse_shape(const std::string&);
std::vector<BlockShape> named_shapes();

// Registers every case of (router, shape). Names are BLOCK/<router>/<shape>/<stage>/<pass> and STEP/<router>/<shape>;
// the dense product is GEMM/1024. Counters: FLOP/s as counted by the ops, and `share_of_gemm`, that rate over the rate
// of a 1024^3 product measured on the same threads right before the repetition.
void register_throughput(const std::vector<std::string>& routers, const std::vector<BlockShape>& shapes);

}  // namespace swy::bench
