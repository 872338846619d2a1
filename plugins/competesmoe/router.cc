// CompeteSMoE, version 2. Stage 0: a top-k router. Stage 1, on a few training steps: all experts run on all tokens,
// those that respond most strongly win, and the router learns to predict them. Shapes: o_e [T, D], affinity a [T, E].
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct CompeteSmoe : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
  swy::Option<float> rate{this, "rate", 0.05, {0, 1}, "share of steps that are competitions, after the warm-up"};
  swy::Option<float> warm_up{this, "warm_up", 0.05, {0, 1}, "share of training before the first competition"};
  swy::Option<float> router_weight{
      this, "router_weight", 0.01, {0, 100}, "weight of the router's distance from the competition"};
  swy::Option<float> theta{this, "theta", 0, {0, 100}, "weight of the same distance on the winners, inside it"};
  swy::Option<float> diversity{this, "diversity_weight", 0.01, {0, 100}, "weight of the winners' mean cosine"};
  swy::Option<float> competition_balance{
      this, "competition_balance_weight", 0.01, {0, 100}, "weight of the balance loss of competition steps"};
  swy::Option<float> balance{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss of router steps"};
  swy::Option<float> z_weight{this, "z_weight", 0, {0, 100}, "weight of the squared log-sum-exp of router steps"};

  int stages() const override { return 2; }
  int stage(const swy::Moment& m) const override { return m.progress >= warm_up && drawn(m) < rate; }
  void route(swy::Graph& g) override {
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::normal(0.02f)));
    if (g.stage == 1 && g.training) return compete(g, softmax(logits));
    auto top = top_k(logits, k);
    if (g.training && balance > 0)
      g.aux("balance", first_choices(softmax(logits)), balance, "first choices times mean gate");
    if (g.training && z_weight > 0) g.aux("z", swy::z_loss(logits), z_weight, "squared log-sum-exp of the logits");
    assign(swy::TopK{top.index, softmax(top.value)});
  }

 private:
  void compete(swy::Graph& g, swy::Tensor gate) {
    std::vector<swy::Tensor> output, affinity;
    for (int e = 0; e < g.E; ++e) {
      output.push_back(run_experts(g.x, to_integers(filled(g, g.T, 1, static_cast<float>(e)))));
      affinity.push_back(mean_columns(softplus(output.back())));
    }
    auto a = concatenated(affinity), probability = softmax(a);
    auto top = top_k(a, k);
    auto won = one_hot(top, g.E), weight = a * won / sum_columns(a * won);
    swy::Tensor y, together, own;  // sums over the winners: w o, o / |o|, |o / |o||^2
    for (int e = 0; e < g.E; ++e) {
      auto unit = normalise(output[e]) * column(won, e);
      auto add = [](swy::Tensor& sum, swy::Tensor more) { sum = sum ? sum + more : more; };
      add(y, output[e] * column(weight, e)), add(together, unit), add(own, sum_columns(square(unit)));
    }
    if (g.training && router_weight > 0) {
      auto off = square(gate - detach(probability));
      auto far = mean_rows(mean_columns(off));
      if (theta > 0) far = far + mean_rows(sum_columns(off * won)) * (theta / static_cast<float>(k));
      g.aux("router", far, router_weight, "squared distance of the router's gates from the competition's");
    }
    if (g.training && diversity > 0 && k > 1)
      g.aux("diversity", mean_rows(sum_columns(square(together)) - own) / static_cast<float>(k * (k - 1)), diversity,
            "mean cosine of two winners' outputs");
    if (g.training && competition_balance > 0)
      g.aux("competition_balance", first_choices(probability), competition_balance, "winners times mean affinity");
    add_output(y);
    assign(where(top, filled(g, g.T, k, 0)));  // nobody is left to run
  }
  // A number in [0, 1) for each site and step, the same in every run (splitmix64, Steele et al. 2014).
  static double drawn(const swy::Moment& m) {
    uint64_t z = static_cast<uint64_t>(m.step * m.n_sites + m.site + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
  }
  // E sum_e (share of tokens whose first choice is e) mean_t prob, over the batch.
  static swy::Tensor first_choices(swy::Tensor prob) {
    auto first = mean_rows(one_hot(top_k(prob, 1), prob.cols()));
    return sum_columns(first * mean_rows(prob)) * static_cast<float>(prob.cols());
  }
};
SWY_ROUTER(CompeteSmoe, "competesmoe", "CompeteSMoE (v2)", "1.0.0",
           "Nguyen et al. 2025, CompeteSMoE - Statistically Guaranteed Mixture of Experts Training via Competition",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH)
