// Task-level routing: all tokens of a task share one route, which a small network computes from the task's embedding.
// In training every expert runs and the route is learned by Gumbel softmax, hard (straight-through) or soft, with a
// temperature that falls; in evaluation the hard modes run the one best expert.
#include "core/sdk/router.h"

struct TaskLevel : swy::Router {
  swy::Option<int> hidden{this, "hidden", 64, {1, 4096}, "width of the hidden layer"};
  swy::Option<swy::Choice> selection{this, "selection", "straight_through", "straight_through|gumbel|softmax",
                                     "route in training: hard with soft gradient, soft with noise, soft"};
  swy::Option<float> temperature{this, "temperature", 2, {1e-3, 1e4}, "of the softmax, at the start"};
  swy::Option<float> coolest{this, "temperature_min", 0.1, {1e-3, 1e4}, "the temperature falls no lower"};
  swy::Option<float> anneal{this, "anneal", 3e-4, {0, 1}, "the temperature falls as exp(-anneal * step)"};
  swy::Option<swy::Choice> embedding{this, "embedding", "given", "given|learned", "from the data, or a parameter"};

  void route(swy::Graph& g) override {
    if (g.site.max_tasks == 0)
      throw std::invalid_argument("task_level gives each task a route, and this data has none");
    g.row_kind = SWY_ROW_TASK;
    g.request_capacity(g.group_tokens);  // every sequence of a group may be of one task
    const bool given = embedding == "given", soft = selection == "softmax";
    auto task = given ? g.task_embedding() : first_rows(g.param("task", g.site.max_tasks, hidden, swy::normal(1)), g.R);
    auto w1 = g.param("w1", task.cols(), hidden, swy::lecun_normal(task.cols()));
    auto b1 = g.param("b1", 1, hidden, swy::zeros_start());
    auto w2 = g.param("w2", hidden, g.E, swy::lecun_normal(hidden));
    auto b2 = g.param("b2", 1, g.E, swy::zeros_start());
    auto logits = matmul(gelu(matmul(task, w1) + b1), w2) + b2;
    const float t0 = temperature, t1 = coolest, rate = anneal;
    auto tau = [=](const swy::Moment& m) { return std::max(t0 * std::exp(-rate * static_cast<float>(m.step)), t1); };
    g.metric("temperature", scaled(filled(g, 1, 1, 1), tau), "1", "temperature of the softmax");
    if (g.training && !soft) logits = logits + random(g, g.R, g.E, SWY_RANDOM_GUMBEL, 0, 1);
    auto route = softmax(scaled(logits, [=](const swy::Moment& m) { return 1 / tau(m); }));
    g.metric("best_share", mean_rows(top_k(route, 1).value), "1", "mean weight of the first expert, before hardening");
    auto best = top_k(logits, 1);
    if (!g.training && !soft) return assign(swy::TopK{best.index, {}});
    if (selection == "straight_through") route = straight_through(one_hot(best, g.E), route);
    assign_weighted(top_k(logits, g.E), route);
  }
};
SWY_ROUTER(TaskLevel, "task_level", "Task-level routing", "1.0.0",
           "Ye et al. 2022, Eliciting and Understanding Cross-Task Skills with Task-Level Mixture-of-Experts",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH)
