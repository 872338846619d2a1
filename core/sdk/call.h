// A step's call as the kernels of a traced program (graph.h) see it, and those parts of the program that are made of
// such kernels.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/abi/experts.h"
#include "core/abi/ops.h"
#include "core/sdk/graph.h"

namespace swy {

struct StepError : std::runtime_error {
  StepError(swy_status s, const char* reason) : std::runtime_error(reason), status(s) {}
  swy_status status;
};

// What a kernel sees during a step: real extents and pointers.
class Call {
 public:
  const swy_exec* exec;
  const swy_ops* op;
  const swy_batch* batch;
  const swy_state* state;
  swy_plan* plan;              // in backward: the plan forward wrote, for reading
  const swy_plan_grad* dplan;  // backward only
  const swy_tensor* dx;        // backward only: of x, and of the residual stream where the router reads it
  const swy_load* load;        // update only
  const swy_experts* experts;  // null: the host lends none
  const Graph* graph;
  Moment moment;

  int64_t tokens() const { return batch->x.shape[0]; }
  int64_t rows(const Rows& r) const {
    const int64_t unit[] = {1, tokens(), batch->n_groups, batch->n_sequences, batch->n_rows};
    return r.scale * unit[r.unit];
  }
  int64_t rows(Tensor t) const { return rows(graph->values()[t.id].rows); }
  int64_t cols(Tensor t) const { return graph->values()[t.id].cols; }
  int64_t size(Tensor t) const { return rows(t) * cols(t); }
  // Which rows of t are padding: one byte per token, 0 = padding; null when none is or t has no row per token.
  const uint8_t* mask(Tensor t) const { return graph->values()[t.id].rows == graph->T ? batch->mask : nullptr; }

  float* f(Tensor t) const { return static_cast<float*>(address(t)); }
  int32_t* i(Tensor t) const { return static_cast<int32_t*>(address(t)); }
  // Where the gradient of t is added up, or null when nobody wants it.
  float* grad(Tensor t) const {
    const Graph::Value& v = graph->values()[t.id];
    if (!v.wants_grad || !v.reached) return nullptr;
    if (v.home == Graph::Home::kInput) return static_cast<float*>(dx[0].data);
    if (v.home == Graph::Home::kResidual) return static_cast<float*>(dx[1].data);
    if (v.home == Graph::Home::kParam) return static_cast<float*>(state->grad[v.offset].data);
    return reinterpret_cast<float*>(static_cast<char*>(exec->scratch) + v.grad_offset);
  }
  void ok(swy_status status) const {
    if (status != SWY_OK) throw StepError(status, exec->error);
  }

 private:
  void* address(Tensor t) const {
    const Graph::Value& v = graph->values()[t.id];
    switch (v.home) {
      case Graph::Home::kInput: return batch->x.data;
      case Graph::Home::kResidual: return batch->residual.data;
      case Graph::Home::kTaskEmbedding: return batch->task_embedding.data;
      case Graph::Home::kTokenId: return const_cast<int32_t*>(batch->token_id);
      case Graph::Home::kPosition: return const_cast<int32_t*>(batch->position);
      case Graph::Home::kCluster: return const_cast<int32_t*>(batch->cluster);
      case Graph::Home::kRowPrevious: return const_cast<int32_t*>(batch->row_previous);
      case Graph::Home::kParam: return state->param[v.offset].data;
      case Graph::Home::kBuffer: return state->buffer[v.offset].data;
      case Graph::Home::kDispatch: return plan->dispatch;
      case Graph::Home::kCombine: return plan->combine;
      case Graph::Home::kRecalled: return static_cast<char*>(exec->saved) + v.offset;
      case Graph::Home::kMix: return plan->mix;
      case Graph::Home::kExpertInput: return plan->expert_x;
      case Graph::Home::kOutput: return plan->output;
      case Graph::Home::kTemporary: break;
    }
    return static_cast<char*>(v.read_backward ? exec->saved : exec->scratch) + v.offset;
  }
};

inline void Graph::custom(std::vector<Tensor> inputs, std::vector<Tensor> outputs, std::vector<Tensor> reads,
                          Kernel forward, CostOf forward_cost, Kernel backward, CostOf backward_cost,
                          const CudaKernels& cuda) {
  auto charged = [](Kernel kernel, Kernel on_cuda, CostOf cost) -> Kernel {
    if (!kernel) return nullptr;
    if (!cost) throw std::logic_error("a custom op declares no cost for one of its kernels");
    return [kernel = std::move(kernel), on_cuda = std::move(on_cuda), cost = std::move(cost)](Call& c) {
      const Cost work = cost(c);
      c.ok(c.op->charge(c.exec, work.flops, work.bytes));
      if (!(c.exec->flags & SWY_EXEC_DRY)) (c.exec->device == SWY_CUDA ? on_cuda : kernel)(c);
    };
  };
  cpu_only = cpu_only || !cuda.forward || (backward && !cuda.backward);
  node(std::move(inputs), std::move(outputs), std::move(reads),
       charged(std::move(forward), cuda.forward, std::move(forward_cost)),
       charged(std::move(backward), cuda.backward, std::move(backward_cost)));
}

inline void Graph::remember(const std::string& name, Tensor t) {
  if (!training) return;
  if (t.rows().unit != Rows::kOne) throw std::logic_error("remember('" + name + "'): its rows depend on the batch");
  Tensor copy = tensor(t.rows(), t.cols());
  node({t}, {copy}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(t), 1, c.f(t), 0, c.f(copy))); });
  keep({copy});
  remembered_.emplace_back(name, copy);
}
inline Tensor Graph::recall(const std::string& name) {
  if (!forward_) throw std::logic_error("recall('" + name + "') belongs into update()");
  for (const auto& [known, t] : forward_->remembered_) {
    if (known != name) continue;
    Tensor here = value(t.rows(), t.cols(), Home::kRecalled);
    values_[here.id].offset = forward_->values_[t.id].offset;
    return here;
  }
  throw std::logic_error("recall('" + name + "'): route() remembers no such value in this stage of training");
}
inline Tensor Graph::state(const std::string& name) {
  const Graph& owner = forward_ ? *forward_ : *this;
  for (const Value& v : owner.values_) {
    if (v.home != Home::kParam && v.home != Home::kBuffer) continue;
    const int32_t role = v.home == Home::kParam ? SWY_PARAM : SWY_BUFFER;
    int64_t at = 0;
    for (const Declared& d : owner.declared_) {
      if (d.spec.role != role) continue;
      if (at++ != v.offset) continue;
      if (d.name != name) break;
      if (!forward_) return {this, static_cast<int>(&v - owner.values_.data())};
      Tensor here = value(v.rows, v.cols, v.home);
      values_[here.id].offset = v.offset;
      return here;
    }
  }
  throw std::logic_error("state('" + name + "'): route() declares no such tensor");
}
inline Tensor Graph::load(int what) {
  if (!forward_) throw std::logic_error("the load is known in update() alone");
  Tensor y = tensor(1, what == 2 ? 1 : E), refused = tensor(1, what == 1 ? E : 1);
  const int32_t experts = E;
  node({}, {y, refused}, {}, [=](Call& c) {
    if (what == 2) return c.ok(c.op->fill(c.exec, 1, static_cast<float>(c.load->tokens), c.f(y)));
    c.ok(c.op->to_float(c.exec, experts, c.load->kept, c.f(y)));
    if (what == 0) return;
    c.ok(c.op->to_float(c.exec, experts, c.load->dropped, c.f(refused)));
    c.ok(c.op->axpby(c.exec, experts, 1, c.f(refused), 1, c.f(y)));
  });
  return y;
}
inline void Graph::store(Tensor buffer, Tensor v) {
  if (!forward_) throw std::logic_error("buffers are written in update() alone");
  if (values_[buffer.id].home != Home::kBuffer) throw std::logic_error("store: the target is no buffer");
  if (!(buffer.rows() == v.rows()) || buffer.cols() != v.cols()) throw std::logic_error("store: shapes differ");
  node({v}, {}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(v), 1, c.f(v), 0, c.f(buffer))); });
}
inline void Graph::fill_plan(uint32_t flags) {
  const uint32_t missing = flags & ~plan_flags;
  if (forward_) return;
  if (missing & SWY_ADDS_OUTPUT)
    node({}, {}, {}, [](Call& c) { c.ok(c.op->fill(c.exec, c.tokens() * c.graph->D, 0, c.plan->output)); });
  if (missing & SWY_REWRITES_INPUT) {
    const Tensor from = x;
    node({}, {}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(from), 1, c.f(from), 0, c.plan->expert_x)); });
    seed_gradient(from,
                  [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(from), 1, c.dplan->expert_x, 1, c.grad(from))); });
  }
}

inline void Graph::emit_scalar(const Output& out, int index, bool is_aux) {
  const Tensor t = out.value;
  nodes_.push_back({{t},
                    {},
                    [t, index, is_aux](Call& c) {
                      c.ok(c.op->axpby(c.exec, 1, 1, c.f(t), 0, (is_aux ? c.plan->aux : c.plan->metric) + index));
                    },
                    nullptr});
  if (is_aux)
    seed_gradient(t, [t, index](Call& c) {
      c.ok(c.op->unary(c.exec, SWY_AFFINE, 1, 1, c.dplan->aux[index], c.grad(t), c.grad(t)));
    });
}

}  // namespace swy
