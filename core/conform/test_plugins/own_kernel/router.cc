// A good plugin with an op of its own: loops on the CPU, and kernels on a CUDA device where router.cu was compiled.
#include "core/sdk/router.h"

#include <cmath>

#include "core/conform/test_plugins/own_kernel/wave.h"

namespace {

swy::Tensor wave(swy::Tensor x) {
  swy::Tensor y = x.graph->tensor(x.rows(), x.cols());
  const auto cost = [x](double flops, double numbers) {
    return [=](const swy::Call& c) {
      const auto n = static_cast<double>(c.size(x));
      return swy::Cost{flops * n, 4 * numbers * n};
    };
  };
  swy::CudaKernels cuda;
#ifdef SWY_ROUTER_CUDA
  cuda.forward = [=](swy::Call& c) { c.ok(own_kernel::wave(c.exec, c.size(x), c.f(x), c.f(y))); };
  cuda.backward = [=](swy::Call& c) {
    c.ok(own_kernel::wave_backward(c.exec, c.size(x), c.f(x), c.grad(y), c.grad(x)));
  };
#endif
  x.graph->custom(
      {x}, {y}, {x},
      [=](swy::Call& c) {
        for (int64_t i = 0; i < c.size(x); ++i) c.f(y)[i] = c.f(x)[i] + std::sin(c.f(x)[i]);
      },
      cost(2, 2),
      [=](swy::Call& c) {
        for (int64_t i = 0; i < c.size(x); ++i) c.grad(x)[i] += c.grad(y)[i] * (1 + std::cos(c.f(x)[i]));
      },
      cost(4, 4), cuda);
  return y;
}

}  // namespace

struct OwnKernel : swy::Router {
#ifndef SWY_ROUTER_CUDA
  static constexpr bool kOnDevices = false;
#endif
  swy::Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
  void route(swy::Graph& g) override {
    auto gate = g.param("gate", g.D, g.E, swy::normal(0.5f));
    assign(top_k(softmax(wave(matmul(g.x, gate))), k));
  }
};
SWY_ROUTER(OwnKernel, "own_kernel", "Top-k of waves (test)", "1.0.0", "none: shows a custom op on both devices",
           SWY_CAP_CAUSAL)
