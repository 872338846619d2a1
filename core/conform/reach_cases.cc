// What may reach a token's plan: not later tokens where causality is claimed (R14), not padding (R15), not the order or
// the company of a batch (R16). Each case changes what may not matter and compares the rows that are left. Groups hold
// one sequence each, so what a group shares is no company. Cases step aside where calls cannot be repeated.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/conform/case.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

constexpr double kTolerance = 2e-5;  // sums over other neighbours round otherwise

bool close(float a, float b, double tolerance) { return std::fabs(a - b) <= tolerance * (1 + std::fabs(a)); }

// The part of a plan that concerns one token, whatever the kind of plan and row.
struct TokenPlan {
  std::vector<std::pair<int32_t, float>> entries;  // ASSIGN: expert and weight, in list order
  std::vector<float> numbers;                      // dispatch, combine, mix, rewritten input, skip scale
};

class Reader {
 public:
  explicit Reader(Rig& rig) : plan_(rig.plan()), batch_(rig.batch()), needs_(rig.needs()) {}

  TokenPlan of(int32_t token) const {
    const int32_t row = row_of(token);
    TokenPlan t;
    t.entries = entries_of(plan_, row);
    append(t, plan_.dispatch, batch_.x.shape[0], token), append(t, plan_.combine, batch_.x.shape[0], token);
    append(t, plan_.mix, batch_.n_rows, row), append(t, plan_.expert_x, batch_.x.shape[0], token);
    append(t, plan_.skip_scale, batch_.x.shape[0], token), append(t, plan_.output, batch_.x.shape[0], token);
    return t;
  }
  // The entries of token rows that capacity keeps: (token, expert), filled in list order for each group and expert.
  std::vector<std::pair<int32_t, int32_t>> kept() const {
    std::map<std::pair<int32_t, int32_t>, int32_t> used;
    std::vector<std::pair<int32_t, int32_t>> kept;
    for (size_t i = 0; i < plan_.row.size(); ++i) {
      const int32_t g = group_of(plan_.row[i]);
      if (used[{g, plan_.expert[i]}]++ < batch_.group_capacity[g]) kept.emplace_back(plan_.row[i], plan_.expert[i]);
    }
    return kept;
  }
  const Plan& plan() const { return plan_; }

 private:
  static void append(TokenPlan& t, const std::vector<float>& matrix, int64_t rows, int32_t row) {
    const auto width = static_cast<std::ptrdiff_t>(matrix.size()) / std::max<int64_t>(rows, 1);
    t.numbers.insert(t.numbers.end(), matrix.begin() + row * width, matrix.begin() + (row + 1) * width);
  }
  static int32_t holder(const int32_t* begin, int32_t n, int32_t token) {
    return static_cast<int32_t>(std::upper_bound(begin, begin + n + 1, token) - begin) - 1;
  }
  int32_t group_of(int32_t token) const { return holder(batch_.group_begin, batch_.n_groups, token); }
  int32_t row_of(int32_t token) const {
    if (needs_.row_kind == SWY_ROW_TOKEN) return token;
    if (batch_.row_begin) return holder(batch_.row_begin, batch_.n_rows, token);
    return batch_.sequence_task[holder(batch_.sequence_begin, batch_.n_sequences, token)];
  }
  const Plan plan_;
  const swy_batch batch_;
  const swy_needs needs_;
};

std::string unlike(const TokenPlan& a, const TokenPlan& b, double tolerance) {
  if (a.entries.size() != b.entries.size())
    return cat("goes to ", a.entries.size(), " experts against ", b.entries.size());
  for (size_t i = 0; i < a.entries.size(); ++i) {
    if (a.entries[i].first != b.entries[i].first)
      return cat("goes to expert ", a.entries[i].first, " against ", b.entries[i].first);
    if (!close(a.entries[i].second, b.entries[i].second, tolerance))
      return cat("weighs ", a.entries[i].second, " against ", b.entries[i].second);
  }
  for (size_t i = 0; i < a.numbers.size(); ++i)
    if (!close(a.numbers[i], b.numbers[i], tolerance)) return cat(a.numbers[i], " against ", b.numbers[i]);
  return {};
}

// Other content for one token.
void change(Rig& rig, int32_t token, Random& random) {
  const auto width = static_cast<size_t>(rig.setting().shape.width), at = static_cast<size_t>(token) * width;
  for (size_t i = at; i < at + width; ++i)
    rig.x[i] = 3 * (2 * random.uniform() - 1), rig.residual[i] = 3 * (2 * random.uniform() - 1);
  rig.token_id[static_cast<size_t>(token)] = static_cast<int32_t>(random.below(50));
}

// What reaches the first `cut` tokens of a sequence from the later ones, in words; empty when nothing does.
std::string leak(Rig& rig, int32_t cut, Random& random) {
  const std::vector<float> x = rig.x, residual = rig.residual;
  const std::vector<int32_t> ids = rig.token_id;
  rig.forward();
  const Reader before(rig);
  for (int32_t t = cut; t < rig.setting().shape.sequence_tokens[0]; ++t) change(rig, t, random);
  rig.forward();
  const Reader after(rig);
  rig.x = x, rig.residual = residual, rig.token_id = ids;
  for (int32_t t = 0; t < cut; ++t)
    if (const std::string text = unlike(before.of(t), after.of(t), 0); !text.empty())
      return cat("token ", t, " of a sequence ", text, " once tokens from ", cut, " on are changed");
  if (rig.needs().row_kind != SWY_ROW_TOKEN || rig.needs().plan_kind != SWY_ASSIGN) return {};
  auto early = [cut](std::vector<std::pair<int32_t, int32_t>> all) {
    std::erase_if(all, [cut](const auto& e) { return e.first >= cut; });
    std::sort(all.begin(), all.end());
    return all;
  };
  if (early(before.kept()) == early(after.kept())) return {};
  return cat("capacity keeps other entries of the first ", cut, " tokens once later ones are changed");
}

// A router that claims causality owes, for its presets and for every other choice, either that nothing leaks or a
// reason why something does; and what has a reason must leak somewhere, or this test would see nothing.
void is_causal(const Subject& s, const CaseContext& c) {
  if (!(s.router->caps & SWY_CAP_CAUSAL)) skip("it does not claim SWY_CAP_CAUSAL");
  const int32_t kind = site_kind_of(*s.router);
  DrawnShape shape = usual_shape(kind);
  shape.sequence_tokens = {12, 9}, shape.prompt_tokens = {2, 1};
  needs_repetition(*s.router, {{}, shape, kind, c.seed});
  std::vector<OptionText> settings = choices_of(*s.router);
  settings.insert(settings.begin(), OptionText{});
  std::string tight;  // reasons that nothing proved
  for (const OptionText& options : settings)
    for (const int32_t phase : {SWY_TRAIN, SWY_SCORE}) {
      const std::string where =
          cat(phase == SWY_TRAIN ? "training" : "evaluation", options.empty() ? "" : " with " + describe(options));
      std::string reason, seen;
      for (uint64_t draw = 0; draw < 4; ++draw) {
        Rig rig(*s.router, {options, shape, kind, c.seed + draw});
        rig.phase = phase;
        const char* why = phase == SWY_TRAIN ? rig.needs().acausal_train : rig.needs().acausal_score;
        reason = why ? why : "";
        Random random(c.seed + draw);
        for (const int32_t cut : {1, 4, 11})
          if (seen.empty()) seen = leak(rig, cut, random);
      }
      if (reason.empty() && !seen.empty()) broken("R14", where, ": ", seen);
      if (reason.empty()) continue;
      c.note("acausal in " + where, reason);
      if (seen.empty()) tight += cat(tight.empty() ? "" : "; ", where, ": '", reason, "'");
    }
  if (!tight.empty()) warn("later tokens are said to reach earlier ones, but none did in ", tight);
}

void padding_content(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  needs_repetition(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  for (const int32_t phase : {SWY_TRAIN, SWY_SCORE}) {
    Random random(c.seed);
    Rig rig(*s.router, {{}, ragged_shape(kind), kind, c.seed});
    rig.phase = phase;
    rig.forward();
    const Reader before(rig);
    for (size_t t = 0; t < rig.mask.size(); ++t)
      if (!rig.mask[t]) change(rig, static_cast<int32_t>(t), random);
    rig.forward();
    const Reader after(rig);
    for (size_t t = 0; t < rig.mask.size(); ++t) {
      const auto token = static_cast<int32_t>(t);
      if (rig.mask[t]) {
        if (const std::string text = unlike(before.of(token), after.of(token), 0); !text.empty())
          broken("R15", "token ", t, " ", text, " once padding holds other numbers");
      } else if (!after.plan().dispatch.empty()) {
        const auto width = after.plan().dispatch.size() / rig.mask.size();
        for (size_t j = 0; j < width; ++j)
          if (after.plan().dispatch[t * width + j] != 0)
            broken("R15", "padding, token ", t, ", is dispatched to slot ", j, " with ",
                   after.plan().dispatch[t * width + j]);
      }
    }
    for (size_t i = 0; i < after.plan().aux.size(); ++i)
      if (before.plan().aux[i] != after.plan().aux[i])
        broken("R15", "auxiliary loss '", rig.needs().aux[i].name, "' is ", before.plan().aux[i],
               " and, once padding holds other numbers, ", after.plan().aux[i]);
  }
}

// No gradient reaches padding when none comes from it.
void padding_gradient(const Subject& s, const CaseContext& c) {
  if (!(s.router->caps & SWY_CAP_BACKWARD)) skip("it has no backward pass");
  const int32_t kind = site_kind_of(*s.router);
  Rig rig(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  rig.forward();
  const Plan p = rig.plan();
  PlanGrad w = constant_grad(p, 1);
  for (std::vector<float>* matrix : {&w.dispatch, &w.combine, &w.expert_x, &w.skip_scale, &w.output})
    for (size_t t = 0; t < rig.mask.size(); ++t)
      if (const size_t width = matrix->size() / rig.mask.size(); !rig.mask[t])
        std::fill_n(matrix->begin() + static_cast<std::ptrdiff_t>(t * width), width, 0.f);
  rig.backward(w);
  const auto width = static_cast<size_t>(rig.setting().shape.width);
  for (size_t i = 0; i < rig.dx.size(); ++i)
    if (!rig.mask[i / width] && (rig.dx[i] != 0 || rig.dresidual[i] != 0))
      broken("R15", "padding, token ", i / width, ", gets a gradient of ",
             rig.dx[i] != 0 ? rig.dx[i] : rig.dresidual[i]);
}

void needs_uncoupled(const Subject& s) {
  if (s.router->caps & SWY_CAP_BATCH_COUPLED) skip("it claims SWY_CAP_BATCH_COUPLED");
}

// One batch made of some sequences of another, in some order, each with `more` tokens of padding at its end.
// Returns for each of its tokens the token it was made of, or -1.
std::vector<int32_t> rearrange(const Rig& from, const DrawnShape& shape, const std::vector<size_t>& sequences,
                               int32_t more, DrawnShape& to) {
  to = shape;
  to.sequence_tokens.clear(), to.group_sequences.clear(), to.group_capacity.clear(), to.prompt_tokens.clear();
  to.sequence_task.clear(), to.mask.clear();
  std::vector<int32_t> origin;
  for (const size_t b : sequences) {
    int32_t first = 0;
    for (size_t i = 0; i < b; ++i) first += shape.sequence_tokens[i];
    to.sequence_tokens.push_back(shape.sequence_tokens[b] + more), to.group_sequences.push_back(1);
    to.group_capacity.push_back(shape.group_capacity[b]), to.prompt_tokens.push_back(shape.prompt_tokens[b]);
    to.sequence_task.push_back(shape.sequence_task[b]);
    for (int32_t t = 0; t < shape.sequence_tokens[b] + more; ++t) {
      const bool real = t < shape.sequence_tokens[b];
      origin.push_back(real ? first + t : -1);
      to.mask.push_back(real && (from.mask.empty() || from.mask[static_cast<size_t>(first + t)]));
    }
  }
  return origin;
}

// Plans `sequences` of the ragged batch by themselves and compares each token with the plan of the whole batch.
void expect_same(const char* rule, const Subject& s, const CaseContext& c, const std::vector<size_t>& sequences,
                 int32_t more, const char* when) {
  const int32_t kind = site_kind_of(*s.router);
  const DrawnShape shape = ragged_shape(kind);
  needs_repetition(*s.router, {{}, shape, kind, c.seed});
  Rig whole(*s.router, {{}, shape, kind, c.seed});
  whole.phase = SWY_SCORE;
  whole.forward();
  DrawnShape part_shape;
  const std::vector<int32_t> origin = rearrange(whole, shape, sequences, more, part_shape);
  Rig part(*s.router, {{}, part_shape, kind, c.seed});
  part.phase = SWY_SCORE;
  const auto width = static_cast<size_t>(shape.width);
  for (size_t t = 0; t < origin.size(); ++t) {
    if (origin[t] < 0) continue;
    const auto from = static_cast<size_t>(origin[t]);
    std::copy_n(whole.x.begin() + static_cast<std::ptrdiff_t>(from * width), width,
                part.x.begin() + static_cast<std::ptrdiff_t>(t * width));
    std::copy_n(whole.residual.begin() + static_cast<std::ptrdiff_t>(from * width), width,
                part.residual.begin() + static_cast<std::ptrdiff_t>(t * width));
    part.token_id[t] = whole.token_id[from], part.cluster[t] = whole.cluster[from];
  }
  part.task_embedding = whole.task_embedding;
  for (size_t i = 0; i < whole.tensors.size(); ++i) part.tensors[i].value = whole.tensors[i].value;
  part.forward();
  const Reader a(whole), b(part);
  for (size_t t = 0; t < origin.size(); ++t) {
    if (origin[t] < 0 || !part.mask[t]) continue;
    if (const std::string text = unlike(a.of(origin[t]), b.of(static_cast<int32_t>(t)), kTolerance); !text.empty())
      broken(rule, "token ", origin[t], " ", text, " ", when);
  }
}

void padding_amount(const Subject& s, const CaseContext& c) {
  needs_uncoupled(s);
  expect_same("R15", s, c, {0, 1, 2, 3}, 6, "once each sequence ends in six more tokens of padding");
}
void batch_order(const Subject& s, const CaseContext& c) {
  needs_uncoupled(s);
  expect_same("R16", s, c, {2, 0, 3, 1}, 0, "once the sequences stand in another order");
}
void batch_company(const Subject& s, const CaseContext& c) {
  needs_uncoupled(s);
  for (size_t b = 0; b < 4; ++b) expect_same("R16", s, c, {b}, 0, "once its sequence is alone in the batch");
}

}  // namespace

std::vector<Case> reach_cases() {
  return {{"causal.later_tokens", "causal", "R14",
           "Later tokens change nothing for earlier ones, where that is claimed.", is_causal},
          {"padding.content", "padding", "R15", "What padding holds changes no plan and no loss.", padding_content},
          {"padding.gradient", "padding", "R15", "No gradient goes to padding.", padding_gradient},
          {"padding.amount", "padding", "R15", "How much padding a sequence ends in changes no plan.", padding_amount},
          {"batch.order", "batch", "R16", "The order of the sequences changes no plan, unless coupling is claimed.",
           batch_order},
          {"batch.company", "batch", "R16",
           "A sequence alone gets the plan it gets among others, unless coupling is claimed.", batch_company}};
}

}  // namespace swy::conform
