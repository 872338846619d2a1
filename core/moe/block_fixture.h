// For tests: a routed site with random weights and inputs, its loss, and the plain double-precision block an FFN site
// is compared with.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "core/base/philox.h"
#include "core/moe/routed_ffn.h"
#include "core/plugin/loader.h"

namespace swy::moe::testing {

inline void fill(float* v, int64_t n, uint64_t seed, float scale = 1) {
  Random random(seed);
  for (int64_t i = 0; i < n; ++i) v[i] = scale * (2 * random.uniform() - 1);
}

// S: RoutedFfn or RoutedLinear.
template <class S>
struct BlockOf {
  using SiteClass = S;
  Instance router;
  Params params;
  Arena arena;
  S site;
  Tally tally;
  Exec exec{&tally};
  StepInfo info;
  SequenceBatch sequences;
  int64_t tokens;
  std::vector<float> x, residual, dx, dresidual;  // [T, D]
  std::vector<float> y, coefficient;              // [T, O], O = D at an FFN site; loss = <coefficient, y> + aux losses
  std::vector<int32_t> task;                      // [B], when the site has tasks
  std::vector<float> task_embedding;

  BlockOf(const swy_router& r, const OptionText& options, SiteSpec spec, int32_t n_sequences)
      : router(r, options, 1),
        site(spec, router, params, arena),
        sequences(n_sequences),
        tokens(static_cast<int64_t>(n_sequences) * spec.sequence_tokens) {
    params.commit(5);
    arena.commit();
    uint64_t seed = 1;
    for (Param& p : params.all())
      if (p.spec.init != Init::kConst) fill(p.value, p.size, seed++);
    const int64_t n = tokens * spec.width, outputs = tokens * spec.out();
    x.resize(n), residual.resize(n), dx.resize(n), dresidual.resize(n), y.resize(outputs), coefficient.resize(outputs);
    fill(x.data(), n, 100);
    fill(coefficient.data(), outputs, 101);
    fill(residual.data(), n, 102);
    for (int32_t b = 0; spec.max_tasks && b < n_sequences; ++b) task.push_back(b * 2 % spec.max_tasks);
    task_embedding.resize(int64_t{spec.max_tasks} * spec.d_task);
    fill(task_embedding.data(), static_cast<int64_t>(task_embedding.size()), 103);
    if (spec.max_tasks) {
      sequences.n_tasks = spec.max_tasks, sequences.sequence_task = task.data();
      sequences.task_embedding = task_embedding.data();
    }
    info.run_seed = 9;
  }
  double loss() {
    std::fill(y.begin(), y.end(), 0.f);
    site.forward(exec, info, sequences, x.data(), residual.data(), y.data());
    double sum = site.aux_loss();
    for (size_t i = 0; i < y.size(); ++i) sum += double{coefficient[i]} * double{y[i]};
    return sum;
  }
  void gradient() {
    params.zero_grads(exec);
    std::fill(dx.begin(), dx.end(), 0.f);
    std::fill(dresidual.begin(), dresidual.end(), 0.f);
    loss();
    site.backward(exec, info, sequences, x.data(), coefficient.data(), dx.data(), dresidual.data());
  }
};

struct Block : BlockOf<RoutedFfn> {
  using BlockOf::BlockOf;
  RoutedFfn& ffn = site;
  // One expert's MLP on one token, in double: out [D]. SwiGLU's gate and up are the halves of w1 and b1.
  std::vector<double> expert(const double* w1, const double* b1, const double* w2, const double* b2,
                             const double* in) const {
    const int64_t d = ffn.spec().width, h = ffn.spec().hidden;
    std::vector<double> out(b2, b2 + d);
    const bool gated = ffn.spec().activation == ops::ActivationKind::kSwiglu;
    const int64_t p = pre_columns();
    const auto pre = [&](int64_t j) {
      double u = b1[j];
      for (int64_t i = 0; i < d; ++i) u += in[i] * w1[i * p + j];
      return u;
    };
    for (int64_t j = 0; j < h; ++j) {
      const double u = pre(j);
      const double a = gated ? u / (1 + std::exp(-u)) * pre(h + j)
                             : 0.5 * u * (1 + std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u)));
      for (int64_t i = 0; i < d; ++i) out[i] += a * w2[j * d + i];
    }
    return out;
  }
  int64_t pre_columns() const { return ops::pre_columns(ffn.spec().activation, ffn.spec().hidden); }
  std::vector<double> value(const std::string& name) const {
    const Param* p = params.find(ffn.spec().name + "." + name);
    if (!p) return std::vector<double>(static_cast<size_t>(ffn.spec().experts * (pre_columns() + ffn.spec().width)));
    return {p->value, p->value + p->size};
  }
};

inline SiteSpec small_site() {
  SiteSpec s;
  s.name = "block0.moe";
  s.width = 6, s.experts = 4, s.hidden = 5, s.sequence_tokens = 8, s.max_sequences = 5;
  return s;
}

}  // namespace swy::moe::testing
