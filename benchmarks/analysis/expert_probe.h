// The experts of a site as the analysis sees them: their weights, and what they answer to inputs of its choice.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/device/params.h"
#include "core/moe/site.h"

namespace swy::bench {

struct ExpertProbe {
  // y [rows, D] = what the expert makes of x [rows, D], at most kProbeRows rows. Empty: not known for this site.
  std::function<void(int32_t expert, int64_t rows, const float* x, float* y)> run;
  struct Tensor {
    const float* value;  // [E, size]
    int64_t size;        // of one expert
  };
  std::vector<Tensor> weights;  // all tensors "<site>.experts.*" with one slice for each expert; biases too
  std::vector<std::shared_ptr<std::vector<float>>> copies;  // where they are, of a model on a device
};
constexpr int64_t kProbeRows = 256;

// Of the parameters as they are when it is asked; they outlive it. Those on a device are copied, once nothing works on
// them. Runs nothing for experts other than those of
// core/moe/experts.h (w1, w2 and, where the site has biases, b1, b2), and knows no weights of sites whose expert is a
// block.
ExpertProbe expert_probe(const Params&, const moe::SiteSpec&);

}  // namespace swy::bench
