// StableMoE. Stage 1 of training routes by scores and teaches the choice to a student that sees the token id alone;
// stage 2 routes by the student's table, frozen. Evaluation routes by the student always.
#include "core/sdk/router.h"

struct StableMoe : swy::Router {
  swy::Option<float> stage1{
      this, "stage1", 0.1, {0.01, 1}, "share of training before the student is frozen and takes over"};
  swy::Option<float> balance{this, "balance_weight", 0.3, {0, 100}, "weight of the balance loss of stage 1"};
  swy::Option<float> distill{this, "distill_weight", 0.3, {0, 100}, "weight of the student's cross-entropy in stage 1"};
  swy::Option<int> width{this, "student_width", 50, {1, 4096}, "width of the student's embeddings"};

  int stages() const override { return 2; }
  int stage(const swy::Moment& m) const override { return static_cast<float>(m.progress) < stage1 ? 0 : 1; }

  void route(swy::Graph& g) override {
    const int64_t ids = g.has_token_ids() ? g.site.vocabulary : g.site.max_position;
    auto id = g.has_token_ids() ? g.token_id() : g.position();
    auto centroid = g.param("centroid", g.E, g.D, swy::orthogonal(0.1f));
    auto embedding = g.param("student_embedding", ids, width, swy::normal(1));
    auto student_centroid = g.param("student_centroid", g.E, width, swy::orthogonal(0.1f));
    auto table = g.buffer("table", ids, 1, swy::zeros_start());

    auto score = matmul_transposed(g.x, centroid), weight = sigmoid(score);
    if (g.stage == 1) return assign_weighted(swy::choose(to_integers(rows_of(table, id))), weight);
    auto student = matmul_transposed(rows_of(embedding, id), student_centroid);
    auto teacher = top_k(score, 1);
    if (g.training) {
      auto chosen = one_hot(teacher, g.E), load = sum_rows(chosen), mean = mean_columns(load);
      auto excess = (load - mean) / clamp(mean, 1e-6f, 1e30f);
      g.aux("balance", mean_rows(sum_columns(weight * chosen * excess)), balance, "load beyond the mean times gate");
      g.aux("distill", mean_rows(logsumexp(student) - sum_columns(student * chosen)), distill,
            "cross-entropy of the student to the teacher's choice");
    }
    assign_weighted(g.training ? teacher : top_k(student, 1), weight);
  }

  void update(swy::Graph& g) override {
    if (g.stage == 1) return;
    auto student = matmul_transposed(g.state("student_embedding"), g.state("student_centroid"));
    g.store(g.state("table"), to_float(top_k(student, 1).index));
  }
};
SWY_ROUTER(StableMoe, "stable_moe", "StableMoE (two stages)", "1.0.0",
           "Dai et al. 2022, StableMoE: Stable Routing Strategy for Mixture of Experts", SWY_CAP_CAUSAL)
