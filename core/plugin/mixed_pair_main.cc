// A host in one page: loads the plugin named on the command line, with options as name=value behind it, runs its first
// router forward and backward on a small fixed batch and prints every bit of the plan and the gradients. The build
// makes two programs of it: one against router.h, one against a copy with fields appended to every growable struct
// (core/abi/grow.cmake), where those fields hold garbage, as they may for a plugin that does not know them.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/device/exec.h"
#include "core/plugin/instance.h"
#include "core/plugin/plan.h"

namespace {

constexpr int32_t kWidth = 8, kExperts = 4, kCapacity = 3;
constexpr int32_t kBegin[] = {0, 12, 19};  // two sequences, each a group of its own
constexpr int32_t kTokens = kBegin[2];

// A struct that the host fills.
template <class T>
T in() {
  T t = {};
  t.struct_size = sizeof t;
  if constexpr (requires { t.grown_a; }) t.grown_a = t.grown_b = 0xdeadbeefdeadbeefULL;
  return t;
}

std::vector<float> numbers(size_t n, float scale) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = scale * std::sin(1.7f * static_cast<float>(i) + 10 * scale);
  return values;
}

template <class T>
void print(const char* name, const T* values, size_t n) {
  std::printf("%s", name);
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    static_assert(sizeof bits == sizeof values[i]);
    std::memcpy(&bits, values + i, sizeof bits);
    std::printf(" %08x", bits);
  }
  std::printf("\n");
}

swy_tensor tensor(float* data, const swy_tensor_spec& s) {
  return {data, {s.shape[0], s.shape[1], s.shape[2], s.shape[3]}, s.rank, s.dtype};
}

}  // namespace

int main(int argc, char** argv) {
  const swy::FoundRouter found = swy::find_router(argv[1]);
  unsigned theirs = 0;
  for (uint32_t i = 0; i < found.plugin->plugin->n_layout; ++i)
    if (!std::strcmp(found.plugin->plugin->layout[i].name, "swy_exec")) theirs = found.plugin->plugin->layout[i].size;
  std::printf("swy_exec: host %zu, plugin %u\n", sizeof(swy_exec), theirs);

  swy::OptionText options;
  for (int i = 2; i < argc; ++i) {
    const std::string text = argv[i];
    options[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  swy::Instance instance(*found.router, options, 1);
  swy_site site = in<swy_site>();
  site.n_sites = 1, site.d_model = kWidth, site.n_experts = kExperts, site.capacity = site.max_capacity = kCapacity;
  site.group_tokens = 12, site.max_tokens = kTokens, site.max_sequences = site.max_groups = site.max_rows = 2;
  const swy_needs needs = instance.needs(site);

  std::vector<float> x = numbers(kTokens * kWidth, 1.f), dx(x.size());
  std::vector<uint8_t> mask(kTokens, 1);
  mask[kTokens - 1] = 0;
  const int32_t capacity[] = {kCapacity, 2};
  swy_batch batch = in<swy_batch>();
  batch.n_sequences = batch.n_groups = 2, batch.n_experts = kExperts, batch.n_rows = kTokens;
  batch.x = {x.data(), {kTokens, kWidth, 1, 1}, 2, SWY_F32};
  batch.sequence_begin = batch.group_begin = kBegin, batch.group_capacity = capacity, batch.mask = mask.data();

  std::vector<std::vector<float>> values, gradients;
  std::vector<swy_tensor> param, grad;
  for (uint32_t i = 0; i < needs.n_tensors; ++i) {
    const swy_tensor_spec& s = needs.tensors[i];
    values.push_back(numbers(s.shape[0] * s.shape[1] * s.shape[2] * s.shape[3], 0.5f));
    gradients.emplace_back(values.back().size());
    param.push_back(tensor(values.back().data(), s)), grad.push_back(tensor(gradients.back().data(), s));
  }
  swy_state state = in<swy_state>();
  state.n_param = needs.n_tensors, state.param = param.data(), state.grad = grad.data();

  std::vector<int32_t> row(needs.max_assign), expert(needs.max_assign);
  std::vector<float> weight(needs.max_assign), aux(needs.n_aux), metric(needs.n_metrics);
  int32_t count = 0;
  swy_plan plan = in<swy_plan>();
  plan.kind = needs.plan_kind, plan.max_assign = needs.max_assign, plan.count = &count;
  plan.row = row.data(), plan.expert = expert.data(), plan.weight = weight.data();
  plan.aux = aux.data(), plan.metric = metric.data();

  swy::Tally tally;
  swy::Exec ops{&tally};
  std::vector<uint64_t> scratch(std::max(needs.scratch_forward, needs.scratch_backward) / 8 + 32),
      saved(needs.saved / 8 + 32);
  swy_exec exec = in<swy_exec>();
  exec.device = SWY_CPU, exec.phase = SWY_TRAIN, exec.seed = 1234, exec.ctx = &ops;
  exec.scratch = scratch.data(), exec.scratch_bytes = 8 * scratch.size();
  exec.saved = saved.data(), exec.saved_bytes = 8 * saved.size();
  instance.forward(exec, batch, state, plan);
  swy::check_plan(*found.router, needs, batch, plan);
  print("row", row.data(), count), print("expert", expert.data(), count), print("weight", weight.data(), count);
  print("aux", aux.data(), aux.size());

  if (found.router->backward) {
    const std::vector<float> dweight = numbers(weight.size(), 0.7f), daux(aux.size(), 0.1f);
    swy_plan_grad dplan = in<swy_plan_grad>();
    dplan.weight = dweight.data(), dplan.aux = daux.data();
    const swy_tensor to_dx = {dx.data(), {kTokens, kWidth, 1, 1}, 2, SWY_F32};
    instance.backward(exec, batch, state, plan, dplan, &to_dx);
    print("dx", dx.data(), dx.size());
    for (const std::vector<float>& g : gradients) print("gradient", g.data(), g.size());
  }
  return 0;
}
