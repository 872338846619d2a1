// The checked layer: what it lets through unchanged, and that each kind of misbehaviour is found and named. Whole wrong
// plugins, one per rule, are in core/conform/bad.
#include "core/plugin/checked.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "core/device/exec.h"
#include "core/plugin/instance.h"
#include "core/plugin/libc_calls.h"
#include "core/plugin/shadow.h"

namespace swy {
namespace {

// A router made of two functions. Each site has one [2] parameter; every token goes to expert 0 with weight 1.
struct Behaviour {
  std::function<swy_status(swy_exec*, const swy_batch*, const swy_state*, swy_plan*)> forward;
  std::function<swy_status(swy_exec*, const swy_batch*, const swy_state*, const swy_tensor*)> backward;
} behaviour;

swy_status plain_forward(swy_exec*, const swy_batch* b, const swy_state*, swy_plan* p) {
  *p->count = static_cast<int32_t>(b->x.shape[0]);
  for (int32_t i = 0; i < *p->count; ++i) p->row[i] = i, p->expert[i] = 0, p->weight[i] = 1;
  return SWY_OK;
}
swy_status plain_backward(swy_exec*, const swy_batch*, const swy_state* s, const swy_tensor* dx) {
  static_cast<float*>(s->grad[0].data)[1] += 3;
  static_cast<float*>(dx[0].data)[0] += 2;
  return SWY_OK;
}

const swy_router& scripted() {
  static const swy_tensor_spec tensor = {"w", {2, 1, 1, 1}, 1, SWY_F32, SWY_PARAM, SWY_INIT_ZERO, 0, 1, 0, 0};
  static const swy_router router = [] {
    swy_router r{};
    r.struct_size = sizeof r;
    r.caps = SWY_CAP_CPU | SWY_CAP_BACKWARD;
    r.id = r.name = "scripted", r.version = "1", r.paper = "none";
    r.create = [](const swy_host*, const swy_value*, int32_t, void** self, swy_exec*) {
      *self = nullptr;
      return swy_status{SWY_OK};
    };
    r.destroy = [](void*) {};
    r.needs = [](void*, const swy_site* s, swy_needs* n, swy_exec*) {
      n->plan_kind = SWY_ASSIGN, n->max_assign = s->max_tokens, n->tensors = &tensor, n->n_tensors = 1;
      n->scratch_forward = n->scratch_backward = n->saved = 64;
      return swy_status{SWY_OK};
    };
    r.cost = [](void*, const swy_site*, swy_cost*, swy_exec*) { return swy_status{SWY_OK}; };
    r.forward = [](void*, swy_exec* e, const swy_batch* b, const swy_state* s, swy_plan* p) {
      return behaviour.forward(e, b, s, p);
    };
    r.backward = [](void*, swy_exec* e, const swy_batch* b, const swy_state* s, const swy_plan*, const swy_plan_grad*,
                    const swy_tensor* dx) { return behaviour.backward(e, b, s, dx); };
    return r;
  }();
  return router;
}

// One site of three tokens of width 2 and all that a call to it needs.
struct Site {
  explicit Site(Checking checking) : instance(scripted(), {}, 1, checking) {
    behaviour = {plain_forward, plain_backward};
    swy_site s{};
    s.struct_size = sizeof s, s.d_model = 2, s.n_experts = 1, s.max_tokens = 3, s.max_sequences = s.max_groups = 1;
    needs = instance.needs(s);
    exec.struct_size = sizeof exec, exec.device = SWY_CPU;
    exec.scratch = scratch, exec.scratch_bytes = exec.saved_bytes = 64, exec.saved = saved;
    batch.struct_size = sizeof batch, batch.n_experts = 1, batch.n_rows = 3, batch.n_groups = batch.n_sequences = 1;
    batch.x = {x, {3, 2, 1, 1}, 2, SWY_F32};
    plan.struct_size = sizeof plan, plan.max_assign = 3;
    plan.row = row, plan.expert = expert, plan.weight = weight, plan.count = &count;
    param.data = w, grad.data = dw;
    state.struct_size = sizeof state, state.n_param = 1, state.param = &param, state.grad = &grad;
  }
  void forward() { instance.forward(exec, batch, state, plan); }
  void backward() {
    const swy_tensor to = {dx, {3, 2, 1, 1}, 2, SWY_F32};
    const swy_plan_grad d{sizeof d, 0, dweight, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    instance.backward(exec, batch, state, plan, d, &to);
  }
  Instance instance;
  swy_needs needs{};
  float x[6] = {1, 2, 3, 4, 5, 6}, w[2] = {}, dw[2] = {1, 1}, dx[6] = {}, weight[3] = {}, dweight[3] = {};
  alignas(256) float scratch[16] = {};
  alignas(256) float saved[16] = {};
  int32_t row[3] = {}, expert[3] = {}, count = 0;
  swy_exec exec{};
  swy_batch batch{};
  swy_plan plan{};
  swy_state state{};
  swy_tensor param{nullptr, {2, 1, 1, 1}, 1, SWY_F32}, grad{nullptr, {2, 1, 1, 1}, 1, SWY_F32};
};

template <class Body>
void expect_rule(const char* rule, const char* part, Body&& body) {
  try {
    body();
    ADD_FAILURE() << "nothing was found; expected " << rule;
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find(rule), std::string::npos) << text;
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

// A good router's results pass through: plan, saved memory, gradients added to what was there.
TEST(Checked, GoodRoutersPassUnchanged) {
  Site s(Checking::kAlways);
  behaviour.forward = [](swy_exec* e, const swy_batch* b, const swy_state* st, swy_plan* p) {
    static_cast<float*>(e->saved)[3] = 7;
    return plain_forward(e, b, st, p);
  };
  behaviour.backward = [](swy_exec* e, const swy_batch* b, const swy_state* st, const swy_tensor* dx) {
    static_cast<float*>(dx[0].data)[5] += static_cast<float*>(e->saved)[3];
    return plain_backward(e, b, st, dx);
  };
  s.forward();
  EXPECT_EQ(s.count, 3);
  EXPECT_EQ(s.row[2], 2);
  EXPECT_EQ(s.weight[2], 1);
  s.backward();
  EXPECT_EQ(s.dw[0], 1);
  EXPECT_EQ(s.dw[1], 4);
  EXPECT_EQ(s.dx[0], 2);
  EXPECT_EQ(s.dx[5], 7);
}

// R08: behind an array, in front of one, and to what may only be read, in both directions.
TEST(Checked, WritesOutside) {
  Site s(Checking::kAlways);
  behaviour.forward = [](swy_exec* e, const swy_batch* b, const swy_state* st, swy_plan* p) {
    p->weight[3] = 1;
    return plain_forward(e, b, st, p);
  };
  expect_rule("rule R08", "behind the end of plan.weight", [&] { s.forward(); });
  behaviour.forward = [](swy_exec* e, const swy_batch* b, const swy_state* st, swy_plan* p) {
    static_cast<float*>(e->scratch)[-1] = 1;
    return plain_forward(e, b, st, p);
  };
  expect_rule("rule R08", "before the beginning of scratch", [&] { s.forward(); });
  behaviour.forward = [](swy_exec* e, const swy_batch* b, const swy_state* st, swy_plan* p) {
    static_cast<float*>(st->param[0].data)[0] = 1;
    return plain_forward(e, b, st, p);
  };
  expect_rule("rule R08", "parameter 'w'", [&] { s.forward(); });
  EXPECT_EQ(s.w[0], 0) << "the model is as it was";
  behaviour.backward = [](swy_exec*, const swy_batch* b, const swy_state*, const swy_tensor*) {
    static_cast<float*>(b->x.data)[0] = 9;
    return swy_status{SWY_OK};
  };
  expect_rule("rule R08", "wrote to x", [&] { s.backward(); });
}

// R09: a plan or gradient that is right only when scratch happens to hold zeros.
TEST(Checked, ReadsBeforeItWrites) {
  Site s(Checking::kAlways);
  behaviour.forward = [](swy_exec* e, const swy_batch* b, const swy_state* st, swy_plan* p) {
    plain_forward(e, b, st, p);
    p->weight[0] += static_cast<float*>(e->scratch)[0];
    return swy_status{SWY_OK};
  };
  expect_rule("rule R09", "weight", [&] { s.forward(); });
  behaviour.backward = [](swy_exec* e, const swy_batch*, const swy_state*, const swy_tensor* dx) {
    static_cast<float*>(dx[0].data)[0] += static_cast<float*>(e->scratch)[0];
    return swy_status{SWY_OK};
  };
  expect_rule("rule R09", "gradient of x", [&] { s.backward(); });
}

// R11 and R19: numbers that are wrong whatever scratch holds.
TEST(Checked, WrongNumbers) {
  Site s(Checking::kAlways);
  behaviour.forward = [](swy_exec* e, const swy_batch* b, const swy_state* st, swy_plan* p) {
    plain_forward(e, b, st, p);
    p->expert[1] = 5;
    return swy_status{SWY_OK};
  };
  expect_rule("rule R11", "expert 5", [&] { s.forward(); });
  behaviour.forward = [](swy_exec*, const swy_batch*, const swy_state*, swy_plan*) { return swy_status{SWY_OK}; };
  expect_rule("rule R11", "count", [&] { s.forward(); });  // a plan that was never written
  behaviour.backward = [](swy_exec*, const swy_batch*, const swy_state* st, const swy_tensor*) {
    static_cast<float*>(st->grad[0].data)[0] = std::numeric_limits<float>::infinity();
    return swy_status{SWY_OK};
  };
  expect_rule("rule R19", "gradient of w", [&] { s.backward(); });
}

// R05 and R06: an exception, and a failure without a word.
TEST(Checked, FailuresWithoutAReason) {
  Site s(Checking::kAlways);
  behaviour.forward = [](swy_exec*, const swy_batch*, const swy_state*, swy_plan*) -> swy_status {
    throw std::runtime_error("lost");
  };
  expect_rule("rule R05", "lost", [&] { s.forward(); });
  behaviour.forward = [](swy_exec*, const swy_batch*, const swy_state*, swy_plan*) { return swy_status{SWY_NUMERIC}; };
  expect_rule("rule R06", "SWY_NUMERIC", [&] { s.forward(); });
}

// kFirst looks at the first call of each phase and leaves the others alone.
TEST(Checked, FirstCallsOnly) {
  Site s(Checking::kFirst);
  s.forward();
  behaviour.forward = [](swy_exec* e, const swy_batch* b, const swy_state* st, swy_plan* p) {
    plain_forward(e, b, st, p);
    p->expert[1] = 5;
    return swy_status{SWY_OK};
  };
  EXPECT_NO_THROW(s.forward());
  s.exec.phase = SWY_SCORE;
  expect_rule("rule R11", "expert 5", [&] { s.forward(); });
}

// Listeners hear of calls into the C library, by name, until they are taken off.
TEST(LibcCalls, AreHeard) {
  if (!libc_calls_are_seen()) GTEST_SKIP() << "a sanitizer or another C library brings its own malloc";
  static std::vector<std::string> heard;
  heard.clear();
  heard.reserve(16);
  listen_to_libc([](const char* name, const void*) {
    if (heard.size() < heard.capacity()) heard.emplace_back(name);  // these names are short: no memory is asked for
  });
  void* volatile raw = std::malloc(8);
  listen_to_libc(nullptr);
  std::free(raw);
  EXPECT_EQ(heard, std::vector<std::string>{"malloc"});
}

}  // namespace
}  // namespace swy
