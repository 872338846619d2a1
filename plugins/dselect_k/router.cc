// DSelect-k: k selectors, each a product of smooth-step bits that spell an expert's number. Dense until the bits leave
// their band, at most k non-zero weights after.
#include "core/sdk/router.h"

struct DSelectK : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "selectors, and non-zero weights in the end"};
  swy::Option<float> gamma{this, "gamma", 1, {1e-6, 1000}, "width of the band where a bit is neither 0 nor 1"};
  swy::Option<swy::Choice> conditioning{this, "conditioning", "example", "example|static",
                                        "what the logits depend on: the token, or nothing"};
  swy::Option<float> entropy_weight{this, "entropy_weight", 1e-6, {0, 100}, "weight of the selectors' entropy"};
  swy::Option<float> reach_weight{this, "reach_weight", 1, {0, 100}, "weight that keeps selectors on existing experts"};

  void route(swy::Graph& g) override {
    int m = 0;  // bits of an expert's number
    while ((1 << m) < g.E) ++m;
    auto bit = smooth_step(logits(g, "bits", k * std::max(m, 1), gamma / 100));
    auto mix = softmax(logits(g, "mix", k, 0.05f));
    swy::Tensor weight, entropy, unreached;
    auto add = [](swy::Tensor& sum, swy::Tensor more) { sum = sum ? sum + more : more; };
    for (int j = 0; j < k; ++j) {
      auto r = filled(g, g.T, g.E, 1);
      for (int b = 0; b < m; ++b) {
        std::vector<float> one(g.E), sign(g.E);  // a factor is s where the expert's bit is 1, else 1 - s
        for (int e = 0; e < g.E; ++e) one[e] = e >> (m - 1 - b) & 1, sign[e] = 2 * one[e] - 1;
        auto s = column(bit, j * m + b) * constants(g, 1, g.E, sign);
        r = r * (s + (1 - constants(g, 1, g.E, one)));
      }
      add(weight, r * column(mix, j));
      add(entropy, sum_columns(r * log(r + 1e-6f)) * -1.f);
      add(unreached, reciprocal(maximum(sum_columns(r), filled(g, 1, 1, 1e-6f))));
    }
    if (g.training && entropy_weight > 0)
      g.aux("entropy", mean_rows(entropy), entropy_weight, "entropy of the selectors, summed");
    if (g.training && reach_weight > 0 && (1 << m) != g.E)
      g.aux("reach", mean_rows(unreached), reach_weight, "one over the selectors' mass on existing experts, summed");
    g.metric("nonzero", mean_rows(sum_columns(step(weight, 0))), "1", "mean experts per token");
    assign(nonzero(weight));
  }

 private:
  swy::Tensor logits(swy::Graph& g, const std::string& name, int64_t n, float width) const {
    auto start = swy::uniform(width);
    if (conditioning == "static") return filled(g, g.T, 1, 1) * g.param(name, 1, n, start);
    return matmul(g.x, g.param(name, g.D, n, start)) + g.param(name + "_bias", 1, n, start);
  }
  // 0 below -gamma/2, 1 above gamma/2, the cubic with zero slope at both ends between.
  swy::Tensor smooth_step(swy::Tensor z) const {
    auto t = clamp(z * (1 / gamma), -0.5f, 0.5f);
    return t * (1.5f - 2 * square(t)) + 0.5f;
  }
};
SWY_ROUTER(DSelectK, "dselect_k", "DSelect-k", "1.0.0",
           "Hazimeh et al. 2021, DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to "
           "Multi-Task Learning",
           SWY_CAP_CAUSAL)
