// Run one router by hand, for a plugin's own tests: a batch of a few tokens, plan and gradients in plain vectors.
// Scratch and saved memory start as NaN, so a kernel that reads before it writes shows at once.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/abi/router.h"

namespace swy::testing {

struct Shape {
  int32_t width, experts, capacity;
  std::vector<int32_t> groups;  // tokens of each group; a group is one sequence
  int32_t site_kind = SWY_SITE_FFN;
  std::vector<int32_t> tasks = {};  // task of each sequence; empty: the data has none
  int32_t d_task = 0;               // width of the tasks' embeddings
  int32_t vocabulary = 0, clusters = 0;
};

class Trial {
 public:
  // `ctx` is what the host's ops expect in swy_exec.ctx. Options are the presets unless given, in table order.
  // Throws std::runtime_error with the router's reason when a call fails.
  Trial(const swy_router& router, const swy_host& host, void* ctx, Shape shape, std::vector<swy_value> options = {})
      : router_(router), shape_(std::move(shape)) {
    for (uint32_t i = static_cast<uint32_t>(options.size()); i < router.n_options; ++i)
      options.push_back(router.options[i].preset);
    exec_.struct_size = sizeof exec_;
    exec_.device = SWY_CPU;
    exec_.ctx = ctx;
    exec_.error = error_;
    exec_.error_cap = sizeof error_;
    exec_.seed = 1234;
    check(router.create(&host, options.data(), 1, &self_, &exec_));
    for (const int32_t n : shape_.groups) begin_.push_back(begin_.back() + n);
    tokens = begin_.back();
    const auto n_groups = static_cast<int32_t>(shape_.groups.size());
    swy_site site{};
    site.struct_size = sizeof site;
    site.n_sites = 1, site.kind = shape_.site_kind, site.d_model = shape_.width, site.n_experts = shape_.experts;
    site.capacity = site.max_capacity = shape_.capacity;
    for (const int32_t n : shape_.groups) site.group_tokens = std::max(site.group_tokens, n);
    site.max_tokens = tokens, site.max_sequences = site.max_groups = n_groups;
    if (!shape_.tasks.empty()) site.max_tasks = 1 + *std::max_element(shape_.tasks.begin(), shape_.tasks.end());
    site.d_task = shape_.d_task;
    site.vocabulary = shape_.vocabulary, site.n_clusters = shape_.clusters, site.max_position = site.group_tokens;
    site.max_rows = std::max(n_groups, site.max_tasks);
    site_ = site;
    needs.struct_size = sizeof needs;
    check(router.needs(self_, &site_, &needs, &exec_));
    for (uint32_t i = 0; i < needs.n_tensors; ++i) {
      const swy_tensor_spec& s = needs.tensors[i];
      int64_t n = 1;
      for (int32_t a = 0; a < s.rank; ++a) n *= s.shape[a];
      value_.emplace_back(n, s.init == SWY_INIT_CONST ? s.init_scale : 0.f);
      grad_.emplace_back(n, 0.f);
    }
    capacity_.assign(n_groups, needs.capacity ? needs.capacity : shape_.capacity);
    for (int32_t g = 0; g < n_groups; ++g)
      for (int32_t t = begin_[g]; t < begin_[g + 1]; ++t) position_.push_back(t - begin_[g]);
    x.assign(static_cast<size_t>(tokens) * shape_.width, 0.f);
    dx = residual = dresidual = x;
    token_id.resize(tokens), cluster.resize(tokens);
    if (needs.flags & SWY_ADDS_OUTPUT) output = x;
    if (needs.flags & SWY_REWRITES_INPUT) expert_x = x;
    task_embedding.resize(static_cast<size_t>(site.max_tasks) * shape_.d_task);
    const size_t matrix = static_cast<size_t>(tokens) * shape_.experts * needs.slots;
    row.resize(needs.max_assign), expert.resize(needs.max_assign), weight.resize(needs.max_assign);
    dispatch.resize(matrix), combine.resize(matrix);
    mix.resize(needs.plan_kind == SWY_MERGE ? static_cast<size_t>(batch().n_rows) * shape_.experts : 0);
    aux.resize(needs.n_aux), metric.resize(needs.n_metrics);
    scratch_.resize(std::max(needs.scratch_forward, needs.scratch_backward) / 4 + 64);
    saved_.resize(needs.saved / 4 + 64);
  }
  ~Trial() { router_.destroy(self_); }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  std::vector<float>& tensor(const std::string& name) { return value_[index(name)]; }
  std::vector<float>& grad(const std::string& name) { return grad_[index(name)]; }
  uint32_t n_tensors() const { return needs.n_tensors; }
  std::string tensor_name(uint32_t i) const { return needs.tensors[i].name; }

  void forward(int32_t phase = SWY_TRAIN) {
    exec_.phase = phase;
    poison(scratch_), poison(saved_);
    const swy_batch b = batch();
    bind();
    std::fill(aux.begin(), aux.end(), 0.f), std::fill(metric.begin(), metric.end(), 0.f);
    swy_plan p = plan();
    check(router_.forward(self_, &exec_, &b, &state_, &p));
  }
  // dplan in plain vectors (empty = zeros); adds into dx, dresidual and the tensors' gradients.
  void backward(std::vector<float> dweight, std::vector<float> ddispatch, std::vector<float> dcombine,
                std::vector<float> dmix, std::vector<float> daux, std::vector<float> doutput = {},
                std::vector<float> dexpert_x = {}) {
    poison(scratch_);
    dweight.resize(weight.size()), ddispatch.resize(dispatch.size()), dcombine.resize(combine.size());
    dmix.resize(mix.size()), daux.resize(aux.size());
    doutput.resize(output.size()), dexpert_x.resize(expert_x.size());
    const swy_batch b = batch();
    bind();
    const swy_plan p = plan();
    swy_plan_grad d{};
    d.struct_size = sizeof d;
    d.weight = dweight.data(), d.dispatch = ddispatch.data(), d.combine = dcombine.data(), d.mix = dmix.data();
    d.aux = daux.data(), d.output = doutput.data(), d.expert_x = dexpert_x.data();
    const bool residual_too = needs.inputs & SWY_IN_RESIDUAL;
    const swy_tensor g[2] = {tensor_of(dx), residual_too ? tensor_of(dresidual) : swy_tensor{}};
    check(router_.backward(self_, &exec_, &b, &state_, &p, &d, g));
  }
  // After a training forward: tokens that each expert got and refused since the last update.
  void update(const std::vector<int32_t>& kept, const std::vector<int32_t>& dropped, int64_t routed) {
    if (!router_.update) throw std::runtime_error("this router has no update");
    poison(scratch_);
    bind();
    swy_load load{};
    load.struct_size = sizeof load;
    load.kept = kept.data(), load.dropped = dropped.data(), load.tokens = routed;
    check(router_.update(self_, &exec_, 0, &state_, &load));
  }
  swy_cost cost() {
    swy_cost c{};
    c.struct_size = sizeof c;
    check(router_.cost(self_, &site_, &c, &exec_));
    return c;
  }
  void set_seed(uint64_t seed) { exec_.seed = seed; }
  void set_step(int64_t step) { exec_.step = step; }
  void set_progress(double progress) { exec_.progress = progress; }
  void set_flags(uint32_t flags) { exec_.flags = flags; }  // SWY_EXEC_*

  swy_needs needs{};
  int32_t tokens = 0, count = 0;
  std::vector<float> x, dx, residual, dresidual;  // [T, D]
  std::vector<float> task_embedding;              // [tasks, d_task]
  std::vector<int32_t> token_id, cluster;         // [T]
  std::vector<float> output, expert_x;            // [T, D] where the router writes them
  std::vector<int32_t> row, expert;               // ASSIGN [count]
  std::vector<float> weight, dispatch, combine, mix, aux, metric;

 private:
  void check(swy_status s) const {
    if (s != SWY_OK) throw std::runtime_error(error_);
  }
  static void poison(std::vector<float>& m) { std::fill(m.begin(), m.end(), std::numeric_limits<float>::quiet_NaN()); }
  size_t index(const std::string& name) const {
    for (uint32_t i = 0; i < needs.n_tensors; ++i)
      if (name == needs.tensors[i].name) return i;
    throw std::runtime_error("no tensor '" + name + "'");
  }
  swy_tensor tensor_of(std::vector<float>& m) { return {m.data(), {tokens, shape_.width, 1, 1}, 2, SWY_F32}; }
  swy_batch batch() {
    swy_batch b{};
    b.struct_size = sizeof b;
    b.n_sequences = b.n_groups = static_cast<int32_t>(shape_.groups.size());
    b.n_experts = shape_.experts;
    b.x = tensor_of(x);
    if (needs.inputs & SWY_IN_RESIDUAL) b.residual = tensor_of(residual);
    if (needs.inputs & SWY_IN_TASK_EMBEDDING)
      b.task_embedding = {task_embedding.data(), {site_.max_tasks, shape_.d_task, 1, 1}, 2, SWY_F32};
    b.position = position_.data();
    if (needs.inputs & SWY_IN_TOKEN_ID) b.token_id = token_id.data();
    if (needs.inputs & SWY_IN_CLUSTER) b.cluster = cluster.data();
    b.sequence_begin = b.group_begin = begin_.data();
    b.group_capacity = capacity_.data();
    b.n_tasks = site_.max_tasks;
    b.sequence_task = shape_.tasks.empty() ? nullptr : shape_.tasks.data();
    switch (needs.row_kind) {
      case SWY_ROW_TOKEN: b.n_rows = tokens; break;
      case SWY_ROW_TASK: b.n_rows = b.n_tasks; break;
      case SWY_ROW_SEQUENCE: b.n_rows = b.n_sequences, b.row_begin = begin_.data(); break;
      case SWY_ROW_PREFIX:
        pieces_ = {0}, previous_.clear();
        for (size_t s = 0; s + 1 < begin_.size(); ++s)
          for (int32_t t = begin_[s]; t < begin_[s + 1]; t += needs.row_tokens) {
            previous_.push_back(t == begin_[s] ? -1 : static_cast<int32_t>(pieces_.size()) - 2);
            pieces_.push_back(std::min(t + needs.row_tokens, begin_[s + 1]));
          }
        b.n_rows = static_cast<int32_t>(previous_.size());
        b.row_begin = pieces_.data(), b.row_previous = previous_.data();
        break;
      default: throw std::runtime_error("a Trial has no batch rows");
    }
    return b;
  }
  void bind() {
    param_.clear(), buffer_.clear(), dparam_.clear();
    for (uint32_t i = 0; i < needs.n_tensors; ++i) {
      const swy_tensor_spec& s = needs.tensors[i];
      swy_tensor t{value_[i].data(), {s.shape[0], s.shape[1], s.shape[2], s.shape[3]}, s.rank, s.dtype};
      (s.role == SWY_PARAM ? param_ : buffer_).push_back(t);
      t.data = grad_[i].data();
      if (s.role == SWY_PARAM) dparam_.push_back(t);
    }
    state_.struct_size = sizeof state_;
    state_.n_param = static_cast<uint32_t>(param_.size()), state_.n_buffer = static_cast<uint32_t>(buffer_.size());
    state_.param = param_.data(), state_.grad = dparam_.data(), state_.buffer = buffer_.data();
    exec_.scratch = scratch_.data(), exec_.scratch_bytes = scratch_.size() * 4;
    exec_.saved = saved_.data(), exec_.saved_bytes = saved_.size() * 4;
  }
  swy_plan plan() {
    swy_plan p{};
    p.struct_size = sizeof p;
    p.kind = needs.plan_kind, p.max_assign = needs.max_assign;
    p.row = row.data(), p.expert = expert.data(), p.weight = weight.data(), p.count = &count;
    p.dispatch = dispatch.data(), p.combine = combine.data(), p.mix = mix.data();
    p.aux = aux.data(), p.metric = metric.data(), p.output = output.data(), p.expert_x = expert_x.data();
    return p;
  }

  const swy_router& router_;
  Shape shape_;
  void* self_ = nullptr;
  char error_[256] = {};
  swy_exec exec_{};
  swy_site site_{};
  swy_state state_{};
  std::vector<swy_tensor> param_, buffer_, dparam_;
  std::vector<std::vector<float>> value_, grad_;
  std::vector<int32_t> begin_{0}, position_, capacity_, pieces_, previous_;
  std::vector<float> scratch_, saved_;
};

}  // namespace swy::testing
