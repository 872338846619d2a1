// A router's forward maths as a traced program, and the backward pass derived from it.
//
// The author's route() runs once per site while the harness asks for the router's needs. It calls the
// functions of maths.h on symbolic tensors; each call records a node: two kernels (forward, backward) on raw
// pointers, through the host's ops. A step replays the list; the backward pass is the same list reversed,
// cut down to the nodes that a gradient can reach. Nothing is allocated, sized or decided in a step.
//
// route() is traced for training and for evaluation, and once per stage where a router has stages (router.h). update()
// is traced into a program of its own, which runs after the optimiser step and is the only one to write buffers.
//
// Shapes are [rows, cols]. Rows may depend on the batch (tokens, groups); memory is sized for the largest
// batch, kernels see the real one. Values that some backward kernel reads live in `saved`, all others in
// `scratch`. Gradients accumulate (add, never store) in scratch, in the host's dx and in the parameters' grads.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/abi/experts.h"
#include "core/abi/ops.h"
#include "core/sdk/tensor.h"

namespace swy {

class Graph {
 public:
  enum class Trace { kTraining, kEvaluation, kUpdate };
  // `forward` is the training program that an update belongs to, and null for the others.
  Graph(const swy_site& site, Trace trace, int stage, const Graph* forward = nullptr)
      : D(site.d_model),
        E(site.n_experts),
        C(site.capacity),
        T(Rows::kTokens, 1),
        G(Rows::kGroups, 1),
        B(Rows::kSequences, 1),
        R(Rows::kRows, 1),
        group_tokens(site.group_tokens),
        training(trace == Trace::kTraining),
        stage(stage),
        site(site),
        forward_(forward) {
    x = value(T, D, Home::kInput);
    values_[x.id].wants_grad = true;
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // ---- what a router sees ----
  const int32_t D, E, C;       // width, experts, capacity of a full group
  const Rows T, G, B, R;       // tokens, groups, sequences, routed rows of the batch
  const int32_t group_tokens;  // tokens of a full group
  const bool training;         // the program being traced is the training one: noise and losses belong here
  const int stage;             // of the router's stages
  const swy_site& site;
  Tensor x;  // [T, D] normalised input of the site

  // [T, D] the residual stream before the normalisation.
  Tensor residual() {
    if (!residual_) {
      residual_ = value(T, D, Home::kResidual);
      values_[residual_.id].wants_grad = true;
      needed_inputs |= SWY_IN_RESIDUAL;
    }
    return residual_;
  }
  // [R, d_task] the embeddings of the batch's tasks, from the host, without a gradient. Rows become tasks.
  Tensor task_embedding() {
    if (site.d_task == 0) throw std::invalid_argument("this model has no task embeddings");
    row_kind = SWY_ROW_TASK;
    needed_inputs |= SWY_IN_TASK | SWY_IN_TASK_EMBEDDING;
    return value(R, site.d_task, Home::kTaskEmbedding);
  }

  // [T, 1] integers: the id of each token, its place in its sequence, its planted cluster.
  bool has_token_ids() const { return site.vocabulary > 0; }
  Tensor token_id() {
    if (!has_token_ids()) throw std::invalid_argument("the tokens of this model have no ids; it is no language model");
    return table(SWY_IN_TOKEN_ID, T, Home::kTokenId);
  }
  Tensor position() { return table(0, T, Home::kPosition); }
  Tensor cluster() {
    if (site.n_clusters == 0)
      throw std::invalid_argument("nobody knows the planted cluster of a token here; it needs a synthetic data set");
    return table(SWY_IN_CLUSTER, T, Home::kCluster);
  }
  // Rows become pieces of sequences of that many tokens; row_previous() [R, 1] integers is the piece before, or -1.
  void rows_of_tokens(int32_t tokens) { row_kind = SWY_ROW_PREFIX, row_tokens = tokens; }
  Tensor row_previous() { return table(0, R, Home::kRowPrevious); }

  Tensor param(const std::string& name, int64_t rows, int64_t cols, Start start, uint32_t flags = 0) {
    return declare(name, rows, cols, start, flags, SWY_PARAM);
  }
  Tensor buffer(const std::string& name, int64_t rows, int64_t cols, Start start) {
    return declare(name, rows, cols, start, 0, SWY_BUFFER);
  }
  // In training: a copy of this value is there for update() under that name; as many rows as columns are constants.
  void remember(const std::string& name, Tensor value);

  // ---- what update() sees ----
  // A tensor that route() declared, a value that it remembered in the last training forward.
  Tensor state(const std::string& name);
  Tensor recall(const std::string& name);
  // [1, E] tokens that each expert got, or was offered (got and refused), since the last update; [1, 1] tokens routed.
  Tensor kept() { return load(0); }
  Tensor offered() { return load(1); }
  Tensor tokens_routed() { return load(2); }
  void store(Tensor buffer, Tensor value);

  // loss += weight * value; value is [1, 1]
  void aux(const std::string& name, Tensor scalar, double weight, const std::string& doc) {
    output(aux_, name, "1", doc, scalar, weight);
  }
  void metric(const std::string& name, Tensor scalar, const std::string& unit, const std::string& doc) {
    output(metrics_, name, unit, doc, scalar, 0);
  }
  // C of this site instead of the harness's; the budget charges what then runs.
  void request_capacity(int32_t c) { capacity = c; }

  // Later tokens can change what earlier ones get, in the program being traced: `why`, one line. Routers that claim
  // SWY_CAP_CAUSAL owe it.
  void acausal(const std::string& why) {
    if (acausal_.empty()) acausal_ = why;
  }

  // ---- the escape hatch: a custom op on raw pointers ----
  // `reads` are the values the backward kernel looks at; a null backward stops the gradient. The declared costs are
  // charged before each call; the kernels are not called when the host only counts. They are loops on the CPU. On CUDA
  // devices those of `cuda` are called; a router that has an op without them refuses to run there, with the options
  // that make it so.
  void custom(std::vector<Tensor> inputs, std::vector<Tensor> outputs, std::vector<Tensor> reads, Kernel forward,
              CostOf forward_cost, Kernel backward = nullptr, CostOf backward_cost = nullptr,
              const CudaKernels& cuda = {});

  // Records a node made of the host's ops, which count for themselves. What maths.h is written with.
  // `always`: its backward kernel has more to do than to serve the inputs.
  void node(std::vector<Tensor> inputs, std::vector<Tensor> outputs, std::vector<Tensor> reads, Kernel forward,
            Kernel backward = nullptr, bool always = false) {
    bool wants = always;
    for (const Tensor& t : inputs) wants = wants || values_[t.id].wants_grad;
    wants = wants && backward;
    for (const Tensor& t : outputs) values_[t.id].wants_grad = wants && !values_[t.id].integer;
    if (wants)
      for (const Tensor& t : reads) values_[t.id].read_backward = true;
    nodes_.push_back(
        {std::move(inputs), std::move(outputs), std::move(forward), wants ? std::move(backward) : nullptr});
  }
  Tensor tensor(Rows rows, int64_t cols) { return value(rows, cols, Home::kTemporary); }
  Tensor integers(Rows rows, int64_t cols) {
    Tensor t = tensor(rows, cols);
    values_[t.id].integer = true;
    return t;
  }
  // Makes the plan's gradient flow into `t` (used by the plan functions of plan.h).
  void seed_gradient(Tensor t, Kernel backward) {
    if (!values_[t.id].wants_grad) return;
    nodes_.push_back({{t}, {}, [](Call&) {}, std::move(backward)});
    values_[t.id].reached = true;
  }
  // Keeps values until backward although no node of their own reads them there.
  void keep(const std::vector<Tensor>& list) {
    for (const Tensor& t : list) values_[t.id].read_backward = true;
  }
  enum class Home {
    kTemporary,
    kInput,
    kResidual,
    kTaskEmbedding,
    kTokenId,
    kPosition,
    kCluster,
    kRowPrevious,
    kParam,
    kBuffer,
    kRecalled,
    kDispatch,
    kCombine,
    kMix,
    kExpertInput,
    kOutput
  };
  void settle(Tensor t, Home home) { values_[t.id].home = home; }  // lives in the plan itself
  bool temporary(Tensor t) const { return values_[t.id].home == Home::kTemporary; }
  int32_t next_expert_call(Rows rows) {  // number of a call to the site's experts
    expert_rows += most(rows);
    return expert_calls++;
  }

  // ---- the finished program (read by router.h) ----
  struct Value {
    Rows rows;
    int64_t cols;
    Home home;
    bool integer = false, wants_grad = false, read_backward = false, reached = false;
    int64_t offset = 0;        // bytes into scratch or saved; index of a param or buffer
    int64_t grad_offset = -1;  // bytes into the backward scratch
  };
  struct Declared {
    std::string name;
    swy_tensor_spec spec;
  };
  struct Output {
    std::string name, unit, doc;
    Tensor value;
    double weight;
  };
  struct Node {
    std::vector<Tensor> inputs, outputs;
    Kernel forward, backward;
  };
  int32_t plan_kind = -1, row_kind = SWY_ROW_TOKEN, row_tokens = 0, slots = 0, capacity = 0, expert_calls = 0;
  int32_t aggregate = SWY_AGG_OUT;  // what the weights mix; others than OUT are for linear (LoRA) sites
  int64_t max_assign = 0, expert_rows = 0;
  uint32_t needed_inputs = 0, plan_flags = 0;
  bool cpu_only = false;  // it has a custom op that is for the CPU alone
  bool steady = true;     // no part of it follows the step or how far training is

  // What the programs of one site declare together: all scalars that some stage of training has.
  struct Tables {
    std::vector<Output> aux, metrics;
    uint32_t plan_flags = 0;
  };
  void add_to(Tables& t) const {
    auto merge = [](std::vector<Output>& to, const std::vector<Output>& from) {
      for (const Output& o : from) {
        bool known = false;
        for (const Output& k : to) known = known || k.name == o.name;
        if (!known) to.push_back(o);
      }
    };
    merge(t.aux, aux_), merge(t.metrics, metrics_);
    t.plan_flags |= plan_flags;
  }

  // Decides who is reached by a gradient, and lays out scratch, saved and gradients. Call once, after route().
  void finish(const Tables& tables) {
    if (plan_kind < 0 && !forward_)
      throw std::logic_error("route() ended without a plan; call assign, assign_top_tokens, dense or merge");
    fill_plan(tables.plan_flags);
    for (const Output& o : aux_) emit_scalar(o, place(tables.aux, o.name), true);
    for (const Output& o : metrics_) emit_scalar(o, place(tables.metrics, o.name), false);
    for (auto n = nodes_.rbegin(); n != nodes_.rend(); ++n) {
      bool reached = n->outputs.empty();
      for (const Tensor& t : n->outputs) reached = reached || values_[t.id].reached;
      if (!reached) n->backward = nullptr;
      if (n->backward)
        for (const Tensor& t : n->inputs) values_[t.id].reached = values_[t.id].reached || values_[t.id].wants_grad;
    }
    for (Value& v : values_) {
      const int64_t bytes = aligned(most(v.rows) * v.cols * 4);
      if (v.home == Home::kTemporary) {
        uint64_t& region = v.read_backward ? saved_bytes : scratch_forward_bytes;
        v.offset = static_cast<int64_t>(region);
        region += bytes;
      }
      const bool grad_is_the_hosts = v.home == Home::kInput || v.home == Home::kResidual || v.home == Home::kParam;
      if (v.reached && v.wants_grad && !grad_is_the_hosts) {
        v.grad_offset = static_cast<int64_t>(scratch_backward_bytes);
        scratch_backward_bytes += bytes;
      }
    }
  }
  uint64_t scratch_forward_bytes = 0, scratch_backward_bytes = 0, saved_bytes = 0;
  const std::vector<Value>& values() const { return values_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Declared>& declared() const { return declared_; }
  const std::string& acausal_reason() const { return acausal_; }

 private:
  static int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }
  int64_t most(const Rows& r) const {
    const int64_t pieces = row_tokens ? (site.max_position + row_tokens - 1) / row_tokens : 0;
    const int64_t unit[] = {1, site.max_tokens, site.max_groups, site.max_sequences,
                            row_tokens ? site.max_sequences * pieces : site.max_rows};
    return r.scale * unit[r.unit];
  }
  Tensor value(Rows rows, int64_t cols, Home home) {
    values_.push_back({rows, cols, home});
    return {this, static_cast<int>(values_.size()) - 1};
  }
  Tensor declare(const std::string& name, int64_t rows, int64_t cols, Start start, uint32_t flags, int32_t role) {
    Tensor t = value(rows, cols, role == SWY_PARAM ? Home::kParam : Home::kBuffer);
    int64_t index = 0;
    for (const Declared& d : declared_) {
      if (d.name == name) throw std::logic_error("tensor '" + name + "' is declared twice");
      index += d.spec.role == role;
    }
    values_[t.id].offset = index;
    values_[t.id].wants_grad = role == SWY_PARAM;
    swy_tensor_spec spec{};
    spec.shape[0] = rows, spec.shape[1] = cols, spec.shape[2] = spec.shape[3] = 1;
    spec.rank = 2, spec.dtype = SWY_F32, spec.role = role, spec.init = start.init;
    spec.init_scale = start.scale, spec.lr_scale = 1, spec.flags = flags;
    declared_.push_back({name, spec});
    return t;
  }
  void output(std::vector<Output>& list, const std::string& name, const std::string& unit, const std::string& doc,
              Tensor scalar, double weight) {
    if (!(scalar.rows() == Rows(1)) || scalar.cols() != 1) throw std::logic_error("'" + name + "' is not a scalar");
    list.push_back({name, unit, doc, scalar, weight});
  }
  static int place(const std::vector<Output>& table, const std::string& name) {
    for (size_t i = 0; i < table.size(); ++i)
      if (table[i].name == name) return static_cast<int>(i);
    throw std::logic_error("'" + name + "' exists in evaluation only; declare it in training too");
  }
  void emit_scalar(const Output& out, int index, bool is_aux);
  void fill_plan(uint32_t flags);  // the parts of the plan that other stages write and this one does not
  Tensor load(int what);
  Tensor table(uint32_t input, Rows rows, Home home) {
    needed_inputs |= input;
    Tensor t = value(rows, 1, home);
    values_[t.id].integer = true;
    return t;
  }

  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<Declared> declared_;
  std::vector<Output> aux_, metrics_;
  std::vector<std::pair<std::string, Tensor>> remembered_;
  std::string acausal_;
  Tensor residual_;
  const Graph* forward_;
};

inline Rows Tensor::rows() const { return graph->values()[id].rows; }
inline int64_t Tensor::cols() const { return graph->values()[id].cols; }

}  // namespace swy
