// Write a router: derive from swy::Router, give options, write route(), end with SWY_ROUTER. The class becomes
// a plugin with one exported symbol; tables, memory sizes, backward pass and error handling come from here.
//
//   struct TopK : swy::Router {
//     swy::Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
//     void route(swy::Graph& g) override {
//       auto gate = g.param("gate", g.D, g.E, swy::lecun_normal(g.D));
//       swy::assign(swy::top_k(swy::softmax(swy::matmul(g.x, gate)), k));
//     }
//   };
//   SWY_ROUTER(TopK, "top_k", "Top-k softmax", "1.0.0", "Shazeer et al. 2017", 0)
//
// Routers whose state moves by other rules than the gradient write update() too. Routers that change their ways in the
// course of training have stages: route() is traced once for each (Graph::stage), and stage() says which one a step
// runs. Every stage declares the same tensors and the same kind of plan.
//
// Exceptions thrown by route() or a kernel become a status with their text; none crosses the boundary.
#pragma once
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <type_traits>

#include "core/abi/layout.h"
#include "core/sdk/plan.h"

namespace swy {

struct Choice {  // an option with named values
  const char* value;
  bool operator==(const char* other) const { return std::strcmp(value, other) == 0; }
};

class Router {
 public:
  // Written with the host's ops, a router runs on CUDA devices and can be recorded there. A router that cannot with any
  // of its options, because it always has a custom op for the CPU alone, hides this with a false of its own and does
  // not claim it.
  static constexpr bool kOnDevices = true;

  virtual ~Router() = default;
  virtual void route(Graph& g) = 0;
  virtual void update(Graph&) {
  }  // after the optimiser step, in training: reads state, load and what route() remembered
  virtual int stages() const { return 1; }
  virtual int stage(const Moment&) const { return 0; }  // in [0, stages())

  struct OptionBase {
    swy_option table{};
    virtual void set(const swy_value& v) = 0;
    virtual ~OptionBase() = default;
  };
  std::vector<OptionBase*> options;  // in order of declaration
};

template <class T>
class Option;

template <>
class Option<int> : public Router::OptionBase {
 public:
  struct Range {
    int low, high;
  };
  Option(Router* r, const char* name, int preset, Range range, const char* doc) : value_(preset) {
    table = {name, doc, nullptr, SWY_OPT_INT, 0, double(range.low), double(range.high), {preset, 0, nullptr}};
    r->options.push_back(this);
  }
  void set(const swy_value& v) override { value_ = static_cast<int>(v.i); }
  operator int() const { return value_; }

 private:
  int value_;
};

template <>
class Option<float> : public Router::OptionBase {
 public:
  struct Range {
    double low, high;
  };
  Option(Router* r, const char* name, double preset, Range range, const char* doc)
      : value_(static_cast<float>(preset)) {
    table = {name, doc, nullptr, SWY_OPT_FLOAT, 0, range.low, range.high, {0, preset, nullptr}};
    r->options.push_back(this);
  }
  void set(const swy_value& v) override { value_ = static_cast<float>(v.f); }
  operator float() const { return value_; }

 private:
  float value_;
};

template <>
class Option<bool> : public Router::OptionBase {
 public:
  Option(Router* r, const char* name, bool preset, const char* doc) : value_(preset) {
    table = {name, doc, nullptr, SWY_OPT_BOOL, 0, 0, 1, {preset, 0, nullptr}};
    r->options.push_back(this);
  }
  void set(const swy_value& v) override { value_ = v.i != 0; }
  operator bool() const { return value_; }

 private:
  bool value_;
};

template <>
class Option<Choice> : public Router::OptionBase {
 public:
  // `choices` is "a|b|c".
  Option(Router* r, const char* name, const char* preset, const char* choices, const char* doc) : value_{preset} {
    table = {name, doc, choices, SWY_OPT_CHOICE, 0, 0, 0, {0, 0, preset}};
    r->options.push_back(this);
  }
  void set(const swy_value& v) override { value_ = {v.s}; }
  bool operator==(const char* other) const { return value_ == other; }

 private:
  Choice value_;
};

namespace detail {

// One site of one instance: the traced programs and the tables declared to the host.
struct Program {
  struct Stage {
    Stage(const swy_site& site, int at)
        : train(site, Graph::Trace::kTraining, at),
          score(site, Graph::Trace::kEvaluation, at),
          update(site, Graph::Trace::kUpdate, at, &train) {}
    Graph train, score, update;
  };

  Program(const swy_site& s, Router& router) : site(s) {
    Graph::Tables tables;
    for (int i = 0; i < router.stages(); ++i) {
      stages.push_back(std::make_unique<Stage>(site, i));
      router.route(stages[i]->train);
      router.route(stages[i]->score);
      stages[i]->train.add_to(tables);
      tables.plan_flags |= stages[i]->score.plan_flags;
    }
    const Graph& first = stages[0]->train;
    for (const auto& stage : stages) {
      for (Graph* g : {&stage->train, &stage->score}) {
        agree(first, *g);
        g->finish(tables);
      }
      router.update(stage->update);
      stage->update.finish(tables);
    }
    for (const auto& d : first.declared()) {
      tensors.push_back(d.spec);
      tensors.back().name = d.name.c_str();
    }
    auto quantities = [](const std::vector<Graph::Output>& from, std::vector<Graph::Output>& names,
                         std::vector<swy_quantity>& to) {
      names = from;
      for (const auto& o : names) to.push_back({o.name.c_str(), o.unit.c_str(), o.doc.c_str(), 0, 0, o.weight});
    };
    quantities(tables.aux, aux_names, aux);
    quantities(tables.metrics, metric_names, metrics);
    plan_flags = tables.plan_flags;
    for (const auto& one : stages)
      cpu_only = cpu_only || one->train.cpu_only || one->score.cpu_only || one->update.cpu_only;
    if (stages.size() == 1 && first.steady && stages[0]->update.steady) plan_flags |= SWY_STEADY;
  }

  static void agree(const Graph& a, const Graph& b) {
    if (a.declared().size() != b.declared().size())
      throw std::logic_error("training and evaluation, or two stages, declare different tensors");
    if (a.plan_kind != b.plan_kind || a.row_kind != b.row_kind || a.slots != b.slots || a.row_tokens != b.row_tokens ||
        a.aggregate != b.aggregate)
      throw std::logic_error("training and evaluation, or two stages, make different kinds of plan");
  }
  const Graph& graph(int32_t phase, int stage) const {
    const Stage& s = *stages.at(static_cast<size_t>(stage));
    return phase == SWY_TRAIN ? s.train : s.score;
  }
  // The first reason that a stage gives, or null.
  const char* acausal(bool training) const {
    for (const auto& s : stages)
      if (const std::string& why = (training ? s->train : s->score).acausal_reason(); !why.empty()) return why.c_str();
    return nullptr;
  }

  swy_site site;
  std::vector<std::unique_ptr<Stage>> stages;
  uint32_t plan_flags = 0;
  bool cpu_only = false;
  std::vector<swy_tensor_spec> tensors;
  std::vector<Graph::Output> aux_names, metric_names;
  std::vector<swy_quantity> aux, metrics;
};

struct Self {
  std::unique_ptr<Router> router;
  const swy_ops* op;
  const swy_experts* experts;                            // null: the host lends none
  std::map<int32_t, std::unique_ptr<Program>> programs;  // by site
};

// Runs `body`; turns whatever it throws into a status and a reason.
template <class Body>
swy_status guarded(swy_exec* exec, Body&& body) {
  auto say = [exec](const char* text, swy_status status) {
    if (exec->error && exec->error_cap) {
      if (text != exec->error) std::strncpy(exec->error, text, exec->error_cap - 1);
      exec->error[exec->error_cap - 1] = 0;
    }
    return status;
  };
  try {
    body();
    return SWY_OK;
  } catch (const StepError& e) {
    return say(e.what(), e.status);
  } catch (const std::invalid_argument& e) {
    return say(e.what(), SWY_INVALID);
  } catch (const std::exception& e) {
    return say(e.what(), SWY_INTERNAL);
  } catch (...) {
    return say("unknown exception", SWY_INTERNAL);
  }
}

inline void run_forward(Call& c) {
  for (const auto& node : c.graph->nodes()) node.forward(c);
}
inline void run_backward(Call& c) {
  const auto floats = static_cast<int64_t>(c.graph->scratch_backward_bytes / 4);
  if (floats) c.ok(c.op->fill(c.exec, floats, 0, static_cast<float*>(c.exec->scratch)));
  const auto& nodes = c.graph->nodes();
  for (auto n = nodes.rbegin(); n != nodes.rend(); ++n)
    if (n->backward) n->backward(c);
}

inline swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* exec) {
  return guarded(exec, [&] {
    auto& s = *static_cast<Self*>(self);
    auto program = std::make_unique<Program>(*site, *s.router);
    const Graph& first = program->stages[0]->train;
    out->plan_kind = first.plan_kind;
    out->row_kind = first.row_kind;
    out->aggregate = first.aggregate;
    out->slots = first.slots;
    out->flags = program->plan_flags;
    for (const auto& stage : program->stages)
      for (const Graph* g : {&stage->train, &stage->score, &stage->update}) {
        out->capacity = std::max(out->capacity, g->capacity);
        out->inputs |= g->needed_inputs;
        out->max_assign = std::max(out->max_assign, g->max_assign);
        out->scratch_forward = std::max(out->scratch_forward, g->scratch_forward_bytes);
        out->scratch_backward = std::max(out->scratch_backward, g->scratch_backward_bytes);
        out->saved = std::max(out->saved, g->saved_bytes);
        if (g->expert_calls > 0 && (!s.experts || g->expert_calls > SWY_EXPERTS_CALLS))
          throw std::invalid_argument("this router runs experts by itself, which this host or " SWY_EXPERTS_ID
                                      " does not allow, or not that often");
      }
    if (SWY_HAS(out, swy_needs, row_tokens)) {
      for (const auto& stage : program->stages)
        for (const Graph* g : {&stage->train, &stage->score})
          out->expert_rows = std::max(out->expert_rows, g->expert_rows);
      out->acausal_train = program->acausal(true);
      out->acausal_score = program->acausal(false);
      out->row_tokens = first.row_tokens;
    } else if (first.row_tokens) {
      throw std::invalid_argument("this router cuts sequences into rows, which this host is too old for");
    }
    out->tensors = program->tensors.data();
    out->n_tensors = static_cast<uint32_t>(program->tensors.size());
    out->aux = program->aux.data();
    out->n_aux = static_cast<uint32_t>(program->aux.size());
    out->metrics = program->metrics.data();
    out->n_metrics = static_cast<uint32_t>(program->metrics.size());
    s.programs[site->site] = std::move(program);
  });
}

// A call without its program: where it stands and whom it works with.
inline Call call(Self& s, const swy_exec* exec, int32_t site, const swy_state* state) {
  Call c{};
  c.exec = exec, c.op = s.op, c.experts = s.experts, c.state = state;
  const auto found = s.programs.find(site);
  if (found == s.programs.end()) throw std::invalid_argument("this site was never declared through needs");
  if (found->second->cpu_only && exec->device != SWY_CPU)
    throw StepError(SWY_UNSUPPORTED, "with these options the router has an op of its own that runs on the CPU alone");
  const double progress = SWY_HAS(exec, swy_exec, progress) ? exec->progress : 0;
  c.moment = {progress, exec->step, site, found->second->site.n_sites, exec->seed};
  return c;
}
inline Call call(void* self, const swy_exec* exec, const swy_batch* batch, const swy_state* state) {
  auto& s = *static_cast<Self*>(self);
  Call c = call(s, exec, batch->site, state);
  c.batch = batch;
  c.graph = &s.programs.at(batch->site)->graph(exec->phase, s.router->stage(c.moment));
  return c;
}

inline swy_status forward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state, swy_plan* plan) {
  return guarded(exec, [&] {
    Call c = call(self, exec, batch, state);
    c.plan = plan;
    run_forward(c);
  });
}

inline swy_status backward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state,
                           const swy_plan* plan, const swy_plan_grad* dplan, const swy_tensor* dx) {
  return guarded(exec, [&] {
    Call c = call(self, exec, batch, state);
    c.plan = const_cast<swy_plan*>(plan);  // kernels of the backward pass only read it
    c.dplan = dplan, c.dx = dx;
    run_backward(c);
  });
}

inline swy_status update(void* self, swy_exec* exec, int32_t site, const swy_state* state, const swy_load* load) {
  return guarded(exec, [&] {
    auto& s = *static_cast<Self*>(self);
    const swy_batch none{};  // update() has no tokens before it
    Call c = call(s, exec, site, state);
    c.batch = &none, c.load = load;
    c.graph = &s.programs.at(site)->stages.at(static_cast<size_t>(s.router->stage(c.moment)))->update;
    run_forward(c);
  });
}

// A dry run of both passes at full size: the host's ops count and touch nothing.
inline swy_status cost(void* self, const swy_site* site, swy_cost* out, swy_exec* exec) {
  return guarded(exec, [&] {
    auto& s = *static_cast<Self*>(self);
    swy_exec dry{};  // an older host's struct may be shorter
    std::memcpy(&dry, exec, std::min<size_t>(exec->struct_size, sizeof dry));
    dry.flags |= SWY_EXEC_DRY;
    std::vector<swy_tensor> none(s.programs.at(site->site)->tensors.size());
    std::vector<float> weights(s.programs.at(site->site)->aux.size(), 1.f);
    static float nowhere;  // never written: a non-null address for gradients: dry ops never look at it
    for (swy_tensor& t : none) t.data = &nowhere;
    dry.scratch = dry.saved = &nowhere;
    swy_batch batch{};
    batch.struct_size = sizeof batch;
    batch.site = site->site;
    batch.n_groups = site->max_groups, batch.n_sequences = site->max_sequences, batch.n_rows = site->max_rows;
    const Graph& first = s.programs.at(site->site)->stages[0]->train;
    const int32_t kind = first.row_kind;
    if (kind == SWY_ROW_SEQUENCE) batch.n_rows = site->max_sequences;
    if (kind == SWY_ROW_TASK) batch.n_rows = site->max_tasks;
    if (kind == SWY_ROW_BATCH) batch.n_rows = 1;
    if (kind == SWY_ROW_PREFIX)
      batch.n_rows = site->max_sequences * ((site->max_position + first.row_tokens - 1) / first.row_tokens);
    batch.n_experts = site->n_experts;
    batch.x.data = &nowhere, batch.x.shape[0] = site->max_tokens, batch.x.shape[1] = site->d_model;
    swy_state state{};
    state.param = state.grad = state.buffer = none.data();
    swy_plan plan{};
    plan.dispatch = plan.combine = plan.mix = plan.weight = plan.aux = plan.metric = &nowhere;
    plan.output = plan.expert_x = &nowhere;
    swy_plan_grad dplan{};
    dplan.weight = dplan.dispatch = dplan.combine = dplan.mix = dplan.output = dplan.expert_x = &nowhere;
    dplan.aux = weights.data();
    batch.residual = batch.task_embedding = batch.x;
    const swy_tensor dx[2] = {batch.x, batch.x};
    Call c = call(self, &dry, &batch, &state);
    c.plan = &plan, c.dplan = &dplan, c.dx = dx;
    double flops[3], bytes[3];
    c.ok(s.op->tally(&dry, &flops[0], &bytes[0]));
    run_forward(c);
    c.ok(s.op->tally(&dry, &flops[1], &bytes[1]));
    run_backward(c);
    c.ok(s.op->tally(&dry, &flops[2], &bytes[2]));
    out->flops_forward = flops[1] - flops[0], out->bytes_forward = bytes[1] - bytes[0];
    out->flops_backward = flops[2] - flops[1], out->bytes_backward = bytes[2] - bytes[1];
  });
}

template <class T>
swy_status create(const swy_host* host, const swy_value* values, int32_t, void** self, swy_exec* exec) {
  return guarded(exec, [&] {
    auto made = std::make_unique<Self>();
    made->op = static_cast<const swy_ops*>(host->extension(host, SWY_OPS_ID));
    if (!made->op || made->op->version != SWY_OPS_VERSION || made->op->struct_size < sizeof(swy_ops))
      throw std::runtime_error("the host does not offer the " SWY_OPS_ID " this router was built with; build it again");
    made->experts = static_cast<const swy_experts*>(host->extension(host, SWY_EXPERTS_ID));
    made->router = std::make_unique<T>();
    for (size_t i = 0; i < made->router->options.size(); ++i) made->router->options[i]->set(values[i]);
    *self = made.release();
  });
}

inline void destroy(void* self) { delete static_cast<Self*>(self); }

// The plugin's tables, built on the first call and kept for the life of the process.
template <class T>
const swy_plugin* plugin(const char* id, const char* name, const char* version, const char* paper, uint32_t claims) {
  struct Tables {
    std::vector<swy_option> options;
    swy_router router{};
    const swy_router* list[1];
    swy_plugin plugin{};
  };
  static const Tables* const tables = [&] {
    auto* t = new Tables;
    T prototype;
    for (const auto* o : prototype.options) t->options.push_back(o->table);
    swy_router& r = t->router;
    r.struct_size = sizeof r;
    r.caps = SWY_CAP_CPU | SWY_CAP_BACKWARD | SWY_CAP_BITWISE | claims;
    if (T::kOnDevices) r.caps |= SWY_CAP_CUDA | SWY_CAP_GRAPH_CAPTURE;
    r.data_access = SWY_DATA_NONE;
    r.id = id, r.name = name, r.version = version, r.paper = paper;
    r.options = t->options.data(), r.n_options = static_cast<uint32_t>(t->options.size());
    r.create = &create<T>, r.destroy = &destroy, r.needs = &needs, r.cost = &cost;
    r.forward = &forward, r.backward = &backward;
    if constexpr (!std::is_same_v<decltype(&T::update), void (Router::*)(Graph&)>) r.update = &update;
    t->list[0] = &r;
    swy_plugin& p = t->plugin;
    p.struct_size = sizeof p, p.abi_major = SWY_ABI_MAJOR, p.abi_minor = SWY_ABI_MINOR, p.n_routers = 1;
    p.layout = swy_layout, p.n_layout = sizeof swy_layout / sizeof swy_layout[0];
    p.build = __VERSION__;
    p.routers = t->list;
    return t;
  }();
  return &tables->plugin;
}

}  // namespace detail
}  // namespace swy

// Exports class T as router `id`. `claims` are SWY_CAP_* bits beyond CPU, BACKWARD and BITWISE, and CUDA and
// GRAPH_CAPTURE (see Router::kOnDevices), which hold for every router written with the ops.
#define SWY_ROUTER(T, id, name, version, paper, claims)                                    \
  extern "C" __attribute__((visibility("default"))) const swy_plugin* swy_plugin_v1(void); \
  const swy_plugin* swy_plugin_v1(void) { return swy::detail::plugin<T>(id, name, version, paper, claims); }
