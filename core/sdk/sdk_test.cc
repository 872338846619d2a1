// Every function of the author layer: its gradient against finite differences, through a router that ends in a DENSE or
// ASSIGN plan, over two ragged groups. Then what the layer promises about errors, tables and cost.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/base/philox.h"
#include "core/device/exec.h"
#include "core/plugin/loader.h"
#include "core/sdk/losses.h"
#include "core/sdk/router.h"
#include "core/sdk/testing.h"

namespace swy {
namespace {

using Route = std::function<void(Graph&)>;
Route current_route;  // what the router under test does; set before a Trial is made

struct Scripted : Router {
  Option<int> k{this, "k", 2, {1, 4}, "experts per token"};
  void route(Graph& g) override { current_route(g); }
};
const swy_router& scripted() { return *detail::plugin<Scripted>("scripted", "test", "1", "none", 0)->routers[0]; }

// Numbers in [-1, 1], bounded away from 0 so that no kink or tie is within a finite-difference step.
void fill(std::vector<float>& v, uint64_t seed) {
  Random random(seed);
  for (float& f : v) {
    const float u = 2 * random.uniform() - 1;
    f = u + (u < 0 ? -0.1f : 0.1f);
  }
}

struct Case {
  const char* name;
  Route route;
};

// sum of coefficient * everything the plan holds; coefficients are fixed random numbers
double objective(testing::Trial& t, const std::vector<float>& coefficient) {
  t.forward();
  double sum = 0;
  size_t c = 0;
  auto add = [&](const std::vector<float>& v, size_t n) {
    for (size_t i = 0; i < n; ++i) sum += double{coefficient[c++ % coefficient.size()]} * double{v[i]};
  };
  add(t.weight, t.needs.plan_kind == SWY_ASSIGN ? t.count : 0);
  add(t.dispatch, t.dispatch.size());
  add(t.combine, t.combine.size());
  add(t.mix, t.mix.size());
  add(t.aux, t.aux.size());
  return sum;
}

void backward(testing::Trial& t, const std::vector<float>& coefficient) {
  size_t c = 0;
  auto take = [&](size_t n) {
    std::vector<float> v(n);
    for (float& f : v) f = coefficient[c++ % coefficient.size()];
    return v;
  };
  auto w = take(t.needs.plan_kind == SWY_ASSIGN ? t.count : 0);
  auto d = take(t.dispatch.size());
  auto m = take(t.combine.size());
  auto x = take(t.mix.size());
  t.backward(w, d, m, x, take(t.aux.size()));
}

// Compares d objective / d v along a random direction with the central difference, for x and every tensor.
void expect_gradients(testing::Trial& t) {
  fill(t.x, 7);
  for (uint32_t i = 0; i < t.n_tensors(); ++i) fill(t.tensor(t.tensor_name(i)), 11 + i);
  std::vector<float> coefficient(37);
  fill(coefficient, 3);
  objective(t, coefficient);
  // Gradients are added, never stored: start from something else than zero and take it off again (rule R10).
  constexpr float kBefore = 0.25f;
  std::fill(t.dx.begin(), t.dx.end(), kBefore);
  for (uint32_t i = 0; i < t.n_tensors(); ++i) {
    auto& g = t.grad(t.tensor_name(i));
    std::fill(g.begin(), g.end(), kBefore);
  }
  backward(t, coefficient);
  auto compare = [&](std::vector<float>& at, const std::vector<float>& gradient, const std::string& name) {
    for (uint64_t draw = 0; draw < 3; ++draw) {
      std::vector<float> way(at.size());
      fill(way, 100 + draw);
      const std::vector<float> start = at;
      double exact = 0;
      for (size_t i = 0; i < at.size(); ++i) exact += double{way[i]} * (double{gradient[i]} - double{kBefore});
      const double h = 2e-3;
      auto shifted = [&](double s) {
        for (size_t i = 0; i < at.size(); ++i) at[i] = static_cast<float>(start[i] + s * way[i]);
        return objective(t, coefficient);
      };
      // Fourth-order central difference: its own error is far below fp32 rounding at this step.
      const double numeric = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
      at = start;
      EXPECT_NEAR(exact, numeric, 4e-3 * (1 + std::fabs(numeric))) << name << ", draw " << draw;
    }
  };
  compare(t.x, t.dx, "x");
  for (uint32_t i = 0; i < t.n_tensors(); ++i)
    compare(t.tensor(t.tensor_name(i)), t.grad(t.tensor_name(i)), t.tensor_name(i));
}

class Sdk : public ::testing::TestWithParam<Case> {
 protected:
  Tally tally;
  Exec exec{&tally};
};

// The derived backward pass of each function equals finite differences of its forward pass.
TEST_P(Sdk, GradientsMatchFiniteDifferences) {
  current_route = GetParam().route;
  testing::Trial trial(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
  expect_gradients(trial);
}

Tensor logits(Graph& g) { return matmul(g.x, g.param("w", g.D, g.E, normal(1))); }
void both(Tensor t) { dense(t, t * 0.5f); }  // a DENSE plan that shows every element of t twice

INSTANTIATE_TEST_SUITE_P(
    Functions, Sdk,
    ::testing::Values(
        Case{"matmul", [](Graph& g) { both(logits(g)); }},
        Case{"matmul_transposed", [](Graph& g) { both(matmul_transposed(g.x, g.param("w", g.E, g.D, normal(1)))); }},
        Case{"softmax", [](Graph& g) { both(softmax(logits(g))); }},
        Case{"softmax_tokens", [](Graph& g) { both(softmax_tokens(logits(g))); }},
        Case{"normalise", [](Graph& g) { both(matmul(normalise(g.x), g.param("w", g.D, g.E, normal(1)))); }},
        Case{"layer_norm",
             [](Graph& g) {
               both(layer_norm(logits(g), g.param("gain", 1, g.E, constant(1)), g.param("bias", 1, g.E, constant(0))));
             }},
        Case{"layer_norm_of_parameters",
             [](Graph& g) {
               both(matmul_transposed(g.x, layer_norm(g.param("w", g.E, g.D, normal(1)), g.param("b", 1, g.D, normal(1)))));
             }},
        Case{"layer_norm_without_dx",
             [](Graph& g) { both(layer_norm(random(g, g.T, g.E, SWY_RANDOM_NORMAL, 0, 1), g.param("gain", 1, g.E, constant(1)))); }},
        Case{"softplus", [](Graph& g) { both(softplus(logits(g))); }},
        Case{"clamp", [](Graph& g) { both(clamp(logits(g), -10, 10)); }},
        Case{"rsqrt", [](Graph& g) { both(rsqrt(square(logits(g)) + 1.f)); }},
        Case{"scaled", [](Graph& g) { both(scaled(logits(g), [](const Moment&) { return 0.5f; })); }},
        Case{"exp", [](Graph& g) { both(exp(logits(g) * 0.3f)); }},
        Case{"log", [](Graph& g) { both(log(square(logits(g)) + 1.f)); }},
        Case{"sqrt", [](Graph& g) { both(sqrt(square(logits(g)) + 1.f)); }},
        Case{"sigmoid", [](Graph& g) { both(sigmoid(logits(g))); }},
        Case{"tanh", [](Graph& g) { both(tanh(logits(g))); }}, Case{"gelu", [](Graph& g) { both(gelu(logits(g))); }},
        Case{"normal_cdf", [](Graph& g) { both(normal_cdf(logits(g))); }},
        Case{"by_column",
             [](Graph& g) { both(logits(g) * g.param("c", 1, g.E, constant(1)) + g.param("b", 1, g.E, constant(1))); }},
        Case{"by_row",
             [](Graph& g) {
               Tensor l = logits(g);
               both((l - mean_columns(l)) / (sum_columns(square(l)) + 1.f));
             }},
        Case{"scalar", [](Graph& g) { both(logits(g) * g.param("s", 1, 1, constant(1))); }},
        Case{"rows",
             [](Graph& g) {
               Tensor l = logits(g);
               both(l * sum_rows(l) - mean_rows(l));
             }},
        Case{"one_tensor_many_uses",
             [](Graph& g) {
               Tensor l = logits(g);
               both(l * l + softmax(l) * l);
             }},
        Case{"groups",
             [](Graph& g) {
               Tensor l = logits(g);
               g.aux("sum", mean_rows(mean_columns(square(group_sum(l)))), 1, "");
               g.aux("mean", mean_rows(mean_columns(square(group_mean(l)))), 1, "");
               both(l);
             }},
        Case{"importance",
             [](Graph& g) {
               Tensor p = softmax(logits(g));
               g.aux("i", importance_loss(p), 1, "");
               both(p);
             }},
        Case{"load",
             [](Graph& g) {
               Tensor l = logits(g);
               Tensor noisy = l + random(g, g.T, g.E, SWY_RANDOM_NORMAL, 0, 0.5f);
               g.aux("l", load_loss(l, noisy, 2, 0.5f), 1, "");
               both(softmax(noisy));
             }},
        Case{"first_choice",
             [](Graph& g) {
               Tensor p = softmax(logits(g));
               g.aux("f", first_choice_loss(p), 1, "");
               both(p);
             }},
        Case{"assign", [](Graph& g) { assign(top_k(softmax(logits(g)), 2)); }},
        Case{"assign_by_priority",
             [](Graph& g) {
               TopK top = top_k(softmax(logits(g)), 3);
               assign(top, sorted_tokens(column(top.value, 0)));
             }},
        Case{"assign_top_tokens",
             [](Graph& g) {
               Tensor p = softmax(logits(g));
               assign_top_tokens(p, p);
             }},
        Case{"select_by_one_weigh_by_other",
             [](Graph& g) {
               Tensor l = logits(g);
               assign_top_tokens(detach(l), sigmoid(l));
             }},
        Case{"assign_weighted",
             [](Graph& g) {
               Tensor l = logits(g);
               TopK top = top_k(detach(l), 2);
               assign_weighted(top, sigmoid(l), sorted_tokens(column(top.value, 0)));
             }},
        Case{"first_rows",  // nine tokens, a table of nine rows and one to spare
             [](Graph& g) { both(logits(g) * first_rows(g.param("table", 10, g.E, normal(1)), g.T)); }}),
    [](const auto& instance) { return std::string(instance.param.name); });

// MERGE over sequences: the mean token of each sequence decides; the gradient reaches every token of it.
TEST_F(Sdk, MergeGradients) {
  current_route = [](Graph& g) {
    merge(softmax(matmul(row_mean(g.x), g.param("w", g.D, g.E, normal(1)))), SWY_ROW_SEQUENCE);
  };
  testing::Trial trial(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
  expect_gradients(trial);
}

// detach stops the gradient: the parameter behind it gets exactly nothing.
TEST_F(Sdk, DetachStopsTheGradient) {
  current_route = [](Graph& g) { both(detach(logits(g)) + g.param("b", 1, g.E, constant(1))); };
  testing::Trial trial(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
  fill(trial.x, 1);
  trial.forward();
  trial.backward({}, std::vector<float>(trial.dispatch.size(), 1.f), {}, {}, {});
  for (const float g : trial.grad("w")) EXPECT_EQ(g, 0);
  EXPECT_EQ(trial.grad("b")[0], 9);  // nine tokens, each with gradient one
}

// Noise belongs to training: the evaluation program has none, so two seeds agree there and differ in training.
TEST_F(Sdk, TrainingAndEvaluationAreDifferentPrograms) {
  current_route = [](Graph& g) {
    Tensor l = logits(g);
    both(g.training ? l + random(g, g.T, g.E, SWY_RANDOM_NORMAL, 0, 1) : l);
  };
  testing::Trial trial(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
  auto run = [&](int32_t phase, uint64_t seed) {
    trial.set_seed(seed);
    trial.forward(phase);
    return trial.dispatch;
  };
  EXPECT_EQ(run(SWY_SCORE, 1), run(SWY_SCORE, 2));
  EXPECT_EQ(run(SWY_TRAIN, 1), run(SWY_TRAIN, 1));
  EXPECT_NE(run(SWY_TRAIN, 1), run(SWY_TRAIN, 2));
}

// An exception of the author's code arrives as a status with its text, never as an exception across the boundary.
TEST_F(Sdk, ExceptionsBecomeReasons) {
  const std::vector<std::pair<Route, std::string>> bad = {
      {[](Graph& g) { matmul(g.x, g.param("w", g.D + 1, g.E, normal(1))); }, "matmul: shapes [T, 5] and [6, 4]"},
      {[](Graph& g) { assign(top_k(logits(g), 9)); }, "k = 9 is more than the 4 experts"},
      {[](Graph&) {}, "without a plan"},
      {[](Graph& g) {
         g.param("w", 1, 1, normal(1));
         g.param("w", 1, 1, normal(1));
       },
       "declared twice"},
      {[](Graph& g) {
         if (g.training) logits(g);
         both(filled(g, g.T, g.E, 1));
       },
       "declare different tensors"},
      {[](Graph& g) { g.aux("a", logits(g), 1, ""); }, "'a' is not a scalar"},
  };
  for (const auto& [route, reason] : bad) {
    current_route = route;
    try {
      testing::Trial trial(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
      ADD_FAILURE() << "accepted: " << reason;
    } catch (const std::runtime_error& e) {
      EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what();
    }
  }
}

// cost() comes from a dry run of the same ops, so it equals what a full-size step really counts.
TEST_F(Sdk, CostEqualsWhatAStepCounts) {
  current_route = [](Graph& g) {
    Tensor p = softmax(logits(g));
    g.aux("importance", importance_loss(p), 1, "");
    assign(top_k(p, 2));
  };
  testing::Trial trial(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
  const swy_cost cost = trial.cost();
  const double before = tally.total().flops;
  trial.forward();
  const double forward = tally.total().flops;
  trial.backward({}, {}, {}, {}, {1});
  EXPECT_EQ(cost.flops_forward, forward - before);
  EXPECT_EQ(cost.flops_backward, tally.total().flops - forward);
  EXPECT_GT(cost.flops_forward, 2.0 * 9 * 5 * 4);  // at least the gate's matmul
  EXPECT_GT(cost.bytes_backward, 0);
}

// A custom op: max(x, 0)^2 by hand. 2 FLOPs an element forward, 3 backward.
Tensor squared_relu(Tensor x) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->custom(
      {x}, {y}, {x},
      [=](Call& c) {
        for (int64_t i = 0; i < c.size(x); ++i) c.f(y)[i] = std::max(c.f(x)[i], 0.f) * std::max(c.f(x)[i], 0.f);
      },
      [=](const Call& c) {
        return Cost{2.0 * static_cast<double>(c.size(x)), 8.0 * static_cast<double>(c.size(x))};
      },
      [=](Call& c) {
        for (int64_t i = 0; i < c.size(x); ++i) c.grad(x)[i] += 2 * std::max(c.f(x)[i], 0.f) * c.grad(y)[i];
      },
      [=](const Call& c) {
        return Cost{3.0 * static_cast<double>(c.size(x)), 16.0 * static_cast<double>(c.size(x))};
      });
  return y;
}

// The escape hatch takes part in the backward pass, pays its declared cost, and is not called by a dry run.
TEST_F(Sdk, CustomOps) {
  current_route = [](Graph& g) { both(squared_relu(logits(g))); };
  testing::Trial trial(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
  expect_gradients(trial);
  const swy_cost with = trial.cost();
  current_route = [](Graph& g) { both(logits(g)); };
  testing::Trial plain(scripted(), plugin_host(), &exec, {5, 4, 2, {6, 3}});
  EXPECT_EQ(with.flops_forward - plain.cost().flops_forward, 2 * 9 * 4);
  EXPECT_EQ(with.flops_backward - plain.cost().flops_backward, 3 * 9 * 4);
}

// Routers made of the host's ops claim devices; one that says it cannot run there does not.
struct OnTheCpuAlone : Scripted {
  static constexpr bool kOnDevices = false;
};
TEST_F(Sdk, ClaimsDevicesUnlessToldNotTo) {
  const uint32_t devices = SWY_CAP_CUDA | SWY_CAP_GRAPH_CAPTURE;
  EXPECT_EQ(scripted().caps & devices, devices);
  EXPECT_EQ(detail::plugin<OnTheCpuAlone>("cpu", "test", "1", "none", 0)->routers[0]->caps & devices, 0u);
}

// Options arrive in table order with their range, and reach the author's fields.
TEST_F(Sdk, OptionsReachTheRouter) {
  const swy_router& r = scripted();
  ASSERT_EQ(r.n_options, 1u);
  EXPECT_STREQ(r.options[0].name, "k");
  EXPECT_EQ(r.options[0].preset.i, 2);
  EXPECT_EQ(r.options[0].high, 4);
}

}  // namespace
}  // namespace swy
