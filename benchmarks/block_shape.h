// Shapes of one routed block, by name, and the reference grid of published throughput.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace swy::bench {

struct BlockShape {
  std::string name;
  // 64 tokens an image (32x32 pixels, patches of 4). A language model takes as many sequences, of 128 bytes.
  int32_t images = 32, width = 128, hidden = 256, experts = 8;
  double factor = 1;  // expert slots per token; on a device the K of top-K, and nothing is dropped

  static constexpr int32_t kImageTokens = 64;
  int64_t tokens() const { return int64_t{images} * kImageTokens; }
};

std::vector<BlockShape> named_shapes();
// The 12 shapes on which training blocks are compared: three granularities of four models, "1.4B-n256" to "120B-n2048".
std::vector<BlockShape> reference_grid();
// "grid"; a name ("mini", "7B-n512"); or "images=32,width=128,hidden=256,experts=8,factor=1" with any of the keys.
// Throws Error (usage) naming what is wrong and the names there are.
std::vector<BlockShape> parse_shapes(const std::string&);

// FLOPs of a SwiGLU block's experts as published figures count them: 6 T I H K forward, for tokens T, expert hidden
// width I, model width H and K experts for each token (three products of T K rows), and twice that backward. Router,
// activations and dispatch are not in it.
double block_flops(const BlockShape&, bool backward);

}  // namespace swy::bench
