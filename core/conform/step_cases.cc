// Steps under the checked layer: what rules R05 to R11 ask of every call, on ordinary, ragged and tiny batches, in
// training and in evaluation. The layer throws what it finds; these cases only have to make the calls.
#include "core/conform/case.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

// `progress` [0, 1]: what stage of training the steps are in.
void go(const swy_router& router, const DrawnShape& shape, int32_t kind, uint64_t seed, int steps,
        double progress = 0) {
  Rig rig(router, {{}, shape, kind, seed, Checking::kAlways, progress});
  for (const int32_t phase : {SWY_TRAIN, SWY_SCORE}) {
    rig.phase = phase;
    for (rig.step = 0; rig.step < steps; ++rig.step) {
      rig.forward();
      if (router.caps & SWY_CAP_BACKWARD && phase == SWY_TRAIN) rig.backward(constant_grad(rig.plan(), 1));
      if (phase == SWY_TRAIN) rig.update(std::vector<int32_t>(static_cast<size_t>(shape.experts), 3));
    }
  }
}

void on_usual(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  go(*s.router, usual_shape(kind), kind, c.seed, 3);
}
void on_ragged(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  go(*s.router, ragged_shape(kind), kind, c.seed, 2);
}
void late(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  go(*s.router, ragged_shape(kind), kind, c.seed, 2, 0.99);
}
void on_one_token(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  DrawnShape shape = usual_shape(kind);
  shape.sequence_tokens = {1, 1}, shape.capacity = 1, shape.group_capacity = {1, 1}, shape.prompt_tokens = {1, 1};
  go(*s.router, shape, kind, c.seed, 2);
}
void with_more_capacity_than_tokens(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  DrawnShape shape = usual_shape(kind);
  shape.capacity = 20, shape.group_capacity = {20, 20};
  go(*s.router, shape, kind, c.seed, 2);
}
void with_all_padding(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  DrawnShape shape = usual_shape(kind);
  shape.mask.assign(static_cast<size_t>(shape.tokens()), 0);
  std::fill(shape.mask.begin(), shape.mask.begin() + shape.sequence_tokens[0], 1);
  go(*s.router, shape, kind, c.seed, 1);
}
void with_shared_groups(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  DrawnShape shape = usual_shape(kind);
  shape.sequence_tokens = {8, 8, 8}, shape.group_sequences = {2, 1}, shape.capacity = 4, shape.group_capacity = {4, 2};
  shape.prompt_tokens = {8, 1, 2}, shape.sequence_task = {0, 1, 0};
  go(*s.router, shape, kind, c.seed, 2);
}

}  // namespace

std::vector<Case> step_cases() {
  return {{"run.usual", "run", "R11", "Three steps on an ordinary batch obey the rules of a step.", on_usual},
          {"run.ragged", "run", "R08", "So do steps on sequences of different length with padding.", on_ragged},
          {"run.late", "run", "R08", "So do steps at the end of training, in whatever stage a router is then.", late},
          {"run.one_token", "run", "R08", "So do steps on sequences of a single token.", on_one_token},
          {"run.roomy", "run", "R08", "So do steps where experts have room for more tokens than there are.",
           with_more_capacity_than_tokens},
          {"run.padding", "run", "R08", "So do steps with a sequence of nothing but padding.", with_all_padding},
          {"run.groups", "run", "R08", "So do steps where sequences share a group.", with_shared_groups}};
}

}  // namespace swy::conform
