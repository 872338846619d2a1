// For tests: a routed block on the CPU with random weights and inputs, and its loss.
#pragma once
#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "core/model/routed_block.h"
#include "core/moe/block_fixture.h"
#include "core/moe/test_routers.h"
#include "core/ops/rotary.h"

namespace swy::model {

using moe::testing::fill;
using moe::testing::local_router;

struct Named {
  const char* name;
  const swy_router& (*router)();
  double factor;  // share of the tokens that may run
  int32_t width, heads, hidden, sequence_tokens, group_sequences, sequences;
  bool padding;
  bool causal = false;
  bool llama = false;  // RMSNorm, rotary positions, SwiGLU, no biases
};
inline void PrintTo(const Named& c, std::ostream* out) { *out << c.name; }
struct Trial {
  Instance router;
  Params params;
  Arena arena;
  int angles;
  RoutedBlock block;
  Tally tally;
  Exec exec{&tally};
  moe::StepInfo info;
  int64_t tokens, width;
  std::vector<uint8_t> mask;
  std::vector<int32_t> task;
  std::vector<float> task_embedding;
  moe::SequenceBatch sequences;
  std::vector<float> stream, y, dstream, coefficient;  // [T, D]; loss = <coefficient, y> + aux losses

  static moe::SiteSpec site(const Named& n) {
    moe::SiteSpec s;
    s.name = "block0", s.kind = SWY_SITE_BLOCK, s.experts = 1;
    s.width = n.width, s.hidden = n.hidden, s.sequence_tokens = n.sequence_tokens;
    s.max_sequences = n.sequences, s.group_sequences = n.group_sequences;
    s.max_tasks = 2, s.d_task = 3;
    s.train_capacity.factor = s.eval_capacity.factor = n.factor;
    return s;
  }
  // Of rotary positions: a handle for the shape, and what belongs there.
  static int reserve_angles(const Named& n, Arena& arena) {
    return n.llama ? arena.reserve("angles", int64_t{n.sequence_tokens} * n.width / n.heads * int64_t{sizeof(float)})
                   : -1;
  }
  static std::vector<float> table(const Named& n) {
    std::vector<float> t(static_cast<size_t>(n.sequence_tokens * n.width / n.heads));
    ops::rotary_table(n.sequence_tokens, n.width / n.heads, t.data());
    return t;
  }
  static RoutedBlockShape shape(const Named& n, int angles) {
    RoutedBlockShape s{n.heads};
    s.causal = n.causal, s.angles = angles;
    if (n.llama) s.rule.norm = NormKind::kRms, s.rule.activation = ActivationKind::kSwiglu, s.rule.bias = false;
    return s;
  }
  explicit Trial(const Named& n)
      : router(n.router(), {}, 1),
        angles(reserve_angles(n, arena)),
        block(site(n), shape(n, angles), router, params, arena),
        tokens(int64_t{n.sequences} * n.sequence_tokens),
        width(n.width),
        task_embedding(6),
        sequences(n.sequences) {
    params.commit(5);
    arena.commit();
    if (n.llama) std::ranges::copy(table(n), arena.as<float>(angles));
    uint64_t seed = 1;
    for (Param& p : params.all()) fill(p.value, p.size, seed++, 0.7f);
    const int64_t size = tokens * width;
    stream.resize(size), y.resize(size), dstream.resize(size), coefficient.resize(size);
    fill(stream.data(), size, 100), fill(coefficient.data(), size, 101), fill(task_embedding.data(), 6, 102);
    for (int64_t t = 0; t < tokens; ++t)
      mask.push_back(t % n.sequence_tokens < n.sequence_tokens - t / n.sequence_tokens);
    for (int32_t b = 0; b < n.sequences; ++b) task.push_back(b % 2);
    if (n.padding) sequences.mask = mask.data();
    sequences.n_tasks = 2, sequences.sequence_task = task.data(), sequences.task_embedding = task_embedding.data();
  }
  double loss() {
    std::fill(y.begin(), y.end(), 99.f);  // overwritten, not added to
    block.forward(exec, info, sequences, stream.data(), y.data());
    double sum = block.aux_loss();
    for (size_t i = 0; i < y.size(); ++i) sum += double{coefficient[i]} * double{y[i]};
    return sum;
  }
  void gradient() {
    params.zero_grads(exec);
    loss();
    dstream = coefficient;
    block.backward(exec, info, sequences, stream.data(), dstream.data());
  }
  std::vector<double> value(const std::string& name) const {
    const Param* p = params.find("block0." + name);
    return p ? std::vector<double>(p->value, p->value + p->size) : std::vector<double>();
  }
};

}  // namespace swy::model
